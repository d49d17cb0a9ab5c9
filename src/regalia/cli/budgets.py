"""`regalia budgets`: what may be spent, and how fast."""

from typing import Annotated, Any

import typer

import regalia.instance.metering  # noqa: F401 - it adds the operations that are asked for here
from regalia.cli.administering import Administration, administers
from regalia.errors import RegaliaError

app = typer.Typer(help="Budgets, and limits a minute and at once.", no_args_is_help=True)
_BUDGETS = {
    "id": "ID",
    "scope": "SCOPE",
    "subject": "SUBJECT",
    "period": "PERIOD",
    "amount": "AMOUNT",
    "unit": "UNIT",
    "spent": "SPENT",
    "left": "LEFT",
    "hard": "HARD",
}
_LIMITS = {
    "scope": "SCOPE",
    "subject": "SUBJECT",
    "requests": "REQUESTS/MIN",
    "tokens": "TOKENS/MIN",
    "concurrent": "AT ONCE",
}
Organisation = Annotated[str | None, typer.Option(help="For this organisation.")]
Project = Annotated[str | None, typer.Option(help="For this project.")]
Key = Annotated[str | None, typer.Option(help="For this API key, by its id.")]
User = Annotated[str | None, typer.Option(help="For this person, by their id.")]


@app.command("set")
@administers
def set_(
    reach: Administration,
    amount: Annotated[str, typer.Argument(help="How much: 100, 12.50, 1000000.")],
    unit: Annotated[str, typer.Option(help="`tokens`, or a currency: EUR, KES.")] = "tokens",
    period: Annotated[str, typer.Option(help="day, month or total (UTC).")] = "month",
    soft: Annotated[bool, typer.Option("--soft", help="Only tell when it is exceeded.")] = False,
    organisation: Organisation = None,
    project: Project = None,
    key: Key = None,
    user: User = None,
) -> None:
    """Set a budget, or another amount for one that is there.

    Example: `regalia budgets set 100 --unit EUR --period month --project project_01…`
    """
    wanted = _subject(organisation, project, key, user)
    wanted |= {"amount": amount, "unit": unit, "period": period, "hard": not soft}
    made = reach.ask("POST", "/budgets", wanted)
    reach.show(made, f"{made['id']}: {made['amount']} {made['unit']}, {made['spent']} spent.")


@app.command("list")
@administers
def list_(reach: Administration) -> None:
    """List budgets with what is spent of them in the current period.

    Example: `regalia budgets list --json`
    """
    reach.table(reach.listed("/budgets"), _BUDGETS)


@app.command()
@administers
def remove(reach: Administration, budget: Annotated[str, typer.Argument(help="The budget's id.")]) -> None:
    """Remove a budget; the usage stays.

    Example: `regalia budgets remove budget_01…`
    """
    reach.show(reach.ask("DELETE", f"/budgets/{budget}"), f"Removed {budget}.")


@app.command()
@administers
def limit(
    reach: Administration,
    requests: Annotated[int | None, typer.Option(help="Requests a minute.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Tokens a minute.")] = None,
    concurrent: Annotated[int | None, typer.Option(help="Calls at once.")] = None,
    organisation: Organisation = None,
    project: Project = None,
    key: Key = None,
    user: User = None,
) -> None:
    """Set all limits of a subject; what you leave out is not limited. `'*'` is each without its own.

    Example: `regalia budgets limit --key '*' --requests 60 --tokens 100000 --concurrent 8`
    """
    wanted = _subject(organisation, project, key, user)
    wanted |= {"requests": requests, "tokens": tokens, "concurrent": concurrent}
    reach.show(
        reach.ask("POST", "/limits", wanted), f"Limits of {wanted['scope']} {wanted['subject']} are set."
    )


@app.command()
@administers
def limits(reach: Administration) -> None:
    """List the limits a minute and at once.

    Example: `regalia budgets limits`
    """
    reach.table(reach.listed("/limits"), _LIMITS)


def _subject(
    organisation: str | None, project: str | None, key: str | None, user: str | None
) -> dict[str, Any]:
    given = {"organisation": organisation, "project": project, "key": key, "user": user}
    named = [(scope, subject) for scope, subject in given.items() if subject is not None]
    if len(named) != 1:
        raise RegaliaError("say for whom: one of --organisation, --project, --key, --user")
    return {"scope": named[0][0], "subject": named[0][1]}
