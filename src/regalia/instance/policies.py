"""Policies of an instance: asked for, agreed to, put in force, rolled back; and followed while it runs.

An activation is recorded before it counts: `policy.activated` with the document's digest, and, where two
people are needed, `admin.policy_requested` before it and `admin.policy_rejected` in its place. Every process
looks twice a second whether something has changed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError

from regalia.clock import now_ms
from regalia.engines import EngineBroken
from regalia.errors import ApiError
from regalia.fleet import Fleet
from regalia.identity import Principal
from regalia.identity.roles import require_at
from regalia.instance.policy_retention import kept_longer, kept_longer_than
from regalia.instance.tenancy.hands import refuse_same_hands
from regalia.instance.tenancy.operations import operation
from regalia.instance.tenancy.paging import PAGE, Asked, page
from regalia.instance.tenancy.places import project as project_of
from regalia.instance.tenancy.tenancy import Tenancy
from regalia.policy.activation import NO_PACK, Activation, before, in_force, may_decide, next_change
from regalia.policy.book import PolicyBook
from regalia.policy.compiled import Policy, compile_document
from regalia.policy.detector import Resources, States
from regalia.policy.errors import PackError, PolicyConflict
from regalia.policy.meaning import Meaning
from regalia.policy.reading import MAX_PACK, digest_of
from regalia.policy.store import ActivationStore
from regalia.storage import LastLook, following

POLL_S = 0.5
_LOG = structlog.get_logger()
Ident = Annotated[str, msgspec.Meta(max_length=64)]


class NewActivation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pack to put in force: its YAML, where ("" is the whole instance), from when (ms; 0 is now)."""

    document: Annotated[str, msgspec.Meta(max_length=MAX_PACK)]
    project: Ident = ""
    effective: Annotated[int, msgspec.Meta(ge=0)] = 0


class Rollback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to go back to what was in force before."""

    project: Ident = ""


class Told(msgspec.Struct, frozen=True):
    """An activation as it is shown; `in_force` is whether it is the one that counts now."""

    id: str
    project: str
    policy: str
    digest: str
    state: str
    requested: int
    effective: int
    in_force: bool = False
    decided: int | None = None
    reverts: str | None = None
    warnings: tuple[str, ...] = ()


class PolicyWatch:
    """Keeps the book of policies as the database has it."""

    def __init__(self, book: PolicyBook, store: ActivationStore, clock: Callable[[], int] = now_ms) -> None:
        self.book = book
        self._store = store
        self._clock = clock
        self._last = LastLook(store.database)
        self._mark: tuple[int, int, int] | None = None
        self._next: int | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._unprepared = False

    async def refresh(self) -> None:
        """Take over what has changed. Raises SQLAlchemyError."""
        due = self._next is not None and self._clock() >= self._next
        if not self._last.due() and not due:
            return
        mark = await asyncio.to_thread(self._store.mark)
        if mark == self._mark and not due:
            self._last.done()
            return
        activations = await asyncio.to_thread(self._store.all)
        now = self._clock()
        await asyncio.to_thread(self.book.refresh, activations, now)  # detectors take time to build
        self._mark, self._next, self._unprepared = mark, next_change(activations, now), True
        self._last.done()

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow changes while the block runs. What is in force at its beginning is known before it."""
        try:
            async with following(self._look, POLL_S, "policies"):
                yield
        finally:
            self._last.close()
            if self._preparing is not None:
                self._preparing.cancel()
                await asyncio.gather(self._preparing, return_exceptions=True)

    def prepare(self) -> None:
        """Have detectors of what has changed get ready, beside all else; what fails is tried again."""
        if self._unprepared and (self._preparing is None or self._preparing.done()):
            self._unprepared = False
            self._preparing = asyncio.create_task(self._prepare())

    async def _prepare(self) -> None:
        try:
            await self.book.prepare()
        except Exception as error:  # an engine that is not there yet, most of all; calls meet it, too
            self._unprepared = True
            _LOG.debug("a policy's detectors can't get ready", error=type(error).__name__)

    async def _look(self) -> None:
        try:
            await self.refresh()
        except SQLAlchemyError:  # what was in force goes on; no database, no recorded call
            raise
        except Exception as error:
            self.book.unread(f"what is in force can't be known ({type(error).__name__})")
            raise
        finally:
            self.prepare()


