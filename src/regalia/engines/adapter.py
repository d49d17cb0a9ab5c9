"""What differs between engines, as pure functions: a request made ready, a reply read and cleaned.

This module holds the protocols and the adapter for any server that speaks the OpenAI API: replies go
on byte for byte, and only usage, finish reasons and errors are read from them. `regalia.engines.llama`
adds what llama.cpp can tell beyond that.
"""

from typing import Annotated, Any, Protocol

import msgspec

from regalia.engines.client import Reply
from regalia.engines.errors import EngineBroken, EngineReported

GENERATING = frozenset({"chat.completions", "completions", "responses"})
ROUTES = GENERATING | {"embeddings", "tokenize", "detokenize"}
TokenIds = list[list[int]]


class Result(msgspec.Struct, frozen=True):
    """What a record says about an answer.

    `tokens` holds the sampled token ids, one list a choice, without a closing end-of-sequence token;
    None where the engine did not report every one of them. `input` and `output` are its own counts;
    `cached` of the input it had in its cache.
    """

    tokens: TokenIds | None = None
    input: int = 0
    output: int = 0
    finish: tuple[str, ...] = ()
    cached: int = 0


class EventAdapter(Protocol):
    """Reads one stream. `finished` is True once the engine has said that its answer is complete."""

    finished: bool

    @property
    def result(self) -> Result:
        """What is known so far."""
        ...

    def feed(self, name: bytes, data: bytes) -> bytes | None:
        """One event of the engine; returns the data of the event for the client, None for no event.

        Raises EngineBroken for what is not an event of the route, and for an error event.
        """
        ...


class RequestAdapter(Protocol):
    """What differs between engines."""

    def path(self, route: str) -> str:
        """Where the engine serves `route`."""
        ...

    def prepare(self, route: str, document: dict[str, Any]) -> bytes:
        """The request for the engine, from the client's own document, which stays as it is."""
        ...

    def reply(self, route: str, document: dict[str, Any], reply: Reply) -> tuple[Reply, Result]:
        """The reply for the client, and what it says. Raises EngineBroken."""
        ...

    def events(self, route: str, document: dict[str, Any]) -> EventAdapter:
        """An adapter for one stream."""
        ...

    def status(self, status: int, body: bytes) -> int:
        """The HTTP status that a refusal of this engine means."""
        ...


Count = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class _Details(msgspec.Struct):
    cached_tokens: Count | None = None


class Usage(msgspec.Struct):
    """Token counts in either of OpenAI's two shapes."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None

    @property
    def input(self) -> int:
        """Tokens read."""
        return self.prompt_tokens or self.input_tokens or 0

    @property
    def output(self) -> int:
        """Tokens written."""
        return self.completion_tokens or self.output_tokens or 0

    @property
    def cached(self) -> int:
        """Of the tokens read, those that were in the engine's cache."""
        details = self.prompt_tokens_details or self.input_tokens_details
        return min(details.cached_tokens or 0, self.input) if details is not None else 0


class _Choice(msgspec.Struct):
    index: int = 0
    finish_reason: str | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Answer(msgspec.Struct):
    """The parts of a whole reply, of a chunk, and of a Responses object that matter here."""

    choices: list[_Choice] | None = None
    usage: Usage | None = None
    status: str | None = None
    incomplete_details: _Incomplete | None = None
    error: msgspec.Raw = msgspec.Raw()


class _ResponsesEvent(msgspec.Struct):
    type: str = ""
    response: msgspec.Raw = msgspec.Raw()


_encode = msgspec.json.Encoder().encode
_answer = msgspec.json.Decoder(_Answer).decode
_responses_event = msgspec.json.Decoder(_ResponsesEvent).decode
_NO_ERROR = (b"", b"null")
_TERMINAL = frozenset({"response.completed", "response.incomplete"})
_FAILED = frozenset({"response.failed", "error"})


