"""What is wrong with a request is said in the API's error shape, and changes nothing but what it must."""

import json
import socket
import time
from contextlib import suppress
from typing import Any

import httpx
import pytest

from serving import Exchange, FakeEngine, Server, ServerFactory

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
BODY_LIMIT = 200_000
HEADER_LIMIT = 16_384
HEAD_SECONDS = 2.5
BODY_SECONDS = 3.0
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, fake_engine: FakeEngine) -> Any:
    """A server with narrow limits, so that reaching them is quick."""
    factory = ServerFactory(tmp_path_factory.mktemp("strict"))
    limits = {
        "body_bytes": BODY_LIMIT,
        "header_bytes": HEADER_LIMIT,
        "header_seconds": HEAD_SECONDS,
        "body_seconds": BODY_SECONDS,
    }
    yield factory(**fake_engine.config, limits=limits).start()
    factory.stop_all()


def entries(server: Server) -> int:
    """How many entries the log has, the unpublished ones included."""
    metrics = httpx.get(f"{server.url}/metrics", timeout=60).text.splitlines()
    return int(float(next(line for line in metrics if line.startswith("regalia_log_entries ")).split()[1]))


def assert_error(exchange: Exchange, status: set[int], param: str | None = None) -> None:
    assert exchange.status in status, (exchange.status, exchange.body)
    error = exchange.json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"]
    if param is not None:
        assert param in str(error["param"]), error
        assert param in error["message"], error


