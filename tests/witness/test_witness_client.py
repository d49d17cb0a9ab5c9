"""Asking witnesses: real servers, and servers that lie, dawdle or are not there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from regalia.notes import encode_note, signature_line
from regalia.witness.client import MAX_REPLY, Cosigner, CosignResult
from regalia.witness.remembered import Remembered
from regalia.witness.request import AddCheckpoint
from regalia.witness.roster import contradiction, peers_of
from regalia.witness.witness import Witness
from regalia_verify.merkle import range_hash
from regalia_verify.note import SignedNote
from regalia_verify.policy import TrustPolicy
from regalia_verify.source import Folder
from witness.witnessing import Growing, Served, a_log, a_witness, served, trust_text

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Witness], list[Served]]]:
    """Two witnesses and their servers."""
    base = tmp_path_factory.mktemp("pair")
    witnesses = [a_witness(base / f"w{n}", name=f"witness.example/{n}") for n in (1, 2)]
    with served(base / "w1") as first, served(base / "w2") as second:
        yield witnesses, [first, second]


@pytest.fixture
def log(pair: tuple[list[Witness], list[Served]], request: pytest.FixtureRequest) -> Growing:
    log = a_log(700, origin=f"{request.node.name}.example/log")
    for witness in pair[0]:
        witness.trust(log.policy_text())
    return log


class Setting:
    """A published log and a policy; `cosigner` asks by it."""

    def __init__(self, base: Path, log: Growing, policy: str):
        self.base = base
        self.log = log
        self.policy = TrustPolicy.parse(policy)
        self.remembered = Remembered(base / "witnesses")

    def publish(self, size: int | None = None) -> str:
        """Write the log's files as they are at a size; the checkpoint."""
        log = self.log if size is None else self.log.first(size)
        log.publish().write(self.base / "log")
        return log.signed()

    @asynccontextmanager
    async def cosigner(self, deadline_s: float = 200.0) -> AsyncIterator[Cosigner]:
        cosigner = Cosigner(self.policy, Folder(self.base / "log"), self.remembered, deadline_s=deadline_s)
        try:
            yield cosigner
        finally:
            await cosigner.close()

    async def once(self, size: int | None = None, deadline_s: float = 200.0) -> CosignResult:
        async with self.cosigner(deadline_s) as cosigner:
            return await cosigner.cosign(self.publish(size))


@pytest.fixture
def both(tmp_path: Path, pair: tuple[list[Witness], list[Served]], log: Growing) -> Setting:
    witnesses, servers = pair
    return Setting(tmp_path, log, trust_text(log, witnesses, [server.url for server in servers]))


async def test_two_of_two_cosign_and_the_note_satisfies_the_policy(both: Setting) -> None:
    async with both.cosigner() as cosigner:
        for size in (0, 3, 300, 300, 700):
            result = await cosigner.cosign(both.publish(size))
            assert result.witnessed, (result.lacking, result.failures)
            assert result.failures == ()
            assert result.cosigned == ("witness.example/1", "witness.example/2")
            endorsement = both.policy.check(SignedNote.parse(result.note))
            assert endorsement.checkpoint.size == size
            assert len(endorsement.witnesses) == 4
    assert both.remembered.size("witness.example/1") == 700


async def test_without_memory_the_witness_tells_its_size(both: Setting) -> None:
    assert (await both.once(300)).witnessed
    for file in both.remembered.root.iterdir():
        file.write_text("damaged")
    assert (await both.once(700)).witnessed


async def test_a_witness_that_another_log_process_has_moved_on_is_followed(both: Setting) -> None:
    async with both.cosigner() as one, both.cosigner() as other:
        for size in (100, 200, 300):
            assert (await one.cosign(both.publish(size))).witnessed
            assert (await other.cosign(both.publish(size + 50))).witnessed


async def test_an_older_checkpoint_than_the_witnesses_have_is_ahead(both: Setting) -> None:
    assert (await both.once(600)).witnessed
    result = await both.once(500)
    assert [(f.reason, f.size) for f in result.failures] == [("ahead", 600), ("ahead", 600)]
    assert not result.witnessed and "quorum" in result.lacking
    assert result.note == encode_note(SignedNote.parse(result.note))


