"""What llama.cpp's server does differently: token ids, usage of several choices, tokenisation.

Measured on xllamacpp 2026.10.11549:

- A whole reply lists every sampled id in `__verbose.tokens` when `verbose` and `return_tokens` are set,
  also for tool calls and characters that take several tokens. For `n` > 1 only the first choice has it.
- A stream has no such list. Each chunk carries the ids of its text in `logprobs`, but a token that gives
  no text of its own yet (a part of a character, of a tool call, of a stop string) is left out. The count
  of sampled tokens at the end of each choice tells whether any is missing; if so, the ids are not
  reported at all. Streams with tools refuse `logprobs`.
- `usage` counts one choice only: in a whole reply the first, in a stream each in a chunk of its own. With
  `timings_per_token` every chunk of a stream says how many tokens its choice has by now, those that give
  no text included. So a stream that is left early is counted exactly too.
- A stream of text completions with several choices begins with an event `null`.
- Asked for log-probabilities without alternatives, as in `logprobs` with `top_logprobs` 0, it gives none, and
  no ids; asked without a number, it gives twenty alternatives. So one is asked for, and taken out again.
- Seed 2**32 - 1 (and -1) means a random one.
"""

from typing import Any

import msgspec
from msgspec import UNSET

from regalia.engines.adapter import (
    ChunkEvents,
    EventAdapter,
    OpenAIAdapter,
    ResponsesEvents,
    Result,
    TokenIds,
    choices,
    reported,
    samples,
    wants_usage,
)
from regalia.engines.client import Reply
from regalia.engines.errors import EngineBroken
from regalia.engines.llama_pieces import Piece, read_piece
from regalia.engines.llama_slots import MARK
from regalia.engines.llama_tools import ToolChunks, as_schema, forces_tool, with_tool_call
from regalia.engines.sse import EventSplitter

_WITH_IDS = frozenset({"chat.completions", "completions"})
_SEEDS = 2**32 - 1
_CLIENTS_FAULT = (b"Failed to parse", b"json.exception", b"Failed to initialize samplers", b"grammar")
_ODD_SHAPE = (AttributeError, KeyError, TypeError, ValueError)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class LlamaAdapter(OpenAIAdapter):
    """Asks for token ids beside what the client asked for, and takes them out of the answer again.

    `template_has_tools` says whether the model's chat template knows tools; where it does not, a
    demanded tool call is made as `regalia.engines.llama_tools` says.
    """

    template_has_tools = True

    def prepare(self, route: str, document: dict[str, Any], mark: int = 0) -> bytes:
        """The client's document with what makes llama.cpp report token ids and exact counts."""
        document = as_schema(document) if self._makes_tool_call(route, document) else dict(document)
        if mark:
            document[MARK] = mark
        if isinstance(document.get("seed"), int):
            document["seed"] %= _SEEDS
        if route in _WITH_IDS:
            if _without_alternatives(route, document):
                document["top_logprobs" if route == "chat.completions" else "logprobs"] = 1
            document["verbose"] = True
            document["return_tokens"] = True
            if document.get("stream") or choices(document) > 1:
                document["stream"] = True
                document["stream_options"] = {"include_usage": True}
                document["timings_per_token"] = True
                if not document.get("tools") and not _asked_for_logprobs(document):
                    document["logprobs"] = True if route == "chat.completions" else 1
                    document["top_logprobs"] = 1
                    document["post_sampling_probs"] = True
        return _encode(document)

    def reply(self, route: str, document: dict[str, Any], reply: Reply) -> tuple[Reply, Result]:
        """The reply without the fields that only we asked for."""
        if reply.status != 200 or route not in _WITH_IDS:
            return super().reply(route, document, reply)
        read = _assemble if choices(document) > 1 else _read_whole
        try:
            answer, result = read(route, document, reply.body)
        except _ODD_SHAPE as error:
            raise _broken(error) from error
        if self._makes_tool_call(route, document):
            answer, finish = with_tool_call(answer), tuple(c["finish_reason"] for c in answer["choices"])
            result = msgspec.structs.replace(result, finish=finish)
        return Reply(reply.status, "application/json", _encode(answer)), result

    def status(self, status: int, body: bytes) -> int:
        """llama.cpp answers 500 where a client's tools, schema or grammar can't be parsed."""
        return 400 if status == 500 and any(sign in body for sign in _CLIENTS_FAULT) else status

    def _makes_tool_call(self, route: str, document: dict[str, Any]) -> bool:
        return not self.template_has_tools and route == "chat.completions" and forces_tool(document)

    def events(self, route: str, document: dict[str, Any]) -> EventAdapter:
        """An adapter for one stream."""
        if route == "responses":
            return ResponsesEvents()
        if route not in _WITH_IDS:
            return ChunkEvents(document)
        tools = ToolChunks() if self._makes_tool_call(route, document) else None
        return LlamaChunks(route, document, wants_usage(document), tools)


