"""`regalia reviews`: calls that a policy holds until a person has looked at them."""

import math
import time
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from regalia.cli.administering import Administration, administers
from regalia.cli.conversation import as_read, visible
from regalia.cli.http import NotNow, NotReady, waits
from regalia.errors import RegaliaError

app = typer.Typer(help="Calls that are held for review.", no_args_is_help=True)
Ident = Annotated[str, typer.Argument(help="The review's id, from `regalia reviews list`.")]
Held = Annotated[str, typer.Argument(help="The review's id, from the error of the call that was held.")]

UNDECIDED, REFUSED = 3, 4
"""How `answer` ends where there is none."""

_POLL_S = 2.0
_NONE = "No such call that you may decide."
_FOR_OTHERS = (
    "Calls are held, but none that you may decide: that takes a key of a person with the role `reviewer` "
    "there. For a call of your own: `regalia reviews answer REVIEW`, with the id that its error gave."
)


@app.command("list")
@administers
def list_(
    reach: Administration,
    state: Annotated[
        str, typer.Option(help="open, released, edited, refused, delivered; empty for all.")
    ] = "open",
    project: Annotated[str, typer.Option(help="Only of this project.")] = "",
) -> None:
    """List the calls that you may decide, the oldest first.

    How a call of your own is doing says `regalia reviews state`.

    Example: `regalia reviews list --api-key rgl_…`
    """
    columns = {
        "id": "ID",
        "rail": "RAIL",
        "side": "SIDE",
        "route": "ROUTE",
        "project": "PROJECT",
        "state": "STATE",
        "deadline": "DEADLINE",
    }
    pages = list(reach.pages("/reviews", status=state, project=project))
    rows = [row for page in pages for row in page["data"]]
    reach.table(rows, columns)
    if not rows:
        typer.echo(_FOR_OTHERS if pages[0].get("for_others") else _NONE, err=True)


@app.command()
@administers
def state(reach: Administration, review: Held) -> None:
    """Say how a held call of your project is doing.

    Example: `regalia reviews state review_01… --api-key rgl_…`
    """
    told = reach.ask("GET", f"/reviews/{review}")
    reach.show(told, _doing(told))


@app.command()
@administers
def answer(
    reach: Administration,
    review: Held,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is decided.")] = False,
    timeout: Annotated[
        float,
        typer.Option(min=0, help="With --wait: so many seconds at most; 0 for as long as it takes."),
    ] = 0,
) -> None:
    """Fetch the answer to a held call of your project, as a reviewer has released or edited it.

    Exit code 0: the answer is printed. 3: nobody has decided yet. 4: a reviewer, or the deadline, has
    refused it. 1: anything else. The answer is a call of its own, whose id is told on stderr.

    Examples:

    `regalia reviews answer review_01… --api-key rgl_…`

    `regalia reviews answer review_01… --wait --timeout 3600 --json`
    """
    until = time.monotonic() + timeout if timeout else math.inf
    told_so = False
    while True:
        told = reach.ask("GET", f"/reviews/{review}")
        if told["state"] == "refused":
            _end(reach, told, REFUSED)
        late = not wait or time.monotonic() >= until
        if told["state"] != "open":
            try:
                call, body = reach.fetched(f"/reviews/{review}/answer")
                break
            except (NotNow, NotReady):
                if late:
                    raise
        elif late:
            _end(reach, told, UNDECIDED)
        if not told_so:
            typer.echo(f"{_doing(told)} Waiting …", err=True)
        told_so = True
        time.sleep(min(_POLL_S, max(until - time.monotonic(), 0)))
    text = body.decode(errors="replace")
    _refuse_broken(text)
    given = {"id": call, "review": told, "answer": as_read(text), "edited": _is_edited(text), "body": text}
    reach.show(given, given["answer"])
    by = "a reviewer has written it" if given["edited"] else "released"
    typer.echo(f"({by}; call {call})", err=True)


