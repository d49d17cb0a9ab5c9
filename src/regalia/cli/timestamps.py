"""`regalia log timestamp`: RFC 3161 timestamps of checkpoints, by network or by carried files."""

import json
from pathlib import Path
from typing import Annotated

import typer

from regalia.cli.options import DEFAULT_DATA_DIR, DataDir, Json
from regalia.config import load_config
from regalia.errors import RegaliaError
from regalia.instance.timestamps import MAX_RESPONSE, Timestamp, Timestamps

Certificates = Annotated[
    Path | None,
    typer.Option(
        help="The authority's certificates (PEM, with its root). Default: log.timestamps.certificates."
    ),
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="The server's YAML file.")]


def timestamp(
    tsa: Annotated[str, typer.Option(help="The authority's URL. Default: log.timestamps.url.")] = "",
    request: Annotated[
        Path | None, typer.Option(help="Write a request for the newest checkpoint here; ask nobody.")
    ] = None,
    response: Annotated[
        Path | None, typer.Option(help="Take an authority's response that was carried.")
    ] = None,
    certificates: Certificates = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Have the newest published checkpoint timestamped by an RFC 3161 authority, and keep that.

    Example: `regalia log timestamp --tsa http://tsa.example/ --certificates tsa.pem`, or without a network
    `regalia log timestamp --request now.tsq`, and later `… --response now.tsr --certificates tsa.pem`
    """
    if request is not None and response is not None:
        raise RegaliaError("give --request or --response, not both")
    settings = load_config(config, {"data_dir": str(data_dir)}).log.timestamps
    pinned = certificates or settings.certificates
    if request is not None:
        request.write_bytes(Timestamps(data_dir, pinned or Path()).request())
        typer.echo(f"Carry {request} to the authority, and its response back.")
        return
    timestamps = Timestamps(data_dir, _needed(pinned))
    if response is not None:
        stamp = timestamps.accept(_read(response))
    elif tsa or settings.url:
        stamp = timestamps.ask(tsa or settings.url)
    else:
        raise RegaliaError("name an authority with --tsa, or set log.timestamps.url")
    _show([stamp], as_json)


def timestamps(
    certificates: Certificates = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Verify and list the timestamps that are kept.

    Example: `regalia log timestamps --certificates tsa.pem --json`
    """
    settings = load_config(config, {"data_dir": str(data_dir)}).log.timestamps
    _show(Timestamps(data_dir, _needed(certificates or settings.certificates)).verified(), as_json)


def _needed(certificates: Path | None) -> Path:
    if certificates is None:
        raise RegaliaError(
            "name the authority's certificates with --certificates: unverified, a timestamp is none"
        )
    return certificates


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_RESPONSE)
    except OSError as error:
        raise RegaliaError(f"can't read {path}: {error.strerror}") from error


def _show(stamps: list[Timestamp], as_json: bool) -> None:
    if as_json:
        rows = [{"size": one.size, "time": one.time.isoformat(), "file": one.file} for one in stamps]
        typer.echo(json.dumps(rows))
        return
    for one in stamps:
        typer.echo(f"{one.size} entries existed at {one.time.isoformat()}: {one.file}")