async def test_a_log_set_back_or_forked_is_contradicted_by_what_witnesses_hold(both: Setting) -> None:
    log = both.log
    assert (await both.once(600)).witnessed
    async with both.cosigner() as cosigner:
        seen, failures = await cosigner.sightings(log.origin)
    assert failures == [] and [s.checkpoint.size for s in seen] == [600, 600]
    for sighting in seen:
        assert contradiction(log.checkpoint(600), log.node, sighting) == ""
        assert contradiction(log.checkpoint(700), log.node, sighting) == ""
        assert "600 entries" in contradiction(log.checkpoint(599), log.node, sighting)
        for size in (600, 650):
            fork = log.fork(550, size - 550)
            assert "another root" in contradiction(fork.checkpoint(), fork.node, sighting)
        later = log.fork(620, 30)  # after what was witnessed, so that only its tiles can tell
        assert contradiction(later.checkpoint(), later.node, sighting) == ""
        assert "do not lead to the root" in contradiction(later.checkpoint(), log.node, sighting)


async def test_one_witness_lost_is_reported_and_the_other_still_cosigns(
    tmp_path: Path, pair: tuple[list[Witness], list[Served]], log: Growing, port: int
) -> None:
    witnesses, servers = pair
    urls = [servers[0].url, f"http://127.0.0.1:{port}"]
    result = await Setting(tmp_path, log, trust_text(log, witnesses, urls)).once()
    assert result.cosigned == ("witness.example/1",)
    assert [(f.witness, f.reason) for f in result.failures] == [("witness.example/2", "unreachable")]
    assert not result.witnessed


async def test_missing_tiles_are_our_own_failure(both: Setting) -> None:
    assert (await both.once(100)).witnessed
    async with both.cosigner() as cosigner:  # nothing of the checkpoint's size is published
        result = await cosigner.cosign(both.log.signed(700))
    assert {f.reason for f in result.failures} == {"log_unreadable"}


async def test_an_unknown_log_is_a_refusal_with_its_reason(
    tmp_path: Path, pair: tuple[list[Witness], list[Served]]
) -> None:
    witnesses, servers = pair
    log = a_log(3, origin="nobody.example/log")
    result = await Setting(tmp_path, log, trust_text(log, witnesses, [s.url for s in servers])).once()
    assert {f.reason for f in result.failures} == {"refused"}
    assert "404" in result.failures[0].message and "does not know" in result.failures[0].message


@asynccontextmanager
async def answering(handler: Handler) -> AsyncIterator[str]:
    """A server that answers everything with `handler`; its URL."""
    server = web.Server(handler)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def asked(tmp_path: Path, handler: Handler, deadline_s: float = 200.0) -> CosignResult:
    """What comes of asking a witness that answers so."""
    log = a_log(10)
    async with answering(handler) as url:
        setting = Setting(tmp_path, log, trust_text(log, [a_witness(tmp_path / "w")], [url]))
        result = await setting.once(deadline_s=deadline_s)
    assert SignedNote.parse(result.note).text == log.note().text
    assert len(SignedNote.parse(result.note).signatures) == 2  # nothing of a failure sticks to the note
    return result


def _replies(status: int, body: bytes, **headers: str) -> Handler:
    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return handler


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b"", "malformed"),
        (200, b"hello\n", "malformed"),
        (200, "— witness.example/1 AAAA\n".encode(), "malformed"),
        (200, "— witness.example/1 AAAAAAAAAAAA\n".encode(), "bad_cosignature"),
        (200, b"\xff\xfe\n", "malformed"),
        (200, b"evil\n\n" + "— witness.example/1 AAAAAAAAAAAA\n".encode(), "malformed"),
        (200, b"x" * (MAX_REPLY + 1), "malformed"),
        (409, b"", "malformed"),
        (409, b"-3\n", "malformed"),
        (409, b"99999999999999999999999\n", "malformed"),
        (409, b"11\n", "ahead"),
        (409, b"4\n", "refused"),
        (500, b"no", "refused"),
        (204, b"", "refused"),
    ],
)
async def test_an_answer_outside_the_protocol_is_a_failure(
    tmp_path: Path, status: int, body: bytes, reason: str
) -> None:
    result = await asked(tmp_path, _replies(status, body))
    assert [f.reason for f in result.failures] == [reason]


async def test_redirects_are_not_followed(tmp_path: Path) -> None:
    followed = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        followed.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    result = await asked(tmp_path, handler)
    assert [f.reason for f in result.failures] == ["refused"]
    assert followed == ["/add-checkpoint"]


async def test_a_witness_that_dawdles_is_left_at_the_deadline(tmp_path: Path) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:  # until it is left
            await response.write(b"x")
            await asyncio.sleep(0.1)

    result = await asked(tmp_path, handler, deadline_s=0.5)
    assert [f.reason for f in result.failures] == ["timeout"]


