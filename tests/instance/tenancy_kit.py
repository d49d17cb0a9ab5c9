"""A tenancy over a real database, with a log that is a list, for tests of who may do what."""

import json
import os
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from regalia.errors import ApiError, AuditUnavailable
from regalia.identity import KeyRing, Principal
from regalia.identity.live import LiveTenants
from regalia.identity.principal import local_actor
from regalia.instance import tenancy
from regalia.instance.tenancy import NewKey, NewUser, RoleAt, Tenancy
from regalia.ledger import Part
from regalia.storage import Database

SECRET = b"s" * 32
BOSS = local_actor("os:root")
CALL = "call_01m80tvjajb7wmyvw6jfmbvzqy"


@dataclass
class World:
    """One instance: its log, its clock (ms), and what was said in its calls."""

    database: Database
    now: int = 1_800_000_000_000
    log: list[dict[str, Any]] = field(default_factory=list)
    said: dict[str, tuple[Part, ...]] = field(default_factory=dict)
    down: bool = False

    def __post_init__(self) -> None:
        self.live = LiveTenants(self.database, KeyRing(SECRET, {}, clock=lambda: self.now))
        self.at = Tenancy(
            self.database,
            self.live,
            self.append,
            SECRET,
            reveal=self.reveal,
            clock=lambda: self.now,
            random=os.urandom,
        )

    async def append(self, record: bytes) -> int:
        """Append a record, unless the log is down."""
        if self.down:
            raise AuditUnavailable("as asked")
        self.log.append(json.loads(record))
        return len(self.log) - 1

    async def reveal(self, call: str) -> tuple[Part, ...]:
        """What was said in a call; noted in the log's order."""
        return self.said.get(call, ())

    def kinds(self) -> list[str]:
        """The kinds of the records, in order."""
        return [record["kind"] for record in self.log]

    async def person(self, name: str, *roles: RoleAt, organisation: str = "default") -> Principal:
        """A new person with these roles, as who signed in."""
        made = await tenancy.add_user(
            self.at, BOSS, NewUser(name, f"{name}@x.example", organisation=organisation)
        )
        for role in roles:
            await tenancy.give_role(self.at, BOSS, made.id, role)
        return self.signed_in(made.id)

    def signed_in(self, user: str, key_id: str = "session") -> Principal:
        """A person as they are now."""
        found = self.at.tenants.principal_of_user(user, key_id=key_id)
        assert found is not None
        return found

    async def with_key(self, user: Principal, issuer: Principal = BOSS) -> Principal:
        """A person with a key of the whole instance that somebody has made for them."""
        wanted = NewKey("personal", scope="instance", user=user.user)
        made = await tenancy.create_key(self.at, issuer, wanted)
        return self.of_key(made.secret)

    def of_key(self, secret: str) -> Principal:
        """The principal behind a key's text."""
        return self.live.ring.principal(b"Bearer " + secret.encode())


def at(role: str, organisation: str = "default", project: str = "") -> RoleAt:
    """A role in an organisation or a project."""
    return RoleAt(role, organisation, project)


async def refused(attempt: Awaitable[object]) -> tuple[int, str]:
    """The status and code with which something is refused."""
    try:
        await attempt
    except ApiError as error:
        return error.status, error.code
    raise AssertionError("it was not refused")
