"""A pack from YAML: bounded, no aliases, no repeated keys; for an unknown key the nearest one is named."""

import difflib
import re
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import msgspec
import yaml

from regalia.policy.document import Pack
from regalia.policy.errors import PackError

MAX_PACK = 1024 * 1024


_NO_ENUM = re.compile(r"Invalid enum value ('.*') - at `(\$\..*)`", re.DOTALL)
_OLD_TAGS = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's safe types: `on`, `no` and dates are text. An alias and a repeated key are errors."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise PackError("the pack uses a YAML alias (`*name`): write it out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        for key in keys:
            if not isinstance(key, str):
                raise PackError(f"line {node.start_mark.line + 1}: the key {key!r} must be text: quote it")
            if keys.count(key) > 1:
                raise PackError(f"line {node.start_mark.line + 1}: the key `{key}` stands there twice")
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag not in _OLD_TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("(?:true|false)$"), ["t", "f"])


def read_pack(document: bytes) -> Pack:
    """The pack in a YAML document. Raises PackError."""
    if len(document) > MAX_PACK:
        raise PackError(f"the pack is larger than {MAX_PACK} bytes")
    try:
        content = yaml.load(document, _Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise PackError(f"the pack is not YAML: {_where_and_what(error)}") from error
    if not isinstance(content, dict):
        raise PackError("the pack must hold a mapping, with `schema: 1` first")
    _refuse_unknown(content, Pack, "")
    try:
        return msgspec.convert(content, Pack)
    except msgspec.ValidationError as error:
        raise PackError(_not_allowed(str(error)) or f"the pack is not as its schema says: {error}") from error


def read_pack_file(file: Path) -> tuple[bytes, Pack]:
    """The document and the pack in it. Raises PackError."""
    try:
        with file.open("rb") as opened:
            document = opened.read(MAX_PACK + 1)
    except OSError as error:
        raise PackError(f"can't read the pack {file}: {error.strerror}") from error
    return document, read_pack(document)


def digest_of(document: bytes) -> str:
    """What records call the document: SHA-256 of its bytes."""
    return f"sha256:{sha256(document).hexdigest()}"


def schema() -> bytes:
    """The packs' JSON Schema (2020-12)."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Pack)}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _where_and_what(error: Exception) -> str:
    """An error of YAML in one line, as a text editor counts."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return str(error)


def _not_allowed(error: str) -> str:
    """Of a value that is none of a few: which ones may stand there. "" for any other error."""
    found = _NO_ENUM.fullmatch(error)
    if found is None:
        return ""
    value, place = found.groups()
    kind: Any = Pack
    for name in re.findall(r"\.([a-z_]+)", place):
        kinds = {field.name: field.type for field in msgspec.structs.fields(_struct_in(kind) or Pack)}
        kind = kinds.get(name)
    allowed = ", ".join(f"`{one}`" for one in _literals(kind))
    return f"`{place.removeprefix('$.')}` can't be {value}: it is one of {allowed}" if allowed else ""


def _literals(kind: Any) -> list[str]:
    """The words that a type allows."""
    return [
        word for inner in get_args(kind) for word in ([inner] if isinstance(inner, str) else _literals(inner))
    ]


def _refuse_unknown(content: Mapping[str, Any], struct: type, where: str) -> None:
    fields = _structs(struct)
    for key, value in content.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0)[0]
            raise PackError(f"unknown key `{where}{key}`; did you mean `{where}{near}`?")
        inner = fields[key]
        if inner is None:
            continue
        if isinstance(value, Mapping):
            _refuse_unknown(value, inner, f"{where}{key}.")
        elif isinstance(value, list):
            for number, item in enumerate(value):
                if isinstance(item, Mapping):
                    _refuse_unknown(item, inner, f"{where}{key}[{number}].")


@cache
def _structs(struct: type) -> dict[str, type | None]:
    """A struct's fields, with the struct that stands somewhere in the field's type, if one does."""
    return {field.name: _struct_in(field.type) for field in msgspec.structs.fields(struct)}


def _struct_in(kind: Any) -> type | None:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next((found for inner in get_args(kind) if (found := _struct_in(inner)) is not None), None)
