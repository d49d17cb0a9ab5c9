"""Which pack is in force, as data: who wanted it, who agreed, from when. No I/O.

The newest active activation whose time has come is in force, for a project or (project "") for the whole
instance; a project's own pack takes the place of the instance's. Where two people are needed, the one who
agrees is not the one who asked. A rollback is an activation too: of what was in force before.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from regalia.policy.errors import PolicyConflict

State = Literal["requested", "active", "rejected"]
NO_PACK = "none"


class Activation(msgspec.Struct, frozen=True):
    """One wish to have a pack in force. `document` None means: no policy. Times are in milliseconds.

    `reverts` is the activation that a rollback takes back.
    """

    id: str
    project: str
    label: str
    digest: str
    document: bytes | None
    state: State
    requested_by: str
    requested: int
    effective: int
    decided_by: str | None = None
    decided: int | None = None
    reverts: str | None = None


def in_order(activations: Sequence[Activation], project: str) -> list[Activation]:
    """A project's active ones in the order in which they take force."""
    mine = [item for item in activations if item.project == project and item.state == "active"]
    return sorted(mine, key=lambda item: (item.effective, item.decided or 0, item.id))


def in_force(activations: Sequence[Activation], project: str, now_ms: int) -> Activation | None:
    """What is in force for exactly that project ("" for the instance), None where nothing is."""
    begun = [item for item in in_order(activations, project) if item.effective <= now_ms]
    return begun[-1] if begun and begun[-1].document is not None else None


def next_change(activations: Sequence[Activation], now_ms: int) -> int | None:
    """When something scheduled takes force next."""
    times = [item.effective for item in activations if item.state == "active" and item.effective > now_ms]
    return min(times, default=None)


def before(activations: Sequence[Activation], project: str, now_ms: int) -> tuple[str, Activation | None]:
    """For a rollback: which activation it takes back, and what was in force before that one.

    Raises PolicyConflict where nothing is in force.
    """
    begun = [item for item in in_order(activations, project) if item.effective <= now_ms]
    current = _origin(begun, begun[-1]) if begun else None
    if current is None or current.document is None:
        raise PolicyConflict("no pack is in force here: there is nothing to roll back")
    return current.id, _before(begun, current)


def may_decide(activation: Activation, by: str, approve: bool) -> None:
    """Whether `by` may agree to it, or reject it. Raises PolicyConflict with the reason."""
    if activation.state != "requested":
        raise PolicyConflict(f"{activation.id} is {activation.state} already")
    if approve and by == activation.requested_by:
        raise PolicyConflict("a second person must agree: whoever asked can't")


def _before(begun: Sequence[Activation], current: Activation) -> Activation | None:
    """What was in force before `current` was."""
    place = [item.id for item in begun].index(current.id)
    return _origin(begun, begun[place - 1]) if place else None


def _origin(begun: Sequence[Activation], item: Activation) -> Activation | None:
    """The activation whose pack this is: of a rollback, the one it went back to."""
    while item.reverts is not None:
        reverted = next((other for other in begun if other.id == item.reverts), None)
        earlier = begun.index(reverted) - 1 if reverted is not None else -1
        if earlier < 0:
            return None
        item = begun[earlier]
    return item
