"""Attacks on signing in, against the running server and its real providers: each is refused."""

import base64
import json
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from signin.conftest import SCIM_TOKEN, Site
from signin.providing import Browser, hidden
from signin.test_provider_sign_in import published, session, signed_in

CHAT = {"model": "fake", "messages": [{"role": "user", "content": "hello"}]}


def until_callback(site: Site, browser: Browser, provider: str, account: str = "amina") -> dict[str, str]:
    """Sign in at a provider up to the answer that it sends back; the answer's parameters."""
    url = browser.go(f"{site.url}/signin/{provider}", account, stop=f"{site.url}/signin/{provider}/callback")
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def come_back(site: Site, browser: Browser, provider: str, answer: dict[str, str]) -> httpx.Response:
    return browser.at(site.url).get(f"{site.url}/signin/{provider}/callback?{urlencode(answer)}")


def assert_not_let_in(site: Site, browser: Browser, reply: httpx.Response) -> None:
    assert reply.status_code == 403, reply.text
    assert session(site, browser).status_code == 401


def test_an_answer_is_good_once(site: Site) -> None:
    with Browser() as browser:
        answer = until_callback(site, browser, "alpha")
        at = browser.at(site.url)
        flow = at.cookies["regalia-flow"]
        assert come_back(site, browser, "alpha", answer).status_code == 303
        at.cookies.delete("regalia")
        at.cookies.set("regalia-flow", flow, domain="127.0.0.1", path="/")
        assert_not_let_in(site, browser, come_back(site, browser, "alpha", answer))


def test_a_code_that_was_used_is_refused_by_the_provider_too(site: Site) -> None:
    with Browser() as first, Browser() as second:
        used = until_callback(site, first, "alpha")
        assert come_back(site, first, "alpha", used).status_code == 303
        fresh = until_callback(site, second, "alpha")
        reply = come_back(site, second, "alpha", fresh | {"code": used["code"]})
        assert_not_let_in(site, second, reply)


def test_an_answer_is_good_only_in_the_browser_that_asked(site: Site) -> None:
    with Browser() as victim, Browser() as attacker:
        answer = until_callback(site, attacker, "alpha")
        assert_not_let_in(site, victim, come_back(site, victim, "alpha", answer))
        until_callback(site, victim, "alpha")  # with a flow of their own, too
        assert_not_let_in(site, victim, come_back(site, victim, "alpha", answer))


@pytest.mark.parametrize("name", ["state", "code", "iss"])
@pytest.mark.parametrize("value", ["x", ""])
def test_an_answer_that_was_changed_is_refused(site: Site, name: str, value: str) -> None:
    with Browser() as browser:
        answer = until_callback(site, browser, "alpha")
        assert_not_let_in(site, browser, come_back(site, browser, "alpha", answer | {name: value}))


def test_a_parameter_that_is_there_twice_is_refused(site: Site) -> None:
    with Browser() as browser:
        answer = until_callback(site, browser, "alpha")
        query = urlencode(answer) + "&" + urlencode({"state": answer["state"]})
        reply = browser.at(site.url).get(f"{site.url}/signin/alpha/callback?{query}")
        assert_not_let_in(site, browser, reply)


def test_providers_are_not_mixed_up(site: Site) -> None:
    with Browser() as browser:
        alpha = until_callback(site, browser, "alpha")
        assert_not_let_in(site, browser, come_back(site, browser, "beta", alpha))
    with Browser() as browser, Browser() as other:
        beta = until_callback(site, other, "beta")
        alpha = until_callback(site, browser, "alpha")
        stolen = alpha | {"code": beta["code"]}
        assert_not_let_in(site, browser, come_back(site, browser, "alpha", stolen))
        alpha = until_callback(site, browser, "alpha")
        foreign = alpha | {"iss": site.beta.issuer}
        assert_not_let_in(site, browser, come_back(site, browser, "alpha", foreign))


