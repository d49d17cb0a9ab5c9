"""An engine that dies in mid-answer: an error event, no [DONE], `call.failed`, and it comes back."""

import os
import signal
import time

import pytest

from serving import PATIENCE_S, FakeEngine, Server, ServerFactory, parse_events

LONG = {"max_tokens": 2000, "ignore_eos": True, "temperature": 1.0}


def wait_until_answered(server: Server, seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while (exchange := server.chat()).status != 200:
        assert exchange.status == 503, exchange.body
        assert time.monotonic() < deadline, exchange.body
        time.sleep(0.3)


@pytest.mark.timeout(700)
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGSEGV])
def test_the_embedded_engine_is_killed(kill: signal.Signals, new_server: ServerFactory) -> None:
    server = new_server(model=True).start()
    body = {
        "model": server.model,
        "messages": [{"role": "user", "content": "Count."}],
        "stream": True,
        **LONG,
    }
    with server.http() as client, client.stream("POST", "/v1/chat/completions", json=body) as reply:
        parts = reply.iter_bytes()
        received = next(parts)
        (engine,) = server.engine_processes()
        os.kill(engine, kill)
        received += b"".join(parts)
    assert b"[DONE]" not in received
    last = parse_events(received)[-1]
    assert last["error"]["code"] == "engine_failed"
    record = server.wait_record(reply.headers["x-regalia-call"])
    assert (record["kind"], record["error"], record["status"]) == ("call.failed", "engine_failed", 502)
    wait_until_answered(server)
    assert server.engine_processes() != [engine]
    kinds = [entry["kind"] for entry in server.records()]
    assert "engine.stopped" in kinds
    assert kinds.count("engine.started") > kinds.count("engine.stopped")


def test_an_engine_elsewhere_breaks_off(new_server: ServerFactory, fake_engine: FakeEngine) -> None:
    server = new_server(**fake_engine.config).start()
    message = {"role": "user", "content": "Hello"}
    body = {"model": "fake", "messages": [message], "stream": True, "fake": {"die_after": 3, "delay_ms": 20}}
    exchange = server.post("/v1/chat/completions", body)
    assert exchange.status == 200
    assert b"[DONE]" not in exchange.body
    assert exchange.events()[-1]["error"]["code"] == "engine_failed"
    assert len(exchange.events()) == 4
    assert server.wait_record(exchange.call)["kind"] == "call.failed"


def test_an_engine_elsewhere_that_errs_is_told_apart(
    new_server: ServerFactory, fake_engine: FakeEngine
) -> None:
    server = new_server(**fake_engine.config).start()
    exchange = server.chat(fake={"status": 500})
    assert (exchange.status, exchange.json["error"]["code"]) == (502, "engine_failed")
    assert server.wait_record(exchange.call)["kind"] == "call.failed"
    exchange = server.chat(fake={"status": 400})
    assert exchange.status == 400
    assert server.wait_record(exchange.call)["kind"] == "call.refused"


def test_no_engine_behind_the_address(new_server: ServerFactory, port: int) -> None:
    engine = {"name": "gone", "base_url": f"http://127.0.0.1:{port}/v1", "models": ["fake"]}
    server = new_server(embedded=False, engines=[engine]).spawn()
    deadline = time.monotonic() + PATIENCE_S
    while True:  # an engine that is away does not keep the server from starting
        try:
            exchange = server.post("/v1/chat/completions", {"model": "fake", "messages": []})
            break
        except OSError:
            raise
        except Exception:
            assert time.monotonic() < deadline, server.tail()
            time.sleep(0.1)
    exchange = server.post(
        "/v1/chat/completions", {"model": "fake", "messages": [{"role": "user", "content": "Hello"}]}
    )
    assert exchange.status == 503
    assert exchange.json["error"]["code"] == "engine_unavailable"
