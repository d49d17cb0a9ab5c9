"""`regalia audit`: audit events, as other systems take them."""

from typing import Annotated

import msgspec
import typer

from regalia.audit.export import published_size, read_events
from regalia.cli.options import DEFAULT_DATA_DIR, DataDir
from regalia.instance import identity_of

app = typer.Typer(help="Audit events, as other systems take them.", no_args_is_help=True)


@app.command()
def events(
    start: Annotated[int, typer.Option("--from", min=0, help="The index of the first record.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="How many records to look at.")] = 1000,
    calls: Annotated[bool, typer.Option(help="Calls too, or only what is done to the system.")] = True,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Print published records as OCSF events, one line of JSON each.

    Example: `regalia audit events --from 0 --limit 100 --no-calls`
    """
    origin = identity_of(data_dir).origin
    size = published_size(data_dir / "log")
    end = min(size, start + limit)
    at = start
    while at < end:
        for index, event in read_events(data_dir / "log", origin, size, at, calls=calls):
            at = index + 1
            if event is not None and index < end:
                typer.echo(msgspec.json.encode(event).decode())
