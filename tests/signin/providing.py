"""A real OpenID provider on loopback (npm `oidc-provider`, locked), and a browser for its forms."""

import base64
import fcntl
import html
import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwk

from ports import free_port
from serving import ROOT, background, repeated

SOURCES = Path(__file__).with_name("oidc_provider")
INSTALLED = ROOT / "build" / "oidc_node"
AUDIENCE = "https://api.regalia.test"
MAX_STEPS = 20


def install(npm: Path) -> Path:
    """The locked package, installed below build/."""
    INSTALLED.mkdir(parents=True, exist_ok=True)
    locked = (SOURCES / "package-lock.json").read_bytes()
    stamp = INSTALLED / ".installed"
    with INSTALLED.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # tests run in several processes
        for source in SOURCES.glob("*.*"):
            shutil.copy2(source, INSTALLED)
        if not stamp.exists() or stamp.read_bytes() != locked:
            command = [str(npm), "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
            repeated(lambda: subprocess.run(command, cwd=INSTALLED, check=True, timeout=200))
            stamp.write_bytes(locked)
    return INSTALLED


def new_key(kid: str) -> jwk.RSAKey:
    """A fresh signing key."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return jwk.RSAKey.import_key(private, {"kid": kid, "use": "sig", "alg": "RS256"})


@dataclass
class Provider:
    """One provider: its accounts are let in with any password, as its development forms do."""

    node: Path
    folder: Path
    name: str
    callback: str
    accounts: dict[str, dict[str, Any]]
    keys: list[jwk.RSAKey] = field(default_factory=lambda: [new_key("first")])
    port: int = field(default_factory=free_port)
    lifetime: int = 600

    @property
    def issuer(self) -> str:
        """Its issuer."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of it as one of `signin.providers`."""
        return {
            "name": self.name,
            "issuer": self.issuer,
            "client_id": "regalia",
            "client_secret": "a secret of the tests: 100% +",
            "scopes": ["openid", "profile", "email", "groups"],
            "audience": AUDIENCE,
        }

    @contextmanager
    def running(self) -> Iterator["Provider"]:
        """Run it until the block ends."""
        browser = {
            "client_id": "regalia",
            "client_secret": self.config["client_secret"],
            "redirect_uris": [self.callback],
            "post_logout_redirect_uris": [urljoin(self.callback, "/signin")],
        }
        tool = {
            "client_id": "tool",
            "token_endpoint_auth_method": "none",
            "redirect_uris": ["http://127.0.0.1:1/"],
        }
        settings = {
            "port": self.port,
            "clients": [browser, tool],
            "keys": [key.as_dict(private=True) for key in self.keys],
            "accounts": self.accounts,
            "lifetime": self.lifetime,
        }
        environment = {**os.environ, "SETTINGS": json.dumps(settings), "NODE_ENV": "test"}
        command = [str(self.node), "provider.mjs"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with background(command, self.issuer + "/jwks", cwd=self.folder, env=environment, **quiet):
            yield self

    def access_token(self, account: str, audience: str = AUDIENCE) -> str:
        """A JWT access token for an account, by a public client with PKCE."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "client_id": "tool",
            "response_type": "code",
            "scope": "openid",
            "redirect_uri": "http://127.0.0.1:1/",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "resource": audience,
        }
        with Browser() as browser:
            end = browser.go(f"{self.issuer}/auth?{urlencode(query)}", account, stop="http://127.0.0.1:1/")
            code = parse_qs(urlsplit(end).query)["code"][0]
        form = {
            "grant_type": "authorization_code",
            "client_id": "tool",
            "code": code,
            "redirect_uri": "http://127.0.0.1:1/",
            "code_verifier": verifier,
            "resource": audience,
        }
        reply = httpx.post(f"{self.issuer}/token", data=form, trust_env=False, timeout=60).raise_for_status()
        return str(reply.json()["access_token"])


# Node.js closes a connection after five seconds without a request, perhaps just when the next one is sent.
KEPT = httpx.Limits(keepalive_expiry=2)


class Browser:
    """Follows redirects and submits forms as a browser would, cookies kept apart by host and port."""

    def __init__(self) -> None:
        self._clients: dict[str, httpx.Client] = {}
        self.page: httpx.Response | None = None

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients.values():
            client.close()

    def at(self, url: str) -> httpx.Client:
        """The client that has the cookies of a URL's origin."""
        origin = "://".join(urlsplit(url)[:2])
        if origin not in self._clients:
            self._clients[origin] = httpx.Client(
                trust_env=False, timeout=60, follow_redirects=False, limits=KEPT
            )
        return self._clients[origin]

    def go(self, url: str, account: str = "", stop: str = "", form: dict[str, str] | None = None) -> str:
        """Go to a URL, sign in at forms on the way, and give where it ends.

        `stop` is a prefix before which the browser stops, the URL not fetched; `form` is posted first.
        """
        for _ in range(MAX_STEPS):
            if stop and url.startswith(stop):
                return url
            client = self.at(url)
            reply = client.get(url) if form is None else client.post(url, data=form)
            form = None
            if reply.is_redirect:
                url = urljoin(url, reply.headers["location"])
                continue
            step = _next(reply, account)
            if step is None:
                self.page = reply
                return url
            url, form = urljoin(url, step[0]), step[1]
        raise AssertionError(f"still redirected after {MAX_STEPS} steps: {url}")


def _next(reply: httpx.Response, account: str) -> tuple[str, dict[str, str]] | None:
    """The provider's form to submit, if the page is one of its own."""
    found = re.search(r'<form[^>]*action="([^"]*)"', reply.text)
    if found is None or 'name="prompt"' not in reply.text:
        return None
    prompt = re.search(r'name="prompt" value="([a-z]+)"', reply.text)
    form = {"prompt": prompt[1] if prompt else "login"}
    if form["prompt"] == "login":
        form |= {"login": account, "password": "any"}
    return html.unescape(found[1]), form


def hidden(page: str, name: str) -> str:
    """The value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None, page
    return html.unescape(found[1])


Needs = Callable[[str], Path]
