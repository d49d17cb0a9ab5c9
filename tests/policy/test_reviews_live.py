"""Held calls on a running server: queued, decided by another person, fetched, called back, all on record."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from command_line import Ran, command
from policy.live import activate, ask, chat, document, person, record_of, records, said, service_key
from serving import Exchange, Server, verify

WORD = "sk_live_abcdefghijklmnopqrstuvwx"  # what the detector of secrets knows
RAIL: dict[str, Any] = {"id": "look", "action": "hold", "detector": {"use": "secrets"}}


@pytest.fixture(scope="module")
def reviewer(live: Server) -> str:
    return person(live, "rehema", "reviewer")


@pytest.fixture(scope="module")
def app(live: Server) -> str:
    """The key of the program whose calls are held."""
    return service_key(live, "app")


def fetch(server: Server, review: str, key: str = "") -> Exchange:
    """Ask for the answer that waited."""
    headers = {"authorization": f"Bearer {key or server.api_key}"}
    reply = httpx.post(f"{server.url}/v1/regalia/reviews/{review}/answer", headers=headers, timeout=60)
    return Exchange(reply.status_code, reply.headers, b"", reply.content)


def held(server: Server, app: str, on: str, stream: bool = False) -> dict[str, Any]:
    """A call that a rail holds: its review as the caller is told."""
    activate(server, document({**RAIL, "on": on}))
    reply = chat(server, app, f"Use {WORD} now.", stream=stream)
    body = reply.body.removeprefix(b"data: ") if stream and reply.status == 200 else reply.body
    told = json.loads(body)
    assert told["error"]["code"] == "held_for_review"
    assert record_of(server, reply.call)["policy"]["decision"] == "hold"
    review: dict[str, Any] = told["review"]
    return review


def test_a_request_is_answered_after_another_person_has_released_it(
    live: Server, app: str, reviewer: str, tmp_path: Path
) -> None:
    review = held(live, app, "input")
    ident = review["id"]
    assert ask(live, "GET", f"/reviews/{ident}")["state"] == "open"
    assert fetch(live, ident).status == 409
    ask(live, "POST", f"/reviews/{ident}/release", status=403)  # an owner is no reviewer
    where = ["--data-dir", str(live.data_dir), "--api-key", reviewer, "--base-url", live.url, "--json"]
    assert ident in [row["id"] for row in command("reviews", "list", *where).json]
    assert WORD in ask(live, "GET", f"/reviews/{ident}/content", key=reviewer)["request"]
    ask(
        live, "POST", f"/reviews/{ident}/edit", {"text": "no"}, key=reviewer, status=409
    )  # there is no answer yet
    assert ask(live, "POST", f"/reviews/{ident}/release", key=reviewer)["state"] == "released"
    ask(live, "POST", f"/reviews/{ident}/refuse", key=reviewer, status=409)
    reply = fetch(live, ident)
    assert (reply.status, said(reply)) == (200, f"You said: Use {WORD} now.")
    record = record_of(live, reply.call)
    assert (record["policy"]["decision"], record["policy"]["review"]) == ("released", ident)
    again = fetch(live, ident)
    assert (again.call, again.body) == (reply.call, reply.body)
    kinds = [record["kind"] for record in live.records() if record.get("review") == ident]
    assert kinds == ["admin.review_shown", "admin.review_released"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_waited_has_a_receipt_of_its_own(
    live: Server, app: str, reviewer: str, tmp_path: Path, stream: bool
) -> None:
    ident = held(live, app, "output", stream)["id"]
    shown = ask(live, "GET", f"/reviews/{ident}/content", key=reviewer)
    assert shown["answer"]
    ask(live, "POST", f"/reviews/{ident}/release", key=reviewer)
    reply = fetch(live, ident)
    assert (reply.status, said(reply)) == (200, f"You said: Use {WORD} now.")
    (tmp_path / "receipt").write_text(live.receipt(reply.call))
    (tmp_path / "policy").write_text(live.policy())
    (tmp_path / "response").write_bytes(reply.committed)
    done = verify(
        "receipt", str(tmp_path / "receipt"), "--policy", str(tmp_path / "policy"),
        "--response", str(tmp_path / "response"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("stream", [False, True])
def test_an_edited_answer_says_that_it_was_edited(
    live: Server, app: str, reviewer: str, stream: bool
) -> None:
    ident = held(live, app, "output", stream)["id"]
    ask(live, "POST", f"/reviews/{ident}/edit", {"text": "Please call 1414."}, key=reviewer)
    reply = fetch(live, ident)
    assert said(reply) == "Please call 1414."
    assert WORD not in reply.body.decode()
    marked = reply.events()[0] if stream else reply.json
    assert marked["regalia"] == {"review": ident, "edited": True}
    assert record_of(live, reply.call)["policy"]["decision"] == "edited"


def test_a_refused_call_stays_refused(live: Server, app: str, reviewer: str) -> None:
    ident = held(live, app, "input")["id"]
    ask(live, "POST", f"/reviews/{ident}/refuse", key=reviewer)
    reply = fetch(live, ident)
    assert (reply.status, reply.json["error"]["code"]) == (403, "review_refused")


def reviews(server: Server, key: str, *arguments: str) -> Ran:
    """`regalia reviews …`, with that key."""
    where = ["--data-dir", str(server.data_dir), "--base-url", server.url, "--api-key", key]
    return command("reviews", *arguments, *where)


@pytest.mark.parametrize("stream", [False, True])
def test_the_caller_fetches_a_released_answer_by_command(
    live: Server, app: str, reviewer: str, stream: bool
) -> None:
    ident = held(live, app, "output", stream)["id"]
    open_yet = reviews(live, app, "answer", ident)
    assert (open_yet.code, open_yet.out) == (3, "")
    assert "`look`; nobody has decided yet. If nobody does by 20" in open_yet.err
    given = reviews(live, app, "answer", ident, "--json")
    assert (given.code, json.loads(given.out)["review"]["state"]) == (3, "open")
    assert reviews(live, app, "state", ident, "--json").json["state"] == "open"
    assert reviews(live, reviewer, "release", ident).code == 0
    assert "gives the answer" in reviews(live, app, "state", ident).out
    fetched = reviews(live, app, "answer", ident)
    assert (fetched.code, fetched.out) == (0, f"You said: Use {WORD} now.\n")
    again = reviews(live, app, "answer", ident, "--json").json
    assert again["id"] in fetched.err, "the same call"
    assert (again["answer"], again["edited"]) == (f"You said: Use {WORD} now.", False)
    assert again["body"] == fetch(live, ident).body.decode()
    other = reviews(live, service_key(live, "another"), "answer", "review_none")
    assert (other.code, "review_none" in other.err) == (1, True)


@pytest.mark.parametrize("stream", [False, True])
def test_the_command_says_that_a_reviewer_wrote_the_answer(
    live: Server, app: str, reviewer: str, stream: bool
) -> None:
    ident = held(live, app, "output", stream)["id"]
    reviews(live, reviewer, "edit", ident, "--text", "Please call 1414.")
    fetched = reviews(live, app, "answer", ident)
    assert (fetched.code, fetched.out) == (0, "Please call 1414.\n")
    assert "a reviewer has written it" in fetched.err


def test_the_command_says_that_a_call_was_refused(live: Server, app: str, reviewer: str) -> None:
    ident = held(live, app, "input")["id"]
    reviews(live, reviewer, "refuse", ident)
    refused = reviews(live, app, "answer", ident, "--wait")
    assert (refused.code, refused.out) == (4, "")
    assert "is refused: there is no answer" in refused.err


def test_the_command_waits_for_the_decision(live: Server, app: str, reviewer: str) -> None:
    ident = held(live, app, "input")["id"]
    soon = reviews(live, app, "answer", ident, "--wait", "--timeout", "0.01")
    assert soon.code == 3
    where = ["--data-dir", str(live.data_dir), "--base-url", live.url, "--api-key", app]
    regalia = [str(Path(sys.executable).with_name("regalia"))]
    waiting = subprocess.Popen(
        [*regalia, "reviews", "answer", ident, "--wait", *where],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert waiting.stderr is not None
    assert "Waiting" in waiting.stderr.readline()
    reviews(live, reviewer, "release", ident)
    out, _ = waiting.communicate(timeout=300)
    assert (waiting.returncode, out) == (0, f"You said: Use {WORD} now.\n")


def test_an_empty_list_says_why(live: Server, app: str, reviewer: str) -> None:
    held(live, app, "input")
    for key in (app, live.api_key):
        listed = reviews(live, key, "list")
        assert "with the role `reviewer`" in listed.err, "held, but not for them"
        assert "review_" not in listed.out
    assert reviews(live, reviewer, "list").err == ""
    made = ask(live, "POST", "/projects", {"name": "elsewhere", "organisation": "default"})
    elsewhere = ask(live, "POST", "/keys", {"name": "e", "project": made["id"], "role": "developer"})[
        "secret"
    ]
    assert reviews(live, elsewhere, "list").err == "No such call that you may decide.\n", (
        "of others' projects"
    )
    assert reviews(live, app, "list", "--json").json == []


def test_nobody_decides_on_a_call_of_their_own(live: Server) -> None:
    author = person(live, "amina", "reviewer")
    who = ask(live, "GET", "/users")["data"]
    amina = next(user for user in who if user["name"] == "amina")
    ask(live, "POST", f"/users/{amina['id']}/roles", {"role": "member", "organisation": "default"})
    activate(live, document({**RAIL, "on": "input"}))
    told = chat(live, author, WORD).json
    refused = ask(live, "POST", f"/reviews/{told['review']['id']}/release", key=author, status=409)
    assert "of their own" in refused["error"]["message"]


def test_of_two_reviewers_one_is_too_late(live: Server, app: str, reviewer: str) -> None:
    other = person(live, "juma", "reviewer")
    ident = held(live, app, "input")["id"]
    results: list[int] = []

    def decide(key: str, verdict: str) -> None:
        headers = {"authorization": f"Bearer {key}"}
        path = f"{live.url}/v1/regalia/reviews/{ident}/{verdict}"
        results.append(httpx.post(path, headers=headers, timeout=60).status_code)

    threads = [
        threading.Thread(target=decide, args=pair) for pair in ((reviewer, "release"), (other, "refuse"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [200, 409]
    verdicts = [record["verdict"] for record in records(live, "admin.review_released")]
    verdicts += [record["verdict"] for record in records(live, "admin.review_refused")]
    assert ask(live, "GET", f"/reviews/{ident}")["state"] in verdicts


@pytest.fixture
def hook() -> Iterator[tuple[str, list[Any]]]:
    """A place to be called back at, and what it was told."""
    told: list[Any] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/done", told
    server.shutdown()


def test_the_caller_is_called_back_with_the_id_alone(
    live: Server, app: str, reviewer: str, hook: tuple[str, list[Any]]
) -> None:
    url, told = hook
    activate(live, document({**RAIL, "on": "input"}))
    reply = chat(live, app, WORD, metadata={"regalia_callback": url})
    ident = reply.json["review"]["id"]
    ask(live, "POST", f"/reviews/{ident}/release", key=reviewer)
    deadline = time.monotonic() + 200
    while not told and time.monotonic() < deadline:
        time.sleep(0.05)
    assert told == [{"review": ident, "state": "released"}]


def test_a_released_answer_counts_against_the_budgets_of_who_fetches_it(live: Server, reviewer: str) -> None:
    poor = service_key(live, "poor")
    name = ask(live, "GET", "/me", key=poor)["key"]
    ident = held(live, poor, "input")["id"]
    budget = {"scope": "key", "subject": name, "amount": "1", "period": "total"}
    ask(live, "POST", "/budgets", budget)
    deadline = time.monotonic() + 200
    while (reply := chat(live, poor, "Hello.")).status != 429:  # processes look at budgets now and then
        assert time.monotonic() < deadline, reply.body
    ask(live, "POST", f"/reviews/{ident}/release", key=reviewer)
    for _ in range(2):
        refused = fetch(live, ident, poor)
        assert (refused.status, refused.json["error"]["code"]) == (429, "insufficient_quota")
    assert ask(live, "GET", f"/reviews/{ident}")["state"] == "released"
    assert fetch(live, ident).status == 200, "another key of the project has room"
