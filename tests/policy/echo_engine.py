"""A server that speaks the OpenAI API and repeats what it is told: `python echo_engine.py PORT`.

`GET /seen` gives every request that it got, as it got it.
"""

import json
import sys
from typing import Any

from aiohttp import web

SEEN = web.AppKey("seen", list[Any])


def said(body: dict[str, Any]) -> str:
    """What the last message says."""
    return f"You said: {body['messages'][-1]['content']}"


async def chat(request: web.Request) -> web.StreamResponse:
    """`POST /v1/chat/completions`: the last message again, streamed three code points at a time."""
    body = await request.json()
    request.app[SEEN].append(body)
    text = said(body)
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    if not body.get("stream"):
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return web.json_response(
            {"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage}
        )
    reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await reply.prepare(request)
    for start in range(0, len(text), 3):
        await reply.write(event({"delta": {"content": text[start : start + 3]}, "finish_reason": None}))
    await reply.write(event({"delta": {}, "finish_reason": "stop"}))
    await reply.write(b"data: [DONE]\n\n")
    return reply


def event(choice: dict[str, Any]) -> bytes:
    """One chunk."""
    document = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}
    return b"data: " + json.dumps(document).encode() + b"\n\n"


async def models(_: web.Request) -> web.Response:
    """`GET /v1/models`."""
    return web.json_response({"object": "list", "data": [{"id": "echo", "object": "model"}]})


async def seen(request: web.Request) -> web.Response:
    """`GET /seen`."""
    return web.json_response(request.app[SEEN])


if __name__ == "__main__":
    app = web.Application()
    app[SEEN] = []
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/seen", seen)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
