"""A key that is revoked is refused by every process; so is the key of a person who was locked out."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from e2e.tenancy_site import Site
from postgresql_kit import running_cluster
from serving import PATIENCE_S, FakeEngine, Server, ServerFactory

pytestmark = pytest.mark.needs("postgres")
ASKS = 24
"""Connections enough that each of two workers answers some."""


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, needs: Callable[[str], Path], fake_engine: FakeEngine
) -> Iterator[Site]:
    """Two workers on PostgreSQL."""
    folder = tmp_path_factory.mktemp("workers")
    with running_cluster(needs("postgres")) as cluster, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGALIA_DATABASE", cluster.fresh())
        factory = ServerFactory(folder)
        yield Site(factory(**fake_engine.config, workers=2, log_level="warning").start())
        factory.stop_all()


def answers(server: Server, key: str) -> set[int]:
    """The statuses of calls over connections of their own, so that both workers answer."""
    return {
        httpx.get(
            f"{server.url}/v1/models", headers={"authorization": f"Bearer {key}"}, timeout=60
        ).status_code
        for _ in range(ASKS)
    }


def becomes(server: Server, key: str, status: int) -> bool:
    """Whether all processes answer with that status, within our patience."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if answers(server, key) == {status}:
            return True
    return False


def test_a_new_key_works_everywhere_and_a_revoked_one_nowhere(site: Site) -> None:
    key = site.key(project="default")
    other = site.key(project="default")
    assert becomes(site.server, key, httpx.codes.OK)
    assert becomes(site.server, other, httpx.codes.OK)
    site.make(f"/keys/{site.key_id(key)}/revoke", None)
    assert becomes(site.server, key, httpx.codes.UNAUTHORIZED)
    assert answers(site.server, other) == {httpx.codes.OK}


def test_a_person_who_is_locked_out_is_so_everywhere(site: Site) -> None:
    user = site.person("ann", {"role": "member", "project": "default"}, "default")
    key = site.key(user=user, project="default")
    assert becomes(site.server, key, httpx.codes.OK)
    site.make(f"/users/{user}/disable", None)
    assert becomes(site.server, key, httpx.codes.UNAUTHORIZED)
    site.make(f"/users/{user}/enable", None)
    assert becomes(site.server, key, httpx.codes.OK)