BAD_BODIES: list[tuple[str, bytes, str | None]] = [
    ("empty", b"", None),
    ("not JSON", b"{", None),
    ("not UTF-8", b'{"model": "\xff"}', None),
    ("trailing text", b'{"model": "fake"} x', None),
    ("an array", b"[]", None),
    ("a string", b'"hello"', None),
    ("null", b"null", None),
    ("deep nesting", b'{"model": "fake", "messages": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", None),
    ("a number too large for JSON", b'{"model": "fake", "max_tokens": 1' + b"0" * 400 + b"}", None),
    ("NaN", b'{"model": "fake", "messages": [], "temperature": NaN}', None),
    ("no model", b'{"messages": [{"role": "user", "content": "Hello"}]}', "model"),
    ("no messages", b'{"model": "fake"}', "messages"),
    ("no message", b'{"model": "fake", "messages": []}', "messages"),
]
BAD_FIELDS: list[tuple[str, object]] = [
    ("model", 7),
    ("model", ""),
    ("model", "x" * 10_000),
    ("messages", "Hello"),
    ("messages", [{"content": "no role"}]),
    ("messages", [{"role": 1, "content": "Hello"}]),
    ("messages", [{"role": "user", "content": 5}]),
    ("stream", "yes"),
    ("stream", 2),
    ("stream_options", "usage"),
    ("temperature", -0.1),
    ("temperature", 1e300),
    ("temperature", "hot"),
    ("top_p", 1.5),
    ("max_tokens", 0),
    ("max_tokens", -1),
    ("max_tokens", 1.5),
    ("max_tokens", 10**18),
    ("max_completion_tokens", "many"),
    ("n", 0),
    ("n", 1000),
    ("seed", 2**70),
    ("seed", "lucky"),
    ("stop", 3),
    ("stop", ["x"] * 1000),
    ("presence_penalty", -3),
    ("frequency_penalty", 99),
    ("logprobs", "all"),
    ("top_logprobs", 1000),
    ("tools", "hammer"),
    ("tools", [1]),
    ("response_format", "json"),
]
BAD_ROUTES: list[tuple[str, dict[str, object], str]] = [
    ("/v1/completions", {"model": "fake"}, "prompt"),
    ("/v1/completions", {"model": "fake", "prompt": {"a": 1}}, "prompt"),
    ("/v1/responses", {"model": "fake"}, "input"),
    ("/v1/responses", {"model": "fake", "input": 4}, "input"),
    ("/v1/embeddings", {"model": "fake"}, "input"),
    ("/v1/embeddings", {"model": "fake", "input": "x", "encoding_format": "png"}, "encoding_format"),
    ("/tokenize", {"model": "fake", "prompt": 5}, "prompt"),
    ("/detokenize", {"model": "fake", "tokens": "abc"}, "tokens"),
    ("/detokenize", {"model": "fake", "tokens": [-1]}, "tokens"),
]


@pytest.mark.parametrize(("name", "body", "param"), BAD_BODIES, ids=[name for name, _, _ in BAD_BODIES])
def test_a_body_that_is_not_a_request(strict: Server, name: str, body: bytes, param: str | None) -> None:
    before = entries(strict)
    assert_error(strict.post(CHAT, body), {400, 422}, param)
    assert entries(strict) == before


@pytest.mark.parametrize(("param", "value"), BAD_FIELDS, ids=[f"{n}={str(v)[:24]}" for n, v in BAD_FIELDS])
def test_a_wrong_field_is_named(strict: Server, param: str, value: object) -> None:
    before = entries(strict)
    body = {"model": "fake", "messages": HELLO, param: value}
    assert_error(strict.post(CHAT, body), {400, 422}, param)
    assert entries(strict) == before


@pytest.mark.parametrize(("path", "body", "param"), BAD_ROUTES)
def test_wrong_fields_of_other_routes(strict: Server, path: str, body: dict[str, object], param: str) -> None:
    before = entries(strict)
    assert_error(strict.post(path, body), {400, 422}, param)
    assert entries(strict) == before


def test_an_unknown_model(strict: Server) -> None:
    before = entries(strict)
    exchange = strict.post(CHAT, {"model": "nobody", "messages": HELLO})
    assert_error(exchange, {404})
    assert exchange.json["error"]["code"] == "model_not_found"
    assert entries(strict) == before


def test_a_body_over_the_limit(strict: Server) -> None:
    before = entries(strict)
    exchange = strict.post(CHAT, {"model": "fake", "messages": HELLO, "user": "x" * BODY_LIMIT})
    assert_error(exchange, {413})
    assert entries(strict) == before


def test_a_chunked_body_over_the_limit(strict: Server) -> None:
    with strict.http() as client:
        try:
            reply = client.post(CHAT, content=(b" " * 10_000 for _ in range(200)))
        except httpx.TransportError:
            return  # the server closed while the rest was still on its way
        assert reply.status_code == 413


def test_a_wrong_content_type(strict: Server) -> None:
    exchange = strict.post(CHAT, b"model=fake", **{"content-type": "application/x-www-form-urlencoded"})
    assert_error(exchange, {400, 415})


def test_an_unknown_route(strict: Server) -> None:
    for path in ("/v1/nothing", "/nothing", "/v1/chat/completions/"):
        assert_error(strict.post(path, b"{}"), {404, 405})
        reply = strict.get(path)
        assert reply.status_code == 404
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_a_wrong_method(strict: Server) -> None:
    with strict.http() as client:
        for method, path in (("GET", CHAT), ("DELETE", CHAT), ("POST", "/v1/models"), ("PUT", "/healthz")):
            reply = client.request(method, path)
            assert reply.status_code == 405, (method, path)
            assert reply.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Basic YTpi", "Bearer wrong", "bearer\twrong", "Bearer " + "x" * 5000],
)
def test_no_key_or_a_wrong_one(strict: Server, authorization: str | None) -> None:
    before = entries(strict)
    headers = {} if authorization is None else {"authorization": authorization}
    content = json.dumps({"model": "fake", "messages": HELLO})
    for method, path in (("POST", CHAT), ("GET", "/v1/models"), ("GET", "/v1/receipts/call_0")):
        reply = httpx.request(method, strict.url + path, headers=headers, content=content, timeout=60)
        assert reply.status_code == 401, path
        error = reply.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["type"] == "authentication_error"
    assert entries(strict) == before


def test_receipts_of_calls_that_are_none(strict: Server) -> None:
    for call in ("call_0", "call_" + "0" * 26, "..", "%2e%2e%2finstance.json", "x" * 2000):
        reply = strict.get(f"/v1/receipts/{call}")
        assert reply.status_code in {400, 404}, call


