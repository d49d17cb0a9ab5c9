"""Held calls of an instance: queued, shown to reviewers, decided, fetched by whoever made the call.

What a reviewer sees and decides is on record (`admin.review_shown`, `…_released`, `…_edited`, `…_refused`,
`…_expired`) before it counts; a verdict that could not be carried out is followed by `admin.review_failed`.
Whoever works on a review claims it, and holds the claim for as long as that takes. A released answer is a
call of its own, with a receipt; a request that was held before it was answered is answered when its caller
comes for it, under the policy as it is then.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import structlog
from sqlalchemy import Connection, Row, select
from sqlalchemy.exc import SQLAlchemyError

from regalia.clock import now_ms
from regalia.errors import ApiError
from regalia.gateway import ROUTES, Gateway
from regalia.gateway.client import Client, Headers
from regalia.gateway.delivery import RANDOM_BYTES, delivery, edited
from regalia.gateway.guard import HELD
from regalia.gateway.guard_outcome import HeldAnswer
from regalia.identity import Principal, Pseudonyms
from regalia.identity.live import as_struct
from regalia.identity.principal import local_actor
from regalia.identity.roles import not_found, permits, require, require_at, sees
from regalia.instance.tenancy.hands import refuse_same_hands
from regalia.instance.tenancy.paging import ALL, Asked, page_of_rows
from regalia.instance.tenancy.tenancy import Tenancy
from regalia.ledger import Ledger, ReceiptNotFound
from regalia.policy.errors import PolicyConflict
from regalia.policy.reviews import AFTER, CLAIM_MS, Review, Verdict, may_decide, settled
from regalia.policy.store import ReviewStore
from regalia.storage import Database, LastLook
from regalia.storage.schema.policy import reviews

SWEEP_S = 1.0
RENEW_S = CLAIM_MS / 1000 / 4
"""How often a claim is made to last longer, by whoever still works."""
CALLBACK_S = 5.0
_LOG = structlog.get_logger()
_DEADLINE = local_actor("regalia:deadline")
_ROUTES = {route.name: route for route in ROUTES}
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Shown(msgspec.Struct, frozen=True):
    """A review and what it is about: the request, and the answer where one waits."""

    review: Review
    request: str
    answer: str


class Queue:
    """Where the gateway puts held calls. Implements `regalia.gateway.guard.Reviews`."""

    def __init__(self, database: Database, callbacks: tuple[str, ...]) -> None:
        self.store = ReviewStore(database)
        self._callbacks = callbacks

    async def open(self, review: Review) -> None:
        """Queue it; a callback that is not allowed is left out, and the caller has to poll."""
        if review.callback and not may_call(review.callback, self._callbacks):
            review = msgspec.structs.replace(review, callback="")
        await asyncio.to_thread(self.store.add, review)


class ReviewDesk:
    """Reviews on a running instance."""

    def __init__(
        self,
        queue: Queue,
        tenancy: Tenancy,
        ledger: Ledger,
        gateway: Gateway,
        pseudonyms: Pseudonyms,
        *,
        clock: Callable[[], int] = now_ms,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._store = queue.store
        self._at = tenancy
        self._ledger = ledger
        self._gateway = gateway
        self._pseudonyms = pseudonyms
        self._clock = clock
        self._random = random
        self._callbacks: set[asyncio.Task[None]] = set()
        self._last = LastLook(tenancy.database)
        self._deadline: int | None = None  # the next one, as it was when the database was looked at last

    # For reviewers

    async def listed(self, actor: Principal, asked: Asked = ALL) -> dict[str, Any]:
        """A page of the reviews that the actor may decide, the oldest first. Raises ApiError 400.

        `status` and `project` of what is asked narrow it. `for_others` says of an empty page whether calls of
        projects that the actor has business in wait for somebody else's decision.
        """
        query = select(reviews)
        for name, column in (("status", reviews.c.state), ("project", reviews.c.project)):
            if asked.get(name):
                query = query.where(column == asked[name])

        def shown(row: Row[Any]) -> Review | None:
            review = as_struct(Review, row)
            return review if self._may(actor, review) else None

        def run() -> dict[str, Any]:
            with self._at.database.read() as connection:
                found = page_of_rows(connection, query, (reviews.c.created, reviews.c.id), asked, shown)
                others = not found["data"] and self._held_for_others(connection, actor, asked)
                return {**found, "for_others": others}

        return await self._at.scan(run)

    def _held_for_others(self, connection: Connection, actor: Principal, asked: Asked) -> bool:
        query = select(reviews.c.project).where(reviews.c.state == "open").distinct()
        if asked.get("project"):
            query = query.where(reviews.c.project == asked["project"])
        homes = self._at.tenants.projects
        projects = [homes.get(row.project) for row in connection.execute(query)]
        return any(home is not None and sees(actor, home.organisation, home.id) for home in projects)

    async def get(self, actor: Principal, ident: str) -> Review:
        """A review, for its project's callers and for its reviewers. Raises ApiError 404."""
        review = await self._found(ident)
        if review.project != actor.project and not self._may(actor, review):
            raise not_found("review", ident)
        return review

    async def show(self, actor: Principal, ident: str) -> Shown:
        """What is to be decided, for a reviewer, on record. Raises ApiError 403, 404, 409, 410."""
        review = await self._found(ident)
        self._require(actor, review)
        if review.state != "open":
            raise ApiError(
                409,
                "review_decided",
                "This is decided: its content is read as that of any call, with a grant.",
            )
        request, held = await self._contents(review)
        await self._at.note("admin.review_shown", actor, review=ident, call=review.call)
        answer = held.body.decode(errors="replace") if held is not None else ""
        return Shown(review, request.decode(errors="replace"), answer)

    async def decide(self, actor: Principal, ident: str, verdict: Verdict, text: str = "") -> Review:
        """Release, edit or refuse a held call. Raises ApiError 403, 404, 409."""
        review = await self._found(ident)
        self._require(actor, review)
        try:
            may_decide(review, actor.actor, verdict, self._clock())
            refuse_same_hands(self._at, actor, review.author, review.created)
            async with self._claimed(review) as claim:
                kind = f"admin.review_{AFTER[verdict]}"
                return await self._carry_out(actor, claim, verdict, kind, text)
        except PolicyConflict as error:
            raise ApiError(409, "not_now", f"{error}.") from error

    # For whoever made the call

    async def fetch(self, actor: Principal, ident: str, client: Client) -> None:
        """Give the answer that waited. Raises ApiError: 403 refused, 404, 409 while it is not decided."""
        review = await self._found(ident)
        if review.project != actor.project:
            raise not_found("review", ident)
        require(actor, "call.make")
        if actor.routes is not None and review.route not in actor.routes:
            raise ApiError(403, "route_not_allowed", f"This key is not for the route `{review.route}`.")
        if review.state == "open":
            raise ApiError(409, "review_open", "Nobody has decided yet.", retry_after=30)
        if review.state == "refused":
            raise ApiError(403, "review_refused", "A reviewer has refused this call.")
        if review.answer:
            await self._give(review, client)
            return
        await self._answer_now(actor, review, client)

    async def _answer_now(self, actor: Principal, review: Review, client: Client) -> None:
        """Answer a request that was held, once. A caller who left before the end may come again."""
        noted = _Noted(client)
        try:
            async with self._claimed(review) as claim:
                request, _ = await self._contents(review)
                route = _ROUTES[review.route]
                await self._gateway.answer(route, actor, request, noted, released=review.id)
                if noted.ended:
                    done = msgspec.structs.replace(review, state="delivered", answer=noted.call, claimed=0)
                    async with claim.turn:
                        with suppress(PolicyConflict):  # somebody else has the claim by now, and says so
                            await asyncio.to_thread(self._store.save, done, claim.mark)
        except PolicyConflict as error:
            raise ApiError(409, "not_now", "It is being answered.", retry_after=5) from error

    async def _give(self, review: Review, client: Client) -> None:
        parts = {part.name: part.data for part in await self._ledger.contents(review.answer)}
        if "response" not in parts:
            raise ApiError(410, "content_erased", "The answer was erased; the call's receipt proves it.")
        body = parts["response"]
        streamed = body.startswith((b"data: ", b"event: "))
        kind = "text/event-stream; charset=utf-8" if streamed else "application/json"
        end = b"data: [DONE]\n\n" if streamed and review.route != "responses" else b""
        if review.state != "delivered":
            await asyncio.to_thread(self._store.delivered, review)
        await client.reply(review.answer, 200, kind, body + end, ((b"x-regalia-review", review.id.encode()),))

    # Deadlines

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Let deadlines decide while the block runs."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            for running in (task, *self._callbacks):
                running.cancel()
            await asyncio.gather(task, *self._callbacks, return_exceptions=True)
            self._last.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self.expire()
            except Exception as error:  # the next round tries again; until then the calls stay held
                _LOG.warning("reviews can't be swept", error=type(error).__name__)

    async def expire(self) -> int:
        """Let the deadline decide where it has passed; how many."""
        if self._last.due():
            self._deadline = await asyncio.to_thread(self._store.next_deadline)
            self._last.done()
        if self._deadline is None or self._clock() < self._deadline:
            return 0
        overdue = await asyncio.to_thread(self._store.overdue, self._clock())
        for review in overdue:
            try:
                await self._expire_one(review)
            except Exception as error:  # the deadlines of the others have passed, too
                _LOG.warning("a deadline could not decide", review=review.id, error=type(error).__name__)
        return len(overdue)

    async def _expire_one(self, review: Review) -> None:
        verdict: Verdict = "release" if review.default == "release" else "refuse"
        async with self._claimed(review, retried=False) as claim:
            try:
                await self._carry_out(_DEADLINE, claim, verdict, "admin.review_expired", "")
            except (ApiError, ReceiptNotFound) as error:
                if isinstance(error, ApiError) and error.code != "content_erased":
                    raise
                await self._carry_out(_DEADLINE, claim, "refuse", "admin.review_expired", "")

    # The work

    @asynccontextmanager
    async def _claimed(self, review: Review, *, retried: bool = True) -> AsyncIterator["_Claim"]:
        """Be the one who works on it while the block runs, however long. Raises PolicyConflict.

        Where that fails the claim is given up, or, without `retried`, ends by itself a while later.
        """
        claim = _Claim(review, self._clock())
        await asyncio.to_thread(self._store.claim, review, claim.mark)
        holding = asyncio.create_task(self._hold(claim))
        failed = True
        try:
            yield claim
            failed = False
        finally:
            async with claim.turn:
                holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)
            if retried or not failed:
                await asyncio.to_thread(self._store.unclaim, review, claim.mark)

    async def _hold(self, claim: "_Claim") -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            async with claim.turn:
                now = self._clock()
                try:
                    if not await asyncio.to_thread(self._store.renew, claim.review, claim.mark, now):
                        return
                except SQLAlchemyError as error:  # it is tried again; without a claim nothing is saved
                    _LOG.warning("a review's claim can't be renewed", error=type(error).__name__)
                else:
                    claim.mark = now

    async def _carry_out(
        self, actor: Principal, claim: "_Claim", verdict: Verdict, kind: str, text: str
    ) -> Review:
        """Record the verdict, then make it true."""
        now, review = self._clock(), claim.review
        after = settled(review, verdict, actor.actor, now)
        told = {"review": review.id, "call": review.call, "verdict": after.state, "rail": review.rail}
        if review.side == "output" and verdict != "refuse":
            request, held = await self._contents(review)
            if held is None:
                raise ApiError(410, "content_erased", "The held answer was erased.")
            if verdict == "edit":
                held = edited(held, review.route, text, review.id)
            pseudonym = self._pseudonyms.of(review.project, now)
            made = delivery(after, request, held, pseudonym, now, self._random(RANDOM_BYTES))
            await self._at.note(kind, actor, answer=made.call, **told)
            await self._ledger.append(made.admission)
            await self._ledger.append(made.outcome)
            after = msgspec.structs.replace(after, answer=made.call)
        else:
            await self._at.note(kind, actor, **told)
        async with claim.turn:
            await self._at.make(
                "admin.review_failed", actor, lambda: self._store.save(after, claim.mark),
                review=review.id, call=review.call, verdict=after.state,
            )  # fmt: skip
        if after.callback:
            task = asyncio.create_task(_call_back(after))
            self._callbacks.add(task)
            task.add_done_callback(self._callbacks.discard)
        return after

    async def _contents(self, review: Review) -> tuple[bytes, HeldAnswer | None]:
        """The exact request, and the answer that waits. Raises ApiError 410, ReceiptNotFound, CallOpen."""
        parts = {part.name: part.data for part in await self._ledger.contents(review.call)}
        if "request" not in parts:
            raise ApiError(410, "content_erased", "What was said was erased; the call's receipt proves it.")
        held = msgspec.msgpack.decode(parts[HELD], type=HeldAnswer) if HELD in parts else None
        return parts["request"], held

    async def _found(self, ident: str) -> Review:
        try:
            return await asyncio.to_thread(self._store.get, ident)
        except PolicyConflict as error:
            raise not_found("review", ident) from error

    def _organisation(self, review: Review) -> str:
        home = self._at.tenants.projects.get(review.project)
        return home.organisation if home is not None else ""

    def _may(self, actor: Principal, review: Review) -> bool:
        return permits(actor, "reviews.decide", self._organisation(review), review.project)

    def _require(self, actor: Principal, review: Review) -> None:
        require_at(actor, "reviews.decide", self._organisation(review), review.project)


