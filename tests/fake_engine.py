"""A cheap server that speaks the OpenAI API, for tests that need an engine but no model.

`python fake_engine.py PORT`. A request's `fake` field steers it (the gateway passes unknown fields on):
`{"fake": {"delay_ms": 50, "die_after": 3, "status": 500, "words": 9, "input": 5, "cached": 2}}`; a stream
waits `prefill_ms` before its first word, and after it for `POST /release/NAME` if it is told to `hold` for
that name. It writes no more words than the request allows, and counts each as a token; asked for
`continuous_usage_stats`, it says so with every word, and counts `per_word` tokens. `GET /open`: how many
streams are under way; `GET /asked`: how many calls have come.
"""

import asyncio
import json
import sys
from typing import Any

from aiohttp import web

WORDS = ["The", " capital", " of", " Kenya", " is", " Nairobi", "."]
ANSWER = "".join(WORDS)
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
KINDS = {False: "chat.completion", True: "text_completion"}
OPEN_STREAMS = web.AppKey("open_streams", list[str])
ASKED = web.AppKey("asked", list[str])
RELEASED = web.AppKey("released", set[str])


def completion(model: str, finish: str | None, **choice: Any) -> dict[str, Any]:
    """A completion, or a chunk of one."""
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion.chunk" if "delta" in choice else KINDS["text" in choice],
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "finish_reason": finish, **choice}],
    }


def usage(fake: dict[str, Any], words: int) -> dict[str, Any]:
    """What it counted, in the shape of chat and text completions."""
    tokens = fake.get("input", 5)
    counted: dict[str, Any] = {
        "prompt_tokens": tokens,
        "completion_tokens": words,
        "total_tokens": tokens + words,
    }
    if "cached" in fake:
        counted["prompt_tokens_details"] = {"cached_tokens": fake["cached"]}
    return counted


def responses_usage(fake: dict[str, Any], words: int) -> dict[str, Any]:
    """What it counted, in the shape of responses."""
    tokens = fake.get("input", 5)
    details = {"cached_tokens": fake.get("cached", 0)}
    return {"input_tokens": tokens, "input_tokens_details": details, "output_tokens": words}


def words_of(body: dict[str, Any]) -> list[str]:
    """The answer's words: as many as were asked for, and allowed."""
    wanted = body.get("fake", {}).get("words", len(WORDS))
    limits = [body[name] for name in LIMITS if isinstance(body.get(name), int)]
    return [WORDS[number % len(WORDS)] for number in range(min([wanted, *limits]))]


async def refused(body: dict[str, Any]) -> web.Response | None:
    """What it answers when it is told to fail; else it waits as long as it is told to."""
    fake = body.get("fake", {})
    if "status" in fake:
        error = {"message": "as asked", "type": "server_error"}
        return web.json_response({"error": error}, status=fake["status"])
    if not body.get("stream"):
        await asyncio.sleep(fake.get("delay_ms", 0) / 1000)
    return None


async def chat(request: web.Request) -> web.StreamResponse:
    """`POST /v1/chat/completions`."""
    body = await request.json()
    if (refusal := await refused(body)) is not None:
        return refusal
    words = words_of(body)
    if body.get("stream"):
        chunks = [completion(body["model"], None, delta={"content": word}) for word in words]
        return await stream(request, body, chunks, completion(body["model"], "stop", delta={}))
    message = {"role": "assistant", "content": "".join(words)}
    answer = completion(body["model"], "stop", message=message)
    return web.json_response({**answer, "usage": usage(body.get("fake", {}), len(words))})


async def complete(request: web.Request) -> web.StreamResponse:
    """`POST /v1/completions`."""
    body = await request.json()
    if (refusal := await refused(body)) is not None:
        return refusal
    words = words_of(body)
    if body.get("stream"):
        chunks = [completion(body["model"], None, text=word) for word in words]
        return await stream(request, body, chunks, completion(body["model"], "stop", text=""))
    answer = completion(body["model"], "stop", text="".join(words))
    return web.json_response({**answer, "usage": usage(body.get("fake", {}), len(words))})


async def respond(request: web.Request) -> web.StreamResponse:
    """`POST /v1/responses`."""
    body = await request.json()
    if (refusal := await refused(body)) is not None:
        return refusal
    words = words_of(body)
    counted = responses_usage(body.get("fake", {}), len(words))
    answer = {"id": "resp_fake", "object": "response", "status": "completed", "usage": counted}
    if not body.get("stream"):
        return web.json_response(answer)
    deltas = [{"type": "response.output_text.delta", "delta": word} for word in words]
    return await stream(request, body, deltas, {"type": "response.completed", "response": answer})