def test_the_log_serves_nothing_beside_itself(strict: Server) -> None:
    for path in (
        "..",
        "../instance.json",
        "%2e%2e/instance.json",
        "../keys/log-ed25519.pem",
        "tile/../..",
        "//etc",
    ):
        with socket.create_connection(("127.0.0.1", strict.port), timeout=PATIENCE_S) as raw:
            raw.sendall(f"GET /log/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
            head = read_all(raw)
        assert head.split(b" ")[1] in {b"400", b"404"}, (path, head[:200])


def read_all(raw: socket.socket) -> bytes:
    """What the server sends until it closes."""
    received = b""
    while part := raw.recv(65536):
        received += part
    return received


def until_closed(raw: socket.socket) -> bytes:
    """What came before the server closed; TimeoutError if it does not."""
    raw.settimeout(PATIENCE_S)
    try:
        return read_all(raw)
    except ConnectionResetError:
        return b""


def test_a_client_that_dribbles_its_headers(strict: Server) -> None:
    with socket.create_connection(("127.0.0.1", strict.port)) as raw:
        raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
        for number in range(4):
            time.sleep(0.3)
            try:
                raw.sendall(b"x-%d: 1\r\n" % number)
            except OSError:
                break
        answer = until_closed(raw)
    assert not answer or answer.startswith(b"HTTP/1.1 408 ")


def test_a_client_that_says_nothing_is_closed(strict: Server) -> None:
    with socket.create_connection(("127.0.0.1", strict.port)) as raw:
        until_closed(raw)


def test_a_client_that_dribbles_its_body(strict: Server) -> None:
    before = entries(strict)
    with socket.create_connection(("127.0.0.1", strict.port)) as raw:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {strict.api_key}\r\n"
        raw.sendall(f"{head}content-type: application/json\r\ncontent-length: 5000\r\n\r\n{{".encode())
        for _ in range(5):
            time.sleep(0.3)
            try:
                raw.sendall(b" ")
            except OSError:
                break
        answer = until_closed(raw)
    assert not answer or answer.startswith(b"HTTP/1.1 408 ")
    assert entries(strict) == before


def test_headers_over_the_limit(strict: Server) -> None:
    for head in (b"x-big: " + b"y" * 200_000, b"\r\n".join(b"x-%d: 1" % n for n in range(20_000))):
        with socket.create_connection(("127.0.0.1", strict.port)) as raw:
            with suppress(OSError):  # closed while we were still sending
                raw.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n\r\n")
            answer = until_closed(raw)
        assert not answer or answer.startswith(b"HTTP/1.1 431 "), answer[:100]


@pytest.mark.parametrize(
    "noise",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\r\n" * 5000, b"GET\r\n\r\n", b"\x00" * 1000],
    ids=["TLS", "empty lines", "no target", "zeros"],
)
def test_what_is_not_http(strict: Server, noise: bytes) -> None:
    with socket.create_connection(("127.0.0.1", strict.port)) as raw:
        raw.sendall(noise)
        answer = until_closed(raw)
    assert not answer or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 ", b"HTTP/1.1 431 "))
    assert strict.get("/healthz").status_code == 200


def test_many_slow_clients_do_not_keep_others_out(strict: Server) -> None:
    slow = [socket.create_connection(("127.0.0.1", strict.port)) for _ in range(200)]
    try:
        for raw in slow:
            raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n")
        assert strict.chat().status == 200
    finally:
        for raw in slow:
            raw.close()


def test_only_what_was_admitted_is_in_the_log(strict: Server) -> None:
    before = entries(strict)
    assert strict.chat().status == 200
    assert entries(strict) == before + 2
    assert strict.chat(fake={"status": 400}).status == 400
    assert entries(strict) == before + 4


def test_a_prompt_over_the_context(server: Server) -> None:
    exchange = server.chat("word " * 12_000)
    assert_error(exchange, {400, 413, 422})
    assert exchange.json["error"]["code"] == "context_length_exceeded"
    assert server.wait_record(exchange.call)["kind"] == "call.refused"
    assert server.chat().status == 200


def test_what_the_engine_cannot_parse(server: Server) -> None:
    for fields in (
        {"grammar": "root ::= ("},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 5}}}},
        {"tools": [{"type": "function", "function": {"name": 5}}], "tool_choice": "required"},
    ):
        assert_error(server.chat(**fields), {400, 422})
    assert server.chat().status == 200
