"""Where models come from, as it is written: `pypi:NAME==VERSION`, `file:PATH`, `hf:OWNER/NAME[@REVISION]`.

Parsing only; `regalia.models.fetch` does the fetching.
"""

import re
from pathlib import Path

import msgspec

from regalia.models.errors import SourceError

_HELP = "write pypi:NAME==VERSION, file:PATH or hf:OWNER/NAME"
_PYPI = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)==([A-Za-z0-9][A-Za-z0-9.!+_-]{0,63})")
_PYPI_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_HF = re.compile(
    r"(?P<repo>[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95})"
    r"(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._/-]{0,99}))?(?::(?P<file>[A-Za-z0-9._/-]{1,200}\.gguf))?"
)
_TOKENS = re.compile(r"[-._](?:q\d\w*|iq\d\w*|[bf]f?16|f32|mxfp4|tq\d\w*)$", re.IGNORECASE)
_PART = re.compile(r"-\d{5}-of-\d{5}$")


class PypiSource(msgspec.Struct, frozen=True):
    """A wheel of one version of a package."""

    package: str
    version: str

    def __str__(self) -> str:
        return f"pypi:{self.package}=={self.version}"


class FileSource(msgspec.Struct, frozen=True):
    """A .gguf file, or a folder that holds one model's .gguf files."""

    path: Path

    def __str__(self) -> str:
        return f"file:{self.path}"


class HuggingFaceSource(msgspec.Struct, frozen=True):
    """The GGUF files of a repository on a Hugging Face hub, at a revision; of several files, `file`."""

    repo: str
    revision: str = ""
    file: str = ""

    def __str__(self) -> str:
        return f"hf:{self.repo}{self.revision and '@' + self.revision}{self.file and ':' + self.file}"


Source = PypiSource | FileSource | HuggingFaceSource


def parse_source(text: str) -> Source:
    """Read a source. Raises SourceError with what would be right."""
    scheme, _, rest = text.partition(":")
    if scheme == "pypi":
        if match := _PYPI.fullmatch(rest):
            return PypiSource(match[1].lower().replace("_", "-"), match[2])
        if _PYPI_NAME.fullmatch(rest):
            raise SourceError(f"{text} names no version; pin one, as in pypi:{rest}==1.2.3")
        raise SourceError(f"{text} is not a pinned package; write pypi:NAME==VERSION")
    if scheme == "file" and rest:
        return FileSource(Path(rest.removeprefix("//")).expanduser())
    if scheme == "hf":
        if match := _HF.fullmatch(rest):
            return HuggingFaceSource(match["repo"], match["revision"] or "", match["file"] or "")
        raise SourceError(
            f"{text} is not a repository; write hf:OWNER/NAME, @REVISION and :FILE.gguf if needed"
        )
    raise SourceError(f"{text!r} is not a source; {_HELP}")


def name_from(file: str) -> str:
    """A model's name out of a file's: lower case, without quantisation and part number."""
    stem = _PART.sub("", file.removesuffix(".gguf"))
    stem = _TOKENS.sub("", stem)
    return re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:64] or "model"
