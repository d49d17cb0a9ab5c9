"""Every way of tampering with a log that we could think of, and the reason with which it is rejected.

A row is a name, the reason, and what an attacker does: he holds the files, and in `REWRITTEN` he is the
operator and signs anew.
"""

import json
from copy import deepcopy

import pytest

from regalia_verify.errors import FormatError, NotVerified
from regalia_verify.log import verify_extension
from regalia_verify.merkle import leaf_hash
from regalia_verify.policy import TrustPolicy
from verify.paper_log import (
    ORIGIN,
    admitted,
    answered,
    event,
    sample_log,
    seed,
)
from verify.tampered import (
    ELSEWHERE,
    FORMAT,
    FULL,
    HONEST,
    IMPOSTOR,
    LONG,
    LONG_FILES,
    PARTIAL,
    Log,
    LogTamper,
    add,
    flip,
    run,
)


def swap(entries: list[bytes]) -> None:
    entries[3], entries[4] = entries[4], entries[3]


def replaced(entries: list[bytes]) -> None:
    entries[5] = entries[5].replace(b'"seed":42', b'"seed":43').replace(b'"stream":0', b'"stream":1')


def splice_bundle(attempt: Log) -> None:
    other = sample_log(151, "other.example/log", "other").publish()
    attempt.files[FULL] = other[FULL]


def splice_bundle_and_tile(attempt: Log) -> None:
    other = sample_log(151, "other.example/log", "other").publish()
    attempt.files[FULL], attempt.files["tile/0/000"] = other[FULL], other["tile/0/000"]


def truncated(attempt: Log) -> None:
    """Drop the end of the log, keep the checkpoint."""
    for path in [path for path in attempt.files if "/001" in path]:
        del attempt.files[path]


def rolled_back(attempt: Log) -> None:
    """A shorter log, properly signed, shown to somebody who has seen more."""
    attempt.previous = LONG_FILES["checkpoint"]
    shorter = deepcopy(LONG)
    del shorter.entries[200:]
    attempt.files = shorter.publish()


def forked(attempt: Log, *, at: int) -> None:
    """The same log with another past, properly signed, shown to somebody who has seen the first."""
    attempt.previous = LONG.signed(at).encode()
    other = deepcopy(LONG)
    other.entries[3], other.entries[2] = other.entries[2], other.entries[3]
    attempt.files = other.publish()


def foreign_previous(attempt: Log) -> None:
    attempt.previous = ELSEWHERE.signed().encode()
    both = LONG.policy_text() + f"log {ELSEWHERE.ed25519.key.encode()}\n"
    attempt.policy = TrustPolicy.parse(both.replace("quorum log-pq", "quorum none"))


def bad_previous(attempt: Log) -> None:
    attempt.previous = IMPOSTOR.signed().encode()


