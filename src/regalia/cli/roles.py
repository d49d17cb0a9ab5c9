"""`regalia roles`: the matrix of who may do what."""

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from regalia.cli.options import Json
from regalia.identity import MATRIX, ROLES
from regalia.identity.roles import CONFLICTS, PERSONAL

HELP = """Print the roles and what each may do; docs/roles.md explains them.

Example: `regalia roles`
"""


def roles(
    as_json: Json = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print it as in docs/roles.md.")] = False,
) -> None:
    """Print the matrix."""
    if as_markdown:
        typer.echo(markdown())
        return
    if as_json:
        from regalia.instance.tenancy.operations import matrix  # it brings the whole server along

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


def markdown() -> str:
    """The roles, the matrix and the duties that exclude each other, as docs/roles.md has them."""
    short = [_initials(role.name) for role in ROLES]
    lines = ["| Role | | For whom |", "|---|---|---|"]
    lines += [f"| `{role.name}` | {_initials(role.name)} | {role.purpose} |" for role in ROLES]
    lines += ["", f"| Permission | Meaning | {' | '.join(short)} |", f"|---|---|{':-:|' * len(short)}"]
    for row in MATRIX:
        cells = " | ".join("x" if role.name in row.roles else "" for role in ROLES)
        personal = " *" if row.name in PERSONAL else ""
        lines.append(f"| `{row.name}`{personal} | {row.meaning} | {cells} |")
    lines += ["", "A * marks what only a person may do, never a service key.", ""]
    pairs = sorted(" and ".join(f"`{name}`" for name in sorted(pair)) for pair in CONFLICTS)
    lines += ["One person never holds both:", "", *(f"- {pair}" for pair in pairs)]
    return "\n".join(lines)


def _initials(name: str) -> str:
    return "".join(word[0] for word in name.split("-")).upper() if "-" in name else name[:3].upper()