class _Told:
    """What a stream has told of one choice."""

    __slots__ = ("cached", "counted", "ends_itself", "finish", "ids", "prompt", "sampled")

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.prompt = 0
        self.cached = 0
        self.sampled = 0
        self.finish = ""
        self.counted = False
        self.ends_itself = False

    @property
    def whole(self) -> bool:
        """Whether the choice has ended and the id of every sampled token was told."""
        return bool(self.finish) and self.counted and len(self.ids) == self.sampled - self.ends_itself


class LlamaChunks:
    """The chunks of a llama.cpp stream: ids gathered, fields that only we asked for taken out."""

    def __init__(
        self, route: str, document: dict[str, Any], wants_usage: bool, tools: ToolChunks | None = None
    ) -> None:
        self.finished = False
        self._wants_usage = wants_usage
        self._wants_logprobs = _asked_for_logprobs(document)
        self._without_alternatives = _without_alternatives(route, document)
        self._wants_timings = bool(document.get("timings_per_token"))
        self._samples = samples(document)
        self._one_prompt = choices(document) == self._samples
        self._tools = tools
        self._hides = not self._wants_logprobs and not self._wants_timings and tools is None
        self._told: dict[int, _Told] = {}
        self._usage_chunk: dict[str, Any] = {}

    @property
    def result(self) -> Result:
        """What is known so far."""
        told = [self._told[index] for index in sorted(self._told)]
        if not any(choice.sampled or choice.counted for choice in told):
            return Result(estimated=True)  # it still reads the prompt
        prompts = [choice.prompt for choice in told]
        ended = bool(told) and all(choice.whole for choice in told)
        return Result(
            tokens=[choice.ids for choice in told] if ended else None,
            # Choices share their prompt: each of them counts it.
            input=max(prompts, default=0) if self._one_prompt else sum(prompts) // self._samples,
            output=sum(choice.sampled for choice in told),
            finish=tuple(choice.finish for choice in told if choice.finish),
            cached=max((choice.cached for choice in told), default=0) if self._one_prompt else 0,
        )

    def feed(self, name: bytes, data: bytes) -> bytes | None:
        """One chunk for the client. The choices' usage is summed into one chunk before the end."""
        if self._hides and (piece := read_piece(data)) is not None:
            return self._take_piece(piece)
        if data == b"[DONE]":
            return self._close()
        if data == b"null":
            return None
        chunk = _read(data)
        if "error" in chunk:
            raise reported(data)
        try:
            return self._read_chunk(chunk)
        except _ODD_SHAPE as error:
            raise _broken(error) from error

    def _take_piece(self, piece: Piece) -> bytes:
        """As `_read_chunk`, for what nearly every chunk is."""
        told = self._told.get(piece.index)
        if told is None:
            told = self._told[piece.index] = _Told()
        timings = piece.timings
        if timings is not UNSET and not told.counted:
            told.cached = timings.cache_n
            told.prompt = timings.prompt_n + told.cached
            told.sampled = timings.predicted_n
        told.ids += piece.ids
        return piece.for_client()

    def _read_chunk(self, chunk: dict[str, Any]) -> bytes | None:
        verbose = chunk.pop("__verbose", {})
        timings = chunk.get("timings")
        if timings is not None and not self._wants_timings:
            del chunk["timings"]
        if chunk.pop("usage", None) is not None:
            self._usage_chunk = {**chunk, "choices": []}
        if self._tools is not None:
            self._tools.take(chunk)
        for choice in chunk["choices"]:
            told = self._told.setdefault(choice["index"], _Told())
            if timings is not None and not told.counted:
                told.cached = timings["cache_n"]
                told.prompt = timings["prompt_n"] + told.cached
                told.sampled = timings["predicted_n"]
            self._read_choice(told, choice)
        if verbose.get("stop"):  # on the first chunk of the last ones
            told = self._told.setdefault(verbose["index"], _Told())
            told.counted = True
            told.ends_itself = verbose["stop_type"] == "eos"
            told.sampled = verbose["tokens_predicted"]
            told.prompt = verbose["tokens_evaluated"]
        return _encode(chunk) if chunk["choices"] else None

    def _read_choice(self, told: _Told, choice: dict[str, Any]) -> None:
        logprobs = choice.get("logprobs")
        if logprobs is not None:
            told.ids.extend(token["id"] for token in logprobs["content"])
            if not self._wants_logprobs:
                _take_out_logprobs(choice)
            elif self._without_alternatives:
                _take_out_alternatives(choice)
        if choice.get("finish_reason"):
            told.finish = choice["finish_reason"]

    def _close(self) -> bytes | None:
        if not any(told.finish for told in self._told.values()):
            raise EngineBroken("the engine ended its stream without a finish reason")
        self.finished = True
        if not self._wants_usage:
            return None
        result = self.result
        usage = {
            "prompt_tokens": result.input,
            "completion_tokens": result.output,
            "total_tokens": result.input + result.output,
        }
        return _encode({**self._usage_chunk, "usage": usage})


