"""A log whose oldest bundles are in an archive: what remains is verified, and tampering with it noticed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from regalia.ledger.writing import encode_bundle
from regalia_verify.cli import main
from regalia_verify.errors import FormatError, NotVerified
from regalia_verify.log import LogReport, verify_log
from regalia_verify.policy import TrustPolicy
from regalia_verify.record import canonical
from regalia_verify.source import parse_bundle
from verify.paper_log import ORIGIN, Files, PaperLog, call_id, event, rooted_log, sample_log, seed

MINIMUM = 768
ABORTED = {"admitted": "0" * 64, "reason": "crash"}


def grown() -> PaperLog:
    """1,032 entries: calls in every bundle, a call across each border, and the minimum index on record."""
    log = sample_log(121)
    early, across = log.begin(200), log.begin(201)
    while len(log.entries) < MINIMUM - 3:
        log.end(log.begin(1000 + len(log.entries)))
    log.end(early)
    last = log.begin(202)
    while len(log.entries) < MINIMUM:
        log.add(event("admin.x"))
    log.end(across)
    log.end(last)
    log.add(event("admin.log_archived", minimum=MINIMUM))
    while len(log.entries) < 1030:
        log.end(log.begin(1000 + len(log.entries)))
    log.begin(203)
    return log


LOG = grown()
FILES = LOG.publish()


def detached(files: Files) -> Files:
    """Without what `regalia log archive` takes away: bundles and tiles of level 0, but the first ones."""
    away = {f"tile/{kind}/{n:03}" for kind in ("entries", "0") for n in range(1, MINIMUM // 256)}
    assert away <= set(files)
    return Files({path: data for path, data in files.items() if path not in away})


def verified(files: Files, minimum: int = MINIMUM, previous: int | None = None, **more: bool) -> LogReport:
    older = None if previous is None else LOG.signed(previous).encode()
    return verify_log(files, LOG.policy(), minimum=minimum, previous=older, **more)


def reason(files: Files, minimum: int = MINIMUM, previous: int | None = None, **more: bool) -> str:
    """Why the log is not verified."""
    with pytest.raises((NotVerified, FormatError)) as caught:
        verified(files, minimum, previous, **more)
    return str(getattr(caught.value, "reason", "FormatError"))


def test_what_remains_is_verified_and_the_rest_counted() -> None:
    report = verified(detached(FILES))
    assert report.endorsement.checkpoint == LOG.checkpoint()
    assert report.history.size - report.history.kinds.total() == MINIMUM - 256
    assert report.history.admitted_before == 2
    assert report.history.open == [call_id(203)]


def test_an_attached_archive_is_read_too() -> None:
    history = verified(Files(FILES)).history
    assert (history.size, history.kinds.total(), history.admitted_before) == (1032, 1032, 2)
    assert verified(Files(FILES), minimum=0).history.admitted_before == 0


def test_older_checkpoints_from_the_minimum_index_on_are_extended() -> None:
    for size in (MINIMUM, MINIMUM + 1, 1024, 1032):
        assert verified(detached(FILES), previous=size).previous is not None


def edit(path: str, change: Callable[[list[bytes]], object]) -> Callable[[Files], object]:
    """Change the entries of a bundle."""

    def tamper(files: Files) -> None:
        entries = parse_bundle(files[path])
        change(entries)
        files[path] = encode_bundle(entries)

    return tamper


def flip(path: str, position: int = 0) -> Callable[[Files], object]:
    """Change one bit of a file."""

    def tamper(files: Files) -> None:
        data = bytearray(files[path])
        data[position] ^= 1
        files[path] = bytes(data)

    return tamper


def bring_back(files: Files) -> None:
    files["tile/entries/001"], files["tile/0/001"] = FILES["tile/entries/002"], FILES["tile/0/001"]


def other_checkpoint(files: Files) -> None:
    other = grown()
    other.entries[300] = canonical(event("admin.y"))
    files["checkpoint"] = other.signed().encode()


FIRST, REMAINING, LAST = "tile/entries/000", "tile/entries/003", "tile/entries/004.p/8"

TAMPERED: list[tuple[str, str, Callable[[Files], object]]] = [
    ("a remaining entry changed", "tile_mismatch", edit(REMAINING, lambda e: e.__setitem__(5, e[6]))),
    ("two remaining entries exchanged", "tile_mismatch", edit(LAST, lambda e: e.reverse())),
    ("a remaining entry left out", "bundle_malformed", edit(REMAINING, lambda e: e.pop())),
    ("the first bundle changed", "tile_mismatch", edit(FIRST, lambda e: e.__setitem__(9, e[8]))),
    ("the bundle at the index is missing", "file_missing", lambda f: f.pop(REMAINING)),
    ("the last bundle is missing", "file_missing", lambda f: f.pop(LAST)),
    ("the first bundle is missing", "file_missing", lambda f: f.pop(FIRST)),
    ("a remaining tile is missing", "file_missing", lambda f: f.pop("tile/0/003")),
    ("the tile above is missing", "file_missing", lambda f: f.pop("tile/1/000.p/4")),
    ("a hash that stands for a missing bundle changed", "root_mismatch", flip("tile/1/000.p/4", 32)),
    ("a hash of a remaining bundle changed", "tile_mismatch", flip("tile/1/000.p/4", 96)),
    ("an archived bundle of other entries brought back", "tile_mismatch", bring_back),
    ("the checkpoint of a log of other entries", "root_mismatch", other_checkpoint),
]


@pytest.mark.parametrize(("why", "tamper"), [pytest.param(*row[1:], id=row[0]) for row in TAMPERED])
def test_tampering_with_what_remains_is_noticed(why: str, tamper: Callable[[Files], object]) -> None:
    files = detached(FILES)
    tamper(files)
    assert reason(files) == why


@pytest.mark.parametrize("minimum", [-256, 1, 255, 700, 1032, 1280, 10**9])
def test_an_index_must_be_a_multiple_of_256_within_the_log(minimum: int) -> None:
    with pytest.raises(FormatError, match=f"index {minimum}: not a multiple of 256, or beyond"):
        verified(Files(FILES), minimum)


def test_an_older_checkpoint_from_below_the_index_is_beyond_what_remains() -> None:
    for size in (300, MINIMUM - 1):
        assert reason(detached(FILES), previous=size) == "FormatError"


def test_more_than_the_log_declares_may_not_be_missing() -> None:
    files = detached(FILES)
    assert reason(files, minimum=0) == "file_missing"
    assert reason(files, minimum=512) == "file_missing"
    assert reason(files, minimum=1024) == "minimum_not_declared"
    del files[REMAINING]
    assert reason(files, minimum=1024) == "minimum_not_declared"


REWRITTEN: list[tuple[str, str, Callable[[PaperLog], object]]] = [
    (
        "a second outcome of a call from below",
        "second_outcome",
        lambda log: log.add(event("call.aborted", call=call_id(201), **ABORTED)),
    ),
    (
        "a call that has ended is admitted again",
        "second_admission",
        lambda log: log.begin(201),
    ),
    (
        "an outcome that names another admission",
        "wrong_admission",
        lambda log: log.add(log.outcome(log.calls[-1], admitted=seed("x").hex())),
    ),
    (
        "more outcomes than there are entries below",
        "outcome_without_admission",
        lambda log: [
            log.add(event("call.aborted", call=call_id(10_000 + n), **ABORTED)) for n in range(MINIMUM)
        ],
    ),
    ("a second opening", "log_opened", lambda log: log.open()),
    ("an entry that is no record", "record_malformed", lambda log: log.entries.append(b"hello")),
]


@pytest.mark.parametrize(("why", "rewrite"), [pytest.param(*row[1:], id=row[0]) for row in REWRITTEN])
def test_what_a_dishonest_operator_adds_is_noticed(why: str, rewrite: Callable[[PaperLog], object]) -> None:
    log = grown()
    rewrite(log)
    assert reason(detached(log.publish())) == why


def test_open_calls_are_a_fault_of_a_closed_log_only_from_the_index_on() -> None:
    assert reason(detached(FILES), closed=True) == "outcome_missing"
    log = grown()
    log.end(log.calls[-1])
    assert verify_log(detached(log.publish()), log.policy(), closed=True, minimum=MINIMUM).history.open == []


def test_changes_of_keys_that_remain_are_followed_and_one_that_is_missing_fails() -> None:
    log = rooted_log()
    pinned = TrustPolicy.parse(log.rooted_policy_text())
    while len(log.entries) < 300:
        log.add(event("admin.x"))
    log.rotate()
    while len(log.entries) < MINIMUM + 200:
        log.add(event("admin.x"))
    log.add(event("admin.log_archived", minimum=MINIMUM))
    files = log.publish()
    del files["tile/entries/002"], files["tile/0/002"]
    assert verify_log(files, pinned, minimum=MINIMUM).history.kinds["log.key_rotated"] == 1
    del files["tile/entries/001"], files["tile/0/001"]
    with pytest.raises(NotVerified) as caught:
        verify_log(files, pinned, minimum=MINIMUM)
    assert caught.value.reason == "log_signature_missing"


def test_the_command_says_what_was_not_examined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detached(FILES).write(tmp_path / "log")
    (tmp_path / "policy").write_text(LOG.policy_text())
    command = ["log", str(tmp_path / "log"), "--policy", str(tmp_path / "policy")]
    assert main(command) == 1
    assert "file_missing" in capsys.readouterr().err
    assert main([*command, "--archived", str(MINIMUM)]) == 0
    said = capsys.readouterr().out
    assert "all 264 entries from 768 on" in said
    assert "512 of those below were not examined" in said
    assert "2 outcomes are of calls that were admitted below" in said
    assert main([*command, "--archived", str(MINIMUM), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["origin"] == ORIGIN
    assert (result["size"], result["not_examined"], result["admitted_before"]) == (1032, 512, 2)
    assert main([*command, "--archived", "700"]) == 2
    assert "not a multiple of 256" in capsys.readouterr().err