FILES: list[tuple[str, str, LogTamper]] = [
    ("entry replaced in a full bundle", "tile_mismatch", lambda a: a.edit_bundle(FULL, replaced)),
    ("entry replaced in a partial bundle", "tile_mismatch", lambda a: a.edit_bundle(PARTIAL, replaced)),
    ("entries reordered", "tile_mismatch", lambda a: a.edit_bundle(FULL, swap)),
    ("entry removed from a bundle", "bundle_malformed", lambda a: a.edit_bundle(PARTIAL, lambda e: e.pop())),
    (
        "entry added to a bundle",
        "bundle_malformed",
        lambda a: a.edit_bundle(PARTIAL, lambda e: e.append(e[0])),
    ),
    ("bundle of another log", "tile_mismatch", splice_bundle),
    ("bundle and tile of another log", "wrong_origin", splice_bundle_and_tile),
    (
        "entry replaced and its tile recomputed",
        "root_mismatch",
        lambda a: a.edit_tile_too(lambda e: e.__setitem__(0, e[0].replace(b'"seed":42', b'"seed":43'))),
    ),
    ("bundle with a trailing byte", "bundle_malformed", lambda a: a.edit(PARTIAL, lambda d: d + b"\0")),
    (
        "bundle with a trailing empty entry",
        "bundle_malformed",
        lambda a: a.edit(PARTIAL, lambda d: d + b"\0\0"),
    ),
    ("partial bundle cut", "bundle_malformed", lambda a: a.edit(PARTIAL, lambda d: d[:-1])),
    ("full bundle cut", "bundle_malformed", lambda a: a.edit(FULL, lambda d: d[:9000])),
    ("partial tile cut", "tile_malformed", lambda a: a.edit("tile/0/001.p/48", lambda d: d[:-1])),
    ("full tile cut", "tile_malformed", lambda a: a.edit("tile/0/000", lambda d: d[:-32])),
    ("full tile with a trailing byte", FORMAT, lambda a: a.edit("tile/0/000", lambda d: d + b"\0")),
    (
        "partial tile with a trailing byte",
        "tile_malformed",
        lambda a: a.edit("tile/1/000.p/1", lambda d: d + b"\0"),
    ),
    ("a bit of a level-0 tile flipped", "tile_mismatch", lambda a: a.edit("tile/0/000", flip)),
    ("a bit of a level-1 tile flipped", "tile_mismatch", lambda a: a.edit("tile/1/000.p/1", flip)),
    ("bundle missing", "file_missing", lambda a: a.files.pop(FULL)),
    ("tile of level 0 missing", "file_missing", lambda a: a.files.pop("tile/0/000")),
    ("tile of level 1 missing", "file_missing", lambda a: a.files.pop("tile/1/000.p/1")),
    ("log truncated", "file_missing", truncated),
    ("log rolled back", "log_shrunk", rolled_back),
    (
        "past rewritten since an older checkpoint within a bundle",
        "log_rewritten",
        lambda a: forked(a, at=100),
    ),
    (
        "past rewritten since an older checkpoint at a bundle's end",
        "log_rewritten",
        lambda a: forked(a, at=256),
    ),
    ("past rewritten at the same size", "log_rewritten", lambda a: forked(a, at=304)),
    ("older checkpoint of another log", "other_log", foreign_previous),
    ("older checkpoint by other keys", "log_signature_missing", bad_previous),
    ("older checkpoint unreadable", FORMAT, lambda a: setattr(a, "previous", b"x")),
    (
        "checkpoint of another log",
        "unknown_log",
        lambda a: a.files.update(checkpoint=ELSEWHERE.signed().encode()),
    ),
    (
        "checkpoint by other keys",
        "log_signature_missing",
        lambda a: a.files.update(checkpoint=IMPOSTOR.signed().encode()),
    ),
    (
        "checkpoint with a larger size",
        "bad_signature",
        lambda a: a.edit("checkpoint", lambda d: d.replace(b"\n304\n", b"\n305\n")),
    ),
    (
        "checkpoint without the ML-DSA-44 signature",
        "quorum_missing",
        lambda a: a.files.update(checkpoint=LONG.signed(None, LONG.ed25519).encode()),
    ),
    ("checkpoint missing", FORMAT, lambda a: a.files.pop("checkpoint")),
    ("checkpoint empty", FORMAT, lambda a: a.files.update(checkpoint=b"")),
    ("checkpoint with a trailing byte", FORMAT, lambda a: a.edit("checkpoint", lambda d: d + b"\n")),
]


def second_outcome(attempt: Log) -> None:
    attempt.log.end(attempt.log.calls[3])


def outcome_first(attempt: Log) -> None:
    """The outcome names an admission that follows it."""
    call = attempt.log.begin(50)
    admission = attempt.log.entries.pop()
    attempt.log.add(answered(call, leaf_hash(admission).hex()))
    attempt.log.entries.append(admission)


def outcome_of_another(attempt: Log) -> None:
    """The outcome names the admission of another open call."""
    first, second = attempt.log.begin(50), attempt.log.begin(51)
    attempt.log.add(answered(first, leaf_hash(attempt.log.entries[second.admission]).hex()))


def outcome_that_differs(**fields: str) -> LogTamper:
    def differ(attempt: Log) -> None:
        attempt.log.end(attempt.log.begin(50), **fields)

    return differ


def still_open(attempt: Log) -> None:
    attempt.log.begin(50)
    attempt.closed = True


def headless(attempt: Log) -> None:
    del attempt.log.entries[0]


def raw_entry(entry: bytes) -> LogTamper:
    return lambda attempt: attempt.log.entries.append(entry)


