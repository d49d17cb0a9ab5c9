"""`regalia content`: erase what was said, on the record."""

import getpass
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from regalia.cli.http import request
from regalia.cli.options import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, Json
from regalia.cli.profile import load_profile
from regalia.clock import now_ms
from regalia.config import load_config
from regalia.errors import RegaliaError
from regalia.instance import database_of, identity_of
from regalia.instance.erasing import ErasureRequest, erasure_of, read_request
from regalia.ledger import KeyFiles, LedgerLocked
from regalia.ledger.log import Log
from regalia.ledger.wire import Where

app = typer.Typer(help="What users and models said.", no_args_is_help=True)


@app.command()
def erase(
    basis: Annotated[str, typer.Option(help="The legal basis; it goes on record, so no personal data.")],
    call: Annotated[str | None, typer.Option(help="Erase one call.")] = None,
    project: Annotated[str | None, typer.Option(help="Erase all calls of a project.")] = None,
    end_user: Annotated[
        str | None, typer.Option(help="Erase the calls whose `user` or `safety_identifier` was this.")
    ] = None,
    before: Annotated[
        str | None, typer.Option(help="Erase what was sealed before this date, to the hour.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    database: DatabaseUrl = "",
    config: Annotated[Path | None, typer.Option(help="The server's YAML file.")] = None,
    base_url: Annotated[str | None, typer.Option(envvar="REGALIA_BASE_URL", help="The server.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="REGALIA_API_KEY", help="An admin key, for a server that runs.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Destroy the keys of contents for good, and record it. A server that runs is asked to do it.

    Example: `regalia content erase --call call_01… --basis "GDPR Art. 17(1)(b)" --yes`
    """
    wanted = read_request(msgspec.json.encode(ErasureRequest(basis, call, project, end_user, before)))
    erasure = erasure_of(data_dir, wanted, f"os:{getpass.getuser()}", now_ms())
    if not yes:
        typer.confirm("The contents can't be brought back. Erase them?", abort=True)
    settings = load_config(config, {"data_dir": str(data_dir), "database": database or None})
    url = database_of(data_dir, settings.database).engine.url.render_as_string(hide_password=False)
    keys = KeyFiles.under(data_dir / "keys")
    origin = identity_of(data_dir).origin
    where = Where(data_dir, url, f"erase-{erasure.id[-8:]}", origin, keys, settings.vault.root_key)
    try:
        log = Log.open(where)
    except LedgerLocked:
        profile = load_profile(data_dir, api_key, base_url)
        body = msgspec.json.encode(wanted)
        with request(profile, "POST", "/v1/regalia/content/erase", body) as response:
            result = response.read(1 << 20).decode()
    else:
        try:
            result = log.erase(erasure)
            log.tidy()
            log.publish()
            if log.publish_failure:
                raise RegaliaError(log.publish_failure)
        finally:
            log.close()
    done = msgspec.json.decode(result)
    if as_json:
        typer.echo(result)
    else:
        many = f" ({len(done['calls'])} calls)" if done["calls"] else ""
        typer.echo(f"Erased{many}, on record as {done['erasure']}.")