async def stream(
    request: web.Request, body: dict[str, Any], chunks: list[dict[str, Any]], last: dict[str, Any]
) -> web.StreamResponse:
    """The answer a word at a time; `die_after` breaks the connection after that many."""
    fake = body.get("fake", {})
    reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await reply.prepare(request)
    streams = request.app[OPEN_STREAMS]
    streams.append("")
    try:
        await asyncio.sleep(fake.get("prefill_ms", 0) / 1000)
        for number, chunk in enumerate(chunks):
            if number == fake.get("die_after"):
                assert request.transport is not None
                request.transport.abort()
                return reply
            if body.get("stream_options", {}).get("continuous_usage_stats"):
                await reply.write(
                    event({**chunk, "usage": usage(fake, (number + 1) * fake.get("per_word", 1))})
                )
            else:
                await reply.write(event(chunk))
            await asyncio.sleep(fake.get("delay_ms", 0) / 1000)
            while "hold" in fake and fake["hold"] not in request.app[RELEASED]:  # noqa: ASYNC110 - one of many names
                await asyncio.sleep(0.01)
        await reply.write(event(last))
        if body.get("stream_options", {}).get("include_usage"):
            told = {**last, "choices": [], "usage": usage(fake, len(chunks))}
            await reply.write(event(told))
        if "type" not in last:
            await reply.write(b"data: [DONE]\n\n")
    except ConnectionResetError:  # the gateway went: a cancelled call
        pass
    finally:
        streams.pop()
    return reply


def event(document: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(document).encode() + b"\n\n"


async def embed(request: web.Request) -> web.Response:
    """`POST /v1/embeddings`."""
    body = await request.json()
    if (refusal := await refused(body)) is not None:
        return refusal
    tokens = body.get("fake", {}).get("input", 5)
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
    counted = {"prompt_tokens": tokens, "total_tokens": tokens}
    return web.json_response({"object": "list", "model": body["model"], "data": data, "usage": counted})


async def tokenize(request: web.Request) -> web.Response:
    """`POST /tokenize`: a token for each character."""
    body = await request.json()
    tokens = [ord(mark) for mark in body.get("prompt") or ""]
    return web.json_response({"count": len(tokens), "max_model_len": 4096, "tokens": tokens})


async def detokenize(request: web.Request) -> web.Response:
    """`POST /detokenize`."""
    body = await request.json()
    return web.json_response({"prompt": "".join(map(chr, body["tokens"]))})


async def models(_: web.Request) -> web.Response:
    """`GET /v1/models`."""
    return web.json_response({"object": "list", "data": [{"id": "fake", "object": "model"}]})


async def open_streams(request: web.Request) -> web.Response:
    """`GET /open`: how many streams are under way."""
    return web.json_response(len(request.app[OPEN_STREAMS]))


async def release(request: web.Request) -> web.Response:
    """`POST /release/NAME`: streams that hold for this name go on."""
    request.app[RELEASED].add(request.match_info["name"])
    return web.Response(status=204)


async def asked(request: web.Request) -> web.Response:
    """`GET /asked`: how many calls have come."""
    return web.json_response(len(request.app[ASKED]))


@web.middleware
async def counted(request: web.Request, handler: Any) -> web.StreamResponse:
    """Count the calls."""
    if request.method == "POST" and "name" not in request.match_info:
        request.app[ASKED].append("")
    answer: web.StreamResponse = await handler(request)
    return answer


def application() -> web.Application:
    """The server's routes."""
    app = web.Application(middlewares=[counted])
    app[OPEN_STREAMS] = []
    app[ASKED] = []
    app[RELEASED] = set()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_post("/v1/completions", complete)
    app.router.add_post("/v1/responses", respond)
    app.router.add_post("/v1/embeddings", embed)
    app.router.add_post("/tokenize", tokenize)
    app.router.add_post("/detokenize", detokenize)
    app.router.add_get("/v1/models", models)
    app.router.add_post("/release/{name}", release)
    app.router.add_get("/open", open_streams)
    app.router.add_get("/asked", asked)
    return app


if __name__ == "__main__":
    web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]), print=None)
