"""`regalia reviews`: calls that a policy holds until a person has looked at them."""

from typing import Annotated, Any

import typer

from regalia.cli.administering import Administration, administers
from regalia.cli.conversation import as_read

app = typer.Typer(help="Calls that are held for review.", no_args_is_help=True)
Ident = Annotated[str, typer.Argument(help="The review's id, from `regalia reviews list`.")]


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
    reach.table(reach.listed("/reviews", status=state, project=project), columns)


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


def _said(review: dict[str, Any]) -> str:
    answer = f" Its answer is the call {review['answer']}." if review.get("answer") else ""
    return f"{review['id']} is {review['state']}: held by the rail `{review['rail']}`.{answer}"
