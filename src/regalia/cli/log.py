"""`regalia log`: what others pin and check."""

from pathlib import Path

import typer

from regalia.cli.options import DEFAULT_DATA_DIR, DataDir
from regalia.errors import RegaliaError
from regalia.instance import identity_of
from regalia.ledger import KeyFiles, policy_text

app = typer.Typer(help="The transparency log.", no_args_is_help=True)


@app.command()
def policy(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Print the trust policy (C2SP tlog-policy) that an auditor pins.

    Example: `regalia log policy > policy.txt`
    """
    typer.echo(trust_policy(data_dir), nl=False)


@app.command()
def checkpoint(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Print the newest published checkpoint.

    Example: `regalia log checkpoint > monday.txt`, and later `regalia-verify consistency monday.txt …`
    """
    try:
        typer.echo((data_dir / "log" / "checkpoint").read_text(), nl=False)
    except FileNotFoundError as error:
        raise RegaliaError(f"{data_dir} has published no checkpoint yet; start the server once") from error


def trust_policy(data_dir: Path) -> str:
    """The policy text of the instance in `data_dir`."""
    return policy_text(KeyFiles.under(data_dir / "keys"), identity_of(data_dir).origin)
