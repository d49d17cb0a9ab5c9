"""The requests of the seven inference routes: what is checked, and what is passed on untouched.

Only the fields that Regalia itself acts on, or that must be bounded, stand here. Every other field
of the client's document goes on to the engine as it came.
"""

from typing import Annotated, Any

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Choices = Annotated[int, msgspec.Meta(ge=1, le=16)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**53) + 1, le=2**53 - 1)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
TopLogprobs = Annotated[int, msgspec.Meta(ge=0, le=20)]
ModelName = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Stop = str | Annotated[list[str], msgspec.Meta(max_length=16)] | None
TokenId = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class StreamOptions(msgspec.Struct):
    """What a stream carries besides its text."""

    include_usage: bool = False


class Message(msgspec.Struct):
    """One turn of a conversation."""

    role: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    content: str | list[dict[str, Any]] | None = None


class Function(msgspec.Struct):
    """A function that the model may call."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(msgspec.Struct):
    """A tool; a type other than `function` is the engine's to know."""

    type: str
    function: Function | None = None


class ChatRequest(msgspec.Struct):
    """`POST /v1/chat/completions`."""

    model: ModelName
    messages: Annotated[list[Message], msgspec.Meta(min_length=1, max_length=10_000)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Choices | None = None
    seed: Seed | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    stop: Stop = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    tools: Annotated[list[Tool], msgspec.Meta(max_length=512)] | None = None
    response_format: dict[str, Any] | None = None
    user: Annotated[str, msgspec.Meta(max_length=1024)] | None = None


class CompletionRequest(msgspec.Struct):
    """`POST /v1/completions`."""

    model: ModelName
    prompt: str | Annotated[list[str | TokenId | list[TokenId]], msgspec.Meta(min_length=1, max_length=2048)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Choices | None = None
    seed: Seed | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    max_tokens: Count | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    stop: Stop = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    user: Annotated[str, msgspec.Meta(max_length=1024)] | None = None


class ResponsesRequest(msgspec.Struct):
    """`POST /v1/responses`, stateless: nothing is kept to be continued."""

    model: ModelName
    input: str | Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1, max_length=10_000)]
    instructions: str | None = None
    stream: bool | None = None
    seed: Seed | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    max_output_tokens: Count | None = None
    tools: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=512)] | None = None
    previous_response_id: str | None = None
    background: bool | None = None


class EmbeddingsRequest(msgspec.Struct):
    """`POST /v1/embeddings`."""

    model: ModelName
    input: str | Annotated[list[str], msgspec.Meta(min_length=1, max_length=2048)]
    encoding_format: Annotated[str, msgspec.Meta(pattern="^(float|base64)$")] | None = None
    dimensions: Count | None = None
    user: Annotated[str, msgspec.Meta(max_length=1024)] | None = None


class TokenizeRequest(msgspec.Struct):
    """`POST /tokenize`: a prompt, or a conversation under the model's own template."""

    model: ModelName
    prompt: str | None = None
    messages: Annotated[list[Message], msgspec.Meta(min_length=1, max_length=10_000)] | None = None
    add_special_tokens: bool | None = None


class DetokenizeRequest(msgspec.Struct):
    """`POST /detokenize`."""

    model: ModelName
    tokens: Annotated[list[TokenId], msgspec.Meta(max_length=1_000_000)]


InferenceRequest = (
    ChatRequest
    | CompletionRequest
    | ResponsesRequest
    | EmbeddingsRequest
    | TokenizeRequest
    | DetokenizeRequest
)
