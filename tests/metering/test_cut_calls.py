"""A call whose client leaves, or whose engine breaks, counts what the engine did: in the record, in usage,
in the budget, and in what `regalia usage --verify` computes again.
"""

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from serving import FakeEngine, Server, ServerFactory, regalia

BUDGET = 100_000
TEXT = "x" * 400
PATHS = {"chat.completions": "/v1/chat/completions", "completions": "/v1/completions",
         "responses": "/v1/responses", "embeddings": "/v1/embeddings"}  # fmt: skip


class House:
    """A server with llama.cpp, an engine that says its usage at the end only, and one that is vLLM's kind."""

    def __init__(self, server: Server, fake: FakeEngine) -> None:
        self.server = server
        self.fake = fake
        self.model = next(name for name in server.models() if "smollm" in name)
        self.told: set[str] = set()

    def new_key(self) -> tuple[str, str]:
        """A key with a hard budget that is known to hold: its id and its secret."""
        made = self.ask("POST", "/keys", {"name": "of a test", "project": "default"})
        key, secret = made["key"]["id"], made["secret"]
        for what in ({"amount": str(BUDGET), "unit": "tokens", "period": "total"}, {"requests": 1000}):
            path = "/budgets" if "unit" in what else "/limits"
            self.ask("POST", path, {"scope": "key", "subject": key, **what})
        until(lambda: "x-ratelimit-limit-requests" in self.tokenized(secret).headers)
        return key, secret

    def ask(self, method: str, path: str, body: object = None) -> Any:
        content = b"" if body is None else json.dumps(body).encode()
        with self.server.http() as client:
            reply = client.request(method, f"/v1/regalia{path}", content=content)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def tokenized(self, secret: str) -> httpx.Response:
        """A call that costs nothing."""
        body = {"model": "fake", "prompt": "a"}
        with self.server.http() as client:
            return client.post("/tokenize", json=body, headers={"authorization": f"Bearer {secret}"})

    def leave(self, secret: str, route: str, body: dict[str, Any], ready: Callable[[bytes], bool]) -> None:
        """Send a call, and close the connection once it is `ready` for that by what has come."""
        content = json.dumps(body).encode()
        head = f"POST {PATHS[route]} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {secret}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        received = b""
        with socket.create_connection(("127.0.0.1", self.server.port)) as connection:
            connection.sendall(head.encode() + content)
            connection.settimeout(0.05)
            deadline = time.monotonic() + 200
            while not ready(received):
                assert time.monotonic() < deadline, received
                try:
                    received += connection.recv(65536)
                except TimeoutError:
                    continue

    def outcome(self, key: str) -> dict[str, Any]:
        """The outcome of a key's only call that used something, once counters and budget have it, too."""
        until(lambda: any(row["usage"]["total"] for row in self.rows(key)))
        (row,) = [row for row in self.rows(key) if row["usage"]["total"]]
        budgets = [budget for budget in self.ask("GET", "/budgets")["data"] if budget["subject"] == key]
        assert int(budgets[0]["spent"]) == row["usage"]["total"]

        def found() -> list[dict[str, Any]]:
            wanted = row["usage"]["input"], row["usage"]["output"]
            return [
                record
                for record in self.server.records()
                if record["kind"] in ("call.cancelled", "call.failed", "call.answered")
                and (record["usage"]["input"], record["usage"]["output"]) == wanted
                and record["call"] not in self.told
            ]

        until(lambda: bool(found()))
        record = found()[-1]
        self.told.add(record["call"])
        return record

    def rows(self, key: str) -> list[dict[str, Any]]:
        return [row for row in self.ask("GET", "/usage?by=key")["data"] if row["key"] == key]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def house(fake_engine: FakeEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    factory = ServerFactory(tmp_path_factory.mktemp("cut"))
    (plain,) = fake_engine.config["engines"]
    counting = {**plain, "name": "counting", "models": ["counting"], "continuous_usage": True}
    engines: dict[str, Any] = {"engines": [plain, counting]}
    embedded = {"parallel": 2, "context": 1024, "embeddings": False}
    server = factory(model=True, embedded_engine=embedded, log_level="warning", **engines).start()
    yield House(server, fake_engine)
    factory.stop_all()


def decoded(server: Server, model: str) -> int:
    """How many tokens llama.cpp's busy slots have sampled."""
    lent = json.loads((server.data_dir / "run" / f"llama-{model}.json").read_bytes())
    with httpx.Client(transport=httpx.HTTPTransport(uds=lent["socket"]), timeout=60) as client:
        slots = client.get("http://engine/slots").json()
    return sum(slot["next_token"][0]["n_decoded"] for slot in slots if slot["is_processing"])


@pytest.mark.parametrize("route", ["chat.completions", "completions", "responses"])
def test_a_whole_answer_of_the_embedded_engine_that_nobody_waits_for_is_counted_by_it(
    house: House, route: str
) -> None:
    key, secret = house.new_key()
    asked: dict[str, dict[str, Any]] = {
        "chat.completions": {"messages": [{"role": "user", "content": "Count."}], "max_tokens": 900},
        "completions": {"prompt": "One, two, three", "max_tokens": 900},
        "responses": {"input": "Count.", "max_output_tokens": 900},
    }
    body = {"model": house.model, "ignore_eos": True, **asked[route]}
    house.leave(secret, route, body, lambda _: decoded(house.server, house.model) >= 3)
    record = house.outcome(key)
    assert record["kind"] == "call.cancelled"
    assert record["route"] == route
    assert 3 <= record["usage"]["output"] < 900
    assert record["usage"]["input"] > 3
    assert "counted" not in record["usage"], "the engine said it"


def test_a_whole_answer_of_a_server_that_does_not_say_is_estimated(house: House) -> None:
    key, secret = house.new_key()
    message = {"role": "user", "content": TEXT}
    body = {"model": "fake", "messages": [message], "max_tokens": 50, "fake": {"delay_ms": 300_000}}
    before = house.fake.asked()
    house.leave(secret, "chat.completions", body, lambda _: house.fake.asked() > before)
    record = house.outcome(key)
    assert record["kind"] == "call.cancelled"
    assert record["usage"]["input"] == 100
    assert 0 <= record["usage"]["output"] <= 50
    assert record["usage"]["counted"] == "estimate"


def test_embeddings_that_nobody_waits_for_are_estimated(house: House) -> None:
    key, secret = house.new_key()
    body = {"model": "fake", "input": [TEXT, "abcd"], "fake": {"delay_ms": 300_000}}
    before = house.fake.asked()
    house.leave(secret, "embeddings", body, lambda _: house.fake.asked() > before)
    usage = house.outcome(key)["usage"]
    assert usage == {"input": 101, "output": 0, "total": 101, "counted": "estimate"}


@pytest.mark.parametrize("route", ["chat.completions", "completions", "responses"])
def test_a_stream_that_breaks_off_counts_its_pieces_and_an_estimated_input(house: House, route: str) -> None:
    key, secret = house.new_key()
    asked: dict[str, dict[str, Any]] = {
        "chat.completions": {"messages": [{"role": "user", "content": TEXT}]},
        "completions": {"prompt": TEXT},
        "responses": {"input": TEXT},
    }
    body = {"model": "fake", "stream": True, "fake": {"words": 9, "die_after": 4}, **asked[route]}
    house.server.post(PATHS[route], body, authorization=f"Bearer {secret}")
    record = house.outcome(key)
    assert record["kind"] == "call.failed"
    assert record["usage"] == {"input": 100, "output": 4, "total": 104, "counted": "estimate"}


def test_a_stream_of_a_server_that_counts_every_chunk_is_counted_by_it(house: House) -> None:
    key, secret = house.new_key()
    message = {"role": "user", "content": TEXT}
    fake = {"words": 400, "delay_ms": 50, "input": 17, "per_word": 3}
    body = {"model": "counting", "messages": [message], "stream": True, "fake": fake}
    house.leave(secret, "chat.completions", body, lambda received: received.count(b"data: ") > 2)
    record = house.outcome(key)
    assert record["kind"] == "call.cancelled"
    assert record["usage"]["input"] == 17
    assert record["usage"]["output"] % 3 == 0
    assert record["usage"]["output"] >= 6
    assert "counted" not in record["usage"]


def test_the_log_proves_it_all(house: House) -> None:
    done = regalia("usage", "--verify", "--json", "--data-dir", str(house.server.data_dir), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["verified"] is True
