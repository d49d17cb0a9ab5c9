"""Cookies of signing in: read with bounds, written so that neither scripts nor other sites get at them."""

from collections.abc import Iterable
from typing import Final

from litestar.datastructures import Cookie

MAX_HEADER: Final = 16 * 1024

SESSION: Final = "regalia"
FLOW: Final = "regalia-flow"
FORM: Final = "regalia-form"
DEVICE: Final = "regalia-device"


def cookie_name(name: str, secure: bool) -> str:
    """The name on the wire; over https with the prefix that no other host or path can write."""
    return f"__Host-{name}" if secure else name


def read_cookie(headers: Iterable[bytes | str], name: str, secure: bool) -> str:
    """A cookie out of `Cookie` headers, "" if it is not there. Two of one name are none."""
    wanted = cookie_name(name, secure)
    found = []
    for header in headers:
        text = header.decode("latin-1") if isinstance(header, bytes) else header
        if len(text) > MAX_HEADER:
            continue
        for part in text.split(";"):
            key, equals, value = part.strip().partition("=")
            if equals and key == wanted:
                found.append(value.strip())
    return found[0] if len(found) == 1 else ""


def new_cookie(name: str, value: str, secure: bool, max_age_s: int) -> Cookie:
    """A cookie to set; an age of 0 takes it away."""
    return Cookie(
        cookie_name(name, secure),
        value=value,
        path="/",
        max_age=max_age_s,
        secure=secure,
        httponly=True,
        samesite="lax",
    )
