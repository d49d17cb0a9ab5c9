"""Which erasures cover a call: all that the record names must hold, not some of it."""

from types import SimpleNamespace
from typing import Any

import pytest

from regalia_verify import receipt
from regalia_verify.errors import NotVerified

CALL = {"kind": "call.answered", "call": "call_1", "project": "a" * 32, "time": 1000, "started": 900}


@pytest.mark.parametrize(
    ("record", "covered"),
    [
        ({"kind": "content.erased", "calls": ["call_1"]}, True),
        ({"kind": "content.erased", "calls": ["call_2"]}, False),
        ({"kind": "content.erased", "projects": ["a" * 32]}, True),
        ({"kind": "content.erased", "projects": ["b" * 32]}, False),
        ({"kind": "content.erased", "before": 901}, True),
        ({"kind": "content.erased", "before": 900}, False),
        ({"kind": "content.erased", "projects": ["a" * 32], "before": 901}, True),
        ({"kind": "content.erased", "projects": ["a" * 32], "before": 900}, False),
        ({"kind": "content.erased", "projects": ["b" * 32], "before": 901}, False),
        ({"kind": "content.erased"}, False),
        ({"kind": "retention.applied", "before": 901}, False),
    ],
)
def test_an_erasure_covers_what_it_names_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, record: dict[str, Any], covered: bool
) -> None:
    monkeypatch.setattr(receipt.TlogProof, "parse", lambda _: SimpleNamespace(extra=b""))
    monkeypatch.setattr(receipt, "parse_extra", lambda _: (b"", {}, None, []))
    monkeypatch.setattr(receipt, "_included", lambda *_: (record, None))
    if covered:
        receipt._check_erasure(b"a proof", CALL, policy=None)  # type: ignore[arg-type]
        return
    with pytest.raises(NotVerified, match="not one that covers"):
        receipt._check_erasure(b"a proof", CALL, policy=None)  # type: ignore[arg-type]
