"""`regalia accounts`: local accounts, for sites without an identity provider."""

import sys
from typing import Annotated, Any

import typer

from regalia.cli.administering import Administration, administers
from regalia.errors import RegaliaError

app = typer.Typer(help="Local accounts, to sign in with a password.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The account's name.")]
FromStdin = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read the password from standard input."),
]


@app.command()
@administers
def add(
    reach: Administration,
    name: Name,
    user: Annotated[str, typer.Option(help="For this person (`regalia members list`); else a new one.")] = "",
    title: Annotated[str, typer.Option(help="The new person's name.")] = "",
    email: Annotated[str, typer.Option(help="The new person's address.")] = "",
    organisation: Annotated[str, typer.Option(help="Where the new person is at home.")] = "default",
    password_stdin: FromStdin = False,
) -> None:
    """Add an account; its password is shown once.

    Example: `regalia accounts add amina --title "Amina Odhiambo" --email amina@health.example`
    """
    wanted = {
        "name": name,
        "user": user,
        "title": title,
        "email": email,
        "organisation": organisation,
        "password": _from_stdin(password_stdin),
    }
    _show_password(reach, reach.ask("POST", "/accounts", wanted), "Added")


@app.command("list")
@administers
def list_(reach: Administration) -> None:
    """List accounts.

    Example: `regalia accounts list`
    """
    columns = {"name": "NAME", "user": "PERSON", "totp": "ONE-TIME CODES", "disabled": "DISABLED"}
    reach.table(reach.listed("/accounts"), columns)


@app.command()
@administers
def disable(reach: Administration, name: Name) -> None:
    """Let nobody in with an account; its sessions end.

    Example: `regalia accounts disable amina`
    """
    reach.show(reach.ask("POST", f"/accounts/{name}/disable"), f"{name} is disabled.")


@app.command()
@administers
def enable(reach: Administration, name: Name) -> None:
    """Let people in again with an account.

    Example: `regalia accounts enable amina`
    """
    reach.show(reach.ask("POST", f"/accounts/{name}/enable"), f"{name} is enabled.")


@app.command()
@administers
def reset(reach: Administration, name: Name, password_stdin: FromStdin = False) -> None:
    """Give an account another password, shown once; lift its lock-out, end its sessions.

    Example: `regalia accounts reset amina`
    """
    made = reach.ask("POST", f"/accounts/{name}/reset", {"password": _from_stdin(password_stdin)})
    _show_password(reach, made, "Reset")


@app.command()
@administers
def totp(
    reach: Administration,
    name: Name,
    remove: Annotated[bool, typer.Option("--remove", help="Take the one-time codes away.")] = False,
) -> None:
    """Give an account one-time codes: a secret for an authenticator app, and recovery codes, shown once.

    Example: `regalia accounts totp amina`
    """
    if remove:
        reach.show(reach.ask("POST", f"/accounts/{name}/totp/remove"), f"{name} has no one-time codes now.")
        return
    made = reach.ask("POST", f"/accounts/{name}/totp")
    codes = "\n".join(f"  {code}" for code in made["recovery_codes"])
    reach.show(
        made,
        f"Secret for the authenticator app, shown only now: {made['secret']}\n{made['uri']}\n"
        f"Recovery codes, each good once:\n{codes}",
    )


def _show_password(reach: Administration, made: dict[str, Any], done: str) -> None:
    told = f" The password, shown only now: {made['password']}" if made["password"] else ""
    reach.show(made, f"{done} {made['name']} ({made['user']}).{told}")


def _from_stdin(wanted: bool) -> str | None:
    if not wanted:
        return None
    text = sys.stdin.readline(2048).rstrip("\n")
    if not text:
        raise RegaliaError("no password came on standard input")
    return text
