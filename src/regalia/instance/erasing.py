"""A request to erase contents: checked, and turned into what the ledger erases."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec

from regalia.errors import ApiError
from regalia.identity import Pseudonyms
from regalia.identity.pseudonyms import actor_pseudonym
from regalia.instance.directory import identity_of, secret_of
from regalia.ledger.erasing import Erasure, Scope

_DAY_MS = 86_400_000
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class ErasureRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to erase, one of the four, and on what legal basis. `before` is an ISO 8601 date or time."""

    basis: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    call: Text | None = None
    project: Text | None = None
    end_user: Text | None = None
    before: Text | None = None


def read_request(body: bytes) -> ErasureRequest:
    """The request in a JSON body. Raises ApiError."""
    try:
        return msgspec.json.decode(body, type=ErasureRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, "invalid_request", f"The erasure is not understood: {error}.") from error


def erasure_of(data_dir: Path, request: ErasureRequest, actor: str, now_ms: int) -> Erasure:
    """The erasure, authorised by `actor`, of whom only a pseudonym is recorded. Raises ApiError."""
    wanted: list[tuple[Scope, str | None]] = [
        ("call", request.call),
        ("project", request.project),
        ("end-user", request.end_user),
        ("before", request.before),
    ]
    given = [(scope, target) for scope, target in wanted if target is not None]
    if len(given) != 1:
        raise ApiError(400, "invalid_request", "Give one of: call, project, end_user, before.")
    scope, target = given[0]
    secret = secret_of(data_dir)
    projects: tuple[str, ...] = ()
    if scope == "project":
        projects = _pseudonyms(secret, target, identity_of(data_dir).created, now_ms)
    return Erasure(
        id=f"erasure_{os.urandom(10).hex()}",
        scope=scope,
        target="" if scope == "before" else target,
        before=milliseconds(target) if scope == "before" else 0,
        basis=request.basis,
        by=actor_pseudonym(secret, actor),
        time=now_ms,
        projects=projects,
    )


def _pseudonyms(secret: bytes, project: str, since_ms: int, now_ms: int) -> tuple[str, ...]:
    """All names that the project has had in the log."""
    pseudonyms = Pseudonyms(secret)
    days = [*range(since_ms, now_ms, 20 * _DAY_MS), now_ms]  # each month at least once
    return tuple(dict.fromkeys(pseudonyms.of(project, day) for day in days))


def milliseconds(date: str, name: str = "before") -> int:
    """A date or time in ISO 8601, UTC unless it says otherwise, in milliseconds. Raises ApiError."""
    try:
        moment = datetime.fromisoformat(date)
    except ValueError as error:
        raise ApiError(400, "invalid_request", f"`{name}` is a date like 2026-01-31.", param=name) from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
