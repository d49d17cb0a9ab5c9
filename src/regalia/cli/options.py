"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DATA_DIR = Path(".regalia")

DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="REGALIA_DATA_DIR", help="The instance's data directory.")
]
DatabaseUrl = Annotated[
    str,
    typer.Option(
        "--database",
        envvar="REGALIA_DATABASE",
        help="`sqlite`, or postgresql://user@host/name. Default: what `regalia init` was given, else sqlite.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
