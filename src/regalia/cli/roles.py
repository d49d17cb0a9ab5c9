"""`regalia roles`: the matrix of who may do what."""

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from regalia.cli.options import Json
from regalia.identity import MATRIX, ROLES
from regalia.instance.tenancy.operations import matrix

HELP = """Print the roles and what each may do; docs/roles.md explains them.

Example: `regalia roles`
"""


def roles(as_json: Json = False) -> None:
    """Print the matrix."""
    if as_json:
        typer.echo(msgspec.json.encode(matrix()).decode())
        return
    console = Console(soft_wrap=True)
    for role in ROLES:
        console.print(f"{role.name:24}{role.purpose}", highlight=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for role in ROLES:
        table.add_column(_initials(role.name), justify="center")
    for row in MATRIX:
        table.add_row(row.name, *("x" if role.name in row.roles else "·" for role in ROLES))
    console.print()
    console.print(table)
    console.print("\n" + ", ".join(f"{_initials(role.name)} {role.name}" for role in ROLES), highlight=False)


def _initials(name: str) -> str:
    return "".join(word[0] for word in name.split("-")).upper() if "-" in name else name[:3].upper()
