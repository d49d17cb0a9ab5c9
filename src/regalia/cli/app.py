"""`regalia`: the commands, one module a noun."""

import sys

import typer

from regalia import __version__
from regalia.cli import (
    accounts,
    apikeys,
    archive,
    ask,
    audit,
    backup,
    budgets,
    content,
    db,
    holds,
    init,
    keys,
    log,
    members,
    models,
    orgs,
    policy,
    prices,
    projects,
    receipts,
    retention,
    reviews,
    roles,
    serve,
    usage,
    witness,
)
from regalia.errors import RegaliaError

app = typer.Typer(
    name="regalia",
    help="Open-weight models on your own hardware, behind the OpenAI API, with a receipt for every answer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)
app.command(help=init.HELP)(init.init)
app.command(help=serve.HELP)(serve.serve)
app.command(help=ask.HELP)(ask.ask)
app.command(help=backup.BACKUP_HELP)(backup.backup)
app.command(help=backup.RESTORE_HELP)(backup.restore)
app.command(help=roles.HELP)(roles.roles)
app.command(help=usage.HELP)(usage.usage)
app.add_typer(orgs.app, name="orgs")
app.add_typer(projects.app, name="projects")
app.add_typer(members.app, name="members")
app.add_typer(apikeys.app, name="apikeys")
app.add_typer(budgets.app, name="budgets")
app.add_typer(prices.app, name="prices")
app.add_typer(models.app, name="models")
app.add_typer(log.app, name="log")
app.add_typer(keys.app, name="keys")
app.add_typer(db.app, name="db")
app.add_typer(receipts.app, name="receipts")
app.add_typer(content.app, name="content")
app.add_typer(policy.app, name="policy")
app.add_typer(reviews.app, name="reviews")
app.add_typer(retention.app, name="retention")
app.add_typer(holds.app, name="hold")
log.app.command()(archive.archive)
app.add_typer(accounts.app, name="accounts")
app.add_typer(audit.app, name="audit")
app.add_typer(witness.app, name="witness")


@app.command(help="Print the version.")
def version() -> None:
    """Print the version."""
    typer.echo(f"regalia {__version__}")


def main() -> None:
    """Run the command line; an expected error is one sentence on stderr and exit code 1."""
    try:
        app()
    except RegaliaError as error:
        typer.echo(f"regalia: {error}", err=True)
        sys.exit(1)
