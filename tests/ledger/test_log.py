"""The log within one process: what is committed, what is published, what can be proved."""

import base64

import pytest

from ledger_kit import Call, Site, event, indices, publish, receipt, shown
from regalia.ledger import CallOpen, LedgerInvariantError, LedgerLocked, ReceiptNotFound
from regalia.ledger.log import Log


def test_an_empty_log_gets_log_opened_as_leaf_0(site: Site) -> None:
    with site.log() as log:
        publish(log)
        assert log.size == 1
    report = site.verify()
    assert report.history.kinds == {"log.opened": 1}
    with site.log() as log:
        assert log.size == 1


def test_indices_are_consecutive_across_batches_and_restarts(site: Site) -> None:
    with site.log() as log:
        assert log.append([event(), event()]) == [1, 2]
        assert log.append([event()]) == [3]
    with site.log() as log:
        assert log.append([event()]) == [4]


def test_a_receipt_proves_the_outcome_and_opens_its_commitments(site: Site) -> None:
    call = Call.new()
    with site.log() as log:
        indices(log.append([call.admission(), call.outcome()]))
        text = receipt(log, call.id)
    verified = site.verify_receipt(text, call)
    assert verified.record["call"] == call.id
    assert base64.b64decode(shown(text).openings["tokens"]["content"]) == b"[[1,2,3]]"


@pytest.mark.parametrize("before", [0, 254, 255, 256, 700])
def test_receipts_hold_at_every_tile_boundary(site: Site, before: int) -> None:
    calls = [Call.new() for _ in range(3)]
    with site.log() as log:
        log.append([event(n) for n in range(before)])
        for call in calls:
            log.append([call.admission(), call.outcome()])
            publish(log)
        log.append([event(n) for n in range(300)])
        publish(log)
        for call in calls:
            site.verify_receipt(receipt(log, call.id), call)
    site.verify()


def test_a_receipt_is_the_owners_only(site: Site) -> None:
    call = Call.new()
    with site.log() as log:
        log.append([call.admission(), call.outcome()])
        with pytest.raises(ReceiptNotFound):
            receipt(log, call.id, "project-2")
        with pytest.raises(ReceiptNotFound):
            receipt(log, "call_" + "0" * 26)
        site.verify_receipt(receipt(log, call.id, None), call)


def test_an_open_call_has_no_receipt(site: Site) -> None:
    call = Call.new()
    with site.log() as log:
        log.append([call.admission()])
        with pytest.raises(CallOpen):
            receipt(log, call.id)


def test_what_breaks_an_invariant_fails_alone(site: Site) -> None:
    first, second, never = Call.new(), Call.new(), Call.new()
    with site.log() as log:
        log.append([first.admission()])
        results = log.append(
            [
                second.admission(),
                first.admission(),  # a second admission
                first.outcome(),
                first.outcome(),  # a second outcome
                never.outcome(),  # never admitted
                second.outcome(),
            ]
        )
        assert [r for r in results if isinstance(r, int)] == [2, 3, 4]
        assert [isinstance(r, LedgerInvariantError) for r in results] == [
            False,
            True,
            False,
            True,
            True,
            False,
        ]
        assert log.commit_failure is None
        assert log.append([event()]) == [5]
        publish(log)
    assert site.verify(closed=True).history.kinds["call.answered"] == 2


def test_an_outcome_before_its_admission_in_one_batch_is_refused(site: Site) -> None:
    call = Call.new()
    with site.log() as log:
        results = log.append([call.outcome(), call.admission()])
        assert isinstance(results[0], LedgerInvariantError)
        assert results[1] == 1


def test_calls_that_a_dead_process_left_open_are_aborted(site: Site) -> None:
    dead, finished = Call.new(), Call.new()
    with site.log("first") as log:
        log.append([dead.admission(), finished.admission(), finished.outcome()])
    with site.log("second") as log:
        assert log.size == 5
        text = receipt(log, dead.id)
    record = shown(text).record
    assert (record["kind"], record["reason"]) == ("call.aborted", "process_ended")
    assert site.verify(closed=True).history.kinds["call.aborted"] == 1


def test_a_replaced_ledger_process_leaves_its_gateways_calls_open(site: Site) -> None:
    call = Call.new()
    with site.log("gateway") as log:
        log.append([call.admission()])
    with site.log("gateway") as log:
        assert log.append([call.outcome()]) == [2]


def test_abandoned_calls_are_aborted_once(site: Site) -> None:
    open_call, finished = Call.new(), Call.new()
    with site.log() as log:
        log.append([open_call.admission(), finished.admission(), finished.outcome()])
        log.abort([open_call.id, finished.id, "call_unknown"], "outcome_not_recorded")
        assert log.size == 5
        log.abort([open_call.id], "outcome_not_recorded")
        assert log.size == 5
        publish(log)
    site.verify(closed=True)


def test_published_rows_leave_the_database_but_for_the_tail(site: Site) -> None:
    call = Call.new()
    with site.log() as log:
        log.append([call.admission(), call.outcome(), *(event(n) for n in range(1000))])
        publish(log)
        with site.database().read() as connection:
            rows = connection.exec_driver_sql("SELECT min(idx), count(*) FROM entries").one()
            head = connection.exec_driver_sql("SELECT size, published_size FROM log_state").one()
        assert tuple(rows) == (768, 1003 - 768)
        assert tuple(head) == (1003, 1003)
        site.verify_receipt(receipt(log, call.id), call)  # its entry comes from the bundle now
    with site.log() as log:
        log.append([event()])
        publish(log)
    site.verify()


@pytest.mark.parametrize("size", [255, 256, 257, 512, 1024])
def test_a_log_that_ends_with_a_full_bundle_goes_on_after_a_restart(site: Site, size: int) -> None:
    with site.log() as log:
        log.append([event(n) for n in range(size - 1)])
        publish(log)
    with site.log() as log:
        assert log.size == size
        assert log.append([event()]) == [size]
        publish(log)
    site.verify()


def test_superseded_partial_tiles_are_deleted_and_current_ones_served(site: Site) -> None:
    with site.log() as log:
        for _ in range(6):
            log.append([event(n) for n in range(100)])
            publish(log)
            site.verify()
    assert not (site.folder / "tile/0/000.p").exists()
    assert not (site.folder / "tile/entries/001.p").exists()
    assert (site.folder / "tile/0/002.p/89").exists()
    assert (site.folder / "tile/1/000.p/2").exists()


def test_a_second_process_is_refused(site: Site) -> None:
    with site.log(), pytest.raises(LedgerLocked, match=r"in use by process [0-9]+"):
        Log.open(site.where())
