"""The metadata at the head of a GGUF file, read within bounds and without trusting it.

Specification: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from typing import BinaryIO, Final

from regalia.models.errors import SourceError

_MAX_PAIRS: Final = 8192
_MAX_ITEMS: Final = 16 * 1024 * 1024
_MAX_HEAD: Final = 512 * 1024 * 1024
_MAX_TEXT: Final = 16 * 1024 * 1024
_KEPT_TEXT: Final = 512
_STRING: Final = 8
_ARRAY: Final = 9
_FORMATS: Final = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_FILE_TYPES: Final = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4",
}  # fmt: skip - one row a line reads worse
_TAKEN: Final = {
    "general.architecture": "architecture",
    "general.name": "name",
    "general.basename": "basename",
    "general.size_label": "size_label",
    "general.finetune": "finetune",
    "general.license": "licence",
    "general.license.link": "licence_link",
    "general.organization": "organization",
    "general.quantized_by": "quantized_by",
    "general.source.url": "source_url",
    "general.base_model.0.name": "base_model",
    "general.base_model.0.repo_url": "base_model_url",
    "split.count": "parts",
}
Value = str | int | float | bool | None


def read_metadata(file: BinaryIO) -> dict[str, str]:
    """What a GGUF file says of itself: architecture, quantisation, context_length, licence, base model …

    Raises SourceError where it is no GGUF file, or its head is not within bounds.
    """
    reader = _Reader(file)
    if reader.take(4) != b"GGUF":
        raise SourceError("not a GGUF file: it does not begin with the bytes GGUF")
    version = reader.number("<I")
    if version not in (2, 3):
        raise SourceError(f"GGUF version {version} is not known; 2 and 3 are")
    reader.number("<Q")  # tensors
    pairs = reader.number("<Q")
    if pairs > _MAX_PAIRS:
        raise SourceError(f"the GGUF head has {pairs} entries; at most {_MAX_PAIRS} are read")
    found: dict[str, Value] = {}
    for _ in range(int(pairs)):
        key = reader.text(256)
        found[key] = reader.value(int(reader.number("<I")))
    return _named(found)


def _named(found: dict[str, Value]) -> dict[str, str]:
    notes = {name: _clip(found[key]) for key, name in _TAKEN.items() if found.get(key) not in (None, "")}
    architecture = found.get("general.architecture")
    context = found.get(f"{architecture}.context_length")
    if context is not None:
        notes["context_length"] = str(context)
    kind = found.get("general.file_type")
    if isinstance(kind, int):
        notes["quantisation"] = _FILE_TYPES.get(kind, f"type {kind}")
    if "tokenizer.chat_template" in found:
        notes["chat_template"] = "yes"
    return notes


def _clip(value: Value) -> str:
    text = str(value)
    return "".join(mark if mark.isprintable() else " " for mark in text[:_KEPT_TEXT])


class _Reader:
    """Reads little-endian values and keeps count of how much it read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _MAX_HEAD

    def take(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise SourceError(f"the GGUF head is larger than {_MAX_HEAD} bytes")
        data = self._file.read(size)
        if len(data) != size:
            raise SourceError("the GGUF file ends in the middle of its head")
        return data

    def number(self, form: str) -> int | float | bool:
        value: int | float | bool = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return value

    def text(self, limit: int = _MAX_TEXT) -> str:
        size = int(self.number("<Q"))
        if size > limit:
            raise SourceError(f"the GGUF head has a text of {size} bytes; at most {limit} are read")
        return self.take(size).decode(errors="replace")

    def value(self, kind: int) -> Value:
        """A value; of an array only that it was there."""
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            self._skip_array()
            return None
        if kind not in _FORMATS:
            raise SourceError(f"the GGUF head has a value of the unknown type {kind}")
        return self.number(_FORMATS[kind])

    def _skip_array(self) -> None:
        kind, count = int(self.number("<I")), int(self.number("<Q"))
        if count > _MAX_ITEMS:
            raise SourceError(f"the GGUF head has an array of {count} values; at most {_MAX_ITEMS} are read")
        if kind == _STRING:
            for _ in range(count):
                self.take(int(self.number("<Q")))
        elif kind in _FORMATS:
            self.take(struct.calcsize(_FORMATS[kind]) * count)
        else:
            raise SourceError(f"the GGUF head has an array of the unsupported type {kind}")