OPENED = {"origin": ORIGIN, "software": "regalia/0.1.0", "keys": ["a", "b"]}
ABORTED = {"admitted": seed("x").hex(), "reason": "crash"}
REWRITTEN: list[tuple[str, str, LogTamper]] = [
    ("no log.opened", "log_opened", headless),
    ("a second log.opened", "log_opened", add(event("log.opened", **OPENED))),
    ("opened under another origin", "wrong_origin", lambda a: a.rewrite(0, origin="other.example/log")),
    ("a call admitted twice at once", "second_admission", add(admitted(HONEST.calls[3]))),
    (
        "a second admission while the call is open",
        "second_admission",
        lambda a: [a.log.begin(50), a.log.begin(50)],
    ),
    ("a second outcome", "second_outcome", second_outcome),
    (
        "an abortion after the outcome",
        "second_outcome",
        add(event("call.aborted", call=HONEST.calls[3].id, **ABORTED)),
    ),
    (
        "an outcome without admission",
        "outcome_without_admission",
        add(event("call.aborted", call="call_" + "z" * 26, **ABORTED)),
    ),
    ("an outcome before its admission", "outcome_without_admission", outcome_first),
    ("an outcome that names another admission", "wrong_admission", outcome_of_another),
    ("an outcome for another request", "outcome_differs", outcome_that_differs(request=seed("x").hex())),
    ("an outcome for another project", "outcome_differs", outcome_that_differs(project="0" * 32)),
    ("an outcome on another route", "outcome_differs", outcome_that_differs(route="completions")),
    (
        "an admission rewritten",
        "wrong_admission",
        lambda a: a.rewrite(a.log.calls[3].admission, model="other"),
    ),
    ("an outcome left out of a closed log", "outcome_missing", still_open),
    ("an entry that is not JSON", "record_malformed", raw_entry(b"hello")),
    ("an empty entry", "record_malformed", raw_entry(b"")),
    (
        "an entry with a duplicate key",
        "record_malformed",
        raw_entry(b'{"kind":"admin.x","kind":"admin.x","time":1,"v":1}'),
    ),
    ("an entry with a space", "record_malformed", raw_entry(b'{"kind":"admin.x","time":1, "v":1}')),
    ("an entry of an unknown kind", "record_malformed", add(event("call.forgotten"))),
    ("an entry of another version", "record_malformed", add(event("admin.x") | {"v": 2})),
    (
        "an outcome without a field",
        "record_malformed",
        lambda a: a.log.add(
            {name: value for name, value in json.loads(a.log.entries[-1]).items() if name != "response"}
        ),
    ),
]


@pytest.mark.parametrize(("reason", "tamper"), [pytest.param(*row[1:], id=row[0]) for row in FILES])
def test_tampered_log_files_are_rejected(reason: str, tamper: LogTamper) -> None:
    attempt = Log()
    tamper(attempt)
    with pytest.raises((NotVerified, FormatError)) as caught:
        run(attempt)
    assert getattr(caught.value, "reason", FORMAT) == reason, caught.value


@pytest.mark.parametrize(("reason", "tamper"), [pytest.param(*row[1:], id=row[0]) for row in REWRITTEN])
def test_logs_that_a_dishonest_operator_signs_are_rejected(reason: str, tamper: LogTamper) -> None:
    attempt = Log()
    tamper(attempt)
    attempt.files = attempt.log.publish()
    with pytest.raises(NotVerified) as caught:
        run(attempt)
    assert caught.value.reason == reason, caught.value


EXTENSIONS: list[tuple[str, str, str, str, LogTamper]] = [
    (
        "the newer root is not the tiles'",
        "root_mismatch",
        LONG.signed(5),
        LONG.signed(),
        lambda a: a.edit("tile/0/001.p/48", flip),
    ),
    (
        "the older root is not the tiles'",
        "log_rewritten",
        IMPOSTOR.signed(5, *LONG.pair),
        LONG.signed(),
        lambda a: None,
    ),
    ("a tile is missing", "file_missing", LONG.signed(5), LONG.signed(), lambda a: a.files.pop("tile/0/000")),
    ("old and new exchanged", "log_shrunk", LONG.signed(), LONG.signed(5), lambda a: None),
    ("old by other keys", "log_signature_missing", IMPOSTOR.signed(5), LONG.signed(), lambda a: None),
    (
        "new without ML-DSA-44",
        "quorum_missing",
        LONG.signed(5),
        LONG.signed(None, LONG.ed25519),
        lambda a: None,
    ),
]


@pytest.mark.parametrize(
    ("reason", "old", "new", "tamper"), [pytest.param(*row[1:], id=row[0]) for row in EXTENSIONS]
)
def test_checkpoints_that_do_not_extend_are_rejected(
    reason: str, old: str, new: str, tamper: LogTamper
) -> None:
    attempt = Log()
    tamper(attempt)
    with pytest.raises(NotVerified) as caught:
        verify_extension(old.encode(), new.encode(), LONG.policy(), attempt.files)
    assert caught.value.reason == reason, caught.value


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 303, 304])
def test_an_honest_log_extends_its_older_checkpoints(size: int) -> None:
    run(Log(previous=LONG.signed(size).encode()))


def test_the_honest_logs_verify() -> None:
    run(Log())
    run(Log(files=HONEST.publish(), closed=True))
