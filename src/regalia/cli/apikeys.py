"""`regalia apikeys`: the keys of the API."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from regalia.cli.administering import Administration, administers
from regalia.errors import RegaliaError

app = typer.Typer(help="API keys: created, shown once, rotated, revoked.", no_args_is_help=True)
Key = Annotated[str, typer.Argument(help="The key's id (never its text).")]


@app.command()
@administers
def create(
    reach: Administration,
    name: Annotated[str, typer.Argument(help="What it is for.")],
    project: Annotated[str, typer.Option(help="The project whose calls it makes.")] = "",
    organisation: Annotated[str, typer.Option(help="Its organisation, where it is of no project.")] = "",
    user: Annotated[str, typer.Option(help="Whose it is; without, it is a service key.")] = "",
    role: Annotated[str, typer.Option(help="A service key's role.")] = "developer",
    scope: Annotated[
        str | None, typer.Option(help="Where it works: project, organisation, instance.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option("--model", help="A model it is for; repeatable.")] = None,
    route: Annotated[
        list[str] | None, typer.Option("--route", help="A route it is for, chat.completions; repeatable.")
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option("--network", help="From where, 10.1.0.0/16; repeatable.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="Until when, 2027-01-31 (UTC).")] = None,
) -> None:
    """Create a key; its text is printed now and never again.

    Example: `regalia apikeys create "triage web app" --project proj_01… --network 10.1.0.0/16`
    """
    wanted = {
        "name": name,
        "project": project,
        "organisation": organisation,
        "user": user,
        "role": role,
        "scope": scope or ("project" if project else "organisation" if organisation else "instance"),
        "models": model or None,
        "routes": route or None,
        "networks": network or None,
        "expires": _milliseconds(expires),
    }
    made = reach.ask("POST", "/keys", wanted)
    reach.show(made, f"Created {made['key']['id']}. Shown only now: {made['secret']}")


@app.command("list")
@administers
def list_(
    reach: Administration, project: Annotated[str, typer.Option(help="Only of this project.")] = ""
) -> None:
    """List keys, without their text.

    Example: `regalia apikeys list --project proj_01…`
    """
    columns = {
        "id": "ID",
        "name": "NAME",
        "hint": "ENDS IN",
        "project": "PROJECT",
        "user": "PERSON",
        "role": "ROLE",
        "expires": "EXPIRES",
        "revoked": "REVOKED",
    }
    reach.table(reach.listed("/keys", project=project), columns)


@app.command()
@administers
def rotate(
    reach: Administration,
    key: Key,
    overlap: Annotated[int, typer.Option(help="For so many seconds the old key stays valid.")] = 3600,
) -> None:
    """Replace a key by a new one, which is printed now and never again.

    Example: `regalia apikeys rotate key_01… --overlap 86400`
    """
    made = reach.ask("POST", f"/keys/{key}/rotate", {"overlap_seconds": overlap})
    reach.show(made, f"Created {made['key']['id']}. Shown only now: {made['secret']}")


@app.command()
@administers
def revoke(reach: Administration, key: Key) -> None:
    """End a key: every process refuses it within a second.

    Example: `regalia apikeys revoke key_01…`
    """
    reach.show(reach.ask("POST", f"/keys/{key}/revoke"), f"Revoked {key}.")


def _milliseconds(date: str | None) -> int | None:
    if date is None:
        return None
    try:
        moment = datetime.fromisoformat(date)
    except ValueError as error:
        raise RegaliaError(f"--expires is a date like 2027-01-31, not {date!r}") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
