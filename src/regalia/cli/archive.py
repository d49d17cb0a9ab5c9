"""`regalia log archive`: old files of the log go to an archive folder."""

from pathlib import Path
from typing import Annotated

import typer

from regalia.cli.administering import Administration, administers
from regalia.ledger.archive import archive as move
from regalia.ledger.folder import LogFolder
from regalia.ledger.keys import KeyFiles, read_past


@administers
def archive(
    reach: Administration,
    before: Annotated[int, typer.Option(help="The minimum index: files of older entries may go.")],
    to: Annotated[Path, typer.Option(help="The archive folder, on another disk perhaps.")],
) -> None:
    """Declare a minimum index, on record, and move the full bundles and tiles below it to an archive.

    Each file leaves a link: while the archive is attached at that path, everything reads as before. Without
    it, only receipts of the old calls can't be made. Repeat it to finish what was interrupted, or with
    another folder when the archive has moved.

    Example: `regalia log archive --before 1000000 --to /mnt/archive/log`
    """
    declared = reach.ask("POST", "/log/archive", {"before": before})
    folder = LogFolder(reach.data_dir / "log")
    try:
        needed = [former.last for former in read_past(KeyFiles.under(reach.data_dir / "keys")).former]
        moved = move(folder, declared["minimum"], to, needed)
    finally:
        folder.close()
    done = {"minimum": declared["declared"], "files": moved, "archive": str(to.resolve())}
    reach.show(done, f"Moved {moved} files; the log's minimum index is {declared['declared']}.")
