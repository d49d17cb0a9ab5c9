"""How many ways of tampering the tables hold."""

from typing import Any

from verify.test_tampered_keys import KEYS, RECEIPT_KEYS
from verify.test_tampered_logs import EXTENSIONS, FILES, REWRITTEN
from verify.test_tampered_receipts import RECEIPTS

TABLES: list[list[Any]] = [RECEIPTS, FILES, REWRITTEN, EXTENSIONS, KEYS, RECEIPT_KEYS]


def test_there_are_enough_rows_and_each_has_its_own_name() -> None:
    names = [row[0] for rows in TABLES for row in rows]
    assert len(names) >= 140
    assert len({(number, row[0]) for number, rows in enumerate(TABLES) for row in rows}) == len(names)
    print(f"{len(names)} ways of tampering:", *names, sep="\n  ")
