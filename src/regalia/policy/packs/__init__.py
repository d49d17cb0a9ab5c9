"""The built-in packs: `<name>.yaml` beside this file, named by country code where they are a country's."""

import difflib
from importlib.resources import files
from pathlib import Path

from regalia.policy.document import Pack
from regalia.policy.errors import PackError
from regalia.policy.reading import read_pack, read_pack_file


def names() -> list[str]:
    """The built-in packs' names."""
    found = (item.name for item in files(__name__).iterdir())
    return sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml"))


def load(name: str) -> tuple[bytes, Pack]:
    """A built-in pack by its name, any other by its file's path. Raises PackError."""
    if name in names():
        document = files(__name__).joinpath(f"{name}.yaml").read_bytes()
        return document, read_pack(document)
    if Path(name).suffix or Path(name).exists():
        return read_pack_file(Path(name))
    near = difflib.get_close_matches(name, names(), n=1, cutoff=0)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    raise PackError(f"there is no built-in pack `{name[:64]}` and no such file{hint}")