def resources_of(fleet: Callable[[], Fleet], states: States | None = None) -> Resources:
    """What detectors may use of an instance: its own engines, when they are there."""

    async def embed(texts: list[str]) -> list[list[float]]:
        able = [one for one in fleet() if "embeddings" in one.routes]
        own = [one for one in able if len(one.routes) == 1]  # vectors of two models can't be compared
        engine = next((one for one in own or able if one.ready), None)
        if engine is None:
            raise EngineBroken("no embedding engine is ready")
        reply, _ = await engine.ask("embeddings", {"model": engine.serves[0], "input": texts})
        rows = msgspec.json.decode(reply.body)["data"]
        return [row["embedding"] for row in sorted(rows, key=lambda row: row["index"])]

    async def ask(model: str, messages: list[dict[str, str]]) -> str:
        engine = fleet().choose(model, "chat.completions")
        document = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 256}
        reply, _ = await engine.ask("chat.completions", document)
        return str(msgspec.json.decode(reply.body)["choices"][0]["message"]["content"])

    return Resources(embed, ask, Meaning(embed), states)


async def _no_embed(texts: list[str]) -> list[list[float]]:
    raise EngineBroken("nothing is asked of an engine while a pack is checked")


async def _no_ask(model: str, messages: list[dict[str, str]]) -> str:
    raise EngineBroken("nothing is asked of an engine while a pack is checked")


UNUSED = Resources(_no_embed, _no_ask, Meaning(_no_embed))
"""For packs that are only checked."""


def checked_policy(document: bytes) -> Policy:
    """The policy of a document, to be looked at or tried without an engine. Raises PackError."""
    from regalia.policy.detectors import DETECTORS  # here: commands that ask nothing of it start sooner

    return compile_document(document, DETECTORS, UNUSED)


def list_policies(at: Tenancy, actor: Principal, project: str) -> list[Told]:
    """The activations, oldest first, of the place and of the whole instance. Blocks. Raises ApiError."""
    _place(at, actor, "policies.read", project)
    activations = ActivationStore(at.database).of_places({"", project})
    now = at.clock()
    counting = {
        found.id for place in {"", project} if (found := in_force(activations, place, now)) is not None
    }
    return [_told(item, item.id in counting) for item in activations]


async def activate(at: Tenancy, actor: Principal, wanted: NewActivation) -> Told:
    """Put a pack in force, or, where two people are needed, ask for it. Raises ApiError."""
    _place(at, actor, "policies.manage", wanted.project)
    document = wanted.document.encode()
    try:
        policy = await asyncio.to_thread(checked_policy, document)
    except PackError as error:
        raise ApiError(400, "invalid_pack", f"{error}.", param="document") from error
    now = at.clock()
    if wanted.effective and wanted.effective < now - 60_000:
        raise ApiError(400, "invalid_value", "The time to begin has passed already.", param="effective")
    made = Activation(
        id=at.new_id("policy"),
        project=wanted.project,
        label=policy.label,
        digest=digest_of(document),
        document=document,
        state="requested",
        requested_by=actor.actor,
        requested=now,
        effective=max(wanted.effective, now),
    )
    warnings = await kept_longer(at, policy.pack, wanted.project)
    return msgspec.structs.replace(await _begin(at, actor, made), warnings=warnings)


async def roll_back(at: Tenancy, actor: Principal, wanted: Rollback) -> Told:
    """Go back to what was in force before, if anything was. Raises ApiError."""
    _place(at, actor, "policies.manage", wanted.project)
    activations = await asyncio.to_thread(ActivationStore(at.database).all)
    now = at.clock()
    try:
        reverts, earlier = before(activations, wanted.project, now)
    except PolicyConflict as error:
        raise ApiError(409, "nothing_to_roll_back", f"{error}.") from error
    made = Activation(
        id=at.new_id("policy"),
        project=wanted.project,
        label=earlier.label if earlier else NO_PACK,
        digest=earlier.digest if earlier else "",
        document=earlier.document if earlier else None,
        state="requested",
        requested_by=actor.actor,
        requested=now,
        effective=now,
        reverts=reverts,
    )
    return await _begin(at, actor, made)


async def decide(at: Tenancy, actor: Principal, ident: str, *, approve: bool) -> Told:
    """Agree to what another person asked for, or reject it. Raises ApiError."""
    store = ActivationStore(at.database)
    try:
        found = await asyncio.to_thread(store.get, ident)
    except PolicyConflict as error:
        raise ApiError(404, "policy_not_found", f"{error}.", param="activation") from error
    _place(at, actor, "policies.manage", found.project)
    try:
        may_decide(found, actor.actor, approve)
    except PolicyConflict as error:
        raise ApiError(409, "not_now", f"{error}.") from error
    if approve:
        _refuse_machines(actor)
        refuse_same_hands(at, actor, found.requested_by, found.requested)
        warnings = await kept_longer_than(at, found.document, found.project)
        return msgspec.structs.replace(await _put_in_force(at, actor, found), warnings=warnings)
    await at.note("admin.policy_rejected", actor, activation=ident, digest=found.digest)
    rejected = msgspec.structs.replace(found, state="rejected", decided_by=actor.actor, decided=at.clock())
    await _kept(at, actor, store.decide, rejected)
    return _told(rejected, False)


