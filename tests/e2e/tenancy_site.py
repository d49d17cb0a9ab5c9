"""A server with two organisations, people of every role and a call, for tests of who reaches what."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from regalia.identity import ROLES
from serving import Server

PATIENCE_S = 200.0
HOLDING = """
schema: 1
name: holding
version: "1.0"
title: Completions wait for a reviewer
rails:
  - id: completions
    title: A person decides
    on: input
    when: route == "completions"
    action: hold
"""
ROLE_NAMES = [role.name for role in ROLES]


@dataclass
class Site:
    """A running server, the keys of its people by role, and the ids of what is in it.

    Each role is held in the whole instance by one person, whose key is at home in the project `ours`.
    `theirs` are the ids of another organisation; `strangers` the keys of its own people.
    """

    server: Server
    keys: dict[str, str] = field(default_factory=dict)
    ours: dict[str, str] = field(default_factory=dict)
    theirs: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.server.url, timeout=PATIENCE_S, trust_env=False)

    def ask(self, method: str, path: str, key: str, body: Any = None) -> httpx.Response:
        """One request with a key, or with none if it is empty."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return self.client.request(method, path, headers=headers, json=body)

    def make(self, path: str, body: Any, key: str = "") -> dict[str, Any]:
        """Something created; by the first admin key unless another is given."""
        reply = self.ask("POST", f"/v1/regalia{path}", key or self.server.api_key, body)
        assert reply.status_code == httpx.codes.OK, (path, reply.text)
        made: dict[str, Any] = reply.json()
        return made

    def key(self, **wanted: Any) -> str:
        """A new key's text."""
        made = self.make("/keys", {"name": "for a test", **wanted})
        self.secrets.append(made["secret"])
        return str(made["secret"])

    def key_id(self, secret: str) -> str:
        """The id of a key."""
        return str(self.ask("GET", "/v1/regalia/me", secret).json()["key"])

    def person(self, name: str, role: dict[str, str], organisation: str) -> str:
        """A new person with one role."""
        wanted = {"name": name, "email": f"{name}@x.example", "organisation": organisation}
        made = str(self.make("/users", wanted)["id"])
        self.make(f"/users/{made}/roles", role)
        return made

    def call(self, key: str, **fields: Any) -> str:
        """One call with a key; its id."""
        message = {"role": "user", "content": "Where does it hurt?"}
        reply = self.ask(
            "POST", "/v1/chat/completions", key, {"model": "fake", "messages": [message], **fields}
        )
        assert reply.status_code == httpx.codes.OK, reply.text
        return reply.headers["x-regalia-call"]

    def held(self, project: str, key: str) -> str:
        """A call of the project that waits for a reviewer; the review's id."""
        self.make("/policies", {"project": project, "document": HOLDING})
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:  # processes look at policies now and then
            reply = self.ask("POST", "/v1/completions", key, {"model": "fake", "prompt": "Who is it?"})
            if "review" in reply.json():
                return str(reply.json()["review"]["id"])
            time.sleep(0.1)
        raise AssertionError(f"the call was not held: {reply.text}")


@contextmanager
def site_on(server: Server) -> Iterator[Site]:
    """The people and places, on a server that runs."""
    site = Site(server)
    for ids, name in ((site.ours, "ours"), (site.theirs, "theirs")):
        ids["organisation"] = str(site.make("/organisations", {"name": name})["id"])
        ids["project"] = str(
            site.make("/projects", {"name": name, "organisation": ids["organisation"]})["id"]
        )
        app = site.key(project=ids["project"])
        ids["app"], ids["key"] = app, site.key_id(app)
        ids["call"] = site.call(app)
        ids["review"] = site.held(ids["project"], app)
        ids["user"] = site.person(
            f"{name}-member", {"role": "member", "project": ids["project"]}, ids["organisation"]
        )
    for role in ROLE_NAMES:
        user = site.person(role, {"role": role}, "")
        site.keys[role] = site.key(user=user, project=site.ours["project"], scope="instance")
    for ids, name in ((site.ours, "ours"), (site.theirs, "theirs")):
        everywhere = {"organisation": ids["organisation"]}
        for role in ("owner", "project-admin", "auditor", "data-protection-officer"):
            user = site.person(f"{name}-{role}", {"role": role, **everywhere}, ids["organisation"])
            ids[role] = site.key(user=user, project=ids["project"], **everywhere, scope="organisation")
        wanted = {"call": ids["call"], "purpose": "a test"}
        ids["request"] = str(site.make("/content/requests", wanted, ids["auditor"])["id"])
        records = [record for record in _records(site) if record["kind"] == "admin.content_requested"]
        ids["pseudonym"] = str(records[-1]["project"])
        ids |= {f"{name}_id": ids[name] for name in ("project", "user", "key")}  # as OpenAI calls them
        ids["api_key_id"] = ids["account"] = ids["key"]
    yield site
    site.client.close()


def _records(site: Site) -> list[dict[str, Any]]:
    """The records as the database has them: the log publishes once a second."""
    import sqlite3

    database = sqlite3.connect(f"file:{site.server.data_dir / 'regalia.db'}?mode=ro", uri=True)
    try:
        rows = database.execute("SELECT leaf FROM entries ORDER BY idx").fetchall()
    finally:
        database.close()
    return [json.loads(leaf) for (leaf,) in rows]
