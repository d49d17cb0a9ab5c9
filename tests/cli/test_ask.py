"""`regalia ask` right after a start: the model is still being loaded, and that is waited for."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from regalia.cli.ask import answering, of_policy
from regalia.cli.http import NotReady
from regalia.cli.profile import Profile
from regalia.errors import RegaliaError


@contextmanager
def server(refusals: list[str]) -> Iterator[Profile]:
    """A server that refuses with these codes, one after the other, and then answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            code = refusals.pop(0) if refusals else ""
            held = {"review": {"id": "review_1", "url": "/v1/regalia/reviews/review_1"}}
            error = {"error": {"message": "No.", "code": code}}
            refused = {**error, **held} if code == "held_for_review" else error
            told = json.dumps(refused) if code else "data: [DONE]\n"
            self.send_response(503 if code else 200)
            self.send_header("content-length", str(len(told)))
            self.end_headers()
            self.wfile.write(told.encode())

        def log_message(self, *_: object) -> None:
            """Nothing: a test is not to talk."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield Profile("key", f"http://127.0.0.1:{listening.server_address[1]}")
        finally:
            listening.shutdown()
            thread.join()


def test_a_model_that_is_being_loaded_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    with server(["engine_unavailable"] * 3) as profile, answering(profile, b"{}", again_s=0) as response:
        assert response.read() == b"data: [DONE]\n"
    assert capsys.readouterr().err == "The model is being loaded …\n"


def test_any_other_refusal_ends_it_and_so_does_one_that_goes_on() -> None:
    with (
        server(["audit_unavailable"]) as profile,
        pytest.raises(RegaliaError, match="answered 503: No"),
        answering(profile, b"{}", again_s=0),
    ):
        pass
    with (
        server(["engine_unavailable"] * 2) as profile,
        pytest.raises(NotReady),
        answering(profile, b"{}", loading_s=0, again_s=0),
    ):
        pass


def test_who_is_held_for_review_learns_where_the_answer_will_be() -> None:
    with (
        server(["held_for_review"]) as profile,
        pytest.raises(RegaliaError, match=r"No\. `regalia reviews answer review_1 --wait` gives"),
        answering(profile, b"{}"),
    ):
        pass


def test_what_the_policy_did_is_told_with_the_receipt() -> None:
    acted = {"rail": "ids", "action": "redact", "does": "redact", "mode": "enforce", "counts": {"ke.id": 2}}
    late = {**acted, "rail": "topics", "does": "block", "counts": {}, "failed": "timeout"}
    shadow = {**acted, "rail": "words", "does": "", "mode": "shadow"}
    told = {"version": "ke@1.0", "decision": "block", "rails": [acted, late, shadow]}
    assert of_policy(told) == {
        "policy": "ke@1.0, block: redact by ids (2 ke.id); block by topics (timeout); "
        "redact in shadow by words (2 ke.id)"
    }
    silent = {"version": "ke@1.0", "decision": "allow", "rails": []}
    assert of_policy(silent) == {"policy": "ke@1.0, allow: nothing found"}
    assert of_policy({"version": "none", "decision": "allow"}) == {}
