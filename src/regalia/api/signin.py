"""`/signin`, `/signout`: browsers come in and go; `/v1/regalia/session`: who a browser is.

Every form carries a CSRF token, and one whose `Origin` is another site's is refused. Where a browser goes
after signing in is a path of this server, whatever the link said.
"""

import os
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import structlog
from litestar import MediaType, Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.handlers import HTTPRouteHandler

from regalia.api.cookies import DEVICE, FLOW, FORM, SESSION, new_cookie, read_cookie
from regalia.api.signin_pages import (
    message_page,
    security_headers,
    signed_in_page,
    signin_page,
    signout_page,
)
from regalia.errors import ApiError
from regalia.identity.signin import devices
from regalia.identity.signin.errors import ProviderUnusable, SignInRefused
from regalia.identity.signin.flow import LIFETIME_MS, Callback, local_path
from regalia.instance import Instance
from regalia.instance.signin import SignedIn, SignIn

_LOG = structlog.get_logger()
MAX_FORM = 8 * 1024
_UNUSABLE = "The identity provider can't be used just now. Try again, or tell your administrator."
Req = Request[Any, Any, Any]


def signin_handlers(instance: Instance) -> list[HTTPRouteHandler]:
    """The routes over one running instance."""
    at = instance.signin
    gate = _Gate(at)

    @get("/signin", summary="The page to sign in at", tags=["sign-in"], media_type=MediaType.HTML)
    async def choose(request: Req, return_to: str = "/") -> Response[str]:
        session = await at.session(gate.cookie(request, SESSION))
        target = local_path(return_to)
        if session is not None and target == "/":
            user = instance.tenancy.tenants.users[session.user]
            return gate.page(signed_in_page(user.name, session.csrf))
        if session is not None:
            return gate.redirect(target)
        return gate.signin_page(request, target)

    @post(
        "/signin",
        summary="Sign in with a local account",
        tags=["sign-in"],
        media_type=MediaType.HTML,
        status_code=200,
    )
    async def local(request: Req) -> Response[str]:
        form = await gate.form(request)
        cookie = gate.cookie(request, FORM)
        if not cookie or not at.csrf_matches("form:" + cookie, form.get("csrf", "")):
            return gate.signin_page(request, "/", "This form is too old; try again.", 403)
        target = local_path(form.get("return_to", "/"))
        try:
            signed_in = await at.local(
                form.get("name", ""),
                form.get("password", ""),
                form.get("code", ""),
                gate.cookie(request, DEVICE),
                target,
                gate.cookie(request, SESSION),
            )
        except SignInRefused as error:
            return gate.signin_page(request, target, str(error), 401)
        return gate.let_in(signed_in)

    @get(
        "/signin/{provider:str}", summary="Sign in at a provider", tags=["sign-in"], media_type=MediaType.HTML
    )
    async def begin(request: Req, provider: str, return_to: str = "/") -> Response[str]:
        try:
            url, cookie = await at.begin(provider, return_to)
        except SignInRefused as error:
            return gate.page(message_page("Sign in", str(error)), 404)
        except ProviderUnusable as error:
            return gate.unusable(provider, error)
        return gate.redirect(url, new_cookie(FLOW, cookie, at.secure, LIFETIME_MS // 1000))

    @get(
        "/signin/{provider:str}/callback",
        summary="Where a provider sends a browser back to",
        tags=["sign-in"],
        media_type=MediaType.HTML,
    )
    async def finish(request: Req, provider: str) -> Response[str]:
        try:
            callback = _callback(request.scope["query_string"])
            flow, old = gate.cookie(request, FLOW), gate.cookie(request, SESSION)
            signed_in = await at.finish(provider, flow, callback, old)
        except SignInRefused as error:
            page = message_page("Not signed in", str(error))
            return gate.page(page, 403, new_cookie(FLOW, "", at.secure, 0))
        except ProviderUnusable as error:
            return gate.unusable(provider, error)
        return gate.let_in(signed_in)

    @get("/signout", summary="The page to sign out at", tags=["sign-in"], media_type=MediaType.HTML)
    async def ask(request: Req) -> Response[str]:
        session = await at.session(gate.cookie(request, SESSION))
        return gate.redirect("/signin") if session is None else gate.page(signout_page(session.csrf))

    @post("/signout", summary="Sign out", tags=["sign-in"], media_type=MediaType.HTML, status_code=303)
    async def leave(request: Req) -> Response[str]:
        form = await gate.form(request)
        token = gate.cookie(request, SESSION)
        if not token or not at.csrf_matches(token, form.get("csrf", "")):
            raise ApiError(403, "csrf", "This form is too old; go back to /signout and try again.")
        url = await at.sign_out(token)
        return gate.redirect(url or "/signin", new_cookie(SESSION, "", at.secure, 0))

    @get("/v1/regalia/session", summary="Who a browser is signed in as", tags=["sign-in"])
    async def whoami(request: Req) -> dict[str, Any]:
        """For pages: the session of the cookie, and the token for the `x-csrf-token` header."""
        session = await at.session(gate.cookie(request, SESSION))
        if session is None:
            raise ApiError(401, "not_signed_in", "This browser is not signed in: go to /signin.")
        roles = instance.tenancy.tenants.held_of(session.user)
        return {
            "object": "session",
            "id": session.id,
            "user": session.user,
            "provider": session.provider or None,
            "expires_at": session.expires // 1000,
            "csrf_token": session.csrf,
            "roles": [
                {"role": one.role, "organisation": one.organisation, "project": one.project} for one in roles
            ],
        }

    return [choose, local, begin, finish, ask, leave, whoami]


class _Gate:
    """What these routes have in common: cookies in, pages and redirects out."""

    def __init__(self, at: SignIn) -> None:
        self._at = at
        self._headers = security_headers(_origins(at))
        self._providers = [
            (name, issuer.provider.title or name) for name, issuer in sorted(at.issuers.items())
        ]

    def cookie(self, request: Req, name: str) -> str:
        return read_cookie(request.headers.getall("cookie", []), name, self._at.secure)

    async def form(self, request: Req) -> dict[str, str]:
        """A form that this site's own page sent. Raises ApiError."""
        origin = request.headers.get("origin")
        if origin is not None and not self._at.is_own(origin, request.headers.get("host", "")):
            raise ApiError(403, "csrf", "This form was sent from another site, so it is refused.")
        kind = request.headers.get("content-type", "")
        if not kind.startswith("application/x-www-form-urlencoded"):
            raise ApiError(415, "unsupported_media_type", "This takes a form.")
        body = await request.body()
        if len(body) > MAX_FORM:
            raise ApiError(413, "body_too_large", f"The limit here is {MAX_FORM} bytes.")
        try:
            return dict(parse_qsl(body.decode(), max_num_fields=10, strict_parsing=False))
        except ValueError as error:
            raise ApiError(400, "invalid_request", "The form can't be read.") from error

    def page(self, text: str, status: int = 200, *cookies: Cookie) -> Response[str]:
        return Response(
            text, status_code=status, media_type=MediaType.HTML, headers=self._headers, cookies=cookies
        )

    def redirect(self, url: str, *cookies: Cookie) -> Response[str]:
        headers = {"location": url, "cache-control": "no-store", "referrer-policy": "no-referrer"}
        return Response("", status_code=303, media_type=MediaType.HTML, headers=headers, cookies=cookies)

    def signin_page(self, request: Req, target: str, problem: str = "", status: int = 200) -> Response[str]:
        cookie, fresh = self.cookie(request, FORM), list[Cookie]()
        if not (len(cookie) == 32 and cookie.isalnum()):
            cookie = os.urandom(16).hex()
            fresh = [new_cookie(FORM, cookie, self._at.secure, 3600)]
        query = urlencode({"return_to": target})
        text = signin_page(
            [(f"/signin/{name}?{query}", title) for name, title in self._providers],
            local=self._at.settings.local_accounts,
            csrf=self._at.form_token(cookie),
            return_to=target,
            problem=problem,
        )
        return self.page(text, status, *fresh)

    def let_in(self, signed_in: SignedIn) -> Response[str]:
        secure, seconds = self._at.secure, int(self._at.settings.session_seconds)
        cookies = [
            new_cookie(SESSION, signed_in.token, secure, seconds),
            new_cookie(FLOW, "", secure, 0),
            new_cookie(FORM, "", secure, 0),
        ]
        if signed_in.device:
            cookies.append(new_cookie(DEVICE, signed_in.device, secure, devices.LIFETIME_S))
        target = "/signin" if signed_in.return_to == "/" else signed_in.return_to
        return self.redirect(target, *cookies)

    def unusable(self, provider: str, error: ProviderUnusable) -> Response[str]:
        _LOG.warning("an identity provider can't be used", provider=provider, reason=str(error))
        return self.page(message_page("Not signed in", _UNUSABLE), 502)


def _origins(at: SignIn) -> list[str]:
    """Where a form may lead besides here, by way of a redirect: the providers' hosts."""
    found = set()
    for issuer in at.issuers.values():
        parts = urlsplit(issuer.provider.issuer)
        found |= {f"{parts.scheme}://{host}" for host in (parts.netloc, *issuer.provider.hosts)}
    return sorted(found)


def _callback(query: bytes) -> Callback:
    """The query of a callback. Raises SignInRefused where a parameter is there twice."""
    try:
        pairs = parse_qsl(query.decode("ascii"), max_num_fields=20)
    except ValueError as error:
        raise SignInRefused("malformed", "The provider's answer can't be read; start again.") from error
    known = [pair for pair in pairs if pair[0] in Callback.__struct_fields__]
    if len({name for name, _ in known}) != len(known) or any(len(value) > 4096 for _, value in known):
        raise SignInRefused("malformed", "The provider's answer can't be read; start again.")
    return Callback(**dict(known))
