"""The pages of signing in: plain HTML made on the server, no script, a strict content security policy."""

import base64
import html
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff }
body { max-width: 24rem; margin: 10vh auto; padding: 0 1rem }
label { display: block; margin: .8rem 0 .2rem }
input, button, .button { font: inherit; display: block; width: 100%; box-sizing: border-box; padding: .5rem }
input { border: 1px solid #767676; border-radius: 4px }
button, .button { margin: 1rem 0; border: 0; border-radius: 4px; background: #0b5394; color: #fff }
button, .button { text-align: center; text-decoration: none; cursor: pointer }
:focus-visible { outline: 3px solid #f6b26b }
.problem { border-left: 4px solid #b00020; padding: .2rem .8rem }
hr { border: 0; border-top: 1px solid #d0d0d0 }
small { color: #555 }
"""
_STYLE_HASH: Final = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()

_FORM: Final = """<form method="post" action="/signin">
<input type="hidden" name="csrf" value="{csrf}"><input type="hidden" name="return_to" value="{return_to}">
<label for="name">Name</label>
<input id="name" name="name" autocomplete="username" required maxlength="128">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required maxlength="256">
<label for="code">One-time code <small>(if your account has one)</small></label>
<input id="code" name="code" inputmode="numeric" autocomplete="one-time-code" maxlength="64">
<button type="submit">Sign in</button></form>"""


def security_headers(form_targets: Sequence[str] = ()) -> dict[str, str]:
    """The headers of every page; forms may lead only here and to `form_targets`, which are origins."""
    policy = [
        "default-src 'none'",
        f"style-src 'sha256-{_STYLE_HASH}'",
        " ".join(["form-action", "'self'", *form_targets]),
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
    return {
        "content-security-policy": "; ".join(policy),
        "cache-control": "no-store",
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }


def signin_page(
    providers: Sequence[tuple[str, str]], *, local: bool, csrf: str, return_to: str, problem: str = ""
) -> str:
    """The page on which people choose how to sign in: `providers` are (URL, title)."""
    parts = [_problem(problem)]
    parts += [
        f'<a class="button" href="{html.escape(url)}">Sign in with {html.escape(title)}</a>'
        for url, title in providers
    ]
    if local:
        parts += ["<hr>" if providers else ""]
        parts += [_FORM.format(csrf=html.escape(csrf), return_to=html.escape(return_to))]
    if not providers and not local:
        parts += ["<p>Nobody can sign in here: neither a provider nor local accounts are set up.</p>"]
    return _page("Sign in", "".join(parts))


def signout_page(csrf: str) -> str:
    """The page that asks whether to sign out: only a form that this server made can do it."""
    form = (
        '<form method="post" action="/signout">'
        f'<input type="hidden" name="csrf" value="{html.escape(csrf)}">'
        '<button type="submit">Sign out</button></form>'
    )
    return _page("Sign out", form)


def message_page(title: str, problem: str) -> str:
    """A page that says what went wrong, with the way back."""
    return _page(title, _problem(problem) + '<a class="button" href="/signin">Sign in</a>')


def signed_in_page(name: str, csrf: str) -> str:
    """Where someone ends who is signed in and was going nowhere else."""
    form = (
        f"<p>You are signed in as {html.escape(name)}.</p>"
        '<form method="post" action="/signout">'
        f'<input type="hidden" name="csrf" value="{html.escape(csrf)}">'
        '<button type="submit">Sign out</button></form>'
    )
    return _page("Signed in", form)


def _problem(text: str) -> str:
    return f'<p class="problem" role="alert">{html.escape(text)}</p>' if text else ""


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title} – Regalia</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{title}</h1>{body}</main></body></html>"
    )
