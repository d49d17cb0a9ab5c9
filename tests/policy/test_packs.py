"""Packs: read from YAML, compared, tested by their own examples, activated in an order that can be undone."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.policy_kit import DETECTORS, SECRET, compiled, pack, rail
from regalia.errors import ApiError
from regalia.instance.policies import checked_policy
from regalia.policy import packs as built_in
from regalia.policy.activation import Activation, before, in_force, may_decide, next_change
from regalia.policy.book import PolicyBook
from regalia.policy.difference import difference
from regalia.policy.errors import PackError, PolicyConflict
from regalia.policy.reading import MAX_PACK, digest_of, read_pack, schema
from regalia.policy.trial import trial

HEAD = "schema: 1\nname: x\nversion: '1.0'\ntitle: X\n"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (HEAD + "rail: []\n", "did you mean `rails`"),
        (
            HEAD + "rails:\n- {id: a, on: input, action: flag, detector: {uses: x}}\n",
            "did you mean `rails\\[0\\].detector.use`",
        ),
        (HEAD + "rails:\n- {id: a, on: inputs, action: flag}\n", "rails\\[0\\].on"),
        (
            HEAD + "rails:\n- {id: a, on: input, action: forbid}\n",
            "^`rails\\[0\\].action` can't be 'forbid': it is one of `allow`, `flag`, .*`block`",
        ),
        (HEAD + "rails:\n- {id: a, on: [input, no], action: flag}\n", "can't be 'no': it is one of `input`"),
        (HEAD + "rails: &r []\nexamples: *r\n", "alias"),
        (HEAD + "title: Y\nrails: []\n", "twice"),
        ("[]", "mapping"),
        ("{", "not YAML: line 1, column 2: "),
        ("\x00", "not YAML"),
        (HEAD, "rails"),
        ("# " + "x" * MAX_PACK, "larger"),
    ],
)  # fmt: skip
def test_a_wrong_pack_says_what_is_wrong(document: str, says: str) -> None:
    with pytest.raises(PackError, match=says):
        read_pack(document.encode())


@pytest.mark.parametrize(
    ("rails", "says"),
    [
        ([rail("flag", use="wrods")], "did you mean `words`"),
        ([rail("flag"), rail("flag")], "two rails"),
        ([{"id": "a", "on": "input", "action": "redact"}], "no detector"),
        ([{**rail("flag"), "when": "nope"}], "knows no `nope`"),
    ],
)
def test_a_pack_whose_rails_can_not_run_says_why(rails: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(PackError, match=says):
        compiled(*rails)


def test_words_that_yaml_takes_for_something_else_are_text() -> None:
    document = (
        HEAD
        + "languages: [no, en]\n"
        + "rails:\n- {id: a, on: input, action: flag, message: {no: nei, en: 2026-01-01}}\n"
    )
    read = read_pack(document.encode())
    assert read.languages == ["no", "en"]
    assert read.rails[0].message == {"no": "nei", "en": "2026-01-01"}


def test_the_published_schema_is_the_one_in_use() -> None:
    assert (Path(__file__).parents[2] / "docs" / "policy-pack.schema.json").read_bytes() == schema()
    described = json.loads(schema())
    assert "Rail" in described["$defs"]


def test_a_difference_is_told_rail_by_rail() -> None:
    old = read_pack(pack(rail("flag"), rail("block"), retention={"days": 30}))
    new = read_pack(pack(rail("block"), {**rail("flag"), "mode": "shadow"}, rail("hold"), version="1.1"))
    assert difference(old, new) == [
        "pack: test@1.0 → test@1.1",
        'retention: {"days":30} → (default)',
        "rail flag-it.mode: (default) → shadow",
        "rail hold-it: added (hold on input)",
        "rails: another order",
    ]
    assert difference(old, old) == []


async def test_examples_give_precision_and_recall_of_each_rail_and_language() -> None:
    examples = [
        {"text": f"x {SECRET}", "language": "en", "acts": ["flag-it"], "finds": [SECRET]},
        {"text": f"y {SECRET}", "language": "en"},
        {"text": "nothing", "language": "sw", "acts": ["flag-it"]},
        {"text": f"{SECRET}", "language": "sw", "on": "output"},
    ]
    outcome = await trial(compiled({**rail("flag"), "mode": "shadow"}, examples=examples))
    scores = {score.language: (score.precision, score.recall) for score in outcome.scores}
    assert scores == {"en": (0.5, 1.0), "sw": (None, 0.0)}
    assert [failure.example for failure in outcome.failures] == [1, 2]


@pytest.mark.parametrize("name", built_in.names())
async def test_every_built_in_pack_comes_out_as_its_examples_say(name: str) -> None:
    document, _ = built_in.load(name)
    assert (await trial(checked_policy(document))).failures == []


# Activations


def activation(
    number: int, effective: int, project: str = "", reverts: str | None = None, **fields: Any
) -> Activation:
    document = fields.pop("document", pack(rail("flag"), version=f"1.{number}"))
    made = Activation(
        id=f"policy_{number}", project=project, label=f"test@1.{number}",
        digest=digest_of(document) if document else "", document=document, state="active",
        requested_by="os:a", requested=effective, effective=effective, decided_by="os:a", decided=effective,
        reverts=reverts,
    )  # fmt: skip
    return msgspec.structs.replace(made, **fields)


def rolled_back(history: list[Activation], now: int) -> list[Activation]:
    """The history with a rollback at its end."""
    reverts, earlier = before(history, "", now)
    document = earlier.document if earlier else None
    label = earlier.label if earlier else "none"
    made = activation(len(history), now, reverts=reverts, document=document)
    return [*history, msgspec.structs.replace(made, label=label)]


@given(st.integers(1, 6))
def test_as_many_rollbacks_as_activations_lead_back_to_no_policy(count: int) -> None:
    history = [activation(number, number * 10) for number in range(count)]
    for left in range(count - 1, 0, -1):
        history = rolled_back(history, 1000 - left)
        active = in_force(history, "", 2000)
        assert active is not None
        assert active.label == f"test@1.{left - 1}"
    history = rolled_back(history, 1000)
    assert in_force(history, "", 2000) is None
    with pytest.raises(PolicyConflict):
        before(history, "", 2000)


def test_what_was_never_activated_never_counts() -> None:
    history = [activation(0, 10, state="requested"), activation(1, 20, state="rejected"), activation(2, 900)]
    assert in_force(history, "", 100) is None
    assert next_change(history, 100) == 900
    active = in_force(history, "", 900)
    assert active is not None
    assert active.id == "policy_2"


def test_two_people_are_two() -> None:
    asked = activation(0, 10, state="requested")
    may_decide(asked, "os:b", True)
    may_decide(asked, "os:a", False)  # whoever asked may take it back
    with pytest.raises(PolicyConflict, match="second person"):
        may_decide(asked, "os:a", True)
    with pytest.raises(PolicyConflict, match="already"):
        may_decide(activation(0, 10), "os:b", True)


def test_a_projects_own_pack_takes_the_instances_place() -> None:
    book = PolicyBook(DETECTORS)
    assert book.of("clinic") is None
    book.refresh([activation(0, 10), activation(1, 10, "clinic")], 100)
    labels = [policy.label for name in ("clinic", "other") if (policy := book.of(name)) is not None]
    assert labels == ["test@1.1", "test@1.0"]


def test_a_pack_that_can_not_be_used_any_more_closes_instead_of_opening() -> None:
    book = PolicyBook({})  # the detector is gone
    book.refresh([activation(0, 10)], 100)
    with pytest.raises(ApiError) as raised:
        book.of("clinic")
    assert (raised.value.status, raised.value.code) == (503, "policy_unavailable")
    known = PolicyBook(DETECTORS)
    known.refresh([activation(0, 10)], 100)
    known.unread("the database is gone")
    with pytest.raises(ApiError):
        known.of("clinic")
    known.refresh([activation(0, 10)], 100)
    assert known.of("clinic") is not None
