"""A process that appends calls as fast as it can and says which are acknowledged, until it is killed.

Writes a line for each acknowledged record: its index and the record's SHA-256.
"""

import asyncio
import os
import sys
from hashlib import sha256
from pathlib import Path

from ledger_kit import Call, Site


async def main(data_dir: Path) -> None:
    ledger = await Site(data_dir).ledger()

    async def client() -> None:
        while True:
            call = Call.new()
            for entry in (call.admission(), call.outcome()):
                index = await ledger.append(entry)
                os.write(1, f"{index} {sha256(entry.record).hexdigest()}\n".encode())

    await asyncio.gather(*(client() for _ in range(32)))


asyncio.run(main(Path(sys.argv[1])))
