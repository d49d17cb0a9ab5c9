"""A client that leaves: its generation stops, and the record says `call.cancelled` with what was sent."""

import json
import socket
import time

from regalia_verify.policy import TrustPolicy
from regalia_verify.receipt import verify_receipt
from serving import PATIENCE_S, FakeEngine, Server, ServerFactory


def leave_after(server: Server, size: int, body: dict[str, object]) -> tuple[str, bytes]:
    """Read this many bytes of a stream and go; gives the call's id and what was read."""
    with server.http() as client, client.stream("POST", "/v1/chat/completions", json=body) as reply:
        received = b""
        for part in reply.iter_raw():
            received += part
            if len(received) >= size:
                break
        return reply.headers["x-regalia-call"], received


def test_what_was_sent_is_on_record_and_the_engine_stops(
    new_server: ServerFactory, fake_engine: FakeEngine
) -> None:
    server = new_server(**fake_engine.config).start()
    message = {"role": "user", "content": "Hello"}
    steer = {"delay_ms": 500, "words": 400}
    body = {"model": "fake", "messages": [message], "stream": True, "fake": steer}
    call, received = leave_after(server, 300, body)
    record = server.wait_record(call)
    assert record["kind"] == "call.cancelled"
    assert record["usage"]["output"] < 400, "it did not go on to its end"
    deadline = time.monotonic() + PATIENCE_S
    while fake_engine.open_streams():
        assert time.monotonic() < deadline, "the engine still generates"
        time.sleep(0.05)
    verified = verify_receipt(server.receipt(call), TrustPolicy.parse(server.policy()))
    assert verified.record["response"]
    assert received


def test_a_waiting_client_that_leaves_is_cancelled_too(
    new_server: ServerFactory, fake_engine: FakeEngine
) -> None:
    server = new_server(**fake_engine.config).start()
    body = {
        "model": "fake",
        "messages": [{"role": "user", "content": "Hello"}],
        "fake": {"delay_ms": 120_000},
    }
    content, before = json.dumps(body).encode(), fake_engine.asked()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.api_key}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    deadline = time.monotonic() + PATIENCE_S
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + content)
        while fake_engine.asked() == before:
            assert time.monotonic() < deadline, "the call did not come to the engine"
            time.sleep(0.05)
    server.wait_closed()
    kinds = [record["kind"] for record in server.records()]
    assert (kinds.count("call.admitted"), kinds.count("call.cancelled")) == (1, 1)


def test_the_embedded_engines_slots_are_freed(new_server: ServerFactory) -> None:
    server = new_server(model=True, embedded_engine={"parallel": 1}).start()
    message = {"role": "user", "content": "Count to a thousand."}
    body = {
        "model": server.model,
        "messages": [message],
        "stream": True,
        "max_tokens": 3000,
        "ignore_eos": True,
    }
    for _ in range(3):
        call, _received = leave_after(server, 500, body)
        assert server.chat(max_tokens=2).status == 200
        record = server.wait_record(call)
        assert record["kind"] == "call.cancelled"
        assert 0 < record["usage"]["output"] < 3000, "it did not go on to its end"
