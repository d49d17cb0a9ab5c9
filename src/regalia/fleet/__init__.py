"""The fleet: every engine of this instance, and which of them answers a call."""

from regalia.fleet.choose import NoReadyEngine, UnknownModel, choose
from regalia.fleet.fleet import Fleet

__all__ = ["Fleet", "NoReadyEngine", "UnknownModel", "choose"]
