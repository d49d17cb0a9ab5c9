"""The most tokens a call can use, known before it is made.

Input: as many as the request's body has bytes, and a little for the model's template; no tokenizer makes
more tokens of a text than it has bytes. A picture, a sound or a file counts as what the largest of them cost
in the models we know, however short its address is. Output: the limit that the client set, for each answer
it wants; where it set none, `assumed`, which under a hard budget is then told to the engine as the limit.

And what a call has used where its engine did not say all of it: `within` keeps to these bounds.
"""

from typing import Any

import msgspec

from regalia.engines import Result
from regalia.engines.pace import request_tokens

TEMPLATE_TOKENS = 512
PART_TOKENS = 16_384
"""For each part of a message that is no text."""
_TEXTS = frozenset({"text", "input_text", "output_text", "refusal"})
_LIMITS = {
    "chat.completions": ("max_tokens", "max_completion_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
}


class Most(msgspec.Struct, frozen=True):
    """At most so many tokens; `unset` is the field by which the output could be limited and was not."""

    input: int
    output: int
    unset: str | None = None


def at_most(route: str, document: dict[str, Any], size: int, assumed: int) -> Most:
    """The most that a request of `size` bytes can use."""
    fields = _LIMITS.get(route)
    if fields is None:
        return Most(size if route == "embeddings" else 0, 0)
    each = -1
    for name in fields:
        limit = document.get(name)
        if type(limit) is int and limit > each:
            each = limit
    size += TEMPLATE_TOKENS + PART_TOKENS * _parts_without_text(document)
    if each < 0:
        return Most(size, assumed * _answers(document), fields[0])
    return Most(size, each * _answers(document))


def within(route: str, document: dict[str, Any], size: int, used: Result) -> Result:
    """What a call has used, with what its engine did not count; never more than was reserved for it.

    An input that the engine did not say is what `regalia.engines.pace` takes the request's texts for; of
    the output the engine's adapter has said what it assumes.
    """
    if not used.estimated:
        return used
    most = at_most(route, document, size, 0)
    read = used.input or request_tokens(document)
    written = used.output if most.unset is not None else min(used.output, most.output)
    return msgspec.structs.replace(used, input=min(read, most.input), output=written)


def _parts_without_text(document: dict[str, Any]) -> int:
    """How many pictures, sounds and files come with the messages."""
    count = 0
    for name in ("messages", "input"):
        messages = document.get(name)
        if type(messages) is list:
            for message in messages:
                content = message.get("content") if type(message) is dict else None
                if type(content) is list:
                    count += sum(type(part) is dict and part.get("type") not in _TEXTS for part in content)
    return count


def _answers(document: dict[str, Any]) -> int:
    """How many answers are generated."""
    answers = 1
    for name in ("n", "best_of"):
        wanted = document.get(name)
        if type(wanted) is int and wanted > answers:
            answers = wanted
    prompts = document.get("prompt")
    if type(prompts) is list and prompts and type(prompts[0]) is not int:
        answers *= len(prompts)
    return answers
