"""`hf:OWNER/NAME`: GGUF files from a Hugging Face hub, through the optional package huggingface-hub.

The hub's client follows the operator's own settings (HF_ENDPOINT, HF_TOKEN, proxies), goes on with an
interrupted download, and is asked for one commit, which the manifest names.
"""

import importlib
from pathlib import Path, PurePosixPath
from typing import Any

from regalia.models.errors import SourceError
from regalia.models.fetched import Fetched, OnProgress, Progress, gguf_origin, one_model
from regalia.models.local import copy_files
from regalia.models.manifest import ModelFile
from regalia.models.source import HuggingFaceSource, name_from


def fetch_hub(source: HuggingFaceSource, folder: Path, incoming: Path, on_progress: OnProgress) -> Fetched:
    """Put a repository's GGUF files into `folder`; `incoming` keeps the downloads between attempts."""
    hub = _client()
    try:
        info = hub.HfApi().model_info(source.repo, revision=source.revision or None, files_metadata=True)
        listed = {str(file.rfilename): file for file in info.siblings}
        names = _chosen(source, list(listed))
        commit = str(info.sha)
        downloaded = [_download(hub, source, commit, listed[name], incoming, on_progress) for name in names]
    except SourceError:
        raise
    except Exception as error:  # the hub's client has a family of errors for every layer below it
        raise SourceError(f"{source} can't be downloaded: {type(error).__name__}: {error}") from error
    files = copy_files(downloaded, folder, on_progress)
    for name, file in zip(names, files, strict=True):
        _check(listed[name], file)
    origin = {"repository": source.repo, "commit": commit} | gguf_origin(folder, files)
    card = getattr(info, "card_data", None)
    licence = getattr(card, "license", None) if card is not None else None
    return Fetched(
        kind="gguf",
        name=name_from(files[0].path),
        source=f"hf:{source.repo}@{commit}" + (f":{source.file}" if source.file else ""),
        licence=str(licence or origin.get("gguf_licence") or "unknown"),
        files=files,
        origin=origin,
    )


def _client() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ModuleNotFoundError as error:
        raise SourceError(
            "hf: sources need the package huggingface-hub; install it with `pip install 'regalia[hf]'`"
        ) from error


def _chosen(source: HuggingFaceSource, listed: list[str]) -> list[str]:
    if source.file:
        if source.file not in listed:
            raise SourceError(f"{source.repo} has no file {source.file}")
        return [source.file]
    return one_model([name for name in listed if name.endswith(".gguf")], source.repo)


def _download(
    hub: Any, source: HuggingFaceSource, commit: str, file: Any, incoming: Path, on_progress: OnProgress
) -> Path:
    name = str(file.rfilename)
    on_progress(Progress("downloading", name, 0, int(file.size or 0)))
    path = hub.hf_hub_download(source.repo, name, revision=commit, local_dir=str(incoming / "hub"))
    return Path(path)


def _check(listed: Any, file: ModelFile) -> None:
    """What arrived is what the hub lists, where it lists a hash."""
    stored = getattr(listed, "lfs", None)
    expected = getattr(stored, "sha256", None) if stored is not None else None
    if expected is not None and expected != file.sha256:
        name = PurePosixPath(listed.rfilename).name
        raise SourceError(f"{name}: the hub lists sha256 {expected}, its bytes have {file.sha256}")
