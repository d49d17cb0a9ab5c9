"""What the policy in force does to one call: its input checked, its answer checked, both told in the record.

The guard of a call is made by `Guard.of`, None where no policy is in force. It raises `PolicyBlocked` or
`HeldForReview`, which end the call as `call.refused`; whatever else it raises ends it too: nothing that
could not be checked goes on.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn, Protocol

import msgspec

from regalia.clock import new_call_id
from regalia.engines import EngineBroken, EngineIdentity, Result
from regalia.gateway.guard_outcome import HeldAnswer, HeldForReview, PolicyBlocked
from regalia.gateway.guard_plain import plain_answer, plain_request
from regalia.gateway.guard_table import TABLE, answer_texts, request_texts
from regalia.gateway.guard_texts import INPUT, OUTPUT, Found, drop_logprobs, sides_of
from regalia.identity import Principal
from regalia.ledger import Part
from regalia.policy.compiled import Plan, Policy
from regalia.policy.condition import Facts
from regalia.policy.decide import NOTHING, Decision, Hit, Ran, Scan, strictest
from regalia.policy.document import Action, Disclosure
from regalia.policy.grounding import NO_SOURCES, Sources
from regalia.policy.redact import Edit, Redactor, mark, merged, within_json
from regalia.policy.reviews import HeldSide, Review
from regalia.policy.scan import OFF_LOOP, passes, scan_all, scan_early, scan_slow

NO_POLICY: dict[str, Any] = {"version": "none", "decision": "allow"}
REDACTIONS, HELD = "redactions", "held"
"""The names of sealed parts that no record commits to: the placeholders' originals, and a held answer."""

MAX_TOLD = 48_000
"""How large a record's `policy` may be, in bytes; counts by kind go first."""

_MINUTE_MS = 60_000
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_canonical = msgspec.json.Encoder(order="sorted").encode


class Policies(Protocol):
    """The policies in force, in memory."""

    def of(self, project: str) -> Policy | None:
        """The project's policy. Raises ApiError 503 where it has one that can't be used."""
        ...


class Reviews(Protocol):
    """Where held calls wait."""

    async def open(self, review: Review) -> None:
        """Put a review into the queue; it is durable on return."""
        ...