def test_a_session_that_was_planted_is_not_taken_over(site: Site) -> None:
    with Browser() as attacker, Browser() as victim:
        planted = signed_in(site, "brian").at(site.url).cookies["regalia"]
        victim.at(site.url).cookies.set("regalia", planted, domain="127.0.0.1", path="/")
        victim.go(f"{site.url}/signin/alpha", "amina")
        own = victim.at(site.url).cookies["regalia"]
        assert own != planted
        for made_up in (planted, "x" * 43):
            attacker.at(site.url).cookies.set("regalia", made_up, domain="127.0.0.1", path="/")
            assert session(site, attacker).status_code == 401


def test_forms_of_other_sites_are_refused(site: Site) -> None:
    with signed_in(site, "amina") as browser:
        at = browser.at(site.url)
        csrf = session(site, browser).json()["csrf_token"]
        evil = {"origin": "https://evil.example"}
        assert at.post(f"{site.url}/signout", data={"csrf": "x"}).status_code == 403
        assert at.post(f"{site.url}/signout", data={"csrf": csrf}, headers=evil).status_code == 403
        assert at.post(f"{site.url}/v1/chat/completions", json=CHAT).status_code == 403
        wrong = {"x-csrf-token": "x"}
        assert at.post(f"{site.url}/v1/chat/completions", json=CHAT, headers=wrong).status_code == 403
        right = {"x-csrf-token": csrf}
        foreign = right | evil
        assert at.post(f"{site.url}/v1/chat/completions", json=CHAT, headers=foreign).status_code == 403
        assert at.post(f"{site.url}/v1/chat/completions", json=CHAT, headers=right).status_code == 200
        assert session(site, browser).status_code == 200
        with signed_in(site, "chen") as other:
            theirs = {"x-csrf-token": session(site, other).json()["csrf_token"]}
            assert at.post(f"{site.url}/v1/chat/completions", json=CHAT, headers=theirs).status_code == 403


def test_a_link_on_another_site_does_not_act_for_who_follows_it(site: Site) -> None:
    with signed_in(site, "amina") as browser:
        at = browser.at(site.url)
        assert at.get(f"{site.url}/v1/models").status_code == 200
        foreign = {"sec-fetch-site": "cross-site"}
        assert at.get(f"{site.url}/v1/models", headers=foreign).status_code == 401


def test_nobody_is_signed_in_by_a_form_of_another_site(site: Site) -> None:
    with Browser() as browser, Browser() as attacker:
        at, theirs = browser.at(site.url), attacker.at(site.url)
        form = {"name": "amina", "password": "any password"}
        assert at.post(f"{site.url}/signin", data=form).status_code == 403
        foreign = hidden(theirs.get(f"{site.url}/signin").text, "csrf")
        at.get(f"{site.url}/signin")
        assert at.post(f"{site.url}/signin", data=form | {"csrf": foreign}).status_code == 403
        own = hidden(at.get(f"{site.url}/signin").text, "csrf")
        evil = {"origin": "https://evil.example"}
        assert at.post(f"{site.url}/signin", data=form | {"csrf": own}, headers=evil).status_code == 403


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/%0d%0aset-cookie:x=1".replace("%0d%0a", "\r\n"),
        "javascript:alert(1)",
        "/a//evil.example",
        " //evil.example",
        "/\t/evil.example",
        "evil.example",
    ],
)
def test_signing_in_leads_nowhere_else(site: Site, target: str) -> None:
    with Browser() as browser:
        browser.go(f"{site.url}/signin/alpha?{urlencode({'return_to': target})}", "amina", stop="https://")
        reply = browser.at(site.url).get(f"{site.url}/signin?{urlencode({'return_to': target})}")
        assert reply.status_code == 200
        assert "evil" not in reply.text
        assert session(site, browser).status_code == 200


def test_signing_in_leads_back_to_a_page_of_this_server(site: Site) -> None:
    with Browser() as browser:
        wanted = f"{site.url}/v1/models?x=1"
        query = urlencode({"return_to": "/v1/models?x=1"})
        assert browser.go(f"{site.url}/signin/alpha?{query}", "amina") == wanted


