"""Stand-ins for the tests of policies: a detector of words, an engine that says what it is told, a queue."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from typing import Any

from regalia.engines import EngineIdentity, Reply, Result, Work
from regalia.identity import Principal
from regalia.policy.book import PolicyBook
from regalia.policy.compiled import Policy, compile_document
from regalia.policy.detector import Factory, Resources
from regalia.policy.finding import Finding
from regalia.policy.reviews import Review

SECRET = "Zanzibar-4711"
RESULT = Result(tokens=[[1, 2]], input=3, output=2, finish=("stop",))
PRINCIPAL = Principal("key_1", "default", "owner", "default", roles=frozenset({"owner"}))


class Words:
    """Finds words; each is a kind."""

    name = "words"

    def __init__(self, words: Mapping[str, str]) -> None:
        self.words = words

    def find(self, text: str) -> list[Finding]:
        found = []
        for kind, word in self.words.items():
            at = text.find(word)
            while at >= 0:
                found.append(Finding(kind, at, at + len(word), 1.0, "format", self.name))
                at = text.find(word, at + 1)
        return found


class SlowWords(Words):
    """The same, at a cost; it notes when it ended."""

    slow = True

    def __init__(self, words: Mapping[str, str], pause: float) -> None:
        super().__init__(words)
        self.pause = pause

    async def find(self, text: str) -> list[Finding]:  # type: ignore[override]
        await asyncio.sleep(self.pause)
        return super().find(text)


class Broken:
    """Fails."""

    name = "broken"

    def find(self, text: str) -> list[Finding]:
        raise ZeroDivisionError(text)


def _words(options: Mapping[str, Any], _: Resources) -> Words:
    return Words(options.get("words") or {"test.word": SECRET})


def _slow_words(options: Mapping[str, Any], _: Resources) -> SlowWords:
    return SlowWords({"test.word": SECRET}, options.get("pause", 0.01))


DETECTORS: dict[str, Factory] = {
    "words": _words,
    "slow-words": _slow_words,
    "broken": lambda options, resources: Broken(),
}


def pack(*rails: Mapping[str, Any], **fields: Any) -> bytes:
    """A pack's document with these rails."""
    document = {"schema": 1, "name": "test", "version": "1.0", "title": "A test", "rails": list(rails)}
    return json.dumps({**document, **fields}, ensure_ascii=False).encode()


def rail(action: str, on: str = "input", use: str = "words", **fields: Any) -> dict[str, Any]:
    """A rail on the secret word."""
    return {"id": f"{action}-it", "on": on, "action": action, "detector": {"use": use}, **fields}


def compiled(*rails: Mapping[str, Any], **fields: Any) -> Policy:
    """The policy of a pack with these rails."""
    return compile_document(pack(*rails, **fields), DETECTORS, Resources())


class OnePolicy(PolicyBook):
    """The same policy for everybody, changed at will."""

    def __init__(self) -> None:
        super().__init__(DETECTORS)
        self.policy: Policy | None = None

    def of(self, project: str) -> Policy | None:
        return self.policy


class Queue:
    """A queue in memory."""

    def __init__(self) -> None:
        self.reviews: list[Review] = []

    async def open(self, review: Review) -> None:
        self.reviews.append(review)


async def on_record() -> None:
    """The call is admitted at once."""


def cut(text: str, places: list[int]) -> list[str]:
    """The text in pieces."""
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(edges)]


def arguments(piece: str, index: int = 0) -> dict[str, Any]:
    """A chunk with a piece of a tool call's arguments."""
    call = {"index": index, "function": {"arguments": piece}}
    return {"id": "c", "choices": [{"index": 0, "finish_reason": None, "delta": {"tool_calls": [call]}}]}


class Parrot:
    """An engine that answers every route with `says`, in as many events as there are pieces."""

    name = "parrot"
    serves = ("m",)
    routes = frozenset(
        {"chat.completions", "completions", "responses", "embeddings", "tokenize", "detokenize"}
    )
    ready = True
    in_flight = 0

    def __init__(self) -> None:
        self.says: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.answers: list[Any] = []
        self.events: list[tuple[bytes, Any]] = []

    def identity(self, model: str) -> EngineIdentity:
        return EngineIdentity("parrot", "1", "unknown", "external", model, "unknown")

    async def start(self) -> None: ...

    async def stop(self, drain_s: float) -> None: ...

    async def ask(
        self, route: str, document: dict[str, Any], work: Work | None = None
    ) -> tuple[Reply, Result]:
        self.asked.append(json.loads(json.dumps(document)))
        if work is not None:
            work.learn(RESULT)
        answer = self.answers[0] if self.answers else whole(route, "".join(self.says))
        return Reply(200, "application/json", json.dumps(answer).encode()), RESULT

    @asynccontextmanager
    async def stream(
        self, route: str, document: dict[str, Any], work: Work | None = None
    ) -> AsyncIterator[Any]:
        self.asked.append(json.loads(json.dumps(document)))
        if work is not None:
            work.learn(RESULT)
        yield Stream(self.events or list(events(route, self.says)))


