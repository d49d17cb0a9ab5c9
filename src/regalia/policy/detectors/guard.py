"""The detector `guard`: a guard model's verdict, from any engine of the instance that speaks the OpenAI API.

Llama Guard and Qwen Guard are asked as their makers say: the text is the user's message, their own chat
template adds the rest, and the answer begins with a verdict. Read are `safe`, `unsafe` with codes or names of
categories (Llama Guard), and `Safety: …` with `Categories: …` (Qwen Guard). An answer that is neither is an
error, so that the rail's `on_failure` decides. Kinds: `guard.unsafe`, `guard.controversial`, and
`guard.<category>` for each category told, such as `guard.s2`.
"""

import re
from collections.abc import Mapping
from typing import Any

from regalia.policy.detector import Ask, Resources
from regalia.policy.finding import Finding

NAME = "guard"
_VERDICT = re.compile(r"\s*(?:safety:\s*)?(unsafe|safe|controversial)\b", re.IGNORECASE)
_CATEGORY = re.compile(r"[A-Za-z][A-Za-z0-9 &/-]{0,40}")
_MOST_CATEGORIES = 16
_SCORES = {"unsafe": 0.9, "controversial": 0.6}


class Guard:
    """Asks the model `model` about every text."""

    name = NAME
    slow = True

    def __init__(self, ask: Ask, model: str) -> None:
        self._ask = ask
        self._model = model

    async def find(self, text: str) -> list[Finding]:
        """One finding over the whole text for the verdict and for each category."""
        if not text.strip():
            return []
        verdict, categories = read_verdict(await self._ask(self._model, [{"role": "user", "content": text}]))
        if verdict == "safe":
            return []
        score = _SCORES[verdict]
        kinds = [f"guard.{verdict}", *(f"guard.{category}" for category in categories)]
        return [Finding(kind, 0, len(text), score, "model", NAME) for kind in kinds]


def read_verdict(answer: str) -> tuple[str, list[str]]:
    """The verdict and the categories of a guard's answer. Raises ValueError for any other text."""
    found = _VERDICT.match(answer)
    if found is None:
        raise ValueError("the guard model's answer is no verdict; is it a guard model?")
    rest = re.sub(r"(?i)categories:|refusal:.*", " ", answer[found.end() : found.end() + 400])
    names = [name.strip().lower() for name in _CATEGORY.findall(rest)]
    kinds = (re.sub("[^a-z0-9]+", "_", name).strip("_")[:40] for name in names)
    return found.group(1).lower(), [kind for kind in dict.fromkeys(kinds) if kind and kind != "none"][
        :_MOST_CATEGORIES
    ]


def make(options: Mapping[str, Any], resources: Resources) -> Guard:
    """The factory that packs use: `model` is the name under which an engine serves the guard model."""
    if unknown := set(options) - {"model", "kinds"}:
        raise ValueError(f"the detector {NAME} has no option {', '.join(sorted(unknown))}; it has: model")
    model = options.get("model")
    if not isinstance(model, str) or not model:
        raise ValueError(f"the detector {NAME} needs the option model: the guard model's name")
    if resources.ask is None:
        raise ValueError(f"the detector {NAME} needs an engine that serves {model}")
    return Guard(resources.ask, model)