def bearer(site: Site, token: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.post(f"{site.url}/v1/chat/completions", json=CHAT, headers=headers, timeout=60)


def test_access_tokens_for_others_are_refused(site: Site) -> None:
    wrong = bearer(site, site.alpha.access_token("amina", "https://another.test"))
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "invalid_token")
    assert "wrong_audience" in wrong.text
    token = site.alpha.access_token("amina")
    head, claims, mark = token.split(".")

    def forged(header: dict[str, str], **changes: str) -> str:
        padded = claims + "=" * (-len(claims) % 4)
        body = json.dumps(json.loads(base64.urlsafe_b64decode(padded)) | changes)
        parts = [base64.urlsafe_b64encode(part.encode()).rstrip(b"=") for part in (json.dumps(header), body)]
        return b".".join([*parts, mark.encode()]).decode()

    known = {"alg": "RS256", "typ": "at+jwt", "kid": "first"}
    for refused, reason in (
        (forged(known, sub="brian"), "signature"),
        (forged(known, iss=site.beta.issuer), "signature"),
        (forged(known, iss="https://evil.example"), "wrong_issuer"),
        (forged(known | {"alg": "none"}), "algorithm"),
        (forged(known | {"alg": "HS256"}), "algorithm"),
        (forged(known | {"kid": "nobody"}), "unknown_key"),
        (f"{head}.{claims}.", "signature"),
        (f"{head}.{claims}", "malformed"),
    ):
        reply = bearer(site, refused)
        assert reply.status_code == 401, reply.text
        assert reason in reply.text, reply.text
    assert bearer(site, token).status_code == 200


def test_a_person_without_roles_makes_no_calls(site: Site) -> None:
    assert bearer(site, site.alpha.access_token("brian")).status_code == 403


def test_a_project_of_others_is_not_there(site: Site) -> None:
    token = site.alpha.access_token("amina")
    headers = {"authorization": f"Bearer {token}", "openai-project": "proj_of_others"}
    assert httpx.get(f"{site.url}/v1/models", headers=headers, timeout=60).status_code == 404


def test_pages_run_no_script_and_are_framed_by_nobody(site: Site) -> None:
    for path in ("/signin", "/signin/nobody", "/signin/alpha/callback"):
        reply = httpx.get(site.url + path, timeout=60)
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script" not in policy
        assert "<script" not in reply.text
        assert reply.headers["cache-control"] == "no-store"


def test_what_comes_back_is_not_shown_as_markup(site: Site) -> None:
    mark = "<b>injected</b>"
    query = {"error": mark, "state": mark, "code": mark}
    reply = httpx.get(f"{site.url}/signin/alpha/callback", params=query, timeout=60)
    assert mark not in reply.text
    reply = httpx.get(f"{site.url}/signin", params={"return_to": f'/"><b>{mark}'}, timeout=60)
    assert mark not in reply.text


def test_refusals_are_on_record(site: Site) -> None:
    reply = httpx.get(f"{site.url}/signin/alpha/callback", params={"state": "x", "code": "y"}, timeout=60)
    assert reply.status_code == 403
    assert b"admin.signin_refused" in published(site)


def test_no_secret_is_in_the_servers_output(site: Site) -> None:
    with signed_in(site, "amina") as browser, Browser() as other:
        secrets = [SCIM_TOKEN, site.alpha.config["client_secret"], browser.at(site.url).cookies["regalia"]]
        answer = until_callback(site, other, "alpha")
        assert_not_let_in(site, other, come_back(site, other, "alpha", answer | {"code": "made up"}))
        token = site.alpha.access_token("amina")
        assert bearer(site, token[:-4] + "AAAA").status_code == 401
    output = site.server.output.read_text()
    assert output
    for secret in (*secrets, answer["code"], answer["state"], token, "amina"):
        assert secret not in output
