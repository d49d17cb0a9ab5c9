"""Cookies on the wire, paths to go back to, flows in a cookie: small things that must be exactly so."""

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regalia.api.cookies import SESSION, new_cookie, read_cookie
from regalia.config import IdentityProvider
from regalia.identity.signin.errors import SignInRefused
from regalia.identity.signin.flow import FLOW_RANDOM, LIFETIME_MS, begin, local_path, open_flow, seal_flow

NOW = 1_800_000_000_000
SECRET = b"s" * 32
PROVIDER = IdentityProvider("alpha", "https://login.example", "regalia")


def test_a_cookie_over_https_is_bound_to_the_host() -> None:
    header = new_cookie(SESSION, "token", secure=True, max_age_s=60).to_header(header="")
    parts = {part.strip().lower() for part in header.split(";")}
    assert {"__host-regalia=token", "path=/", "httponly", "secure", "samesite=lax", "max-age=60"} <= parts
    assert not any(part.startswith("domain") for part in parts)
    assert "Secure" not in new_cookie(SESSION, "token", secure=False, max_age_s=60).to_header(header="")


def test_a_cookie_is_read_or_it_is_not_there() -> None:
    assert read_cookie(["a=1; __Host-regalia=x; b=2"], SESSION, secure=True) == "x"
    assert read_cookie(["regalia=x"], SESSION, secure=True) == ""  # another host may have written that one
    assert read_cookie(["regalia=x; regalia=y"], SESSION, secure=False) == ""
    assert read_cookie([b"regalia=x", b"other=y"], SESSION, secure=False) == "x"
    assert read_cookie(["regalia=x; " + "a" * 20_000], SESSION, secure=False) == ""


@given(st.text(max_size=40) | st.text(alphabet="/\\.:@%?#ahtps\t\n ", max_size=20))
def test_every_way_back_is_on_this_server(wanted: str) -> None:
    found = local_path(wanted)
    assert found.startswith("/")
    base = "https://llm.example"
    for way in (found, found.replace("\\", "/")):
        assert urlsplit(urljoin(base, way))[:2] == ("https", "llm.example")
    assert "\r" not in found
    assert "\n" not in found


def test_a_flow_is_opened_by_who_sealed_it_within_its_time() -> None:
    flow = begin(PROVIDER, "/chat", NOW, bytes(range(FLOW_RANDOM)))
    assert len({flow.state, flow.nonce, flow.verifier}) == 3
    cookie = seal_flow(flow, SECRET, b"n" * 12)
    assert open_flow(cookie, SECRET, NOW + LIFETIME_MS - 1) == flow
    assert flow.verifier not in cookie
    for secret, when, reason in ((b"t" * 32, NOW, "state"), (SECRET, NOW + LIFETIME_MS, "expired")):
        with pytest.raises(SignInRefused) as refused:
            open_flow(cookie, secret, when)
        assert refused.value.reason == reason


@given(st.text(max_size=200), st.integers(0, 400))
def test_a_flow_that_was_touched_is_refused(noise: str, at: int) -> None:
    cookie = seal_flow(begin(PROVIDER, "/", NOW, bytes(FLOW_RANDOM)), SECRET, b"n" * 12)
    touched = cookie[:at] + noise + cookie[at + len(noise) :]
    if touched != cookie:
        with pytest.raises(SignInRefused):
            open_flow(touched, SECRET, NOW)
