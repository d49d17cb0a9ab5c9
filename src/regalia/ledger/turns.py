"""Turns at a log folder that several processes write: locks on files, which end with their holder.

Tiles and bundles are the same whoever writes them, so the turn to publish only saves work: who waits for it
too long, because its holder is paused, goes ahead. The checkpoint is different, it must never go back. Its
turn is held only while it is compared and replaced, and nobody goes ahead without it.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PATIENCE_S = 3.0
HURRIED_S = 0.05
CHECKPOINT_S = 10.0
_STEP_S = 0.005


class CheckpointHeld(OSError):
    """Another process has been at the checkpoint for too long; it is paused, and keeps the others out."""


class Turns:
    """The locks of one log folder, in `directory` beside it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._patience_s = PATIENCE_S

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """The turn to publish; after `PATIENCE_S` without it, the block runs all the same."""
        with self._open("publishing.lock") as file:
            taken = _take(file, self._patience_s)
            self._patience_s = PATIENCE_S if taken else HURRIED_S  # a paused holder is waited for once
            yield

    @contextmanager
    def checkpoint(self) -> Iterator[None]:
        """The turn to compare and replace the checkpoint. Raises CheckpointHeld."""
        with self._open("checkpoint.lock") as file:
            if not _take(file, CHECKPOINT_S):
                raise CheckpointHeld(
                    f"another process has held {file.name} for {CHECKPOINT_S:.0f} s: continue or end it"
                )
            yield

    def _open(self, name: str) -> IO[str]:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return (self._directory / name).open("a")


def _take(file: IO[str], patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_STEP_S)
        else:
            return True
