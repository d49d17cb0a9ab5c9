"""`regalia log`: what others pin and check."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from regalia.cli.archive import archive
from regalia.cli.options import DEFAULT_DATA_DIR, DataDir, Json
from regalia.cli.timestamps import timestamp, timestamps
from regalia.config import load_config
from regalia.errors import RegaliaError
from regalia.instance import database_of, identity_of
from regalia.ledger import KeyFiles, policy_text
from regalia.ledger.keys import renewed_policy
from regalia.ledger.lock import file_lock
from regalia.ledger.turns import Turns
from regalia.storage import check_schema
from regalia_verify.note import Checkpoint, SignedNote
from regalia_verify.source import TILE_WIDTH, Folder, Missing, TiledLog

app = typer.Typer(help="The transparency log.", no_args_is_help=True)
app.command()(archive)
app.command()(timestamp)
app.command()(timestamps)


@app.command()
def policy(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    trust: Annotated[
        Path | None, typer.Option(help="A policy file with witnesses: print it with the log's present keys.")
    ] = None,
) -> None:
    """Print the trust policy (C2SP tlog-policy) that an auditor pins.

    Example: `regalia log policy > policy.txt`, or after a rotation `regalia log policy --trust trust.txt`
    """
    if trust is None:
        typer.echo(trust_policy(data_dir), nl=False)
        return
    try:
        text = trust.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise RegaliaError(f"can't read {trust}: {error}") from error
    files = KeyFiles.under(data_dir / "keys")
    typer.echo(renewed_policy(text, files, identity_of(data_dir).origin), nl=False)


@app.command()
def checkpoint(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Print the newest published checkpoint.

    Example: `regalia log checkpoint > monday.txt`, and later `regalia-verify consistency monday.txt …`
    """
    try:
        typer.echo((data_dir / "log" / "checkpoint").read_text(), nl=False)
    except FileNotFoundError as error:
        raise RegaliaError(f"{data_dir} has published no checkpoint yet; start the server once") from error


@app.command()
def fsck(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    repair: Annotated[
        bool, typer.Option("--repair", help="Derive wrong tiles, bundles and spans again; stop servers.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="The server's YAML file.")] = None,
    as_json: Json = False,
) -> None:
    """Check database, tiles, bundles, checkpoint, calls and vault against each other; exit 1 if not sound.

    Example: `regalia log fsck --data-dir /var/lib/regalia`
    """
    from regalia.ledger.fsck import check_log

    settings = load_config(config, {"data_dir": str(data_dir)})
    database = database_of(data_dir, settings.database)
    check_schema(database)
    keys = KeyFiles.under(data_dir / "keys")
    with _alone(data_dir, database.is_sqlite) if repair else nullcontext():
        done = check_log(
            data_dir, database, identity_of(data_dir).origin, keys, settings.vault.root_key, repair=repair
        )
    if as_json:
        typer.echo(json.dumps({"sound": done.sound, **msgspec.to_builtins(done)}))
    else:
        for one in done.found:
            state = " (repaired)" if one.repaired else " (--repair can derive it)" if one.derivable else ""
            typer.echo(f"{one.where}: {one.problem}{state}")
        verdict = "all agree" if not done.found else "repaired" if done.sound else "they disagree"
        typer.echo(f"{done.size} entries, {done.published} published, {done.calls} calls: {verdict}")
    if not done.sound:
        raise typer.Exit(1)


@app.command()
def records(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    kind: Annotated[
        str, typer.Option(help="Only of this kind, or with a dot at its end all that begin so: admin.")
    ] = "",
    call: Annotated[str, typer.Option(help="Only those that name this call.")] = "",
) -> None:
    """Print the published records, one JSON document a line, each after its number in the log.

    Example: `regalia log records --kind content.read`
    """
    source = Folder(data_dir / "log")
    try:
        note = source.read("checkpoint", 1 << 16).decode()
    except Missing as error:
        raise RegaliaError(f"Nothing is published yet: {error}. A server publishes once it runs.") from error
    size = Checkpoint.parse(SignedNote.parse(note).text).size
    log = TiledLog(source, size)
    for bundle in range(-(-size // TILE_WIDTH)):
        for index, entry in enumerate(log.bundle(bundle), bundle * TILE_WIDTH):
            record = json.loads(entry)
            wanted = record["kind"].startswith(kind) if kind.endswith(".") else kind in ("", record["kind"])
            if wanted and call in ("", record.get("call")):
                typer.echo(f"{index} {entry.decode()}")


@contextmanager
def _alone(data_dir: Path, one_process: bool) -> Iterator[None]:
    """Keep other writers of the folder away: the server itself on SQLite, other publishers otherwise."""
    if one_process:
        with file_lock(data_dir / "run" / "lock"):
            yield
    else:
        with Turns(data_dir / "run").publishing():
            yield


def trust_policy(data_dir: Path) -> str:
    """The policy text of the instance in `data_dir`."""
    return policy_text(KeyFiles.under(data_dir / "keys"), identity_of(data_dir).origin)
