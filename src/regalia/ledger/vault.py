"""The seam where contents are sealed before they reach the database."""

from typing import Protocol


class Vault(Protocol):
    """Seals what a record's commitments open to. `sealing` names the way, and is kept with each row."""

    sealing: int

    def seal(self, project: str, call: str, data: bytes) -> bytes:
        """The bytes to store; may only be called for data that fits in memory."""

    def open(self, project: str, call: str, data: bytes) -> bytes:
        """The inverse of `seal`."""


class PlainVault:
    """Stores contents as they are."""

    sealing = 0

    def seal(self, project: str, call: str, data: bytes) -> bytes:
        """The data itself."""
        return data

    def open(self, project: str, call: str, data: bytes) -> bytes:
        """The data itself."""
        return data
