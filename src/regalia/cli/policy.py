"""`regalia policy`: packs read, compared, tested, put in force, rolled back."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from regalia.cli.administering import Administration, administers
from regalia.cli.options import Json
from regalia.errors import RegaliaError
from regalia.instance.policies import checked_policy
from regalia.policy import packs as built_in
from regalia.policy.compiled import Policy
from regalia.policy.difference import difference
from regalia.policy.document import Pack
from regalia.policy.errors import PackError
from regalia.policy.reading import digest_of, schema
from regalia.policy.trial import Outcome

app = typer.Typer(help="What may go in, what may come out: policy packs.", no_args_is_help=True)
PackName = Annotated[str, typer.Argument(help="A built-in pack's name, such as `ke`, or a YAML file.")]
Project = Annotated[str, typer.Option(help="For this project only; without, for the whole instance.")]
Ident = Annotated[str, typer.Argument(help="The activation's id, from `regalia policy status`.")]


@app.command()
def packs(as_json: Json = False) -> None:
    """List the built-in packs.

    Example: `regalia policy packs`
    """
    rows = []
    for name in built_in.names():
        document, pack = built_in.load(name)
        rows.append({**_about(pack, document), "languages": pack.languages})
    if as_json:
        _print(rows)
        return
    _table(rows, {"name": "NAME", "version": "VERSION", "title": "TITLE", "rails": "RAILS"})


@app.command()
def show(pack: PackName) -> None:
    """Print a pack's document.

    Example: `regalia policy show ke > my-ke.yaml`
    """
    document, _ = built_in.load(pack)
    typer.echo(document.decode(), nl=False)


@app.command("schema")
def schema_() -> None:
    """Print the packs' JSON Schema, for editors that check YAML.

    Example: `regalia policy schema > policy-pack.schema.json`
    """
    typer.echo(schema().decode(), nl=False)


@app.command()
def check(pack: PackName, as_json: Json = False) -> None:
    """Say whether a pack can be put in force, and where not.

    Example: `regalia policy check my-ke.yaml`
    """
    document, policy = _compiled(pack)
    about = _about(policy.pack, document)
    if as_json:
        _print(about)
        return
    typer.echo(f"{about['policy']} is a valid pack: {about['rails']} rails, {about['digest']}")
    if about["retention_days"] is not None:
        typer.echo(
            f"It asks that contents be kept for at most {about['retention_days']} days. That is applied by a "
            "retention class, not by the pack: `regalia retention list`."
        )


@app.command()
def diff(old: PackName, new: PackName, as_json: Json = False) -> None:
    """Say what differs between two packs, rail by rail; exit 1 where anything does.

    Example: `regalia policy diff ke my-ke.yaml`
    """
    lines = difference(built_in.load(old)[1], built_in.load(new)[1])
    if as_json:
        _print(lines)
    else:
        typer.echo("\n".join(lines) or "Both say the same.")
    if lines:
        raise typer.Exit(1)


@app.command()
def test(
    pack: PackName,
    as_json: Json = False,
    minimum: Annotated[
        float, typer.Option(help="Exit 1 where a precision or recall is below this.", min=0, max=1)
    ] = 0.0,
) -> None:
    """Run a pack's own examples: precision and recall of each rail in each language.

    Rails by meaning get the embedding engine that comes with Regalia, for as long as the test lasts. Those
    that ask a guard model are left to a server that has one, and count as failing here.

    Example: `regalia policy test ke`
    """
    from regalia.instance.trying import tried  # here: it can start an engine, which other commands do not

    outcome = asyncio.run(tried(built_in.load(pack)[0]))
    rows = [_scored(score) for score in outcome.scores]
    measured = [value for row in rows for value in (row["precision"], row["recall"]) if value is not None]
    if as_json:
        _print({"examples": outcome.examples, "scores": rows, "failures": outcome.failures})
    else:
        _tell(outcome, rows)
    if any(value < minimum for value in measured):
        raise typer.Exit(1)


@app.command()
@administers
def activate(
    reach: Administration,
    pack: PackName,
    project: Project = "",
    at: Annotated[str, typer.Option(help="From when, 2027-01-31T08:00 (UTC); without, now.")] = "",
) -> None:
    """Put a pack in force, on record; where two people are needed, ask for it.

    Example: `regalia policy activate ke --data-dir /var/lib/regalia`
    """
    document, _ = built_in.load(pack)
    wanted = {"document": document.decode(), "project": project, "effective": _milliseconds(at)}
    made = reach.ask("POST", "/policies", wanted)
    reach.show(made, _said(made))


@app.command()
@administers
def approve(reach: Administration, activation: Ident) -> None:
    """Agree to a pack that another person asked for; it is in force then.

    Example: `regalia policy approve policy_4f… --api-key rgl_…`
    """
    made = reach.ask("POST", f"/policies/{activation}/approve")
    reach.show(made, _said(made))


@app.command()
@administers
def reject(reach: Administration, activation: Ident) -> None:
    """Reject a pack that was asked for.

    Example: `regalia policy reject policy_4f…`
    """
    made = reach.ask("POST", f"/policies/{activation}/reject")
    reach.show(made, _said(made))


@app.command()
@administers
def rollback(reach: Administration, project: Project = "") -> None:
    """Go back to what was in force before.

    Example: `regalia policy rollback --data-dir /var/lib/regalia`
    """
    made = reach.ask("POST", "/policies/rollback", {"project": project})
    reach.show(made, _said(made))


@app.command()
@administers
def status(reach: Administration, project: Project = "") -> None:
    """List what was asked for and what is in force, for the whole instance or, with --project, there.

    Example: `regalia policy status --data-dir /var/lib/regalia`
    """
    columns = {
        "id": "ID",
        "policy": "POLICY",
        "project": "PROJECT",
        "state": "STATE",
        "when": "FROM",
        "in_force": "IN FORCE",
        "digest": "DIGEST",
    }
    rows = reach.listed("/policies", project=project)
    for row in rows:
        row["when"] = datetime.fromtimestamp(row["effective"] / 1000, UTC).isoformat(timespec="seconds")
        if not reach.as_json:
            row["project"], row["in_force"] = row["project"] or "(all)", "yes" if row["in_force"] else "no"
    reach.table(rows, columns)


def _compiled(name: str) -> tuple[bytes, Policy]:
    document, _ = built_in.load(name)
    return document, checked_policy(document)


def _about(pack: Pack, document: bytes) -> dict[str, Any]:
    return {
        "name": pack.name,
        "version": pack.version,
        "policy": pack.label,
        "title": pack.title,
        "rails": len(pack.rails),
        "digest": digest_of(document),
        "retention_days": pack.retention.days if pack.retention else None,
    }


def _said(made: dict[str, Any]) -> str:
    return "\n".join([_state(made), *(f"Warning: {text}" for text in made.get("warnings", ()))])


def _state(made: dict[str, Any]) -> str:
    what = f"{made['policy']} ({made['id']})"
    where = f" for the project {made['project']}" if made["project"] else ""
    if made["state"] == "requested":
        return f"Asked for {what}{where}: a second person agrees with `regalia policy approve {made['id']}`."
    if made["state"] == "rejected":
        return f"Rejected {what}."
    if made["policy"] == "none":
        if made["project"]:
            return f"The project has no policy of its own any more; the instance's counts ({made['id']})."
        return f"No policy is in force any more ({made['id']})."
    if not made.get("in_force"):
        when = datetime.fromtimestamp(made["effective"] / 1000, UTC).isoformat(timespec="seconds")
        return f"{what} takes force{where} at {when}."
    return f"{what} is in force{where}."


def _scored(score: Any) -> dict[str, Any]:
    return {
        "rail": score.rail,
        "language": score.language,
        "right": score.right,
        "wrong": score.wrong,
        "missed": score.missed,
        "precision": score.precision,
        "recall": score.recall,
    }


def _tell(outcome: Outcome, rows: list[dict[str, Any]]) -> None:
    if not outcome.examples:
        raise PackError("the pack has no `examples`: there is nothing to test")
    columns = dict.fromkeys(("rail", "language", "right", "wrong", "missed", "precision", "recall"), "")
    for row in rows:
        for name in ("precision", "recall"):
            row[name] = "–" if row[name] is None else f"{row[name]:.2f}"
    _table(rows, {name: name.upper() for name in columns})
    for failure in outcome.failures:
        typer.echo(f"example {failure.example + 1}: {failure.what}")
    typer.echo(f"{outcome.examples} examples, {len(outcome.failures)} came out otherwise than they say.")


def _table(rows: list[dict[str, Any]], columns: dict[str, str]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in columns.values():
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(str(row[name]) for name in columns))
    Console(soft_wrap=True).print(table)


def _print(content: Any) -> None:
    typer.echo(msgspec.json.encode(content).decode())


def _milliseconds(moment: str) -> int:
    if not moment:
        return 0
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError as error:
        raise RegaliaError(f"`--at` is a time like 2027-01-31T08:00, not {moment!r}") from error
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)
