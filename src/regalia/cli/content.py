"""`regalia content`: erase what was said, on the record."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from regalia.cli.administering import Administration, administers
from regalia.cli.conversation import as_read
from regalia.cli.http import request
from regalia.cli.local import os_user
from regalia.cli.options import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, Json
from regalia.cli.profile import load_profile
from regalia.clock import now_ms
from regalia.config import load_config
from regalia.errors import RegaliaError

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
    # the other commands of this noun should not wait for what this one needs
    from regalia.instance import database_of, identity_of
    from regalia.instance.erasing import ErasureRequest, erasure_of, read_request
    from regalia.ledger import KeyFiles, LedgerLocked
    from regalia.ledger.log import Log
    from regalia.ledger.wire import Where

    origin = identity_of(data_dir).origin
    wanted = read_request(msgspec.json.encode(ErasureRequest(basis, call, project, end_user, before)))
    erasure = erasure_of(data_dir, wanted, f"os:{os_user()}", now_ms())
    if not yes:
        typer.confirm("The contents can't be brought back. Erase them?", abort=True)
    settings = load_config(config, {"data_dir": str(data_dir), "database": database or None})
    url = database_of(data_dir, settings.database).engine.url.render_as_string(hide_password=False)
    keys = KeyFiles.under(data_dir / "keys")
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
            log.publish()
            if log.publish_failure:
                raise RegaliaError(log.publish_failure)
            _tell(result, as_json)
            log.tidy()  # rows that nothing opens any more: that may take a while
        finally:
            log.close()
        return
    _tell(result, as_json)


def _tell(result: str, as_json: bool) -> None:
    done = msgspec.json.decode(result)
    if as_json:
        typer.echo(result)
        return
    many = f" ({len(done['calls'])} calls)" if done["calls"] else ""
    typer.echo(f"Erased{many}, on record as {done['erasure']}.")
    if done["held"]:
        typer.echo(f"Left out, because a legal hold keeps it: {', '.join(done['held'])}")


@app.command()
@administers
def erasures(reach: Administration) -> None:
    """List the newest erasures: where their records are, and which are carried out.

    Example: `regalia content erasures`
    """
    columns = {"id": "ID", "project": "PROJECT", "record": "ENTRY", "done": "DONE"}
    reach.table(reach.listed("/content/erasures"), columns)


@app.command()
@administers
def read(
    reach: Administration,
    call: Annotated[str, typer.Argument(help="The call's id.")],
    purpose: Annotated[
        str | None, typer.Option(help="What for; it goes on record, so no personal data. Asks to read.")
    ] = None,
    minutes: Annotated[int, typer.Option(help="For how long, once it is granted.")] = 10,
    raw: Annotated[bool, typer.Option("--raw", help="The bytes as they went, and the token ids.")] = False,
) -> None:
    """Read what was said in a call: ask with a purpose, have a second person grant it, then read.

    Example: `regalia content read call_01… --purpose "complaint 2026-114"`, and once that is granted
    `regalia content read call_01…`
    """
    if purpose is not None:
        wanted = {"call": call, "purpose": purpose, "seconds": minutes * 60}
        made = reach.ask("POST", "/content/requests", wanted)
        reach.show(
            made, f"Asked as {made['id']}. A second person grants it: regalia content grant {made['id']}"
        )
        return
    said = reach.ask("GET", f"/content/{call}")
    told = {part["part"]: part.get("text", part.get("base64", "")) for part in said["content"]}
    if not raw:
        told = {name: as_read(text) for name, text in told.items() if name != "tokens"}
    parts = [f"--- {name}\n{text}" for name, text in told.items()]
    reach.show(said, "\n".join([*parts, f"--- on record as entry {said['record']}"]))


@app.command()
@administers
def requests(
    reach: Administration, project: Annotated[str, typer.Option(help="Only of this project.")] = ""
) -> None:
    """List who asked to read content, and what was decided.

    Example: `regalia content requests`
    """
    columns = {"id": "ID", "call": "CALL", "requester": "WHO", "purpose": "PURPOSE", "granted": "GRANTED"}
    reach.table(reach.listed("/content/requests", project=project), columns)


@app.command()
@administers
def grant(
    reach: Administration, request_id: Annotated[str, typer.Argument(help="The request's id.")]
) -> None:
    """Grant what another person asked for; the time runs from now.

    Example: `regalia content grant creq_01…`
    """
    reach.show(reach.ask("POST", f"/content/requests/{request_id}/grant"), f"Granted {request_id}.")


@app.command()
@administers
def refuse(
    reach: Administration, request_id: Annotated[str, typer.Argument(help="The request's id.")]
) -> None:
    """Refuse what another person asked for.

    Example: `regalia content refuse creq_01…`
    """
    reach.show(reach.ask("POST", f"/content/requests/{request_id}/refuse"), f"Refused {request_id}.")


@app.command()
@administers
def reads(
    reach: Administration, project: Annotated[str, typer.Option(help="The project's id.")] = "default"
) -> None:
    """List who has read content of a project, for what, and where that is in the log.

    Example: `regalia content reads --project proj_01…`
    """
    columns = {"time": "TIME", "reader": "WHO", "purpose": "PURPOSE", "call": "CALL", "record": "ENTRY"}
    reach.table(reach.listed("/content/reads", project=project), columns)
