"""A cheap server that speaks the OpenAI API, for tests that need an engine but no model.

`python fake_engine.py PORT`. A request's `fake` field steers it (the gateway passes unknown fields on):
`{"fake": {"delay_ms": 50, "die_after": 3, "status": 500}}`. `GET /open` says how many streams are under way.
"""

import asyncio
import json
import sys
from typing import Any

from aiohttp import web

WORDS = ["The", " capital", " of", " Kenya", " is", " Nairobi", "."]
ANSWER = "".join(WORDS)
OPEN_STREAMS = web.AppKey("open_streams", list[str])


def completion(model: str, finish: str | None, **choice: Any) -> dict[str, Any]:
    """A chat completion or chunk."""
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion.chunk" if "delta" in choice else "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "finish_reason": finish, **choice}],
    }


USAGE = {"prompt_tokens": 5, "completion_tokens": len(WORDS), "total_tokens": 5 + len(WORDS)}


async def chat(request: web.Request) -> web.StreamResponse:
    """`POST /v1/chat/completions`."""
    body = await request.json()
    fake = body.get("fake", {})
    if "status" in fake:
        return web.json_response(
            {"error": {"message": "as asked", "type": "server_error"}}, status=fake["status"]
        )
    pause = fake.get("delay_ms", 0) / 1000
    if not body.get("stream"):
        await asyncio.sleep(pause)
        message = {"role": "assistant", "content": ANSWER}
        return web.json_response({**completion(body["model"], "stop", message=message), "usage": USAGE})
    return await stream(request, body, fake, pause)


async def stream(
    request: web.Request, body: dict[str, Any], fake: dict[str, Any], pause: float
) -> web.StreamResponse:
    """The answer a word at a time; `die_after` breaks the connection after that many, `words` is how many."""
    reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await reply.prepare(request)
    streams = request.app[OPEN_STREAMS]
    streams.append("")
    try:
        for number in range(fake.get("words", len(WORDS))):
            if number == fake.get("die_after"):
                assert request.transport is not None
                request.transport.abort()
                return reply
            delta = {"content": WORDS[number % len(WORDS)]}
            await reply.write(event(completion(body["model"], None, delta=delta)))
            await asyncio.sleep(pause)
        await reply.write(event(completion(body["model"], "stop", delta={})))
        if body.get("stream_options", {}).get("include_usage"):
            await reply.write(
                event({**completion(body["model"], None, delta={}), "choices": [], "usage": USAGE})
            )
        await reply.write(b"data: [DONE]\n\n")
    except ConnectionResetError:  # the gateway went: a cancelled call
        pass
    finally:
        streams.pop()
    return reply


def event(document: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(document).encode() + b"\n\n"


async def models(_: web.Request) -> web.Response:
    """`GET /v1/models`."""
    return web.json_response({"object": "list", "data": [{"id": "fake", "object": "model"}]})


async def open_streams(request: web.Request) -> web.Response:
    """`GET /open`: how many streams are under way."""
    return web.json_response(len(request.app[OPEN_STREAMS]))


def application() -> web.Application:
    """The server's routes."""
    app = web.Application()
    app[OPEN_STREAMS] = []
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/open", open_streams)
    return app


if __name__ == "__main__":
    web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]), print=None)