class Guard:
    """Guards the calls of one process."""

    def __init__(
        self, policies: Policies, reviews: Reviews, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._policies = policies
        self._reviews = reviews
        self._random = random

    def of(
        self, route: str, caller: Principal, document: dict[str, Any], released: str = ""
    ) -> "CallGuard | None":
        """The guard of a call; None where no policy is in force. Raises ApiError 503.

        `released` is the review by which a request that was held may go on now, "" for any other call.
        """
        policy = self._policies.of(caller.project)
        if policy is None:
            return None
        return CallGuard(policy, route, caller, document, self._reviews, self._random, released)


class CallGuard:
    """One call under a policy. `enter` names the call before anything else is asked of it."""

    # how every call begins
    held: HeldAnswer | None = None
    _call = ""
    _ms = _size = 0
    _on_record: Callable[[], Awaitable[object]]  # returns when the call is admitted on record
    _scans: Mapping[str, Scan] = MappingProxyType({})
    _facts: Facts | None = None
    _found: Found | None = None
    _sources: Sources | None = None
    _asked: Plan | None = None
    _answered: Plan | None = None
    _input = NOTHING
    _output = NOTHING
    _was_held = False

    def __init__(
        self,
        policy: Policy,
        route: str,
        caller: Principal,
        document: dict[str, Any],
        reviews: Reviews,
        random: Callable[[int], bytes],
        released: str,
    ) -> None:
        self.policy = policy
        self.row = TABLE[route]
        self.redactor = Redactor()
        self._released = released
        self._caller = caller
        self._reviews = reviews
        self._random = random
        self._document = document
        self._model, self._streams = document.get("model"), bool(document.get("stream"))  # as it was asked
        self._review = released

    def enter(self, call: str, ms: int, size: int, on_record: Callable[[], Awaitable[object]]) -> "CallGuard":
        """This guard, for the call that is to be admitted under this id, at this time, of so many bytes."""
        self._call, self._ms, self._size, self._on_record = call, ms, size, on_record
        return self

    @property
    def facts(self) -> Facts:
        """What conditions are told of the call."""
        if self._facts is None:
            caller, model = self._caller, self._model
            self._facts = Facts(
                project=caller.project,
                classification=caller.ceiling,
                route=self.row.route,
                model=model if isinstance(model, str) else "",
                stream=self._streams,
                principal=caller.actor,
                organisation=caller.organisation,
                jurisdiction=caller.jurisdiction,
                roles=tuple(sorted(caller.roles)),
            )
        return self._facts

    # The request

    async def check_input(self) -> None:
        """Run the rails that come before the engine, and redact the document. Raises as the module says."""
        if self._passes_plainly():
            return
        if self._size > OFF_LOOP:
            found = await asyncio.to_thread(request_texts, self.row.route, self._document)
        else:
            found = request_texts(self.row.route, self._document)
        self._found = found
        plan = self._asked = self.policy.plan(sides_of(found.texts))
        self._scans = await scan_early(plan, self.facts, found.texts)
        self._input = plan.decide(self.facts, self._scans)
        if self._input is plan.decided:
            return
        await self._enforce_input()
        edits = self.redactor.edits([text.text for text in found.texts], self._input.redactions)
        found.apply({n: within_json(found.texts[n].text, made) if found.spells_json(n) else made
                     for n, made in edits.items()})  # fmt: skip

    def _passes_plainly(self) -> bool:
        """Whether a plain request passes the rails, as most do."""
        if self._size > OFF_LOOP or self.policy.grounds:
            return False
        texts = plain_request(self._document)
        plan = self.policy.plan(INPUT)
        if texts is None or not passes(plan, INPUT, texts):
            return False
        self._asked, self._input = plan, plan.decided
        return True

    @property
    def waits(self) -> bool:
        """Whether rails remain that run while the engine works."""
        return self.policy.waits

    async def verdict(self) -> None:
        """Run the rails that cost time. The first byte waits for it. Raises as the module says."""
        plan = self._asked
        if self._found is None or plan is None or not plan.late:
            return
        self._scans = {**self._scans, **await scan_slow(plan.late, self.facts, self._found.texts)}
        self._input = plan.decide(self.facts, self._scans)
        await self._enforce_input()

    # The answer

    @property
    def sources(self) -> Sources:
        """What the request gave the answer to stand on, where a rail asks for it."""
        if not self.policy.grounds:
            return NO_SOURCES
        if self._sources is None:
            texts = self._found.texts if self._found is not None else ()
            given = [text.text for text in texts if "retrieved" in text.sides]
            beside = [text.text for text in texts if "retrieved" not in text.sides]
            self._sources = Sources(given, beside) if given else NO_SOURCES
        return self._sources

    async def answer(self, body: bytes, result: Result, engine: EngineIdentity) -> bytes:
        """A whole answer as it may go to the caller. Raises as the module says."""
        if self._answer_passes_plainly(body):
            return body
        try:
            answer = None if self.row.numbers else _decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise EngineBroken(f"the engine's answer is not JSON: {error}") from error
        changed, action = await self._checked(answer)
        if self.discloses and type(answer) is dict:
            answer["regalia"] = self.disclosed()
            changed = True
        if changed:
            body = _encode(answer)
        if action == "hold":
            await self.hold_answer("application/json", body, result, engine)
        return body

    def _answer_passes_plainly(self, body: bytes) -> bool:
        """Whether a plain answer passes the rails, and goes to the caller as it is."""
        if self.redactor.originals or self.policy.grounds or self.discloses or self.row.answers is not OUTPUT:
            return False
        if self.row.numbers or len(body) > OFF_LOOP or (texts := plain_answer(body)) is None:
            return False
        plan = self.policy.plan(OUTPUT)
        if plan.decided.action != "allow" or not passes(plan, OUTPUT, texts):
            return False
        self._answered = plan
        self.note_output(plan.decided)
        return True

    async def _checked(self, answer: Any) -> tuple[bool, Action]:
        """Check an answer and edit it; whether it was changed, and what was decided of it."""
        found = answer_texts(self.row, answer, self.sources)
        plan = self._answered = self.policy.plan(sides_of(found.texts))
        scans = await scan_all(plan, self.facts, found.texts)
        decision = plan.decide(self.facts, scans)
        self.note_output(decision)
        if decision is plan.decided and not self.redactor.originals:
            return False, decision.action
        if decision.action == "block":
            raise self.blocked(decision)
        edits = {number: self.edits_of(text.text, [hit for hit in decision.redactions if hit.text == number])
                 for number, text in enumerate(found.texts)}  # fmt: skip
        edits = {number: within_json(found.texts[number].text, made) if found.spells_json(number) else made
                 for number, made in edits.items() if made}  # fmt: skip
        found.apply(edits)
        if edits and type(answer) is dict:
            drop_logprobs(answer)
        return bool(edits), decision.action

    def edits_of(self, text: str, redactions: list[Hit]) -> list[Edit]:
        """What of a text from the model is replaced for good, and which placeholders are put back."""
        spans = merged((hit.finding.start, hit.finding.end, hit.finding.kind) for hit in redactions)
        edits = [(start, end, mark(kind)) for start, end, kind in spans]
        for start, end, original in self.redactor.restored(text):
            if all(end <= first or start >= last for first, last, _ in edits):
                edits.append((start, end, original))
        return sorted(edits)

    def note_output(self, decision: Decision) -> None:
        """Keep what was decided of the answer, for the record."""
        self._output = decision

    async def hold_answer(
        self, content_type: str, body: bytes, result: Result, engine: EngineIdentity
    ) -> NoReturn:
        """Keep the answer for a reviewer, and raise HeldForReview."""
        seed = self._document.get("seed")
        self.held = HeldAnswer(content_type, body, result, engine, seed if type(seed) is int else 0)
        await self._hold(self._output, "output")

    # What the record and the caller are told

    @property
    def hides_tokens(self) -> bool:
        """Whether the ids of the generated tokens tell what the caller does not get."""
        return bool(self._output.redactions) or self._output.action in ("block", "hold")

    def recorded(self) -> msgspec.Raw:
        """The record's `policy` in canonical JSON; made once for all calls in which nothing was found."""
        if self._asked is None or self._review or not self._is_silent:
            return msgspec.Raw(_canonical(self.record()))
        return self.policy.told(self._asked, self._answered, self.record)

    @property
    def _is_silent(self) -> bool:
        """Whether nothing was found, as far as the call has come."""
        asked, answered = self._asked, self._answered
        return (asked is None or self._input is asked.decided) and (
            self._output is (NOTHING if answered is None else answered.decided)
        )

    def record(self) -> dict[str, Any]:
        """The record's `policy`. Rails that found nothing are only named: the document says the rest."""
        sides: tuple[tuple[HeldSide, Decision], ...] = (("input", self._input), ("output", self._output))
        rails = [_told(ran, side) for side, made in sides for ran in made.ran if not ran.clear]
        clear = {side: [ran.rail for ran in made.ran if ran.clear] for side, made in sides}
        told: dict[str, Any] = {
            "version": self.policy.label,
            "digest": self.policy.digest,
            "decision": strictest(self._input.action, self._output.action),
            "rails": rails,
            "clear": {side: names for side, names in clear.items() if names},
        }
        if self._review:
            told["review"] = self._review
            if told["decision"] == "hold" and not self._was_held:
                told["decision"] = "released"
        if len(_encode(told)) > MAX_TOLD:
            for rail in rails:
                rail["counts"] = {"all": sum(rail.get("counts", {}).values())}
        return told

    def acted(self) -> list[tuple[str, str, str]]:
        """Of each rail that acted, for metrics: its detector, what it did, and in which mode."""
        if self._is_silent:
            return []
        ran = [one for one in (*self._input.ran, *self._output.ran) if one.does]
        detectors = {rail.id: rail.detector for rail in self.policy.pack.rails}
        kinds = [found.use if (found := detectors[one.rail]) else "condition" for one in ran]
        return [(kind, one.does, one.mode) for kind, one in zip(kinds, ran, strict=True)]

    def parts(self) -> tuple[Part, ...]:
        """What is sealed with the call beside what its record commits to."""
        parts: tuple[Part, ...] = ()
        if self.redactor.originals:
            parts += (Part(REDACTIONS, b"", _encode(self.redactor.originals)),)
        if self.held is not None:
            parts += (Part(HELD, b"", msgspec.msgpack.encode(self.held)),)
        return parts

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """What an answer's head carries of the policy."""
        disclosure = self._disclosure
        if disclosure is None or not disclosure.header or not self._generates:
            return ()
        return ((b"x-regalia-ai-generated", b"true"),)

    def disclosed(self) -> dict[str, Any]:
        """The field `regalia` of an answer."""
        disclosure = self._disclosure
        notice = disclosure.notice if disclosure is not None else {}
        return {"ai_generated": True, "notice": notice, "policy": self.policy.label}

    @property
    def _disclosure(self) -> Disclosure | None:
        return self.policy.pack.disclosure

    @property
    def _generates(self) -> bool:
        return bool(self.row.events)

    @property
    def discloses(self) -> bool:
        """Whether answers carry the notice in their JSON."""
        disclosure = self._disclosure
        return disclosure is not None and disclosure.body and self._generates

    # Enforcing

    def blocked(self, decision: Decision) -> PolicyBlocked:
        """The error of a call that a rail stops."""
        return PolicyBlocked(decision.decisive, self.policy.message(decision.decisive))

    async def _enforce_input(self) -> None:
        if self._input.action == "block":
            raise self.blocked(self._input)
        if self._input.action == "hold" and not self._released:
            await self._hold(self._input, "input")

    async def _hold(self, decision: Decision, side: HeldSide) -> NoReturn:
        review = self._new_review(decision.decisive, side)
        await self._on_record()
        await self._reviews.open(review)
        self._review, self._was_held = review.id, True
        raise HeldForReview(review, self.policy.message(decision.decisive))

    def _new_review(self, rail: str, side: HeldSide) -> Review:
        terms = self.policy.pack.review
        metadata = self._document.get("metadata")
        callback = metadata.get("regalia_callback") if type(metadata) is dict else None
        return Review(
            id=f"review_{new_call_id(self._ms, self._random(10)).removeprefix('call_')}",
            call=self._call,
            project=self._caller.project,
            author=self._caller.actor,
            route=self.row.route,
            side=side,
            rail=rail,
            policy=self.policy.label,
            created=self._ms,
            deadline=self._ms + terms.deadline_minutes * _MINUTE_MS,
            default=terms.default,
            callback=callback if isinstance(callback, str) and len(callback) <= 2048 else "",
        )


def _told(ran: Ran, side: HeldSide) -> dict[str, Any]:
    told: dict[str, Any] = {
        "rail": ran.rail,
        "on": side,
        "action": ran.action,
        "mode": ran.mode,
        "does": ran.does,
        "counts": dict(ran.counts),
    }
    if ran.failure:
        told["failed"] = ran.failure
    return told