async def test_a_witness_that_always_says_409_is_asked_twice_and_no_more(tmp_path: Path) -> None:
    count = 0

    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        nonlocal count
        count += 1
        return web.Response(status=409, body=b"3\n")

    assert [f.reason for f in (await asked(tmp_path, handler)).failures] == ["refused"]
    assert count == 2


async def test_cosignatures_of_another_tree_or_without_time_are_not_taken(tmp_path: Path) -> None:
    log = a_log(10)
    witness = a_witness(tmp_path / "real", log)
    lines = "".join(map(signature_line, witness.cosign(log.request(0, 9))))
    untimed = witness._keys.cosign(log.checkpoint(), 0)
    for body in (lines, "".join(map(signature_line, untimed))):
        async with answering(_replies(200, body.encode())) as url:
            result = await Setting(tmp_path, log, trust_text(log, [witness], [url])).once()
        assert [f.reason for f in result.failures] == ["bad_cosignature"]
        assert len(SignedNote.parse(result.note).signatures) == 2


async def test_extra_signatures_by_strangers_are_dropped(tmp_path: Path) -> None:
    log = a_log(10)
    witness, stranger = a_witness(tmp_path / "w", log), a_witness(tmp_path / "s", log, name="stranger")
    signatures = (*stranger.cosign(log.request(0)), *witness.cosign(log.request(0)))
    lines = "".join(map(signature_line, signatures))
    async with answering(_replies(200, lines.encode())) as url:
        result = await Setting(tmp_path, log, trust_text(log, [witness], [url])).once()
    assert result.witnessed
    assert "stranger" not in result.note


async def test_a_sighting_must_be_signed_by_the_log(tmp_path: Path) -> None:
    log = a_log(10)
    stranger = Growing(log.origin, "stranger", log.entries)
    for body in (stranger.signed().encode(), a_log(3, "other.example").signed().encode(), b"10\n"):
        async with answering(_replies(200, body)) as url:
            setting = Setting(tmp_path, log, trust_text(log, [a_witness(tmp_path / f"w{len(body)}")], [url]))
            async with setting.cosigner() as cosigner:
                seen, failures = await cosigner.sightings(log.origin)
        assert seen == [] and failures[0].reason in {"bad_cosignature", "malformed"}


async def test_carried_cosignatures_join_those_that_were_asked_for(
    tmp_path: Path, pair: tuple[list[Witness], list[Served]], log: Growing
) -> None:
    carried = a_witness(tmp_path / "airgap", log, name="airgap.example")
    witnesses = [pair[0][0], carried]
    setting = Setting(tmp_path, log, trust_text(log, witnesses, [pair[1][0].url, ""]))
    first = await setting.once()
    assert first.cosigned == ("witness.example/1",) and not first.witnessed
    assert setting.remembered.witnessed(setting.policy, ["witness.example/1", "airgap.example"]) is None
    note = SignedNote.parse(first.note)
    signatures = carried.cosign(AddCheckpoint.carried(first.note.encode()))
    setting.remembered.keep("airgap.example", SignedNote(note.text, (*note.signatures, *signatures)))
    found = setting.remembered.witnessed(setting.policy, ["witness.example/1", "airgap.example"])
    assert found is not None and found.text == note.text
    async with setting.cosigner() as cosigner:
        assert (await cosigner.cosign(setting.publish())).witnessed


def test_remembering_never_goes_back(tmp_path: Path) -> None:
    log = a_log(9)
    remembered = Remembered(tmp_path / "witnesses")
    assert remembered.size("a/b c") == 0
    for size, expected in ((4, 4), (9, 9), (5, 9)):
        remembered.keep("a/b c", log.note(size))
        assert remembered.size("a/b c") == expected


def test_peers_are_the_witnesses_by_name_without_the_log_itself(tmp_path: Path) -> None:
    log = a_log(1)
    witnesses = [a_witness(tmp_path / n, name=n) for n in ("one", "two")]
    text = trust_text(log, witnesses, ["http://one.example/prefix/", ""])
    text = f"witness log-pq {log.mldsa.key.encode()}\n{text}"
    peers = peers_of(TrustPolicy.parse(text))
    assert [(peer.name, peer.url, len(peer.keys)) for peer in peers] == [
        ("one", "http://one.example/prefix", 2),
        ("two", "", 2),
    ]


def test_a_range_is_read_as_the_root_of_a_smaller_tree() -> None:
    log = a_log(21)
    for size in range(1, 22):
        assert range_hash(0, size, log.node) == log.checkpoint(size).root