def read_answer(data: bytes | msgspec.Raw) -> _Answer:
    """Decode what matters of a reply. Raises EngineBroken."""
    try:
        return _answer(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EngineBroken(f"the engine's reply does not have the API's shape: {error}") from error


def responses_finish(answer: _Answer) -> tuple[str, ...]:
    """A Responses object's status, or the reason why it is incomplete, as a finish reason."""
    if answer.incomplete_details is not None and answer.incomplete_details.reason:
        return (answer.incomplete_details.reason,)
    return (answer.status,) if answer.status else ()


def reported(error: bytes | msgspec.Raw) -> EngineReported:
    """The error that an engine reported inside a stream."""
    return EngineReported(bytes(error)[:300].decode(errors="replace"))


class OpenAIAdapter:
    """For any server that speaks the OpenAI API. `prefix` stands before its routes, as in "/v1"."""

    def __init__(self, prefix: str = "/v1") -> None:
        self._paths = {route: f"{prefix}/{route.replace('.', '/')}" for route in ROUTES}
        self._paths["tokenize"] = "/tokenize"  # beside /v1 in every server that has them
        self._paths["detokenize"] = "/detokenize"

    def path(self, route: str) -> str:
        """Where the engine serves `route`."""
        return self._paths[route]

    def prepare(self, route: str, document: dict[str, Any]) -> bytes:
        """The client's document; a chat or completion stream always reports its usage."""
        if document.get("stream") and route in ("chat.completions", "completions"):
            options = document.get("stream_options") or {}
            document = {**document, "stream_options": {**options, "include_usage": True}}
        return _encode(document)

    def reply(self, route: str, document: dict[str, Any], reply: Reply) -> tuple[Reply, Result]:
        """The reply as it came."""
        if reply.status != 200 or (route not in GENERATING and route != "embeddings"):
            return reply, Result()
        answer = read_answer(reply.body)
        if bytes(answer.error) not in _NO_ERROR:
            raise reported(answer.error)
        usage = answer.usage or Usage()
        if route == "responses":
            finish = responses_finish(answer)
        else:
            finish = tuple(choice.finish_reason or "" for choice in answer.choices or ())
        return reply, Result(input=usage.input, output=usage.output, finish=finish, cached=usage.cached)

    def events(self, route: str, document: dict[str, Any]) -> EventAdapter:
        """An adapter for one stream."""
        if route == "responses":
            return ResponsesEvents()
        return ChunkEvents(wants_usage(document))

    def status(self, status: int, body: bytes) -> int:
        """As the engine says."""
        return status


def wants_usage(document: dict[str, Any]) -> bool:
    """Whether the client asked for the usage chunk of a stream."""
    return bool((document.get("stream_options") or {}).get("include_usage"))


class ChunkEvents:
    """The chunks of chat and text completions, passed on byte for byte, closed by `[DONE]`.

    Until the server says its usage, each chunk counts as one token: of a stream that is left early,
    something is on record.
    """

    __slots__ = ("_chunks", "_finish", "_usage", "_wants_usage", "finished")

    def __init__(self, wants_usage: bool) -> None:
        self.finished = False
        self._wants_usage = wants_usage
        self._chunks = 0
        self._finish: dict[int, str] = {}
        self._usage: Usage | None = None

    @property
    def result(self) -> Result:
        """Usage and finish reasons so far."""
        finish = tuple(self._finish[index] for index in sorted(self._finish))
        usage = self._usage or Usage(completion_tokens=self._chunks)
        return Result(input=usage.input, output=usage.output, finish=finish, cached=usage.cached)

    def feed(self, name: bytes, data: bytes) -> bytes | None:
        """One chunk. A usage chunk that the client did not ask for is kept back."""
        if data == b"[DONE]":
            if not self._finish:
                raise EngineBroken("the engine ended its stream without a finish reason")
            self.finished = True
            return None
        chunk = read_answer(data)
        if bytes(chunk.error) not in _NO_ERROR:
            raise reported(chunk.error)
        for choice in chunk.choices or ():
            if choice.finish_reason:
                self._finish[choice.index] = choice.finish_reason
            else:
                self._chunks += 1
        if chunk.usage is not None:
            self._usage = chunk.usage
            if not chunk.choices and not self._wants_usage:
                return None
        return data


class ResponsesEvents:
    """The events of the Responses API, passed on byte for byte, closed by `response.completed`.

    Until then each piece of text counts as one token.
    """

    __slots__ = ("finished", "result")

    def __init__(self) -> None:
        self.finished = False
        self.result = Result()

    def feed(self, name: bytes, data: bytes) -> bytes | None:
        """One event. A `[DONE]` that some servers add is kept back."""
        if data == b"[DONE]":
            return None
        try:
            event = _responses_event(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise EngineBroken(f"the engine's event does not have the API's shape: {error}") from error
        if event.type in _FAILED or name == b"error":
            raise reported(data)
        if event.type.endswith(".delta"):
            self.result = Result(output=self.result.output + 1)
        if event.type in _TERMINAL:
            answer = read_answer(event.response)
            usage = answer.usage or Usage()
            self.result = Result(
                input=usage.input,
                output=usage.output,
                finish=responses_finish(answer),
                cached=usage.cached,
            )
            self.finished = True
        return data
