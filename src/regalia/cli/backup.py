"""`regalia backup` and `regalia restore`."""

import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from regalia.cli.options import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, Json
from regalia.config import load_config
from regalia.instance.backup import Backup, back_up
from regalia.instance.backup import restore as bring_back

BACKUP_HELP = """Copy an instance into a new folder, consistently, while it serves.

Examples:

    regalia backup --data-dir /var/lib/regalia --to /mnt/backup/monday
"""
RESTORE_HELP = """Bring a backup to an empty data directory; refuses to move a log backwards.

Examples:

    regalia restore --from /mnt/backup/monday --data-dir /var/lib/regalia
"""


def backup(
    to: Annotated[Path, typer.Option(help="The backup's own folder; made if it is missing.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: Annotated[Path | None, typer.Option(help="The server's YAML file.")] = None,
    as_json: Json = False,
) -> None:
    """Copy database, log, vault and keys."""
    settings = load_config(config, {"data_dir": str(data_dir)})
    made = back_up(data_dir, to, database_url=settings.database, root_key=settings.vault.root_key)
    if as_json:
        typer.echo(_json(made))
        return
    typer.echo(f"{made.size} entries, {made.published} of them published, are in {to}.")
    typer.echo(
        f"Keep {to / 'keys'} apart from the rest: who has both reads the contents and signs as your log."
    )


def restore(
    source: Annotated[Path, typer.Option("--from", help="The backup's folder, keys/ put back into it.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    database: DatabaseUrl = "",
    as_json: Json = False,
) -> None:
    """Bring back database, log, vault and keys."""
    restored = bring_back(source, data_dir, database_url=database)
    if as_json:
        typer.echo(_json(restored))
        return
    typer.echo(f"{restored.size} entries, {restored.published} of them published, are in {data_dir}.")
    typer.echo(f"Next: regalia log fsck --data-dir {data_dir}")
    typer.echo("If receipts were given after this backup, starting would fork the log: docs/operations.md.")


def _json(backup: Backup) -> str:
    return json.dumps({key: value for key, value in msgspec.to_builtins(backup).items() if key != "files"})
