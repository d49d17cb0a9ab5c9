"""`regalia receipts`: fetch a call's receipt."""

from pathlib import Path
from typing import Annotated

import typer

from regalia.cli.http import fetch
from regalia.cli.options import DEFAULT_DATA_DIR, DataDir
from regalia.cli.profile import load_profile

app = typer.Typer(help="Receipts of calls.", no_args_is_help=True)


@app.command()
def get(
    call: Annotated[str, typer.Argument(help="The call's id, from the `x-regalia-call` header.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")] = None,
    witnessed: Annotated[
        bool,
        typer.Option("--witnessed", help="Wait up to 30 s until its witnesses have cosigned it."),
    ] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    base_url: Annotated[str | None, typer.Option(envvar="REGALIA_BASE_URL", help="The server.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="REGALIA_API_KEY", help="The key that made the call.")
    ] = None,
) -> None:
    """Fetch a receipt.

    Example: `regalia receipts get call_01… -o receipt.tlog-proof`
    """
    profile = load_profile(data_dir, api_key, base_url)
    text = fetch(profile, f"/v1/receipts/{call}" + ("?witnessed=true" if witnessed else ""))
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_bytes(text)
