"""Exports a log and dies between a delivery and its cursor: `killed_export.py DATA_DIR FILE AFTER`."""

import os
import signal
import sys
from pathlib import Path

from regalia.audit.cursor import Cursor
from regalia.audit.destinations import EventFile
from regalia.audit.export import Export


class Dying(Cursor):
    """A cursor whose write is never reached."""

    left = int(sys.argv[3])

    def write(self, following: int) -> None:
        """Write, but the last time die instead."""
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        super().write(following)


if __name__ == "__main__":
    folder, file = Path(sys.argv[1]), Path(sys.argv[2])
    export = Export(
        folder / "log", "log.example", Dying(folder / "audit", "log.example", "x"), EventFile(file)
    )
    while export.step():
        pass
