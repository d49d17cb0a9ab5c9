"""How administrative commands reach an instance: through its server, or, where none runs, by themselves.

With an API key (`--api-key`, `REGALIA_API_KEY`) the server is asked, with that key's roles. Without one, the
server is asked with the key in `client.json`, if there is one and a server answers; otherwise the command
opens the data directory itself (`regalia.cli.here`), with an owner's powers, on record as this machine's
user. What that takes is imported only then: most commands should not wait for it.
"""

import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints
from urllib.parse import urlencode

import msgspec
import typer

from regalia.cli.http import NoServer, request
from regalia.cli.options import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, Json
from regalia.cli.profile import has_profile, load_profile
from regalia.errors import RegaliaError

BASE = "/v1/regalia"
_MAX_ANSWER = 64 * 1024 * 1024
_PAGE = 1_000
_WIDEST = 72
"""The widest cell: every id and digest fits, so that it can be copied in one piece."""

_TIMES = frozenset({"time", "expires", "revoked", "archived", "disabled", "granted", "deadline"})
"""Columns of milliseconds since the epoch."""


def _options(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    database: DatabaseUrl = "",
    config: Annotated[Path | None, typer.Option(help="The server's YAML file.")] = None,
    base_url: Annotated[str | None, typer.Option(envvar="REGALIA_BASE_URL", help="The server.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="REGALIA_API_KEY", help="Ask the server, with this key.")
    ] = None,
    as_json: Json = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only the new id, or a new key's text.")
    ] = False,
) -> None:
    """The options that all administrative commands share."""


class Administration:
    """An instance, as an administrative command reaches it."""

    def __init__(
        self,
        data_dir: Path,
        database: str,
        config: Path | None,
        base_url: str | None,
        api_key: str | None,
        as_json: bool,
        quiet: bool,
    ) -> None:
        self.data_dir = data_dir
        self.database = database
        self.config = config
        self._base_url = base_url
        self._api_key = api_key
        self.as_json = as_json
        self._quiet = quiet

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One operation's answer; what is None in `body` is left out. Raises RegaliaError."""
        given = {name: value for name, value in (body or {}).items() if value is not None}
        content = msgspec.json.encode(given) if body is not None else b""
        if self._api_key is not None:
            return self._from_server(method, path, content)
        if has_profile(self.data_dir):
            try:
                return self._from_server(method, path, content)
            except NoServer:
                pass  # then there is nobody to ask but ourselves
        from regalia.cli.here import perform

        return perform(self.data_dir, self.database, self.config, method, BASE + path, content)

    def fetched(self, path: str) -> tuple[str, bytes]:
        """What the server gives for a POST, and the call that it is. Raises RegaliaError."""
        profile = load_profile(self.data_dir, self._api_key, self._base_url)
        with request(profile, "POST", BASE + path) as response:
            return response.headers["x-regalia-call"] or "", response.read(_MAX_ANSWER)

    def listed(self, path: str, **asked: str) -> list[dict[str, Any]]:
        """The whole of a list, however many pages it has. Raises RegaliaError."""
        rows: list[dict[str, Any]] = []
        for answer in self.pages(path, **asked):
            rows += answer["data"]
        return rows

    def pages(self, path: str, **asked: str) -> Iterator[dict[str, Any]]:
        """The pages of a list, the one after the other. Raises RegaliaError."""
        query = {name: text for name, text in asked.items() if text} | {"limit": str(_PAGE)}
        while True:
            answer = self.ask("GET", f"{path}?{urlencode(query, safe=',:')}")
            yield answer
            if not answer["has_more"]:
                return
            if answer["last_id"] in (None, query.get("after")):
                raise RegaliaError(f"the list {path} is cut off after {answer['last_id']}")
            query["after"] = answer["last_id"]

    def show(self, answer: Any, text: str) -> None:
        """Print an answer: as JSON or as its id if that is asked for, else as the text."""
        if self.as_json:
            text = msgspec.json.encode(answer).decode()
        elif self._quiet:
            text = answer.get("secret") or answer.get("id") or ""
        typer.echo(text)

    def table(self, rows: list[dict[str, Any]], columns: dict[str, str]) -> None:
        """Print rows: as JSON if that is asked for, else those columns under their titles."""
        if self.as_json:
            typer.echo(msgspec.json.encode(rows).decode())
            return
        from rich.console import Console
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for title in columns.values():
            table.add_column(title, overflow="fold", max_width=_WIDEST)
        for row in rows:
            table.add_row(*(_cell(name, row.get(name)) for name in columns))
        Console(soft_wrap=True, width=len(columns) * (_WIDEST + 1)).print(table)  # ids stay in one piece

    def _from_server(self, method: str, path: str, content: bytes) -> Any:
        profile = load_profile(self.data_dir, self._api_key, self._base_url)
        with request(profile, method, BASE + path, content or None) as response:
            return msgspec.json.decode(response.read(_MAX_ANSWER))


def administers(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first parameter is an `Administration`: it gets the options for that."""
    shared = inspect.signature(_options).parameters
    own = list(inspect.signature(command).parameters.values())[1:]

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        reach = Administration(**{name: options.pop(name) for name in shared})
        command(reach, *arguments, **options)

    hints = get_type_hints(command, include_extras=True) | get_type_hints(_options, include_extras=True)
    both = [*own, *shared.values()]
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[one.name]) for one in both]
    )
    run.__annotations__ = {one.name: hints[one.name] for one in both}
    del run.__wrapped__  # or its signature would be taken
    return run


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if name in _TIMES and type(value) is int:
        return datetime.fromtimestamp(value // 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
