"""What waits in a guarded stream: the text of each field as a lane, and the events that carry it."""

from typing import Any

import msgspec

from regalia.gateway.events import as_event
from regalia.gateway.guard_texts import drop_logprobs
from regalia.policy.redact import Edit, in_string, rewrite

_encode = msgspec.json.Encoder().encode
Piece = tuple["Lane", int, int, Any, str]
"""Text in an event: its lane, from, to, and where it stands in the event's document."""


class Lane:
    """The text of one field of one choice. `tail` is what is kept of it and begins at `base`."""

    __slots__ = (
        "base",
        "cleared",
        "edits",
        "ended",
        "held",
        "inside",
        "json",
        "number",
        "scanned",
        "sides",
        "tail",
        "whole",
    )

    def __init__(self, number: int, sides: frozenset[str], json: bool) -> None:
        self.number = number
        self.sides = sides
        self.json = json  # the arguments of a tool call
        self.inside = False  # whether `tail` begins within a string of that JSON
        self.base = self.cleared = self.scanned = 0
        self.held = 0  # from there on it may yet become a finding
        self.tail = ""
        self.whole: list[str] = []
        self.edits: list[Edit] = []
        self.ended = False

    def begin_with(self, name: str) -> None:
        """Have the lane begin with a name, which is read with its text and goes nowhere."""
        self.tail = name
        self.cleared = self.scanned = len(name)
        self.whole.append(name)

    @property
    def end(self) -> int:
        """Where its text ends until now."""
        return self.base + len(self.tail)

    def forget(self, before: int) -> None:
        """Keep no text before that place."""
        if before <= self.base:
            return
        gone = self.tail[: before - self.base]
        if self.json:
            if (len(gone) - len(gone.rstrip("\\"))) % 2:  # an escape stays whole
                gone = gone[:-1]
            self.inside = in_string(gone, self.inside)
        self.tail = self.tail[len(gone) :]
        self.base += len(gone)


class Event:
    """One event that waits."""

    __slots__ = ("changed", "data", "document", "name", "pieces")

    def __init__(self, name: bytes, data: bytes, document: Any) -> None:
        self.name = name
        self.data = data
        self.document = document
        self.pieces: list[Piece] = []
        self.changed = False

    @property
    def clear(self) -> bool:
        """Whether all of its text may go."""
        return all(end <= lane.cleared for lane, _, end, _, _ in self.pieces)

    def wire(self) -> bytes:
        """The event as it goes on the wire, with the edits of its text made."""
        for lane, start, _, node, key in self.pieces:
            rewritten = rewrite(node[key], lane.edits, start)
            if rewritten != node[key]:
                node[key] = rewritten
                self.changed = True
        if self.changed and self.pieces:
            drop_logprobs(self.document)
        return as_event(self.name, _encode(self.document) if self.changed else self.data)