class _Claim:
    """Work on a review. `mark` is the time by which it is known as claimed, while one has `turn`."""

    def __init__(self, review: Review, mark: int) -> None:
        self.review = review
        self.mark = mark
        self.turn = asyncio.Lock()


class _Noted:
    """A client that remembers which call it was answered by, and whether to its end."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.call = ""
        self.ended = False
        self.watch = client.watch

    async def reply(
        self, call: str, status: int, content_type: str, body: bytes, headers: Headers = ()
    ) -> None:
        self.call, self.ended = call, True
        await self._client.reply(call, status, content_type, body, headers)

    async def send(self, data: bytes, *, last: bool = False) -> None:
        self.ended = self.ended or last
        await self._client.send(data, last=last)

    async def start(self, call: str, content_type: str, headers: Headers = ()) -> None:
        self.call = call
        await self._client.start(call, content_type, headers)


def may_call(url: str, allowed: tuple[str, ...]) -> bool:
    """Whether a callback goes to this machine, or to where the operator allows."""
    try:
        parts = urlsplit(url)
    except ValueError:  # such as an address that opens a bracket
        return False
    if parts.scheme not in ("http", "https") or parts.username is not None:
        return False
    return parts.hostname in _LOOPBACK or any(url.startswith(prefix) for prefix in allowed)


async def _call_back(review: Review) -> None:
    """Tell the caller that it may fetch the answer now: the id and the state, nothing that was said."""
    told = {"review": review.id, "state": review.state}
    timeout = aiohttp.ClientTimeout(total=CALLBACK_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(review.callback, json=told, allow_redirects=False) as reply,
        ):
            _LOG.info("called back", review=review.id, status=reply.status)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:  # the caller can poll
        _LOG.warning("a callback failed", review=review.id, error=type(error).__name__)