async def _begin(at: Tenancy, actor: Principal, made: Activation) -> Told:
    """Ask for it where two people are needed; else put it in force at once."""
    store = ActivationStore(at.database)
    if at.approvals > 1:
        _refuse_machines(actor)
        await at.note("admin.policy_requested", actor, **_about(at, made))
        await _kept(at, actor, store.add, made)
        return _told(made, False)
    return await _put_in_force(at, actor, made, new=True)


async def _put_in_force(at: Tenancy, actor: Principal, found: Activation, *, new: bool = False) -> Told:
    now = at.clock()
    decided = msgspec.structs.replace(
        found, state="active", decided_by=actor.actor, decided=now, effective=max(found.effective, now)
    )
    about = _about(at, decided)
    if not new:
        about["requested_by"] = at.who(found.requested_by)
    await at.note("policy.activated", actor, **about)
    store = ActivationStore(at.database)
    await _kept(at, actor, store.add if new else store.decide, decided)
    return _told(decided, decided.effective <= now and decided.document is not None)


def _about(at: Tenancy, item: Activation) -> dict[str, Any]:
    about: dict[str, Any] = {
        "activation": item.id,
        "pack": item.label,
        "digest": item.digest or "none",
        "effective": item.effective,
        **at.place("", item.project),
    }
    if item.reverts:
        about["reverts"] = item.reverts
    return about


async def _kept(at: Tenancy, actor: Principal, write: Callable[[Activation], None], item: Activation) -> None:
    """Make true what is recorded; where that fails, the log says so, too. Raises ApiError 409, 503."""
    try:
        await at.make("admin.policy_failed", actor, lambda: write(item), activation=item.id)
    except PolicyConflict as error:
        raise ApiError(409, "not_now", f"{error}.") from error


def _place(at: Tenancy, actor: Principal, permission: str, project: str) -> None:
    organisation = project_of(at, actor, project).organisation if project else ""
    if permission == "policies.read" and not project:
        return  # what holds everywhere, everybody may know
    require_at(actor, permission, organisation, project)


def _refuse_machines(actor: Principal) -> None:
    if not actor.actor.startswith(("user:", "os:")):
        raise ApiError(403, "person_needed", "Two people are needed here, and a service key is nobody.")


def _told(item: Activation, counts: bool) -> Told:
    return Told(
        item.id, item.project, item.label, item.digest, item.state, item.requested, item.effective,
        counts, item.decided, item.reverts,
    )  # fmt: skip


@operation("GET", "/policies", "Policies asked for and in force", tag="policies", query=("project", *PAGE))
def _policies(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return page(list_policies(at, actor, asked.get("project", "")), asked)


@operation("POST", "/policies", "Put a policy pack in force", tag="policies", body=NewActivation)
async def _activate(at: Tenancy, actor: Principal, _asked: Asked, body: NewActivation) -> object:
    return await activate(at, actor, body)


@operation("POST", "/policies/rollback", "Go back to the policy before", tag="policies", body=Rollback)
async def _rollback(at: Tenancy, actor: Principal, _asked: Asked, body: Rollback) -> object:
    return await roll_back(at, actor, body)


@operation("POST", "/policies/{activation}/approve", "Agree to a policy, as a second person", tag="policies")
async def _approve(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return await decide(at, actor, asked["activation"], approve=True)


@operation("POST", "/policies/{activation}/reject", "Reject a policy that was asked for", tag="policies")
async def _reject(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return await decide(at, actor, asked["activation"], approve=False)


@operation("GET", "/policies/{activation}", "A policy's document", tag="policies")
async def _policy(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    try:
        found = await asyncio.to_thread(ActivationStore(at.database).get, asked["activation"])
    except PolicyConflict as error:
        raise ApiError(404, "policy_not_found", f"{error}.", param="activation") from error
    _place(at, actor, "policies.read", found.project)
    document = found.document.decode() if found.document is not None else ""
    return {**msgspec.to_builtins(_told(found, False)), "document": document}
