"""Data directories, calls and checks for the ledger's tests. Everything is real: SQLite, files, keys."""

import base64
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from regalia.clock import new_call_id, now_ms
from regalia.ledger import Entry, KeyFiles, Ledger, Part, create_keys, policy_text
from regalia.ledger.journal import Published
from regalia.ledger.log import Log
from regalia.ledger.wire import Where
from regalia.storage import Database, open_database, upgrade
from regalia_verify.log import LogReport, verify_log
from regalia_verify.merkle import leaf_hash
from regalia_verify.policy import TrustPolicy
from regalia_verify.receipt import TlogProof, VerifiedReceipt, verify_receipt
from regalia_verify.record import canonical, commit
from regalia_verify.source import Folder

ORIGIN = "log.example/test"
PROJECT = "project-1"
_numbers = itertools.count()


class Site(msgspec.Struct, frozen=True):
    """One data directory, with keys and a database of the newest schema."""

    data_dir: Path

    @classmethod
    def make(cls, data_dir: Path) -> "Site":
        site = cls(data_dir)
        create_keys(site.keys)
        upgrade(site.database())
        return site

    @property
    def keys(self) -> KeyFiles:
        return KeyFiles.under(self.data_dir / "keys")

    @property
    def url(self) -> str:
        return f"sqlite:///{self.data_dir}/regalia.db"

    @property
    def folder(self) -> Path:
        return self.data_dir / "log"

    @property
    def policy(self) -> TrustPolicy:
        return TrustPolicy.parse(policy_text(self.keys, ORIGIN))

    def database(self) -> Database:
        return open_database(self.url)

    def where(self, process: str = "test") -> Where:
        return Where(self.data_dir, self.url, process, ORIGIN, self.keys)

    @contextmanager
    def log(self, process: str = "test") -> Iterator[Log]:
        """The log in this process, without the threads and the socket around it."""
        log = Log.open(self.where(process))
        try:
            yield log
        finally:
            log.close()

    async def ledger(self) -> Ledger:
        """The ledger as a gateway opens it: with a process of its own."""
        return await Ledger.open(
            self.data_dir, self.database(), process="test", origin=ORIGIN, keys=self.keys
        )

    def copy(self, to: Path) -> "Site":
        """What is on the disk now: what a power cut at this moment would leave, at best."""
        shutil.copytree(self.data_dir, to, ignore=shutil.ignore_patterns("*.sock"))
        return Site(to)

    def verify(self, *, closed: bool = False) -> LogReport:
        """The published folder, as an auditor sees it."""
        return verify_log(Folder(self.folder), self.policy, closed=closed)

    def verify_extends(self, older: bytes) -> None:
        """The published log begins with the tree of an older checkpoint."""
        verify_log(Folder(self.folder), self.policy, previous=older)

    def verify_receipt(self, text: str, call: "Call") -> VerifiedReceipt:
        return verify_receipt(text, self.policy, request=call.request, response=call.response)


class Call(msgspec.Struct, frozen=True):
    """One call with its contents and salts."""

    id: str
    request: bytes
    response: bytes
    salts: tuple[bytes, bytes, bytes]
    project: str = PROJECT

    @classmethod
    def new(cls, project: str = PROJECT, size: int = 200) -> "Call":
        number = next(_numbers)
        salts = (os.urandom(32), os.urandom(32), os.urandom(32))
        request = b'{"question":%d,"padding":"%s"}' % (number, b"q" * size)
        return cls(new_call_id(now_ms(), os.urandom(10)), request, b"answer " * (size // 7), salts, project)

    def admission(self) -> Entry:
        record = {
            "v": 1, "kind": "call.admitted", "time": 1, "call": self.id, "route": "chat.completions",
            "project": "0" * 32, "model": "m", "stream": 0,
            "request": commit("request", self.salts[0], self.request),
        }  # fmt: skip
        parts = (Part("request", self.salts[0], self.request),)
        return Entry(canonical(record), "admitted", self.id, self.project, parts)

    def outcome(self) -> Entry:
        digest = "sha256:" + "5" * 64
        record = {
            "v": 1, "kind": "call.answered", "time": 2, "call": self.id, "route": "chat.completions",
            "project": "0" * 32, "admitted": leaf_hash(self.admission().record).hex(),
            "request": commit("request", self.salts[0], self.request),
            "response": commit("response", self.salts[1], self.response),
            "tokens": commit("tokens", self.salts[2], b"[[1,2,3]]"),
            "model": {"name": "m", "digest": digest},
            "engine": {"name": "e", "build": "b", "digest": digest, "isolation": "none"},
            "sampling": {"seed": 1, "temperature": "0.7"},
            "policy": {"version": "none", "decision": "allow"},
            "usage": {"input": 3, "output": 3, "total": 6}, "finish": ["stop"],
            "status": 200, "started": 1, "ended": 2,
        }  # fmt: skip
        parts = (
            Part("response", self.salts[1], self.response),
            Part("tokens", self.salts[2], b"[[1,2,3]]"),
        )
        return Entry(canonical(record), "outcome", self.id, self.project, parts)


def publish(log: Log) -> Published:
    """Publish; it must succeed."""
    log.publish()
    assert log.publish_failure is None
    return log.published


def receipt(log: Log, call: str, project: str | None = PROJECT) -> str:
    """A receipt as the ledger process gives it: publishes only if that is needed."""
    found = log.find(call, project)
    published = log.published if log.published.size > found.newest else publish(log)
    return log.prove(found, published)


class Shown(msgspec.Struct, frozen=True):
    """What a receipt shows before it is verified."""

    index: int
    entry: bytes
    openings: dict[str, dict[str, str]]

    @property
    def record(self) -> dict[str, object]:
        record: dict[str, object] = json.loads(self.entry)
        return record


def shown(text: str) -> Shown:
    proof = TlogProof.parse(text)
    extra = json.loads(proof.extra or b"")
    return Shown(proof.index, base64.b64decode(extra["entry"]), extra["openings"])


def event(number: int = 0) -> Entry:
    return Entry(canonical({"v": 1, "kind": "admin.tested", "time": 1, "number": number}))


def indices(results: Sequence[object]) -> list[int]:
    """The results of an append that must have succeeded."""
    assert all(isinstance(result, int) for result in results), results
    return [result for result in results if isinstance(result, int)]
