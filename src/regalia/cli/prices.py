"""`regalia prices`: what models cost."""

from typing import Annotated

import typer

import regalia.instance.metering  # noqa: F401 - it adds the operations that are asked for here
from regalia.cli.administering import Administration, administers

app = typer.Typer(help="What models cost, for a million tokens.", no_args_is_help=True)
_COLUMNS = {
    "model": "MODEL",
    "currency": "CURRENCY",
    "input": "INPUT",
    "cached": "CACHED",
    "output": "OUTPUT",
    "embedding": "EMBEDDING",
    "id": "PRICE",
}


@app.command("set")
@administers
def set_(
    reach: Administration,
    model: Annotated[str, typer.Argument(help="The model's name.")],
    currency: Annotated[str, typer.Option(help="ISO 4217: EUR, KES, IDR.")],
    input_: Annotated[str, typer.Option("--input", help="A million tokens read, such as 0.15.")] = "0",
    output: Annotated[str, typer.Option(help="A million tokens written.")] = "0",
    cached: Annotated[
        str | None, typer.Option(help="A million tokens read from the cache. Default: as --input.")
    ] = None,
    embedding: Annotated[str, typer.Option(help="A million tokens embedded.")] = "0",
) -> None:
    """Set a model's price for calls from now on, on record. 0 makes it free.

    Example: `regalia prices set smollm2-135m-instruct --currency EUR --input 0.15 --output 0.60`
    """
    wanted = {
        "model": model,
        "currency": currency,
        "input": input_,
        "output": output,
        "cached": cached,
        "embedding": embedding,
    }
    made = reach.ask("POST", "/prices", wanted)
    reach.show(made, f"{model}: {made['input']} in, {made['output']} out {currency} ({made['id']}).")


@app.command("list")
@administers
def list_(reach: Administration) -> None:
    """List the prices in force.

    Example: `regalia prices list --json`
    """
    reach.table(reach.listed("/prices"), _COLUMNS)
