"""People sign in at a certified provider: session, roles by groups, logout, key rotation, bearer tokens."""

import json
import re
import time

import httpx

from signin.conftest import Site
from signin.providing import Browser, hidden


def signed_in(site: Site, account: str, provider: str = "alpha") -> Browser:
    browser = Browser()
    end = browser.go(f"{site.url}/signin/{provider}", account)
    assert end == f"{site.url}/signin"
    assert browser.page is not None and browser.page.status_code == 200
    return browser


def session(site: Site, browser: Browser) -> httpx.Response:
    return browser.at(site.url).get(f"{site.url}/v1/regalia/session")


def test_a_person_signs_in_and_has_the_roles_of_their_groups(site: Site) -> None:
    with signed_in(site, "amina") as browser:
        found = session(site, browser).json()
        assert found["provider"] == "alpha"
        assert found["roles"] == [{"role": "developer", "organisation": "default", "project": "default"}]
        cookie = next(c for c in browser.at(site.url).cookies.jar if c.name == "regalia")
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie.get_nonstandard_attr("SameSite") == "lax"
        models = browser.at(site.url).get(f"{site.url}/v1/models")
        assert models.json()["data"][0]["id"] == "fake"
    with signed_in(site, "brian") as browser:
        assert session(site, browser).json()["roles"] == []
        assert browser.at(site.url).get(f"{site.url}/v1/models").status_code == 403


def test_signing_out_ends_the_session_here_and_at_the_provider(site: Site) -> None:
    with signed_in(site, "amina") as browser:
        at = browser.at(site.url)
        token = at.cookies["regalia"]
        csrf = hidden(at.get(f"{site.url}/signout").text, "csrf")
        reply = at.post(f"{site.url}/signout", data={"csrf": csrf})
        assert reply.status_code == 303
        assert reply.headers["location"].startswith(f"{site.alpha.issuer}/session/end?")
        assert session(site, browser).status_code == 401
        at.cookies.set("regalia", token)
        assert session(site, browser).status_code == 401
        assert browser.at(site.alpha.issuer).get(reply.headers["location"]).status_code == 200


def test_each_sign_in_has_a_session_of_its_own(site: Site) -> None:
    with signed_in(site, "amina") as browser:
        at = browser.at(site.url)
        first = at.cookies["regalia"]
        browser.go(f"{site.url}/signin/alpha", "amina")
        assert at.cookies["regalia"] != first
        stale = httpx.get(f"{site.url}/v1/regalia/session", cookies={"regalia": first}, timeout=60)
        assert stale.status_code == 401


def test_an_access_token_makes_calls_on_the_record(site: Site) -> None:
    token = site.alpha.access_token("amina")
    with httpx.Client(base_url=site.url, headers={"authorization": f"Bearer {token}"}, timeout=60) as client:
        body = {"model": "fake", "messages": [{"role": "user", "content": "hello"}]}
        reply = client.post("/v1/chat/completions", json=body)
        assert reply.status_code == 200, reply.text
        assert client.get(f"/v1/receipts/{reply.headers['x-regalia-call']}").status_code == 200
        assert client.post("/v1/chat/completions", json=body).status_code == 200


def published(site: Site) -> bytes:
    """Every record until now."""
    return "\n".join(json.dumps(record, separators=(",", ":")) for record in site.server.records()).encode()


def test_signing_in_is_on_record_under_pseudonyms(site: Site) -> None:
    with signed_in(site, "chen") as browser:
        mark = session(site, browser).json()["id"].encode()
    text = published(site)
    assert mark in text
    assert b'"kind":"admin.signed_in"' in text
    assert b'"kind":"admin.user_provisioned"' in text
    assert not re.search(rb"\bchen\b", text)  # random ids may hold the four letters
    for secret in (b"health.example", site.alpha.config["client_secret"].encode()):
        assert secret not in text


def test_who_is_locked_out_is_signed_out_for_good(site: Site) -> None:
    with signed_in(site, "chen") as browser, site.server.http() as client:
        ident = session(site, browser).json()["user"]
        assert client.post(f"/v1/regalia/users/{ident}/disable").status_code == 200
        assert session(site, browser).status_code == 401
        browser.go(f"{site.url}/signin/alpha", "chen")
        assert browser.page is not None
        assert browser.page.status_code == 403
        assert client.post(f"/v1/regalia/users/{ident}/enable").status_code == 200
        assert session(site, browser).status_code == 401
    with signed_in(site, "chen") as browser:
        assert session(site, browser).status_code == 200


def test_signing_in_is_an_audit_event(site: Site) -> None:
    with signed_in(site, "amina") as browser:
        mark = session(site, browser).json()["id"]
    file = site.server.data_dir.parent / "events.jsonl"
    deadline = time.monotonic() + 200
    while mark not in (text := file.read_text().rpartition("\n")[0]):  # whole lines
        assert time.monotonic() < deadline, "the event did not come"
        time.sleep(0.1)
    found = [json.loads(line) for line in text.splitlines()]
    event = next(one for one in found if one.get("session") == {"uid": mark})
    assert (event["class_uid"], event["activity_id"], event["status_id"]) == (3002, 1, 1)
    assert [one["metadata"]["sequence"] for one in found] == list(range(len(found)))
    assert "regalia_audit_events_waiting" in site.server.get("/metrics").text
