"""`regalia orgs`: organisations."""

from typing import Annotated

import typer

from regalia.cli.administering import Administration, administers

app = typer.Typer(help="Organisations, which own projects and people.", no_args_is_help=True)
_COLUMNS = {"id": "ID", "name": "NAME", "archived": "ARCHIVED"}


@app.command()
@administers
def create(reach: Administration, name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Create an organisation.

    Example: `regalia orgs create "Ministry of Health"`
    """
    made = reach.ask("POST", "/organisations", {"name": name})
    reach.show(made, f"Created {made['id']}.")


@app.command("list")
@administers
def list_(reach: Administration) -> None:
    """List the organisations you have a role in.

    Example: `regalia orgs list`
    """
    reach.table(reach.listed("/organisations"), _COLUMNS)


@app.command()
@administers
def archive(reach: Administration, organisation: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """End an organisation: the keys of all its projects are refused within a second.

    Example: `regalia orgs archive org_01…`
    """
    reach.show(reach.ask("POST", f"/organisations/{organisation}/archive"), f"Archived {organisation}.")
