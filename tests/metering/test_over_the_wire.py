"""What a client meets: headers, refusals, costs on record; nothing passes while the database is gone."""

import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from command_line import command
from postgresql_kit import running_cluster
from serving import FakeEngine, Server, ServerFactory, regalia

CHAT = {"model": "fake", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 7}


@pytest.fixture(scope="module")
def house(fake_engine: FakeEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    factory = ServerFactory(tmp_path_factory.mktemp("metered"))
    yield factory(**fake_engine.config, log_level="warning").start()
    factory.stop_all()


def ask(server: Server, method: str, path: str, body: object = None) -> Any:
    content = b"" if body is None else json.dumps(body).encode()
    with server.http() as client:
        reply = client.request(method, f"/v1/regalia{path}", content=content)
    assert reply.status_code == 200, reply.text
    return reply.json()


def new_key(server: Server, project: str = "default") -> tuple[str, dict[str, str]]:
    """A key's id, and the header that carries it."""
    made = ask(server, "POST", "/keys", {"name": "of a test", "project": project})
    return made["key"]["id"], {"authorization": f"Bearer {made['secret']}"}


def noticed(server: Server, key: dict[str, str], until: Callable[[httpx.Response], bool]) -> httpx.Response:
    """Call with the key until a change has been noticed, which takes less than a second."""
    deadline = time.monotonic() + 200
    with server.http() as client:
        while True:
            reply = client.post("/v1/chat/completions", json=CHAT, headers=key)
            if until(reply) or time.monotonic() > deadline:
                return reply
            time.sleep(0.1)


def test_limits_are_told_with_every_answer_and_the_official_sdk_understands_a_refusal(house: Server) -> None:
    name, key = new_key(house)
    ask(house, "POST", "/limits", {"scope": "key", "subject": name, "requests": 3, "tokens": 100_000})
    first = noticed(house, key, lambda reply: "x-ratelimit-limit-requests" in reply.headers)
    assert first.status_code == 200
    assert first.headers["x-ratelimit-limit-requests"] == "3"
    assert first.headers["x-ratelimit-remaining-requests"] == "2"
    assert re.fullmatch(r"1m[01]s|\d+s", first.headers["x-ratelimit-reset-requests"])
    assert 99_000 < int(first.headers["x-ratelimit-remaining-tokens"]) < 100_000
    streamed = house.post("/v1/chat/completions", {**CHAT, "stream": True}, **key)
    assert streamed.headers["x-ratelimit-remaining-requests"] == "1"
    assert house.post("/v1/embeddings", {"model": "fake", "input": "a"}, **key).status == 200
    sdk = house.openai(api_key=key["authorization"].removeprefix("Bearer "))
    with pytest.raises(openai.RateLimitError) as raised:
        sdk.embeddings.create(model="fake", input="a")
    assert raised.value.code == "rate_limit_exceeded"
    assert "limit 3, used 3" in raised.value.message
    assert 0 < int(raised.value.response.headers["retry-after"]) <= 61
    assert raised.value.response.headers["x-ratelimit-remaining-requests"] == "0"


def test_a_call_costs_what_its_record_says_by_the_price_that_the_record_names(house: Server) -> None:
    unpriced = house.wait_record(house.post("/v1/chat/completions", CHAT).call)
    assert "cost" not in unpriced
    price = {"currency": "KES", "input": "20", "cached": "5.5", "output": "60", "embedding": "1"}
    made = ask(house, "POST", "/prices", {"model": "fake", **price})
    name, key = new_key(house)
    ask(house, "POST", "/budgets", {"scope": "key", "subject": name, "amount": "1", "unit": "KES"})
    ask(house, "POST", "/limits", {"scope": "key", "subject": name, "requests": 1000})  # tells when all hold
    noticed(house, key, lambda reply: "x-ratelimit-limit-requests" in reply.headers)
    body = {**CHAT, "fake": {"input": 100, "cached": 40}}
    record = house.wait_record(house.post("/v1/chat/completions", body, **key).call)
    assert record["usage"] == {"input": 100, "output": 7, "total": 107, "cached": 40}
    assert record["cost"] == {"amount": "0.00184", "currency": "KES", "price": made["id"]}
    (logged,) = [one for one in house.records() if one.get("price") == made["id"] and "cost" not in one]
    assert (logged["kind"], logged["input"], logged["model"]) == ("admin.price_set", "20", "fake")
    embedded = house.post("/v1/embeddings", {"model": "fake", "input": "a"}, **key)
    assert house.wait_record(embedded.call)["cost"]["amount"] == "0.000005"


def test_a_budget_in_a_currency_that_a_model_has_no_price_in_refuses_it(house: Server) -> None:
    name, key = new_key(house)
    ask(house, "POST", "/budgets", {"scope": "key", "subject": name, "amount": "1", "unit": "CHF"})
    refused = noticed(house, key, lambda reply: reply.status_code == 403)
    assert refused.json()["error"]["code"] == "model_not_priced"


def test_the_engine_is_held_to_what_was_reserved(house: Server) -> None:
    """A request without a limit gets one, so that an answer can't exceed a hard budget."""
    name, key = new_key(house)
    ask(house, "POST", "/budgets", {"scope": "key", "subject": name, "amount": "8000", "period": "total"})
    ask(house, "POST", "/limits", {"scope": "key", "subject": name, "requests": 1000})
    noticed(house, key, lambda reply: "x-ratelimit-limit-requests" in reply.headers)
    body = {"model": "fake", "messages": CHAT["messages"], "fake": {"words": 5000}}
    record = house.wait_record(house.post("/v1/chat/completions", body, **key).call)
    assert record["usage"]["output"] == 4096
    assert record["sampling"]["max_tokens"] == "4096"
    with house.http() as client:
        over = client.post("/v1/chat/completions", json=body, headers=key)
    assert (over.status_code, over.json()["error"]["code"]) == (429, "insufficient_quota")
    (budget,) = [one for one in ask(house, "GET", "/budgets")["data"] if one["subject"] == name]
    assert (budget["left"], budget["exceeded"]) == (str(8000 - int(budget["spent"])), False)


def test_a_projects_members_see_its_usage_and_not_another_ones(house: Server) -> None:
    other = ask(house, "POST", "/projects", {"name": "other", "organisation": "default"})["id"]
    _, key = new_key(house, other)
    noticed(house, key, lambda reply: reply.status_code == 200)
    with house.http() as client:
        own = client.get("/v1/regalia/usage?by=project", headers=key).json()["data"]
        foreign = client.get("/v1/regalia/usage?project=default", headers=key)
        setting = client.post("/v1/regalia/prices", json={"model": "fake", "currency": "EUR"}, headers=key)
    assert {row["project"] for row in own} == {other}
    assert own[0]["energy"] == "unavailable"
    assert (foreign.status_code, setting.status_code) == (404, 403)
    assert {row["project"] for row in ask(house, "GET", "/usage?by=project")["data"]} >= {"default", other}


def test_what_is_no_amount_or_no_subject_is_refused_and_not_recorded(house: Server) -> None:
    size = ask(house, "GET", "/operations")["log_size"]
    with house.http() as client:
        for path, body, status in (
            ("/prices", {"model": "fake", "currency": "EUR", "input": "0.1e3"}, 400),
            ("/prices", {"model": "fake", "currency": "euro"}, 400),
            ("/budgets", {"scope": "key", "subject": "key_none", "amount": "1"}, 404),
            ("/budgets", {"scope": "project", "subject": "default", "amount": "1.5"}, 400),
            ("/budgets", {"scope": "project", "subject": "*", "amount": "1"}, 400),
            ("/budgets", {"scope": "project", "subject": "default", "amount": "1", "period": "week"}, 400),
            ("/limits", {"scope": "planet", "subject": "earth", "requests": 1}, 400),
        ):
            reply = client.post(f"/v1/regalia{path}", json=body)
            assert reply.status_code == status, (path, body, reply.text)
        assert client.get("/v1/regalia/usage?from=yesterday").status_code == 400
    assert ask(house, "GET", "/operations")["log_size"] == size


def test_a_counter_that_someone_changed_is_found(house: Server) -> None:
    """The last test of this server: it ends it."""
    data_dir = str(house.data_dir)
    assert json.loads(regalia("usage", "--verify", "--json", "--data-dir", data_dir).stdout)["verified"]
    assert house.stop() == 0
    with sqlite3.connect(house.data_dir / "regalia.db") as database:
        for table in ("usage_sums", "usage_recent"):
            database.execute(f"UPDATE {table} SET output = output - 1 WHERE requests > 0 AND output > 0")
    found = regalia("usage", "--verify", "--data-dir", data_dir, check=False)
    assert found.returncode == 1
    assert "output is" in found.stdout
    assert "budget" in found.stdout


@pytest.mark.needs("postgres")
def test_while_the_database_is_gone_no_call_passes_and_afterwards_nothing_differs(
    new_server: ServerFactory, fake_engine: FakeEngine, needs: Callable[[str], Path]
) -> None:
    with running_cluster(needs("postgres")) as cluster:
        url = cluster.fresh()
        server = new_server(init=False, **fake_engine.config, log_level="error")
        server.env["REGALIA_DATABASE"] = url
        made = command("init", "--data-dir", str(server.data_dir), "--database", url, "--json").json
        server.api_key = made["api_key"]
        server.start()
        budget = {"scope": "project", "subject": "default", "amount": "1000000", "period": "total"}
        ask(server, "POST", "/budgets", budget)
        for _ in range(5):
            assert server.post("/v1/chat/completions", CHAT).status == 200
        cluster.stop()
        began = time.monotonic()
        while time.monotonic() < began + 4.5:
            assert server.post("/v1/chat/completions", CHAT).status == 503
        cluster.start()
        deadline = time.monotonic() + 200
        while server.post("/v1/chat/completions", CHAT).status != 200:
            assert time.monotonic() < deadline, server.tail()
            time.sleep(0.2)
        assert server.stop() == 0
        where = ["--data-dir", str(server.data_dir), "--database", url]
        done = regalia("usage", "--verify", "--json", *where, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["calls"] >= 6
