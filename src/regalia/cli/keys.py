"""`regalia keys`: the log's signing keys, and the root that lets them be replaced."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from regalia.cli.options import DEFAULT_DATA_DIR, DataDir, Json
from regalia.config import load_config
from regalia.errors import RegaliaError
from regalia.instance import database_of, identity_of
from regalia.ledger import KeyFiles, LedgerLocked
from regalia.ledger.keys import log_keys
from regalia.ledger.log import Log
from regalia.ledger.wire import Where

app = typer.Typer(help="The log's signing keys and its root.", no_args_is_help=True)

ConfigFile = Annotated[Path | None, typer.Option("--config", help="The server's YAML file.")]


@app.command()
def show(data_dir: DataDir = DEFAULT_DATA_DIR, as_json: Json = False) -> None:
    """Print the log's public keys: the present ones, the root's, and the former ones.

    Example: `regalia keys show --data-dir /var/lib/regalia`
    """
    keys = log_keys(KeyFiles.under(data_dir / "keys"), identity_of(data_dir).origin)
    shown: dict[str, list[Any]] = {
        "keys": [key.encode() for key in keys.current],
        "root": list(keys.past.root),
        "former": [{"until": former.last, "keys": list(former.keys)} for former in keys.past.former],
    }
    if as_json:
        typer.echo(json.dumps(shown))
        return
    for key in shown["keys"]:
        typer.echo(f"key   {key}")
    for key in shown["root"]:
        typer.echo(f"root  {key}")
    for former in keys.past.former:
        typer.echo(f"until {former.last}: {' '.join(former.keys)}")


@app.command()
def rotate(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    root_key: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the root's two files, or one of them. Default: keys/ in the data directory."
        ),
    ] = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Give the log new keys, by a record that its present ones and its root sign. Stop the server first.

    The former private keys are deleted. Print the trust policy again, and give it to witnesses and auditors.

    Example: `regalia keys rotate --data-dir /var/lib/regalia --root-key /media/root`
    """
    place = root_key or data_dir / "keys"
    root = KeyFiles.under(place if place.is_dir() else place.parent, "root")
    with _opened(data_dir, config) as log:
        index = log.rotate(root)
    keys = log_keys(KeyFiles.under(data_dir / "keys"), identity_of(data_dir).origin)
    if as_json:
        typer.echo(json.dumps({"index": index, "keys": [key.encode() for key in keys.current]}))
        return
    typer.echo(f"New keys sign from now on; entry {index} of the log says so.")
    typer.echo(f"Next: regalia log policy --data-dir {data_dir}, for witnesses and auditors.")


@app.command()
def root(data_dir: DataDir = DEFAULT_DATA_DIR, config: ConfigFile = None, as_json: Json = False) -> None:
    """Make a root for a log that has none yet, on record. Stop the server first.

    Example: `regalia keys root --data-dir /var/lib/regalia`
    """
    with _opened(data_dir, config) as log:
        index = log.add_root()
    files = KeyFiles.under(data_dir / "keys", "root")
    if as_json:
        typer.echo(json.dumps({"index": index, "files": [str(files.ed25519), str(files.mldsa44)]}))
        return
    typer.echo(f"The log's root is in {files.ed25519} and {files.mldsa44}: carry both off this machine.")
    typer.echo(f"Next: regalia log policy --data-dir {data_dir}, for auditors: it names the root.")


@contextmanager
def _opened(data_dir: Path, config: Path | None) -> Iterator[Log]:
    """The log, which nobody else has."""
    settings = load_config(config, {"data_dir": str(data_dir)})
    url = database_of(data_dir, settings.database).engine.url.render_as_string(hide_password=False)
    keys = KeyFiles.under(data_dir / "keys")
    origin = identity_of(data_dir).origin
    try:
        log = Log.open(Where(data_dir, url, "keys", origin, keys, settings.vault.root_key))
    except LedgerLocked as error:
        raise RegaliaError("a server runs on this data directory: stop it while the keys change") from error
    try:
        yield log
    finally:
        log.close()
