"""E-mail addresses, by their form alone: no name is ever looked up.

Any domain of two labels or more counts, so `a@gov.sg` and `ops@mail.internal` do; top-level names are not
held against a list. What looks like an address and is none (`icon@2x.png`, `react@18.2.0`,
`git@host:path`, the password in `https://user:password@host`) is left out.
"""

import re
from collections.abc import Iterator

_LOCAL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}+")
_DOMAIN = re.compile(r"[^\W_](?:[\w-]{0,61}[^\W_])?(?:\.[^\W_](?:[\w-]{0,61}[^\W_])?){1,8}")
_PLAIN = re.compile(r"[!-~]+")
_FILES = frozenset(
    {"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "ts", "json", "html", "py", "txt"}
)
_EDGES = ".'`*{|}=/?&#$^!"
SCORE = 0.95


def emails(text: str) -> Iterator[tuple[int, int]]:
    """The spans of addresses. Linear: each @ looks at no more than 64 characters to the left, 512 right."""
    at = text.find("@")
    while at >= 0:
        if found := _address(text, at):
            yield found
        at = text.find("@", at + 1)


def _address(text: str, at: int) -> tuple[int, int] | None:
    """The address around the @ at a position."""
    domain = _DOMAIN.match(text, at + 1, at + 513)
    local = _LOCAL.match(text[max(0, at - 65) : at][::-1])
    if domain is None or local is None or local.end() > 64:
        return None
    start, end = at - local.end(), domain.end()
    end -= len(domain.group()) - len(_without_neighbour(domain.group()))
    stripped = _without_neighbour(text[start:at][::-1])[::-1].lstrip(_EDGES)
    start = at - len(stripped)
    if not stripped or stripped.endswith(".") or text[start - 1 : start] == "@":
        return None
    labels = text[at + 1 : end].split(".")
    if labels[-1].isdigit() or (labels[-1].lower() in _FILES and labels[0][:1].isdigit()):
        return None
    return None if _is_reference(text, start, at, end) else (start, end)


def _without_neighbour(part: str) -> str:
    """A part of an address up to another script, in languages that put no space between words."""
    plain = _PLAIN.match(part)
    return plain.group() if plain and plain.end() < len(part) and part[plain.end()] > "\u0600" else part


def _is_reference(text: str, start: int, at: int, end: int) -> bool:
    """Whether it is `git@host:path`, or the end of the credentials in a URL."""
    if text[end : end + 1] == ":" and text[start:at] == "git" and text[end + 1 : end + 2].strip():
        return True
    before = text[max(0, start - 80) : start]
    return before.endswith(":") and "//" in before.rpartition(" ")[2]