class Stream:
    """What it says, as a stream."""

    content_type = "text/event-stream"
    status = 200
    result = RESULT
    body = b""

    def __init__(self, played: list[tuple[bytes, Any]]) -> None:
        self.finished = False
        self._played = played

    async def __aiter__(self) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        for number, (name, event) in enumerate(self._played):
            await asyncio.sleep(0)
            self.finished = number == len(self._played) - 1
            if isinstance(event, Exception):
                raise event
            yield [(name, event if isinstance(event, bytes) else json.dumps(event).encode())]


def whole(route: str, text: str) -> dict[str, Any]:
    """A whole answer."""
    match route:
        case "chat.completions":
            message = {"role": "assistant", "content": text}
            return {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        case "completions":
            return {"id": "c", "choices": [{"index": 0, "text": text, "finish_reason": "stop"}]}
        case "responses":
            part = {"type": "output_text", "text": text, "annotations": []}
            return {"id": "r", "output": [{"type": "message", "role": "assistant", "content": [part]}]}
        case "embeddings":
            return {"data": [{"index": 0, "embedding": [0.5, 0.25]}]}
        case "tokenize":
            return {"tokens": [1, 2]}
        case _:
            return {"content": text}


def events(route: str, pieces: list[str]) -> list[tuple[bytes, Any]]:
    """The answer as a stream's events."""
    if route == "responses":
        delta = "response.output_text.delta"
        where = {"output_index": 0, "content_index": 0}
        text = "".join(pieces)
        return [
            (b"response.created", {"type": "response.created", "response": {"id": "r", "output": []}}),
            *((delta.encode(), {"type": delta, "delta": piece, **where}) for piece in pieces),
            (b"response.output_text.done", {"type": "response.output_text.done", "text": text, **where}),
            (b"response.completed", {"type": "response.completed", "response": whole(route, text)}),
        ]
    said = [chunk(route, piece) for piece in pieces]
    return [(b"", event) for event in [*said, chunk(route, "", finish="stop")]]


def chunk(route: str, piece: str, index: int = 0, finish: str | None = None) -> dict[str, Any]:
    """A chunk of a chat or text completion."""
    delta = {"delta": {"content": piece}} if route == "chat.completions" else {"text": piece}
    return {"id": "c", "choices": [{"index": index, "finish_reason": finish, **delta}]}


def request(route: str, text: str, stream: bool = False, **fields: Any) -> bytes:
    """A request that says a text."""
    match route:
        case "chat.completions":
            body: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
        case "completions":
            body = {"prompt": text}
        case "detokenize":
            body = {"tokens": [1, 2]}
        case "tokenize":
            body = {"prompt": text}
        case _:
            body = {"input": text}
    return json.dumps({"model": "m", **body, **({"stream": True} if stream else {}), **fields}).encode()


class Listener:
    """A client that keeps what it gets."""

    def __init__(self) -> None:
        self.sent = b""
        self.steps: list[bytes] = []
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        self.begun = self.ended = False

    @contextmanager
    def watch(self) -> Any:
        yield

    async def reply(
        self,
        call: str,
        status: int,
        content_type: str,
        body: bytes,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self.sent, self.headers, self.begun, self.ended = body, headers, True, True

    async def start(
        self, call: str, content_type: str, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        self.begun, self.headers = True, headers

    async def send(self, data: bytes, *, last: bool = False) -> None:
        self.sent += data
        self.steps.append(data)
        self.ended = last

    @property
    def text(self) -> str:
        """Everything that was said, as text: whole or from the deltas."""
        if not self.sent.startswith((b"data", b"event")):
            return said_in(json.loads(self.sent))
        pieces = []
        for event in self.sent.split(b"\n\n"):
            data = event[event.find(b"data: ") + 6 :]
            if data.startswith(b"{"):
                pieces.append(delta_in(json.loads(data)))
        return "".join(pieces)


def said_in(answer: dict[str, Any]) -> str:
    """The text of a whole answer."""
    for choice in answer.get("choices", ()):
        return str(choice["message"]["content"] if "message" in choice else choice["text"])
    for item in answer.get("output", ()):
        return str(item["content"][0]["text"])
    return str(answer.get("content", ""))


def delta_in(event: dict[str, Any], index: int = 0) -> str:
    """The text that an event adds."""
    for choice in event.get("choices", ()):
        if choice["index"] == index:
            return str(choice.get("text") or choice.get("delta", {}).get("content") or "")
    return str(event.get("delta", ""))
