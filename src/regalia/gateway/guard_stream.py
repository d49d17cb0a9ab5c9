"""A streamed answer under a policy: held back by a window, checked, and only then passed on.

The text of a stream runs in lanes: one for each choice and field. An event waits until all the text that it
carries is clear: at least `window` code points stand behind it in its lane, or the lane has ended, and every
rail that may keep text back has looked at it together with as much text before it. What may be the beginning
of a finding longer than that is held until it ends or turns out to be none. Events leave in the order in
which they came, byte for byte where nothing was changed.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from regalia.engines import EngineBroken, EngineIdentity, Result
from regalia.gateway.guard import CallGuard
from regalia.gateway.guard_chunks import (
    Number,
    as_told,
    beside_choices,
    in_calls,
    put_back,
    put_numbers_back,
    strings_of,
    tokens_beside,
)
from regalia.gateway.guard_lanes import Event, Lane
from regalia.gateway.guard_table import answer_texts
from regalia.gateway.guard_texts import FIELDS, OUTPUT, OUTPUT_CALLS, drop_logprobs, sides_of
from regalia.policy.compiled import Plan, Rule
from regalia.policy.decide import NOTHING, Decision, Hit, Ran, Scan, decide, strictest
from regalia.policy.redact import BEHIND, within_json
from regalia.policy.scan import MAX_HITS, Text, scan_all

STEP, SLOW_STEP = 64, 256
"""How much new text is awaited before rails look again; more where looking costs time."""

MOST_HELD = 24_576
"""How much of a lane, in code points, is held back for a finding that has not ended. What is found and grows
longer is decided on as it is; a rail that would wait for more of a text has failed."""

_decode = msgspec.json.Decoder().decode


class StreamGuard:
    """The guard of one stream. `feed` takes the engine's events and gives those that may leave."""

    def __init__(self, guard: CallGuard) -> None:
        self._guard = guard
        self._policy = guard.policy
        rules = guard.policy.rules_on(guard.row.answers | {"tool_calls"})
        self._deciding = [rule for rule in rules if rule.decides]
        self._watching = [rule for rule in rules if not rule.decides]
        exempting = [rule for rule in self._watching if rule.rail.action == "allow"]
        if self._deciding:  # an exemption counts only if it is known in time
            self._deciding = [rule for rule in rules if rule in self._deciding or rule in exempting]
            self._watching = [rule for rule in self._watching if rule not in exempting]
        self._window = max((rule.window for rule in self._deciding), default=0)
        self._step = SLOW_STEP if any(rule.slow for rule in self._deciding) else STEP
        self._plans: dict[tuple[bool, frozenset[str]], Plan] = {}
        self._lanes: dict[Any, Lane] = {}
        self._queue: list[Event] = []
        self._hits: dict[str, dict[tuple[int, int, int, str], Hit]] = {}
        self._failures: dict[str, str] = {}
        self._holding = False
        self._noted = NOTHING
        self._may_hold = any("hold" in (rule.rail.action, rule.rail.on_failure) for rule in self._deciding)
        self._sent: list[bytes] = []
        self._discloses = guard.discloses

    async def feed(self, name: bytes, data: bytes) -> list[bytes]:
        """The events that may leave now that this one has come. Raises as the guard does."""
        try:
            document = _decode(data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise EngineBroken(f"the engine's event is not JSON: {error}") from error
        if type(document) is not dict:
            raise EngineBroken("the engine's event is not a JSON object")
        event = Event(name, data, document)
        if self._discloses:
            document["regalia"] = self._guard.disclosed()
            self._discloses, event.changed = False, True
        if self._guard.row.events == "chunks":
            numbers = self._take_chunk(event)
            if self._deciding and (told := beside_choices(document)):
                names = set(told)
                if await self._whole(event, told):
                    put_back(document, names, told)
            if self._deciding and numbers:
                told = as_told(numbers)
                if await self._whole(event, told):
                    put_numbers_back(numbers, told)
        else:
            await self._take_response(event)
        self._queue.append(event)
        if any(lane.ended or lane.end - lane.scanned >= max(self._step, len(lane.tail) >> 4)
               or not self._window for lane in self._lanes.values() if lane.cleared < lane.end):  # fmt: skip
            await self._advance()
        return self._leave()

    async def end(self, result: Result, engine: EngineIdentity) -> list[bytes]:
        """The events that are left. Raises as the guard does; HeldForReview where the answer waits."""
        for lane in self._lanes.values():
            lane.ended = True
        await self._advance()
        if self._watching:
            await self._watch()
        left = self._leave()
        if self._holding:
            events = b"".join(self._sent)
            await self._guard.hold_answer("text/event-stream; charset=utf-8", events, result, engine)
        return left

    # Taking events apart

    def _take_chunk(self, event: Event) -> list[Number]:
        """A chunk of a chat or text completion; its numbers that are to be looked at."""
        numbers: list[Number] = []
        for choice in event.document.get("choices") or ():
            if type(choice) is not dict:
                raise EngineBroken("a choice of the engine's chunk is not an object")
            number, said = choice.get("index", 0), ""
            known = len(numbers)
            for path, node, key in strings_of(choice, numbers):
                lane = self._lane((number, *path), _sides(path), key == "arguments", key)
                self._put(event, lane, node, key)
                said += node[key]
            for path, node, key in numbers[known:] if self._watching else ():
                self._lane((number, *path), _sides(path), json=False).whole.append(f"{key}: {node[key]}")
            if choice.get("logprobs") and self._deciding and tokens_beside(choice, said):
                choice["logprobs"], event.changed = None, True
            if choice.get("finish_reason"):
                for (first, *_), lane in self._lanes.items():
                    lane.ended = lane.ended or first == number
        return numbers

    async def _take_response(self, event: Event) -> None:
        """An event of the Responses API: a delta runs in a lane, every other text is whole."""
        document = event.document
        kind, item = str(document.get("type", "")), document.get("output_index", -1)
        if kind.endswith(".delta") and type(document.get("delta")) is str:
            place = (item, kind, document.get("content_index"), document.get("summary_index"))
            calls = "arguments" in kind or "_call" in kind
            lane = self._lane(place, OUTPUT_CALLS if calls else OUTPUT, "arguments" in kind)
            self._put(event, lane, document, "delta")
            if self._deciding and tokens_beside(document, document["delta"]):
                document["logprobs"], event.changed = [], True
            return
        closes = kind.endswith(".done")
        for (first, *_), lane in self._lanes.items():
            lane.ended = lane.ended or "output_index" not in document or (closes and first == item)
        await self._whole(event, document)

    def _lane(self, place: Any, sides: frozenset[str], json: bool, key: Any = "text") -> Lane:
        """The lane of a place; it begins with the name that its text stands under, if the API has no such."""
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = Lane(len(self._lanes), sides, json)
            if key not in FIELDS and type(key) is str:
                lane.begin_with(f"{key}: ")
        return lane

    def _put(self, event: Event, lane: Lane, node: Any, key: str) -> None:
        text, start = node[key], lane.end
        lane.tail += text
        lane.ended = False
        if self._watching:
            lane.whole.append(text)
        event.pieces.append((lane, start, lane.end, node, key))

    async def _whole(self, event: Event, document: dict[str, Any]) -> bool:
        """Check and edit texts of an event that do not come in pieces; whether there were edits to make."""
        found = answer_texts(self._guard.row, document, self._guard.sources)
        scans = await self._scan(self._deciding, found.texts)
        decision = decide(self._policy.pack, self._guard.facts, scans)
        self._note(decision)
        if decision.action == "block":
            raise self._guard.blocked(decision)
        self._holding = self._holding or decision.action == "hold"
        edits = {}
        for number, text in enumerate(found.texts):
            made = self._guard.edits_of(text.text, [hit for hit in decision.redactions if hit.text == number])
            if made:
                edits[number] = within_json(text.text, made) if found.spells_json(number) else made
        if edits:
            found.apply(edits)
            drop_logprobs(event.document)
            event.changed = True
        return bool(edits)

    # Checking

    async def _advance(self) -> None:
        """Look at what is new, decide, and clear what may go."""
        lanes = [lane for lane in self._lanes.values() if lane.cleared < lane.end]
        decision = Decision()
        if self._deciding:
            decision = await self._look(lanes)
        else:
            for lane in lanes:
                lane.held = lane.end
        for lane in lanes:
            self._clear(lane, decision)

    async def _look(self, lanes: list[Lane]) -> Decision:
        scans = await self._scan(self._deciding, self._texts(lanes))
        for rail, scan in scans.items():
            if scan.failure:
                self._failures[rail] = scan.failure
            hits = self._hits.setdefault(rail, {})
            for hit in scan.hits:
                lane, found = lanes[hit.text], hit.finding
                start, end = found.start + lane.base, found.end + lane.base
                if end > lane.cleared:
                    placed = msgspec.structs.replace(found, start=start, end=end)
                    _replace_shorter(hits, lane.number, placed)
            if len(hits) > MAX_HITS:
                self._failures[rail] = "too_many"
        for lane in lanes:
            lane.scanned = lane.held = lane.end
        self._hold(lanes, scans)
        decision = self._decide()
        if decision.action == "block":
            raise self._guard.blocked(decision)
        self._holding = self._holding or decision.action == "hold"
        return decision

    def _hold(self, lanes: list[Lane], scans: Mapping[str, Scan]) -> None:
        """Hold what may yet become a finding."""
        for rail, scan in scans.items():
            for number, begins in scan.unfinished:
                lane = lanes[number]
                lane.held = min(lane.held, lane.base + begins)
                if lane.end - max(lane.held, lane.cleared) > MOST_HELD:
                    self._failures[rail] = "unreadable"

    def _decide(self) -> Decision:
        scans = {
            rail: Scan(tuple(hits.values()), self._failures.get(rail, ""))
            for rail, hits in self._hits.items()
        }
        decision = decide(self._policy.pack, self._guard.facts, scans)
        self._note(decision)
        return decision

    def _note(self, decision: Decision) -> None:
        """Keep what the record is to say: of each rail the most that it has found and done.

        What comes in pieces comes again as a whole at the end of some streams, and is not counted twice.
        """
        noted = self._noted
        ran = {one.rail: one for one in noted.ran}
        for one in decision.ran:
            known = ran.get(one.rail)
            if known is None or _weight(one) >= _weight(known):
                ran[one.rail] = one
        harder = strictest(noted.action, decision.action) != noted.action
        self._noted = Decision(
            decision.action if harder else noted.action,
            decision.decisive if harder else noted.decisive,
            tuple(ran.values()),
            decision.redactions or noted.redactions,
        )
        self._guard.note_output(self._noted)

    def _clear(self, lane: Lane, decision: Decision) -> None:
        limit = lane.end if lane.ended else max(lane.cleared, lane.end - self._window)
        spans = [hit for hit in decision.redactions if hit.text == lane.number]
        if not lane.ended:
            limit = min(limit, lane.base + self._guard.redactor.unfinished(lane.tail), lane.held)
            for hit in spans:
                if hit.finding.start < limit < hit.finding.end and limit - hit.finding.start < MOST_HELD:
                    limit = max(lane.cleared, hit.finding.start)
        near = [_within(hit, lane) for hit in spans if hit.finding.end > lane.cleared]
        edits = self._guard.edits_of(lane.tail, near)
        if lane.json:
            edits = within_json(lane.tail, edits, lane.inside)
        for start, end, instead in edits:
            first, last = max(start + lane.base, lane.cleared), end + lane.base
            if lane.cleared <= first < limit and last > lane.cleared:
                lane.edits.append((first, last, instead))
                limit = max(limit, last) if last <= lane.end else limit
        lane.cleared = max(lane.cleared, limit)
        lane.forget(lane.cleared - max(self._window, BEHIND))

    async def _watch(self) -> None:
        """Run the rails that keep nothing back, on all that was said."""
        lanes = list(self._lanes.values())
        texts = [Text("".join(lane.whole), lane.sides, sources=self._guard.sources) for lane in lanes]
        for rail, scan in (await self._scan(self._watching, texts)).items():
            if scan.failure:
                self._failures[rail] = scan.failure
            self._hits[rail] = {
                (hit.text, hit.finding.start, hit.finding.end, hit.finding.kind): hit for hit in scan.hits
            }
        self._decide()

    def _texts(self, lanes: list[Lane]) -> list[Text]:
        """What is kept of the lanes, to be looked at."""
        sources = self._guard.sources
        return [Text(lane.tail, lane.sides, sources=sources, ended=lane.ended) for lane in lanes]

    async def _scan(self, rules: list[Rule], texts: list[Text]) -> Mapping[str, Scan]:
        sides = sides_of(texts)
        plan = self._plans.get((rules is self._watching, sides))
        if plan is None:
            plan = Plan(self._policy.pack, [rule for rule in rules if rule.sides & sides])
            self._plans[rules is self._watching, sides] = plan
        return await scan_all(plan, self._guard.facts, texts)

    def _leave(self) -> list[bytes]:
        ready = 0
        while ready < len(self._queue) and self._queue[ready].clear:
            ready += 1
        events = [event.wire() for event in self._queue[:ready]]
        del self._queue[:ready]
        if self._may_hold:
            self._sent += events
            if self._holding:
                return []
        return events


def _sides(path: tuple[Any, ...]) -> frozenset[str]:
    return OUTPUT_CALLS if in_calls(path) else OUTPUT


def _weight(ran: Ran) -> tuple[bool, bool, int]:
    return bool(ran.failure), bool(ran.does), sum(ran.counts.values())


def _replace_shorter(hits: dict[tuple[int, int, int, str], Hit], lane: int, found: Any) -> None:
    """Keep a finding; one that has grown since it was first seen takes the place of the shorter one."""
    for key in [key for key in hits if key[0] == lane and key[3] == found.kind and key[2] > found.start]:
        if found.start <= key[1] and key[2] <= found.end:
            del hits[key]
        elif key[1] <= found.start and found.end <= key[2]:
            return
    hits[lane, found.start, found.end, found.kind] = Hit(lane, found)


def _within(hit: Hit, lane: Lane) -> Hit:
    found = hit.finding
    start = max(found.start, lane.cleared) - lane.base
    return Hit(hit.text, msgspec.structs.replace(found, start=start, end=found.end - lane.base))
