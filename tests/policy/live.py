"""A running server with a policy, as the tests reach it."""

import base64
import json
import time
from itertools import count
from typing import Any

import httpx

from serving import Exchange, Server

BASE = "/v1/regalia"
_VERSIONS = count(100)


def ask(server: Server, method: str, path: str, body: object = None, key: str = "", status: int = 200) -> Any:
    """One administrative request; its answer."""
    headers = {"authorization": f"Bearer {key or server.api_key}", "content-type": "application/json"}
    content = b"" if body is None else json.dumps(body).encode()
    reply = httpx.request(
        method, f"{server.url}{BASE}{path}", content=content, headers=headers, timeout=60, trust_env=False
    )
    assert reply.status_code == status, f"{method} {path}: {reply.status_code} {reply.text}"
    return reply.json()


def document(*rails: dict[str, Any], **fields: Any) -> str:
    """A pack's document, of a version of its own: so it can be told which one calls are under."""
    version = f"1.{next(_VERSIONS)}"
    pack = {"schema": 1, "name": "own", "version": version, "title": "Our own", "rails": list(rails)}
    return json.dumps(pack | fields, ensure_ascii=False)


def activate(server: Server, pack: str, project: str = "", **fields: Any) -> Any:
    """Put a pack in force, and wait until calls are under it."""
    made = ask(server, "POST", "/policies", {"document": pack, "project": project, **fields})
    if made["in_force"]:
        in_force(server, made["policy"])
    return made


def in_force(server: Server, label: str) -> None:
    """Wait until calls are under a policy."""
    deadline = time.monotonic() + 200
    while record_of(server, server.chat("Hello.").call)["policy"]["version"] != label:
        assert time.monotonic() < deadline, f"{label} did not take force"


def record_of(server: Server, call: str) -> dict[str, Any]:
    """A call's outcome, from its receipt."""
    receipt = server.receipt(call)
    extra = next(line for line in receipt.split("\n") if line.startswith("extra "))
    entry = json.loads(base64.b64decode(extra[6:]))["entry"]
    record: dict[str, Any] = json.loads(base64.b64decode(entry))
    return record


def records(server: Server, kind: str) -> list[dict[str, Any]]:
    """The published records of a kind; the newest are there within a second or so."""
    call = server.chat("Hello.").call
    server.receipt(call)  # publishes what came before it
    return [record for record in server.records() if record["kind"] == kind]


def person(server: Server, name: str, role: str) -> str:
    """A key of a new person with a role in the default organisation."""
    made = ask(
        server, "POST", "/users", {"name": name, "email": f"{name}@example.org", "organisation": "default"}
    )
    ask(server, "POST", f"/users/{made['id']}/roles", {"role": role, "organisation": "default"})
    key = ask(server, "POST", "/keys", {"name": f"{name}'s", "user": made["id"], "project": "default"})
    return str(key["secret"])


def said(reply: Exchange) -> str:
    """The text of a chat answer, whole or streamed."""
    if reply.body.startswith(b"data:"):
        return "".join(event["choices"][0]["delta"].get("content") or "" for event in reply.events())
    return str(reply.json["choices"][0]["message"]["content"])


def service_key(server: Server, name: str) -> str:
    """A key of a program that makes calls."""
    wanted = {"name": name, "project": "default", "role": "developer"}
    return str(ask(server, "POST", "/keys", wanted)["secret"])


def chat(server: Server, key: str, text: str, **fields: Any) -> Exchange:
    """One chat completion, with that key."""
    body = {"model": "echo", "messages": [{"role": "user", "content": text}], **fields}
    return server.post("/v1/chat/completions", body, authorization=f"Bearer {key}")
