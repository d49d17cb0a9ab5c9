"""`/v1/regalia/reviews…`: the queue of held calls, for reviewers, and the way to a released answer."""

from typing import Annotated, Any

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from regalia.api.asker import asker
from regalia.instance import Instance
from regalia.instance.tenancy.operations import decoded
from regalia.instance.tenancy.paging import USUAL
from regalia.policy.reviews import Review, Verdict

ANSWER_PREFIX, ANSWER_SUFFIX = "/v1/regalia/reviews/", "/answer"
_encode = msgspec.json.Encoder().encode
Req = Request[Any, Any, Any]


class Edit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be said instead."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000_000)]


def fetched_review(path: str) -> str | None:
    """The review whose answer a path asks for."""
    if path.startswith(ANSWER_PREFIX) and path.endswith(ANSWER_SUFFIX):
        ident = path[len(ANSWER_PREFIX) : -len(ANSWER_SUFFIX)]
        return ident if ident and "/" not in ident else None
    return None


def review_handlers(instance: Instance) -> list[HTTPRouteHandler]:
    """The routes over one running instance, but for `…/answer`, which answers as inference does."""
    desk = instance.reviews

    @get("/v1/regalia/reviews", summary="Calls that are held for review", tags=["reviews"])
    async def listed(
        request: Req,
        status: str = "",
        project: str = "",
        limit: Annotated[int, Parameter(ge=1, le=USUAL.most)] = USUAL.usual,
        after: str = "",
    ) -> Response[bytes]:
        """Those that the asker may decide; `status` is open, released, edited, refused or delivered.

        `for_others` says of an empty list whether calls wait in the asker's projects for somebody else.
        """
        asked = {"status": status, "project": project, "limit": str(limit), "after": after}
        found = await desk.listed(asker(instance, request), asked)
        return _json({**found, "data": [_told(review) for review in found["data"]]})

    @get("/v1/regalia/reviews/{review:str}", summary="A held call's state", tags=["reviews"])
    async def one(request: Req, review: str) -> Response[bytes]:
        """For the caller's project and for reviewers. Ask `…/answer` (POST) once it is released."""
        return _json(_told(await desk.get(asker(instance, request), review)))

    @get("/v1/regalia/reviews/{review:str}/content", summary="What is to be decided", tags=["reviews"])
    async def content(request: Req, review: str) -> Response[bytes]:
        """The request, and the answer that waits; on record."""
        shown = await desk.show(asker(instance, request), review)
        return _json({**_told(shown.review), "request": shown.request, "answer": shown.answer})

    def verdict(name: Verdict, summary: str) -> HTTPRouteHandler:
        @post(
            f"/v1/regalia/reviews/{{review:str}}/{name}", status_code=200, summary=summary, tags=["reviews"]
        )
        async def decide(request: Req, review: str) -> Response[bytes]:
            body = await request.body()
            edit = decoded(body, Edit) if name == "edit" else None
            text = edit.text if isinstance(edit, Edit) else ""
            return _json(_told(await desk.decide(asker(instance, request), review, name, text)))

        return decide

    return [
        listed,
        one,
        content,
        verdict("release", "Let a held call go on"),
        verdict("edit", "Give another answer, marked as edited"),
        verdict("refuse", "Refuse a held call"),
    ]


def _told(review: Review) -> dict[str, Any]:
    """A review as it is shown: who decided stays in the record."""
    told = msgspec.to_builtins(review)
    for name in ("decided_by", "claimed", "callback"):
        del told[name]
    return dict(told)


def _json(content: Any) -> Response[bytes]:
    return Response(_encode(content), media_type=MediaType.JSON, headers={"cache-control": "no-store"})
