"""`regalia`: the commands, one module a noun.

A command imports only its own module: together they bring in the whole server, which takes seconds on a busy
machine. All are imported where all are shown.
"""

import sys
from importlib import import_module
from typing import Annotated

import typer

from regalia import __version__
from regalia.errors import RegaliaError

HELP = "Open-weight models on your own hardware, behind the OpenAI API, with a receipt for every answer."
COMMANDS = {  # command: its module, its function, its help there
    "init": ("init", "init", "HELP"),
    "serve": ("serve", "serve", "HELP"),
    "ask": ("ask", "ask", "HELP"),
    "backup": ("backup", "backup", "BACKUP_HELP"),
    "restore": ("backup", "restore", "RESTORE_HELP"),
    "roles": ("roles", "roles", "HELP"),
    "usage": ("usage", "usage", "HELP"),
}
GROUPS = {  # noun: its module
    "orgs": "orgs",
    "projects": "projects",
    "members": "members",
    "apikeys": "apikeys",
    "budgets": "budgets",
    "prices": "prices",
    "models": "models",
    "log": "log",
    "keys": "keys",
    "db": "db",
    "receipts": "receipts",
    "content": "content",
    "policy": "policy",
    "reviews": "reviews",
    "retention": "retention",
    "hold": "holds",
    "accounts": "accounts",
    "audit": "audit",
    "witness": "witness",
}


def command_line(wanted: str = "") -> typer.Typer:
    """The command line, with that command or noun only if it is known, else with all."""
    app = typer.Typer(
        name="regalia",
        help=HELP,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        rich_markup_mode="markdown",
    )
    known = wanted in COMMANDS or wanted in GROUPS or wanted in ("version", "--version")
    for name, (module, function, help_text) in COMMANDS.items():
        if not known or name == wanted:
            found = import_module(f"regalia.cli.{module}")
            app.command(name, help=getattr(found, help_text))(getattr(found, function))
    for name, module in GROUPS.items():
        if not known or name == wanted:
            app.add_typer(import_module(f"regalia.cli.{module}").app, name=name)
    app.command(help="Print the version.")(version)
    app.callback()(_regalia)
    return app


def version() -> None:
    """Print the version."""
    typer.echo(f"regalia {__version__}")


def _asked_for_version(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit


def _regalia(
    asked_for_version: Annotated[
        bool,
        typer.Option("--version", callback=_asked_for_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """With this there is always a command to name, also where only one is imported."""


def main() -> None:
    """Run the command line; an expected error is one sentence on stderr and exit code 1."""
    try:
        command_line(sys.argv[1] if len(sys.argv) > 1 else "")()
    except RegaliaError as error:
        typer.echo(f"regalia: {error}", err=True)
        sys.exit(1)
