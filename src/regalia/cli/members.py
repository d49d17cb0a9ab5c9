"""`regalia members`: people and their roles."""

from typing import Annotated

import typer

from regalia.cli.administering import Administration, administers

app = typer.Typer(help="People and their roles.", no_args_is_help=True)
User = Annotated[str, typer.Argument(help="The person's id.")]
Role = Annotated[str, typer.Argument(help="One of those that `regalia roles` lists.")]
Organisation = Annotated[str, typer.Option(help="In this organisation and all its projects.")]
Project = Annotated[str, typer.Option(help="In this project.")]


@app.command()
@administers
def add(
    reach: Administration,
    name: Annotated[str, typer.Argument(help="The person's name.")],
    email: Annotated[str, typer.Argument(help="The person's address.")],
    organisation: Annotated[str, typer.Option(help="Where the person is at home; '' for none.")] = "default",
) -> None:
    """Add a person, as yet without a role.

    Example: `regalia members add "Amina Odhiambo" amina@health.example --organisation org_01…`
    """
    made = reach.ask("POST", "/users", {"name": name, "email": email, "organisation": organisation})
    reach.show(made, f"Added {made['id']}.")


@app.command("list")
@administers
def list_(
    reach: Administration, organisation: Annotated[str, typer.Option(help="Only of this organisation.")] = ""
) -> None:
    """List people.

    Example: `regalia members list`
    """
    columns = {"id": "ID", "name": "NAME", "email": "ADDRESS", "organisation": "AT", "disabled": "DISABLED"}
    reach.table(reach.listed("/users", organisation=organisation), columns)


@app.command()
@administers
def roles(reach: Administration, user: User) -> None:
    """List a person's roles and where they hold.

    Example: `regalia members roles user_01…`
    """
    columns = {"role": "ROLE", "organisation": "ORGANISATION", "project": "PROJECT"}
    reach.table(reach.listed(f"/users/{user}/roles"), columns)


@app.command()
@administers
def give(
    reach: Administration, user: User, role: Role, organisation: Organisation = "", project: Project = ""
) -> None:
    """Give a person a role: in a project, an organisation, or, with neither, in the whole instance.

    Example: `regalia members give user_01… auditor --organisation org_01…`
    """
    wanted = {"role": role, "organisation": organisation, "project": project}
    reach.show(reach.ask("POST", f"/users/{user}/roles", wanted), f"{user} is {role} now.")


@app.command()
@administers
def take(
    reach: Administration, user: User, role: Role, organisation: Organisation = "", project: Project = ""
) -> None:
    """Take a role from a person.

    Example: `regalia members take user_01… auditor --organisation org_01…`
    """
    wanted = {"role": role, "organisation": organisation, "project": project}
    reach.show(reach.ask("POST", f"/users/{user}/roles/take", wanted), f"{user} is no longer {role}.")


@app.command()
@administers
def disable(reach: Administration, user: User) -> None:
    """Lock a person out: their keys are refused within a second.

    Example: `regalia members disable user_01…`
    """
    reach.show(reach.ask("POST", f"/users/{user}/disable"), f"{user} is locked out.")


@app.command()
@administers
def enable(reach: Administration, user: User) -> None:
    """Let a person in again.

    Example: `regalia members enable user_01…`
    """
    reach.show(reach.ask("POST", f"/users/{user}/enable"), f"{user} is let in again.")


@app.command()
@administers
def who(
    reach: Administration,
    pseudonym: Annotated[str, typer.Argument(help="32 hex digits from a record.")],
    before: Annotated[str, typer.Option(help="Look for places of the months before this one, 2026-11.")] = "",
) -> None:
    """Say whom or what a pseudonym in the log stands for; takes the right to read records.

    Example: `regalia members who 4f1c…`
    """
    found = reach.ask("GET", f"/pseudonyms/{pseudonym}" + (f"?before={before}" if before else ""))
    reach.show(found, f"{found['kind']} {found['id']}: {found['name']}")
