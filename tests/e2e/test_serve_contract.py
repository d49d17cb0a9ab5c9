"""What scripts rely on: init, serve, health, metrics, documents, drain, configuration."""

import json
import re
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest
import yaml

from serving import PATIENCE_S, Exchange, FakeEngine, Server, ServerFactory, regalia, verify


def test_init_prints_the_key_once_and_keeps_secrets_private(tmp_path: Path) -> None:
    data = tmp_path / "d"
    made = json.loads(regalia("init", "--data-dir", str(data), "--json").stdout)
    assert set(made) == {"api_key", "origin", "data_dir"}
    assert Path(made["data_dir"]) == data
    for file in [data / "instance.json", *(data / "keys").iterdir()]:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    stored = b"".join(file.read_bytes() for file in data.rglob("*") if file.is_file())
    assert made["api_key"].encode() not in stored


def test_init_does_not_overwrite_an_instance(tmp_path: Path) -> None:
    data = str(tmp_path / "d")
    regalia("init", "--data-dir", data)
    keys = {file: file.read_bytes() for file in (tmp_path / "d" / "keys").iterdir()}
    again = regalia("init", "--data-dir", data, check=False)
    assert again.returncode != 0
    assert "Traceback" not in again.stderr
    assert keys == {file: file.read_bytes() for file in (tmp_path / "d" / "keys").iterdir()}


def test_serving_an_absent_instance_says_what_to_do(tmp_path: Path) -> None:
    done = regalia("serve", "--data-dir", str(tmp_path / "none"), "--port", "0", check=False)
    assert done.returncode != 0
    assert "regalia init" in done.stderr
    assert "Traceback" not in done.stderr


def test_health_readiness_and_metrics(server: Server) -> None:
    assert httpx.get(f"{server.url}/healthz", timeout=60).status_code == 200
    assert httpx.get(f"{server.url}/readyz", timeout=60).status_code == 200
    server.chat()
    metrics = httpx.get(f"{server.url}/metrics", timeout=60)
    assert metrics.headers["content-type"].startswith("text/plain")
    assert re.search(r'^regalia_calls_total\{.*outcome="answered".*\} [1-9]', metrics.text, re.MULTILINE)
    assert re.search(r"^regalia_log_entries [1-9]", metrics.text, re.MULTILINE)
    assert server.api_key not in metrics.text


