"""The terminal's own small HTTP client: exact bytes out, exact bytes in, nothing followed."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from regalia.cli.profile import Profile
from regalia.errors import RegaliaError

_TIMEOUT_S = 900
_MAX_BODY = 64 * 1024 * 1024


class NoServer(RegaliaError):
    """Nobody listens there, so nothing was asked."""


class NotReady(RegaliaError):
    """The server is there, and the model's engine is not yet: nothing was generated."""


class NotNow(RegaliaError):
    """Somebody else is at it: a while later it can be asked for again."""


_KINDS = {"engine_unavailable": NotReady, "not_now": NotNow}
"""What an error's code means for whoever could wait."""


@contextmanager
def request(
    profile: Profile, method: str, path: str, body: bytes | None = None
) -> Iterator[http.client.HTTPResponse]:
    """One request; the response is open inside the block. Raises RegaliaError unless the status is 200."""
    url = urlsplit(profile.base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise RegaliaError(f"the base URL must be http://… or https://…, not {profile.base_url!r}")
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname, url.port, timeout=_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {profile.api_key}", "Content-Type": "application/json"}
    try:
        connection.request(method, url.path.rstrip("/") + path, body, headers)
        response = connection.getresponse()
        if response.status != 200:
            raise _refusal(response.status, response.read(_MAX_BODY))
        yield response
    except ConnectionRefusedError as error:
        raise NoServer(f"no server listens at {profile.base_url}; is it running?") from error
    except (OSError, http.client.HTTPException) as error:
        raise RegaliaError(
            f"no answer from {profile.base_url} ({error or type(error).__name__}); is the server running?"
        ) from error
    finally:
        connection.close()


def fetch(profile: Profile, path: str) -> bytes:
    """GET a resource."""
    with request(profile, "GET", path) as response:
        return response.read(_MAX_BODY)


def waits(document: dict[str, Any]) -> str:
    """What to add to an error whose call waits for a person: where its answer will be."""
    review = document.get("review")
    ident = review.get("id") if isinstance(review, dict) else None
    return f" `regalia reviews answer {ident} --wait` gives the answer once it is released." if ident else ""


def _refusal(status: int, body: bytes) -> RegaliaError:
    try:
        document = json.loads(body)
        error = document["error"]
        kind = _KINDS.get(error["code"], RegaliaError)
        return kind(f"the server answered {status}: {error['message']}{waits(document)}")
    except (ValueError, KeyError, TypeError):
        return RegaliaError(f"the server answered {status}")
