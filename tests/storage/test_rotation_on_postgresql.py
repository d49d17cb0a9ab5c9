"""New keys while several processes share the log on PostgreSQL."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ledger_kit import ORIGIN, Call, Site, event, publish, receipt
from regalia.ledger import KeyFiles, create_keys
from regalia.ledger.keys import Past, root_name, verifier_keys
from regalia.ledger.log import Log
from regalia.ledger.rotation import KeyChanges, write_past
from regalia.ledger.wire import Where
from regalia.storage import open_database, upgrade
from regalia_verify.log import verify_log
from regalia_verify.receipt import verify_receipt
from regalia_verify.source import Folder

pytestmark = pytest.mark.needs("postgres")


class Killed(BaseException):
    """As far as files go, what a kill leaves."""


def test_processes_that_run_go_on_with_the_new_keys(
    postgresql: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site.make(tmp_path / "d")
    root = KeyFiles.under(site.data_dir / "keys", "root")
    create_keys(root)
    write_past(site.keys, Past(root=tuple(key.encode() for key in verifier_keys(root, root_name(ORIGIN)))))
    pinned, url = site.policy, postgresql()
    upgrade(open_database(url))
    one, two = (Log.open(Where(site.data_dir, url, name, ORIGIN, site.keys)) for name in ("one", "two"))
    call = Call.new()
    one.append([call.admission(), call.outcome()])
    publish(one)
    assert two.rotate(root) == 3
    one.append([event()])
    publish(one)
    verify_receipt(receipt(one, call.id), pinned)
    with monkeypatch.context() as patch:  # the next rotation's process dies when its record is durable

        def die(*_: object) -> None:
            raise Killed

        patch.setattr(KeyChanges, "_complete", die)
        with pytest.raises(Killed):
            two.rotate(root)
    one.append([event()])
    publish(one)
    verify_receipt(receipt(one, call.id), pinned)
    for log in (one, two):
        log.close()
    assert verify_log(Folder(site.folder), pinned).history.kinds["log.key_rotated"] == 2
