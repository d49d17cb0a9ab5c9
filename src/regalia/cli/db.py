"""`regalia db`: the database's schema."""

import json

import typer

from regalia.cli.options import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, Json
from regalia.instance import database_of
from regalia.storage import VERSION, schema_of
from regalia.storage import upgrade as bring_up

app = typer.Typer(help="The database and its schema.", no_args_is_help=True)


@app.command()
def status(data_dir: DataDir = DEFAULT_DATA_DIR, database: DatabaseUrl = "", as_json: Json = False) -> None:
    """Say which schema the database has, and which one this version needs.

    Example: `regalia db status --data-dir /var/lib/regalia`
    """
    opened = database_of(data_dir, database)
    found = schema_of(opened)
    where = opened.engine.url.render_as_string(hide_password=True)
    if as_json:
        typer.echo(json.dumps({"database": where, "schema": found, "needed": VERSION}))
        return
    typer.echo(f"{where}: schema {found or 'none'}, this Regalia needs {VERSION}")
    if found != VERSION:
        typer.echo(f"Next: regalia db upgrade --data-dir {data_dir}")


@app.command()
def upgrade(data_dir: DataDir = DEFAULT_DATA_DIR, database: DatabaseUrl = "", as_json: Json = False) -> None:
    """Bring the database to the schema this version needs, wholly or not at all.

    Stop all servers that use it first, and make a backup.

    Example: `regalia db upgrade --data-dir /var/lib/regalia`
    """
    opened = database_of(data_dir, database)
    found = schema_of(opened)
    bring_up(opened)
    if as_json:
        typer.echo(json.dumps({"from": found, "schema": VERSION}))
    elif found == VERSION:
        typer.echo(f"The database has schema {VERSION} already.")
    else:
        typer.echo(f"The database had schema {found or 'none'}, and has {VERSION} now.")
