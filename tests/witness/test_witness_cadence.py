"""The loop that keeps a log witnessed."""

import asyncio
from pathlib import Path

from live_engines import until
from regalia.witness.cadence import Cadence
from regalia.witness.client import Cosigner, CosignResult
from regalia.witness.errors import WitnessError
from regalia.witness.remembered import Remembered
from regalia_verify.policy import TrustPolicy
from regalia_verify.source import Folder
from witness.witnessing import Growing, a_log, a_witness, served, trust_text


class Kept:
    """The log's newest checkpoint, and what was delivered of it."""

    def __init__(self, folder: Path, log: Growing):
        self.folder = folder
        self.log = log
        self.results: list[CosignResult] = []
        self.grow(1)

    def grow(self, count: int) -> None:
        files = self.log.grow(count).publish()
        files.write(self.folder)
        self.note = files["checkpoint"].decode()

    def newest(self) -> str:
        return self.note

    async def deliver(self, result: CosignResult) -> None:
        self.results.append(result)


async def test_each_new_checkpoint_is_put_to_the_witness_once(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "log", a_log())
    witness = a_witness(tmp_path / "w", kept.log)
    now = [100.0]
    with served(tmp_path / "w") as server:
        cosigner = Cosigner(
            TrustPolicy.parse(trust_text(kept.log, [witness], [server.url])),
            Folder(tmp_path / "log"),
            Remembered(tmp_path / "witnesses"),
        )
        cadence = Cadence(cosigner, kept.newest, kept.deliver, clock=lambda: now[0])
        now[0] += 3600  # nothing was asked, so nothing is overdue
        assert cadence.overdue_s() == 0
        assert (await cadence.turn()) is not None
        assert cadence.overdue_s() == 0
        assert (await cadence.turn()) is None
        for _ in range(3):
            kept.grow(300)
            assert (await cadence.turn()) is not None
        assert [result.witnessed for result in kept.results] == [True] * 4
        server.kill()
        kept.grow(5)
        now[0] += 3600
        for _ in range(2):
            lost = await cadence.turn()
            assert lost is not None and [f.reason for f in lost.failures] == ["unreachable"]
            assert cadence.last is lost
            now[0] += 30
        assert cadence.overdue_s() == 60
    await cosigner.close()


async def test_the_loop_survives_a_failing_delivery_and_wakes_when_asked(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "log", a_log())
    cosigner = Cosigner(
        TrustPolicy.parse(kept.log.policy_text()),
        Folder(tmp_path / "log"),
        Remembered(tmp_path / "witnesses"),
    )
    delivered = asyncio.Event()
    fail = [True]

    async def deliver(result: CosignResult) -> None:
        delivered.set()
        if fail[0]:
            raise WitnessError("no room")

    cadence = Cadence(cosigner, kept.newest, deliver, interval_s=3600)
    running = asyncio.create_task(cadence.run())
    await asyncio.wait_for(delivered.wait(), 200)
    await until(lambda: "no room" in (cadence.failure or ""))
    fail[0] = False
    delivered.clear()
    cadence.wake()
    await asyncio.wait_for(delivered.wait(), 200)
    await until(lambda: cadence.failure is None and cadence.overdue_s() == 0)
    running.cancel()
    await cosigner.close()
