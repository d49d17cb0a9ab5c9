"""The pack document: what a YAML file may say. Its JSON Schema is docs/policy-pack.schema.json.

A pack is a list of rails. A rail says where it looks (`on`), what looks (`detector`), on which condition
(`when`, in CEL) it acts, and how (`action`, `mode`). Sides: `input` is everything that goes to the model,
`retrieved` that part of it which came from documents and tools, `output` everything that comes from the
model, `tool_calls` the arguments of tool calls in either direction.
"""

from typing import Annotated, Any, Literal

import msgspec

Side = Literal["input", "output", "retrieved", "tool_calls"]
Action = Literal["allow", "flag", "redact", "block", "hold"]
Mode = Literal["enforce", "shadow"]
SIDES: tuple[Side, ...] = ("input", "output", "retrieved", "tool_calls")
ACTIONS: tuple[Action, ...] = ("allow", "flag", "redact", "hold", "block")
"""From the mildest to the strictest: of several rails that act the strictest decides."""

MAX_RAILS = 64
Id = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Kind = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_.-]{0,62}(\.\*)?$")]
Language = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Text = Annotated[str, msgspec.Meta(max_length=2000)]
Expression = Annotated[str, msgspec.Meta(max_length=1000)]


class Detection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which detector looks: `use` is its name, `kinds` what counts of what it finds ("my.*"; empty: all).

    Findings below `min_score` do not count. `options` are the detector's own.
    """

    use: Id
    kinds: Annotated[list[Kind], msgspec.Meta(max_length=64)] = []
    min_score: Share = 0.5
    options: dict[str, Any] = {}


class Rail(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rule. It acts where its detector finds something and `when` holds.

    Without a `detector` it acts where `when` holds. `allow` exempts what it finds from the rails after it.
    `on_failure` is what happens when the detector fails, does not end within `timeout_ms`, or can't read the
    content (a picture, token ids). `message` is told to the caller, by language. `languages` says for which
    languages the rail is meant; it is a statement, tested by the pack's examples.
    """

    id: Id
    on: Side | Annotated[list[Side], msgspec.Meta(min_length=1, max_length=4)]
    action: Action
    title: Text = ""
    detector: Detection | None = None
    when: Expression = ""
    mode: Mode = "enforce"
    on_failure: Literal["block", "hold", "flag", "allow"] = "block"
    timeout_ms: Annotated[int, msgspec.Meta(ge=1, le=30_000)] = 2_000
    message: dict[Language, Text] = {}
    languages: list[Language] = []

    @property
    def sides(self) -> frozenset[str]:
        """Where it looks."""
        return frozenset([self.on] if isinstance(self.on, str) else self.on)


class Retention(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How long contents are kept by default in this jurisdiction, and the law that says so."""

    days: Annotated[int, msgspec.Meta(ge=0, le=36_500)]
    basis: Text = ""


class Disclosure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The notice that an answer comes from a machine, by language, and where it goes.

    `header` adds `x-regalia-ai-generated` to answers, `body` the field `regalia` to their JSON.
    """

    notice: dict[Language, Text] = {}
    header: bool = True
    body: bool = False
    basis: Text = ""


class Review(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Held calls: how long a reviewer has, and what happens when the time is over."""

    deadline_minutes: Annotated[int, msgspec.Meta(ge=1, le=43_200)] = 1_440
    default: Literal["refuse", "release"] = "refuse"


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A text and the rails that must act on it; every other rail on that side must not.

    `finds` are pieces of the text that the acting rails' findings must cover. `sources` are what an answer's
    request gave it to stand on.
    """

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=20_000)]
    language: Language
    acts: list[Id] = []
    finds: list[str] = []
    on: Side = "input"
    sources: Annotated[list[Text], msgspec.Meta(max_length=32)] = []
    project: str = "default"
    classification: str = ""
    route: str = "chat.completions"


class Pack(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A policy pack. `name` is a country code for the built-in ones."""

    schema: Literal[1]
    name: Id
    version: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\.[0-9]+(\.[0-9]+)?$")]
    title: Text
    rails: Annotated[list[Rail], msgspec.Meta(max_length=MAX_RAILS)]
    jurisdiction: Annotated[str, msgspec.Meta(max_length=100)] = ""
    languages: list[Language] = []
    retention: Retention | None = None
    disclosure: Disclosure | None = None
    review: Review = Review()
    examples: Annotated[list[Example], msgspec.Meta(max_length=2_000)] = []

    @property
    def label(self) -> str:
        """What records call it: name and version."""
        return f"{self.name}@{self.version}"