def test_the_openapi_document_describes_every_route(server: Server) -> None:
    document = httpx.get(f"{server.url}/openapi.json", timeout=60).json()
    assert document["openapi"].startswith("3.")
    described = set(document["paths"])
    assert described >= {
        "/v1/models",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/tokenize",
        "/detokenize",
        "/v1/receipts/{call}",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    for path in described:
        for operation in document["paths"][path].values():
            assert operation["summary"]
    text = json.dumps(document)
    for reference in re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', text):
        assert reference in document["components"]["schemas"], reference


def test_the_docs_page_uses_local_files_only(server: Server) -> None:
    page = httpx.get(f"{server.url}/docs", timeout=60)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    loaded = re.findall(r"""(?:src|href|action)\s*=\s*["']?([^"'\s>]+)""", page.text)
    loaded += re.findall(r"url\(([^)]+)\)|@import\s+(\S+)", page.text)
    assert not [target for target in loaded if re.match(r"(https?:)?//", str(target))]
    assert "/v1/chat/completions" in page.text


def test_a_call_belongs_to_its_owner_and_has_an_id(server: Server) -> None:
    exchange = server.chat()
    assert re.fullmatch(r"call_[0-9a-hjkmnp-tv-z]{26}", exchange.call)
    later = server.chat()
    assert later.call > exchange.call


def _wait_for_a_call(engine: FakeEngine, before: int) -> None:
    """Return once the engine has been asked more often than before."""
    deadline = time.monotonic() + PATIENCE_S
    while engine.asked() == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_sigterm_drains(new_server: ServerFactory, fake_engine: FakeEngine) -> None:
    server = new_server(**fake_engine.config).start()
    answers: list[Exchange] = []

    def ask() -> None:
        answers.append(server.chat(stream=True, fake={"hold": "drained"}))

    before = fake_engine.asked()
    asking = threading.Thread(target=ask)
    asking.start()
    _wait_for_a_call(fake_engine, before)
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_S
    with pytest.raises(httpx.TransportError):  # no new connection is taken
        while time.monotonic() < deadline:
            httpx.get(f"{server.url}/healthz", timeout=60)
    assert server.process.poll() is None, "it did not wait for the stream's end"
    fake_engine.release("drained")
    asking.join(PATIENCE_S)
    assert answers[0].body.endswith(b"data: [DONE]\n\n")
    assert server.stop() == 0
    server.start()
    assert server.wait_record(answers[0].call)["kind"] == "call.answered"


def test_the_drain_is_bounded(new_server: ServerFactory, fake_engine: FakeEngine) -> None:
    server = new_server(**fake_engine.config, limits={"drain_seconds": 1}).start()
    answers: list[bytes] = []

    def ask() -> None:
        try:
            answers.append(
                server.chat(stream=True, max_tokens=400, fake={"delay_ms": 1000, "words": 400}).body
            )
        except httpx.TransportError:
            answers.append(b"")

    before = fake_engine.asked()
    asking = threading.Thread(target=ask)
    asking.start()
    _wait_for_a_call(fake_engine, before)
    assert server.stop(PATIENCE_S) == 0, "it did not wait for the stream's end, and ended by itself"
    asking.join(PATIENCE_S)
    assert b"[DONE]" not in answers[0]
    server.start()
    server.wait_closed()
    kinds = [record["kind"] for record in server.records()]
    assert kinds.count("call.admitted") == sum(
        kinds.count(kind) for kind in ("call.failed", "call.aborted", "call.cancelled", "call.answered")
    )
    assert "call.answered" not in kinds


def test_ask_streams_the_answer_and_shows_what_the_receipt_binds(server: Server, tmp_path: Path) -> None:
    where = ["--data-dir", str(server.data_dir), "--base-url", server.url, "--api-key", server.api_key]
    asked = tmp_path / "asked"
    done = regalia("ask", "What is the capital of Kenya?", *where, "--save", str(asked))
    assert "Nairobi" in done.stdout
    assert "Receipt verified" in done.stderr
    assert re.search(r"^model +\S+  sha256:[0-9a-f]{64}$", done.stderr, re.MULTILINE)
    files = ("--policy", str(asked / "policy"), "--request", str(asked / "request.json"))
    checked = verify(
        "receipt", str(asked / "receipt.tlog-proof"), *files, "--response", str(asked / "response.txt")
    )
    assert checked.returncode == 0, checked.stderr
    (asked / "request.json").write_bytes(b"{}")
    assert verify("receipt", str(asked / "receipt.tlog-proof"), *files).returncode == 1

    told = json.loads(regalia("ask", "What is the capital of Kenya?", *where, "--json").stdout)
    assert told["verified"] is True
    assert told["record"]["kind"] == "call.answered"


def test_ask_says_what_is_wrong(server: Server, port: int) -> None:
    data = ["--data-dir", str(server.data_dir), "--api-key", server.api_key]
    nobody = regalia("ask", "Hello", *data, "--base-url", f"http://127.0.0.1:{port}", check=False)
    assert nobody.returncode == 1
    assert "Traceback" not in nobody.stderr
    assert str(port) in nobody.stderr
    wrong = regalia("ask", "Hello", *data, "--base-url", server.url, "--model", "nobody", check=False)
    assert wrong.returncode == 1
    assert "nobody" in wrong.stderr


def test_log_policy_is_what_the_server_signs_with(server: Server, tmp_path: Path) -> None:
    text = server.policy()
    lines = [line.split()[0] for line in text.splitlines() if line and not line.startswith("#")]
    assert lines == ["log", "witness", "quorum"]
    assert server.origin in text
    policy = tmp_path / "policy"
    policy.write_text(text)
    server.chat()
    done = verify("log", f"{server.url}/log", "--policy", str(policy), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["origin"] == server.origin


def test_published_files_say_how_long_they_may_be_cached(server: Server) -> None:
    checkpoint = httpx.get(f"{server.url}/log/checkpoint", timeout=60)
    assert checkpoint.headers["content-type"].startswith("text/plain")
    assert "immutable" not in checkpoint.headers.get("cache-control", "")
    entries = httpx.get(f"{server.url}/log/tile/entries/000.p/1", timeout=60)
    assert entries.status_code == 200
    assert entries.headers["content-type"] == "application/octet-stream"
    assert "immutable" in entries.headers["cache-control"]


def serve_once(
    server: Server, *arguments: str, file: object = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """`regalia serve` that is expected to end at once with an error."""
    config = server.data_dir.with_name("config.yaml")
    config.write_text(file if isinstance(file, str) else yaml.safe_dump(file or {}))
    command = ("serve", "--data-dir", str(server.data_dir), "--config", str(config), *arguments)
    return regalia(*command, check=False, env=env)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ({"prot": 1}, r"prot.*\bport\b"),
        ({"limits": {"body_byte": 1}}, r"body_byte.*body_bytes"),
        ({"engines": [{"name": "a", "base_ur": "http://127.0.0.1:1/v1", "models": ["m"]}]}, "base_url"),
        ({"port": "eighty"}, "port"),
        ({"limits": {"body_bytes": -1}}, "body_bytes"),
        ({"engines": [{"name": "a", "base_url": "ftp://x", "models": ["m"]}]}, "base_url"),
        ("a: [", "YAML"),
        ("- a", "mapping"),
        ("host: ${REGALIA_TEST_UNSET}", "REGALIA_TEST_UNSET"),
    ],
)
def test_a_configuration_error_names_the_key(new_server: ServerFactory, file: object, told: str) -> None:
    done = serve_once(new_server(), file=file)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(told, done.stderr, re.DOTALL), done.stderr


def test_an_unknown_environment_variable_is_not_taken_silently(new_server: ServerFactory) -> None:
    done = serve_once(new_server(), REGALIA_LIMITS__BODY_BYTE="5")
    assert done.returncode == 1
    assert "body_bytes" in done.stderr


def test_command_line_over_environment_over_file_over_default(
    new_server: ServerFactory, fake_engine: FakeEngine
) -> None:
    def body_limit(server: Server) -> int:
        """The limit in force, found by asking."""
        for size in (2000, 3000):
            if server.chat("x" * size).status == 413:
                return size
        return 0

    config = {**fake_engine.config, "port": 1, "host": "127.0.0.9"}
    plain = new_server(**config)  # the command line's --host and --port win over the file's
    plain.env = {"REGALIA_PORT": "2"}
    assert body_limit(plain.start()) == 0
    plain.stop()
    file = new_server(**fake_engine.config, limits={"body_bytes": 2500})
    assert body_limit(file.start()) == 3000
    file.stop()
    file.env = {"REGALIA_LIMITS__BODY_BYTES": "1500"}
    assert body_limit(file.start()) == 2000


def test_variables_in_the_file_are_expanded(new_server: ServerFactory, fake_engine: FakeEngine) -> None:
    (engine,) = fake_engine.config["engines"]
    engines = [{**engine, "base_url": "${FAKE_URL:-http://127.0.0.1:9}/v1"}]
    server = new_server(embedded=False, engines=engines)
    server.env = {"FAKE_URL": fake_engine.url}
    server.start()
    assert server.chat().status == 200


def test_calls_over_the_limit_are_told_to_wait(new_server: ServerFactory, fake_engine: FakeEngine) -> None:
    server = new_server(**fake_engine.config, limits={"concurrent_calls": 1}).start()
    with server.http() as client:
        body = {"model": "fake", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
        slow = {**body, "fake": {"delay_ms": 5000, "words": 100}}
        with client.stream("POST", "/v1/chat/completions", json=slow):
            refused = server.chat()
        assert refused.status in {429, 503}
        assert refused.headers["retry-after"]