def _asked_for_logprobs(document: dict[str, Any]) -> bool:
    """Whether the client asked: `true` for a chat, a number (0 included) for a text completion."""
    asked = document.get("logprobs")
    return asked is not None and asked is not False


def _without_alternatives(route: str, document: dict[str, Any]) -> bool:
    """Whether the client asked for the sampled tokens' log-probabilities and no others, which llama.cpp takes
    for none at all, or, where no number is said, for twenty others.
    """
    number = document.get("top_logprobs") if route == "chat.completions" else document.get("logprobs")
    return _asked_for_logprobs(document) and not number


def _read(data: bytes) -> dict[str, Any]:
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _broken(error) from error


def _broken(error: Exception) -> EngineBroken:
    reason = f"{type(error).__name__}: {error}"
    return EngineBroken(f"the engine's reply does not have the API's shape: {reason}")


def _read_whole(route: str, document: dict[str, Any], body: bytes) -> tuple[dict[str, Any], Result]:
    """A whole reply of one choice, without what only we asked for."""
    answer = _read(body)
    verbose = answer.pop("__verbose", {})
    usage = answer["usage"]
    finish = tuple(choice["finish_reason"] or "" for choice in answer["choices"])
    if _without_alternatives(route, document):
        for choice in answer["choices"]:
            _take_out_alternatives(choice)
    return answer, Result(
        tokens=_whole_tokens(verbose, usage) if len(finish) == 1 else None,
        input=usage["prompt_tokens"],
        output=usage["completion_tokens"],
        finish=finish,
        cached=min(
            (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0, usage["prompt_tokens"]
        ),
    )


def _whole_tokens(verbose: dict[str, Any], usage: dict[str, Any]) -> TokenIds | None:
    tokens = verbose.get("tokens")
    if not isinstance(tokens, list) or len(tokens) != usage.get("completion_tokens"):
        return None
    return [tokens[:-1] if verbose.get("stop_type") == "eos" else tokens]


def _take_out_logprobs(choice: dict[str, Any]) -> None:
    if "delta" in choice or "message" in choice:
        del choice["logprobs"]
    else:
        choice["logprobs"] = None  # a text completion has the field, empty


def _take_out_alternatives(choice: dict[str, Any]) -> None:
    for token in (choice.get("logprobs") or {}).get("content") or ():
        token["top_logprobs"] = []


def _assemble(route: str, document: dict[str, Any], body: bytes) -> tuple[dict[str, Any], Result]:
    """A whole reply out of the stream that was asked for in its place, for the sake of exact counts."""
    events = LlamaChunks(route, document, wants_usage=True)
    parts: dict[int, dict[str, Any]] = {}
    answer: dict[str, Any] = {}
    for name, data in EventSplitter().feed(body):
        adapted = events.feed(name, data)
        if adapted is not None:
            chunk = _decode(adapted)
            for part in chunk.pop("choices"):
                _add(parts.setdefault(part["index"], {"index": part["index"]}), part)
            answer.update(chunk)
    if not events.finished:
        raise EngineBroken("the engine's stream ended before its answer was complete")
    if route == "chat.completions":
        answer["object"] = "chat.completion"
    answer["choices"] = [parts[index] for index in sorted(parts)]
    return answer, events.result


def _add(choice: dict[str, Any], part: dict[str, Any]) -> None:
    """Add a chunk's part of a choice to the choice."""
    choice["finish_reason"] = part.get("finish_reason")
    if "text" in part:
        choice["text"] = choice.get("text", "") + part["text"]
        choice.setdefault("logprobs", None)
    else:
        message = choice.setdefault("message", {"role": "assistant", "content": None})
        for key, value in part.get("delta", {}).items():
            if key == "tool_calls":
                _add_tool_calls(message.setdefault(key, []), value)
            elif isinstance(value, str) and key != "role":
                message[key] = (message.get(key) or "") + value
    if part.get("logprobs"):
        kept = choice.get("logprobs") or {"content": []}
        kept["content"].extend(part["logprobs"]["content"])
        choice["logprobs"] = kept


def _add_tool_calls(calls: list[dict[str, Any]], parts: list[dict[str, Any]]) -> None:
    for part in parts:
        if part["index"] >= len(calls):
            calls.append(
                {"type": "function", "id": part.get("id"), "function": {"name": "", "arguments": ""}}
            )
        function = calls[part["index"]]["function"]
        for key, value in part.get("function", {}).items():
            function[key] = function.get(key, "") + value


def knows_tools(body: bytes) -> bool:
    """Whether GET /props says that the model's chat template knows tools."""
    return bool(_read(body).get("chat_template_caps", {}).get("supports_tools", True))


# Tokenisation: vLLM's shape outside, llama.cpp's inside.


def template_request(document: dict[str, Any]) -> bytes:
    """For POST /apply-template: a conversation to be written out as the model reads it."""
    kept = ("messages", "tools", "add_generation_prompt", "chat_template_kwargs")
    return _encode({key: document[key] for key in kept if document.get(key) is not None})


def tokenize_request(prompt: str, add_special: bool) -> bytes:
    """For POST /tokenize."""
    return _encode({"content": prompt, "add_special": add_special})


def tokenized(body: bytes, context: int) -> bytes:
    """llama.cpp's tokens in vLLM's shape."""
    tokens = _read(body).get("tokens", [])
    return _encode({"count": len(tokens), "max_model_len": context, "tokens": tokens})


def templated(body: bytes) -> str:
    """The prompt that a conversation becomes."""
    return str(_read(body).get("prompt", ""))


def detokenized(body: bytes) -> bytes:
    """llama.cpp's text in vLLM's shape."""
    return _encode({"prompt": _read(body).get("content", "")})
