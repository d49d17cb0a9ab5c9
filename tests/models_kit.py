"""Small GGUF files and wheels, made for tests."""

import base64
import hashlib
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

GGUF_NOTES: dict[str, str | int] = {
    "general.architecture": "llama",
    "general.license": "apache-2.0",
    "general.file_type": 3,
    "llama.context_length": 8192,
}


def text(value: str) -> bytes:
    """A GGUF string."""
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def gguf(notes: Mapping[str, str | int] = GGUF_NOTES, weights: bytes = b"weights" * 1000) -> bytes:
    """A GGUF file with these notes, an array of texts among them, and no tensors."""
    pairs = b"".join(
        text(key) + (struct.pack("<II", 4, value) if isinstance(value, int) else b"\x08\0\0\0" + text(value))
        for key, value in notes.items()
    )
    array = text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(notes) + 1) + pairs + array + weights


def wheel(
    path: Path, members: Mapping[str, bytes], *, name: str = "some-model", record: str | None = None
) -> Path:
    """A wheel of version 1.0 with these members and a RECORD of them (or the one given)."""
    info = f"{name.replace('-', '_')}-1.0.dist-info"
    rows = record
    if rows is None:
        rows = "".join(
            f"{member},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},\n"
            for member, data in members.items()
        )
    fields = ("Metadata-Version: 2.2", f"Name: {name}", "Version: 1.0", "Author: Somebody", "License: MIT")
    metadata = "\n".join((*fields, "Requires-Dist: absent", "", "Text", ""))
    file = path / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/RECORD", rows)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    return file


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
