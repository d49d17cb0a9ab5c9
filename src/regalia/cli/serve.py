"""`regalia serve`: run the server in the foreground."""

from pathlib import Path
from typing import Annotated

import typer

from regalia.cli.options import DatabaseUrl
from regalia.config import load_config

HELP = """Run the server in the foreground; SIGTERM and Ctrl-C drain it.

Examples:

    regalia serve --data-dir /var/lib/regalia --port 8080

    regalia serve --config regalia.yaml

    regalia serve --data-dir /var/lib/regalia --workers 2 --database postgresql://regalia@/regalia
"""


def serve(
    data_dir: Annotated[
        Path | None, typer.Option(help="The instance's data directory. Default: .regalia.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 0 picks a free one. Default: 8080.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="How many processes serve; more than 1 needs PostgreSQL. Default: 1.")
    ] = None,
    database: DatabaseUrl = "",
    config: Annotated[Path | None, typer.Option(help="A YAML file; see docs/configuration.md.")] = None,
) -> None:
    """Run the server."""
    from regalia.api.server import run  # the server's imports would slow down every other command
    from regalia.api.workers import supervise

    given = {
        "data_dir": data_dir and str(data_dir),
        "host": host,
        "port": port,
        "workers": workers,
        "database": database or None,
    }
    settings = load_config(config, given)
    if settings.workers > 1:
        supervise(settings)
    else:
        run(settings)
