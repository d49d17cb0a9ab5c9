"""Projects in the public log: a pseudonym per epoch, so that leaves carry no names.

A pseudonym is the first 16 bytes of HMAC-SHA-256 over the epoch (a calendar month, UTC) and the
project's id, under the instance's secret. Whoever holds the secret can link them; the public can't.
People and keys that act have one pseudonym for good: that one person did several things is for all to see.
"""

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from threading import Lock


class Pseudonyms:
    """The pseudonyms of the current epoch, computed once each."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._epoch = ""
        self._begins = 0
        self._ends = 0
        self._known: dict[str, str] = {}

    def of(self, project: str, ms: int) -> str:
        """The pseudonym of `project` at `ms` milliseconds since the epoch: 32 hex characters."""
        if not self._begins <= ms < self._ends:
            self._enter(ms)
        known = self._known.get(project)
        if known is None:
            message = f"regalia/pseudonym/v1\0{self._epoch}\0{project}".encode()
            known = hmac.digest(self._secret, message, "sha256")[:16].hex()
            self._known[project] = known
        return known

    def _enter(self, ms: int) -> None:
        now = datetime.fromtimestamp(ms / 1000, UTC)
        first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
        self._epoch = f"{first:%Y-%m}"
        self._begins = int(first.timestamp() * 1000)
        self._ends = int(following.timestamp() * 1000)
        self._known = {}


def actor_pseudonym(secret: bytes, actor: str) -> str:
    """The pseudonym of whoever acts (`user:ID`, `key:ID`, `os:NAME`): 32 hex characters."""
    return hmac.digest(secret, b"regalia/actor/v1\0" + actor.encode(), "sha256")[:16].hex()


class ActorNames:
    """Whose pseudonym it is: people and keys, learnt as they come. Safe to share between threads.

    Nobody ever leaves the mappings that are given (whoever is gone is marked so), and new ones come last.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._known: dict[str, str] = {}
        self._learnt = {"user": 0, "key": 0}
        self._turn = Lock()

    def of(self, pseudonym: str, users: Mapping[str, object], keys: Mapping[str, object]) -> str | None:
        """`user:ID` or `key:ID`, None for nobody's. Slow only for who is new since the last time."""
        with self._turn:
            self._learn("user", users)
            self._learn("key", keys)
            return self._known.get(pseudonym)

    def _learn(self, kind: str, known: Mapping[str, object]) -> None:
        if len(known) == self._learnt[kind]:
            return
        every = tuple(known)  # at once: others may come while this runs
        for ident in islice(every, self._learnt[kind], None):
            actor = f"{kind}:{ident}"
            self._known[actor_pseudonym(self._secret, actor)] = actor
        self._learnt[kind] = len(every)
