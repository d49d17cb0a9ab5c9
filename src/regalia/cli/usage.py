"""`regalia usage`: what was used and what it cost, and the proof that the log says the same."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from regalia.cli.administering import Administration, administers
from regalia.cli.options import DEFAULT_DATA_DIR
from regalia.config import load_config
from regalia.instance import database_of
from regalia.instance.directory import secret_of
from regalia.instance.metering import verify_usage
from regalia.metering.audit import Verdict
from regalia.storage import check_schema

HELP = """Usage and cost; `--verify` recomputes both from the log and compares, exit 1 on a difference.

Examples:

    regalia usage --from 2026-11-01 --to 2026-11-30 --by project,model

    regalia usage --project default --json

    regalia usage --verify --data-dir /var/lib/regalia
"""


@administers
def usage(
    reach: Administration,
    project: Annotated[str, typer.Option(help="Only of this project.")] = "",
    organisation: Annotated[str, typer.Option(help="Only of this organisation.")] = "",
    first: Annotated[str, typer.Option("--from", help="From this day (UTC), as 2026-11-01.")] = "",
    last: Annotated[str, typer.Option("--to", help="To this day, itself included.")] = "",
    by: Annotated[
        str, typer.Option(help="Sum by: day, organisation, project, key, user, route, model.")
    ] = "day,project,model",
    verify: Annotated[bool, typer.Option("--verify", help="Compare the counters with the log.")] = False,
) -> None:
    """Show usage and cost, or compare the counters with the log."""
    if verify:
        _verify(reach, first, last)
        return
    asked = {"project": project, "organisation": organisation, "from": first, "to": last, "by": by}
    rows = reach.listed("/usage", **asked)
    reach.table([_flat(row) for row in rows] if not reach.as_json else rows, _columns(by))


def _columns(by: str) -> dict[str, str]:
    names = [name for name in by.split(",") if name]
    counted = ("requests", "input", "cached", "output", "cost", "energy")
    return {name: name.upper() for name in (*names, *counted)}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    cost, energy = row["cost"], row["energy"]
    return {
        **row,
        **row["usage"],
        "cost": f"{cost['amount']} {cost['currency']}" if cost else None,
        "energy": energy if isinstance(energy, str) else f"{energy['mj'] / 1000:g} J",
    }


def _verify(reach: Administration, first: str, last: str) -> None:
    """Compare here, on what the data directory and its database hold; the server may run."""
    data_dir: Path = reach.data_dir or DEFAULT_DATA_DIR
    settings = load_config(reach.config, {"data_dir": str(data_dir), "database": reach.database or None})
    database = database_of(data_dir, settings.database)
    check_schema(database)
    try:
        verdict = verify_usage(database, data_dir, secret_of(data_dir), first, last)
    finally:
        database.close()
    if reach.as_json:
        told = {"verified": not verdict.differences, **msgspec.to_builtins(verdict)}
        typer.echo(msgspec.json.encode(told).decode())
    else:
        _tell(verdict)
    if verdict.differences:
        raise typer.Exit(1)


def _tell(verdict: Verdict) -> None:
    for one in verdict.differences:
        typer.echo(f"{one.where}: {one.what} is {one.log} by the log, {one.counters} by the counters")
    cost = ", ".join(f"{amount} {currency}" for currency, amount in verdict.cost.items()) or "nothing"
    typer.echo(
        f"{verdict.records} records, {verdict.calls} calls, {verdict.input} tokens in, {verdict.output} out, "
        f"cost {cost}; {verdict.budgets} budgets: "
        + (f"{len(verdict.differences)} differences" if verdict.differences else "no difference")
    )
