"""Two servers with data directories of their own, as on two hosts: one PostgreSQL, one vault, one log.

The second host's clock is an hour ahead, which must change nothing.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from command_line import command
from postgresql_kit import Cluster, running_cluster
from regalia.vault import Vault
from regalia_verify.log import verify_extension, verify_log
from regalia_verify.policy import TrustPolicy
from regalia_verify.receipt import verify_receipt
from regalia_verify.source import open_source
from serving import PATIENCE_S, Exchange, FakeEngine, Server, ServerDidNotStart, ServerFactory, regalia

pytestmark = pytest.mark.needs("postgres")
BASIS = "GDPR Art. 17(1)(b)"
HOUR_S = 3600
AHEAD = f"""
import time
now, now_ns = time.time, time.time_ns
time.time, time.time_ns = lambda: now() + {HOUR_S}, lambda: now_ns() + {HOUR_S} * 10**9
"""
"""What every Python process of the second host runs first (`sitecustomize.py`)."""


@pytest.fixture(scope="module")
def cluster(needs: Callable[[str], Path]) -> Iterator[Cluster]:
    with running_cluster(needs("postgres")) as running:
        yield running


@dataclass
class Hosts:
    """Two hosts. The second one's `keys/vault` leads to the first one's, as a mount would."""

    first: Server
    second: Server

    def content(self, host: Server, exchange: Exchange) -> str:
        """What the verifier says of a call's contents, by the receipt that this host gives."""
        policy = TrustPolicy.parse(self.first.policy())
        receipt = host.receipt(exchange.call)
        if verify_receipt(receipt, policy).content == "erased":
            return "erased"
        return verify_receipt(receipt, policy, request=exchange.request, response=exchange.committed).content


def another_host(first: Server, make: ServerFactory, name: str, *, share: bool = True) -> Server:
    """What docs/scale-out.md says: instance.json, log/, and keys/ but for the vault, which is linked."""
    folder = first.data_dir.with_name(name)
    (folder / "keys").mkdir(parents=True)
    shutil.copy2(first.data_dir / "instance.json", folder)
    shutil.copytree(first.data_dir / "log", folder / "log", ignore=shutil.ignore_patterns("*.tmp"))
    for key in (first.data_dir / "keys").iterdir():
        if key.is_file():
            shutil.copy2(key, folder / "keys")
    if share:
        (folder / "keys" / "vault").symlink_to(first.data_dir / "keys" / "vault")
    server = make(init=False, data_dir=folder, **first.config)
    server.api_key, server.env = first.api_key, first.env
    return server


def database_of(cluster: Cluster, make: ServerFactory, config: dict[str, Any]) -> Server:
    """A first host that is not started yet."""
    url = cluster.fresh()
    server = make(init=False, **config)
    made = command("init", "--data-dir", str(server.data_dir), "--database", url, "--json").json
    server.api_key = made["api_key"]
    return server


@pytest.fixture(scope="module")
def hosts(
    cluster: Cluster, fake_engine: FakeEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hosts]:
    factory = ServerFactory(tmp_path_factory.mktemp("hosts"))
    first = database_of(cluster, factory, {**fake_engine.config, "log_level": "warning"})
    first.start()
    second = another_host(first, factory, "second")
    clock = tmp_path_factory.mktemp("clock")
    (clock / "sitecustomize.py").write_text(AHEAD)
    second.env = second.env | {"PYTHONPATH": f"{clock}:{os.environ.get('PYTHONPATH', '')}"}
    second.start()
    yield Hosts(first, second)
    factory.stop_all()


def erase(host: Server, **what: str) -> dict[str, object]:
    reply = host.post("/v1/regalia/content/erase", {"basis": BASIS, **what})
    assert reply.status == 200, reply.body
    done: dict[str, object] = reply.json
    return done


def test_a_receipt_is_given_by_either_host(hosts: Hosts) -> None:
    for answering, other in ((hosts.first, hosts.second), (hosts.second, hosts.first)):
        exchange = answering.chat("Which host are you?")
        assert [hosts.content(host, exchange) for host in (answering, other)] == ["verified", "verified"]


def test_a_call_of_one_host_is_erased_at_the_other(hosts: Hosts) -> None:
    erased, kept = hosts.first.chat("Forget this."), hosts.first.chat("Keep this.")
    assert hosts.content(hosts.second, erased) == "verified"
    assert erase(hosts.second, call=erased.call)["calls"] == [erased.call]
    for host in (hosts.first, hosts.second):
        assert hosts.content(host, erased) == "erased"
        assert hosts.content(host, kept) == "verified"


def test_an_end_users_calls_are_erased_at_all_hosts_at_once(hosts: Hosts) -> None:
    hers = [host.chat("Who am I?", user="amina") for host in (hosts.first, hosts.second)]
    his = hosts.first.chat("Who am I?", user="joseph")
    assert set(erase(hosts.first, end_user="amina")["calls"]) == {each.call for each in hers}  # type: ignore[call-overload]
    for host in (hosts.first, hosts.second):
        assert [hosts.content(host, each) for each in hers] == ["erased", "erased"]
        assert hosts.content(host, his) == "verified"


def test_a_project_is_erased_by_the_command_line_of_either_host(hosts: Hosts) -> None:
    calls = [host.chat("Before.") for host in (hosts.first, hosts.second)]
    wanted = ["--project", "default", "--basis", BASIS, "--yes", "--data-dir", str(hosts.second.data_dir)]
    regalia("content", "erase", *wanted)
    after = hosts.first.chat("After.")
    for host in (hosts.first, hosts.second):
        assert [hosts.content(host, each) for each in calls] == ["erased", "erased"]
        assert hosts.content(host, after) == "verified"


def test_a_clock_that_is_an_hour_off_forks_nothing(hosts: Hosts) -> None:
    policy = TrustPolicy.parse(hosts.first.policy())
    turns = [hosts.first, hosts.second] * 3
    seen = [(host, host.chat("What time is it?")) for host in turns]
    for host, exchange in seen:
        assert hosts.content(host, exchange) == "verified"
    deadline = time.monotonic() + PATIENCE_S
    while min(host.log_size() for host in (hosts.first, hosts.second)) < 12:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    reports = [verify_log(open_source(f"{host.url}/log"), policy) for host in (hosts.first, hosts.second)]
    older, newer = sorted((hosts.first, hosts.second), key=lambda host: host.log_size())
    verify_extension(
        older.checkpoint().encode(), newer.checkpoint().encode(), policy, open_source(f"{newer.url}/log")
    )
    assert reports[0].history.times_backwards > 0, "the clock was not off"


def test_a_host_that_does_not_share_the_vault_says_so(hosts: Hosts, new_server: ServerFactory) -> None:
    exchange = hosts.first.chat()
    third = another_host(hosts.first, new_server, "third", share=False)
    with pytest.raises(ServerDidNotStart, match="mount or link the folder"):
        third.start()
    Vault.create(third.data_dir / "keys")  # a vault of its own, as hosts had them before
    third.start()
    refused = third.get(f"/v1/receipts/{exchange.call}")
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "sealed_elsewhere"
    assert "ask the host that answered it" in refused.json()["error"]["message"]