@app.command()
@administers
def show(reach: Administration, review: Ident) -> None:
    """Show what is to be decided; that you have seen it goes on record.

    Example: `regalia reviews show review_01… --api-key rgl_…`
    """
    shown = reach.ask("GET", f"/reviews/{review}/content")
    text = f"{_said(shown)}\n\nThe request:\n{as_read(shown['request'])}"
    if shown["answer"]:
        text += f"\n\nThe answer that waits:\n{as_read(shown['answer'])}"
    reach.show(shown, text)


@app.command()
@administers
def release(reach: Administration, review: Ident) -> None:
    """Let a held call go on.

    Example: `regalia reviews release review_01… --api-key rgl_…`
    """
    done = reach.ask("POST", f"/reviews/{review}/release")
    reach.show(done, _said(done))


@app.command()
@administers
def edit(
    reach: Administration,
    review: Ident,
    text: Annotated[str, typer.Option(help="What is said instead of the model's answer.")],
) -> None:
    """Give another answer than the one that waits; it is marked as edited.

    Example: `regalia reviews edit review_01… --text "Please call 1414." --api-key rgl_…`
    """
    done = reach.ask("POST", f"/reviews/{review}/edit", {"text": text})
    reach.show(done, _said(done))


@app.command()
@administers
def refuse(reach: Administration, review: Ident) -> None:
    """Refuse a held call.

    Example: `regalia reviews refuse review_01… --api-key rgl_…`
    """
    done = reach.ask("POST", f"/reviews/{review}/refuse")
    reach.show(done, _said(done))


def _end(reach: Administration, told: dict[str, Any], code: int) -> NoReturn:
    """End without an answer: the state as it was asked for, and the exit code."""
    if reach.as_json:
        reach.show({"id": "", "review": told, "answer": None}, "")
    else:
        typer.echo(_doing(told), err=True)
    raise typer.Exit(code)


def _doing(told: dict[str, Any]) -> str:
    """How a held call is doing, as its caller would ask."""
    ident = told["id"]
    by = datetime.fromtimestamp(told["deadline"] // 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    held = f"{ident} was held by the rail `{told['rail']}`"
    return {
        "open": f"{held}; nobody has decided yet. If nobody does by {by}, it is {told['default']}d.",
        "refused": f"{held}, and is refused: there is no answer.",
        "released": f"{held}, and is released: `regalia reviews answer {ident}` gives the answer.",
        "edited": f"{held}, and answered by a reviewer: `regalia reviews answer {ident}` gives the answer.",
        "delivered": f"{held}, and was answered: `regalia reviews answer {ident}` gives the answer again.",
    }.get(told["state"], f"{held}, and is {told['state']}.")


def _is_edited(body: str) -> bool:
    """Whether an answer, whole or streamed, says that a reviewer has written it."""
    mark = _first(body).get("regalia")
    return type(mark) is dict and mark.get("edited") is True


def _refuse_broken(body: str) -> None:
    """Raise RegaliaError where a stream ends with an error."""
    for line in body.split("\n"):
        event = _first(line) if line.startswith("data: {") and '"error"' in line else {}
        if type(event.get("error")) is dict:
            message = str(event["error"].get("message"))
            raise RegaliaError(f"the answer broke off: {visible(message)}{waits(event)}")


def _first(body: str) -> dict[str, Any]:
    """An answer's document, or a stream's first."""
    lines = (line.removeprefix("data: ") for line in body.split("\n") if line.startswith(("data: {", "{")))
    try:
        document = msgspec.json.decode(next(lines, "{}") if not body.startswith("{") else body)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return document if type(document) is dict else {}


def _said(review: dict[str, Any]) -> str:
    answer = f" Its answer is the call {review['answer']}." if review.get("answer") else ""
    return f"{review['id']} is {review['state']}: held by the rail `{review['rail']}`.{answer}"
