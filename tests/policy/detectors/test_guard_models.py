import pytest

from regalia.policy.detector import Resources
from regalia.policy.detectors import DETECTORS
from regalia.policy.detectors.guard import Guard, read_verdict


@pytest.mark.parametrize(
    ("answer", "verdict", "categories"),
    [
        ("safe", "safe", []),
        ("\n\nunsafe\nS2,S9", "unsafe", ["s2", "s9"]),
        ("Safety: Unsafe\nCategories: Violent, Non-violent Illegal Acts", "unsafe",
         ["violent", "non_violent_illegal_acts"]),
        ("Safety: Controversial\nCategories: Politically Sensitive Topics", "controversial",
         ["politically_sensitive_topics"]),
        ("Safety: Safe\nCategories: None\nRefusal: No", "safe", []),
    ],
)  # fmt: skip
def test_the_answers_of_guard_models_are_read(answer: str, verdict: str, categories: list[str]) -> None:
    assert read_verdict(answer) == (verdict, categories)


def test_another_models_answer_is_an_error() -> None:
    with pytest.raises(ValueError, match="is it a guard model"):
        read_verdict("I'd be happy to help with that!")


async def test_a_text_is_asked_about_and_the_verdict_covers_it() -> None:
    asked: list[tuple[str, list[dict[str, str]]]] = []

    async def ask(model: str, messages: list[dict[str, str]]) -> str:
        asked.append((model, messages))
        return "unsafe\nS1"

    found = await Guard(ask, "llama-guard").find("how to")
    assert asked == [("llama-guard", [{"role": "user", "content": "how to"}])]
    assert [(one.kind, one.start, one.end) for one in found] == [("guard.unsafe", 0, 6), ("guard.s1", 0, 6)]


def test_a_guard_needs_the_name_of_its_model() -> None:
    with pytest.raises(ValueError, match="needs the option model"):
        DETECTORS["guard"]({}, Resources())
