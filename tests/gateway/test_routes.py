"""Bodies of the inference routes: what is refused, with the field that is wrong, and what goes on."""

import json
from typing import Any

import pytest

from regalia.errors import ApiError
from regalia.gateway import ROUTES
from regalia.gateway.routes import read

BY_NAME = {route.name: route for route in ROUTES}
MESSAGES = [{"role": "user", "content": "hi"}]


def refused(route: str, body: Any) -> ApiError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ApiError) as raised:
        read(BY_NAME[route], data)
    return raised.value


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"model":"m"', b"[" * 100_000])
def test_what_is_not_json_is_400(body: bytes) -> None:
    error = refused("chat.completions", body)
    assert (error.status, error.code) == (400, "invalid_json")


@pytest.mark.parametrize("body", [[], "text", 1, None])
def test_what_is_not_an_object_is_400(body: Any) -> None:
    assert refused("chat.completions", body).code == "invalid_type"


@pytest.mark.parametrize(
    ("route", "body", "param"),
    [
        ("chat.completions", {"messages": MESSAGES}, "model"),
        ("chat.completions", {"model": "m"}, "messages"),
        ("chat.completions", {"model": "m", "messages": []}, "messages"),
        ("chat.completions", {"model": "m", "messages": [{"role": 1}]}, "messages[0].role"),
        ("chat.completions", {"model": "m", "messages": MESSAGES, "max_tokens": "ten"}, "max_tokens"),
        ("chat.completions", {"model": "m", "messages": MESSAGES, "max_tokens": -1}, "max_tokens"),
        ("chat.completions", {"model": "m", "messages": MESSAGES, "max_tokens": 10**12}, "max_tokens"),
        ("chat.completions", {"model": "m", "messages": MESSAGES, "temperature": 9}, "temperature"),
        ("chat.completions", {"model": "m", "messages": MESSAGES, "n": 1000}, "n"),
        ("chat.completions", {"model": "m", "messages": MESSAGES, "seed": 2**60}, "seed"),
        ("chat.completions", {"model": "m", "messages": MESSAGES, "stream": "yes"}, "stream"),
        ("completions", {"model": "m"}, "prompt"),
        ("completions", {"model": "m", "prompt": {}}, "prompt"),
        ("responses", {"model": "m", "input": 7}, "input"),
        ("responses", {"model": "m", "input": "hi", "previous_response_id": "r"}, "previous_response_id"),
        (
            "chat.completions",
            {"model": "m", "messages": MESSAGES, "max_tokens": 1, "n_predict": 9},
            "n_predict",
        ),
        ("responses", {"model": "m", "input": "hi", "max_output_tokens": 1, "n_predict": -1}, "n_predict"),
        ("completions", {"model": "m", "prompt": "a", "n_cmpl": 8}, "n_cmpl"),
        ("completions", {"model": "m", "prompt": "a", "max_completion_tokens": -1}, "max_completion_tokens"),
        ("responses", {"model": "m", "input": "hi", "max_completion_tokens": 9}, "max_completion_tokens"),
        ("responses", {"model": "m", "input": "hi", "n": 9}, "n"),
        ("embeddings", {"model": "m", "input": []}, "input"),
        ("embeddings", {"model": "m", "input": "x", "encoding_format": "hex"}, "encoding_format"),
        ("tokenize", {"model": "m"}, "prompt"),
        ("detokenize", {"model": "m", "tokens": [-1]}, "tokens[0]"),
    ],
)
def test_a_wrong_field_is_named(route: str, body: Any, param: str) -> None:
    error = refused(route, body)
    assert (error.status, error.param) == (400, param)
    assert param.split("[", maxsplit=1)[0] in error.message


def test_unknown_fields_are_kept() -> None:
    body = {"model": "m", "messages": MESSAGES, "mirostat": 2, "x": {"y": [1]}}
    document, request = read(BY_NAME["chat.completions"], json.dumps(body).encode())
    assert document == body
    assert request.model == "m"


@pytest.mark.parametrize("prompt", ["a", ["a", "b"], [1, 2], [[1], [2, 3]]])
def test_every_form_of_a_completions_prompt_is_read(prompt: Any) -> None:
    document, _ = read(BY_NAME["completions"], json.dumps({"model": "m", "prompt": prompt}).encode())
    assert document["prompt"] == prompt
