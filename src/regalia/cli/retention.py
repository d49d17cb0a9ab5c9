"""`regalia retention`: how long contents are kept, and the index that finds them."""

from typing import Annotated, Any

import typer

from regalia.cli.administering import Administration, administers

app = typer.Typer(help="How long what was said is kept.", no_args_is_help=True)


@app.command()
@administers
def define(
    reach: Administration,
    name: Annotated[str, typer.Argument(help="The class's name; `default` is for projects without another.")],
    content_days: Annotated[
        int | None, typer.Option(help="Delete contents after so many days. Default: never.")
    ] = None,
    index_days: Annotated[
        int | None, typer.Option(help="Forget calls after so many days, at least as many. Default: never.")
    ] = None,
) -> None:
    """Define a retention class, or define it anew: it then holds for what is there already, too.

    Give a project the class with `regalia projects set PROJECT --retention NAME`.

    Example: `regalia retention define short --content-days 30 --index-days 365`
    """
    wanted = {"content_days": content_days, "index_days": index_days}
    made = reach.ask("PUT", f"/retention/classes/{name}", wanted)
    reach.show(made, f"{name} keeps {_kept(made)}.")


@app.command("list")
@administers
def list_(reach: Administration) -> None:
    """List the classes, and which project has which.

    Example: `regalia retention list`
    """
    first, *others = reach.pages("/retention")
    found = {name: first[name] for name in ("classes", "projects", "undefined")}
    for one in others:
        found["projects"] += one["projects"]
    lines = [f"{one['name']}: {_kept(one)}" for one in found["classes"]]
    lines += [f"project {one['project']}: {one['class']}" for one in found["projects"]]
    lines += [f"{name}: not defined, so for ever" for name in found["undefined"]]
    reach.show(found, "\n".join(lines))


@app.command()
@administers
def apply(
    reach: Administration,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is due.")] = False,
) -> None:
    """Delete now what is due; a server does it by itself, once an hour unless configured otherwise.

    Example: `regalia retention apply --dry-run`
    """
    done = reach.ask("POST", "/retention/apply", {"dry_run": dry_run})
    reach.show(done, _due(done) if dry_run else _applied(done))


def _kept(one: dict[str, Any]) -> str:
    content, index = one["content_days"], one["index_days"]
    return f"contents {_days(content)}, the index of calls {_days(index)}"


def _days(count: int | None) -> str:
    return "for ever" if count is None else f"for {count} days"


def _due(found: dict[str, Any]) -> str:
    lines = [
        f"project {one['project']} ({one['class']}): {one['keys']} keys"
        + (f", and {one['calls']} calls out of hours that a hold touches" if one["calls"] else "")
        for one in found["content"]
    ]
    lines += [
        f"project {one['project']} ({one['class']}): the index of {one['calls']} calls"
        for one in found["index"]
    ]
    return "\n".join([*lines, *_left(found)]) or "Nothing is due."


def _applied(done: dict[str, Any]) -> str:
    if not (done["keys"] or done["calls"] or done["index"]):
        return "\n".join(["Nothing is due.", *_left(done)])
    what = f"Destroyed {done['keys']} keys, erased {done['calls']} calls singly, removed the index of "
    return "\n".join([f"{what}{done['index']} calls; on record as {done['retention']}.", *_left(done)])


def _left(found: dict[str, Any]) -> list[str]:
    held = [f"Left out, because a legal hold keeps it: {', '.join(found['held'])}"] if found["held"] else []
    return held + [f"{name} is not defined, so it keeps for ever" for name in found["undefined"]]
