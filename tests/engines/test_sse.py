"""Server-sent events come out whole, however the bytes were cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regalia.engines import EngineBroken
from regalia.engines.sse import EventSplitter

names = st.sampled_from([b"", b"response.created", b"error"])
data = st.binary(min_size=1, max_size=40).filter(
    lambda value: not set(b"\r\n") & set(value) and value != b" " and not value.startswith(b" ")
)


@given(st.lists(st.tuples(names, data)), st.booleans(), st.data())
def test_any_cut_gives_the_same_events(
    events: list[tuple[bytes, bytes]], carriage_returns: bool, choose: st.DataObject
) -> None:
    wire = b"".join(
        (b"event: " + name + b"\n" if name else b"") + b"data: " + value + b"\n\n" for name, value in events
    )
    wire = b": a comment\n\n" + wire
    if carriage_returns:
        wire = wire.replace(b"\n", b"\r\n")
    splitter = EventSplitter()
    found: list[tuple[bytes, bytes]] = []
    while wire:
        cut = choose.draw(st.integers(1, len(wire)))
        found += splitter.feed(wire[:cut])
        wire = wire[cut:]
    assert found == events


def test_several_data_lines_are_one_event() -> None:
    assert list(EventSplitter().feed(b"data: a\ndata:b\nid: 7\n\n")) == [(b"", b"a\nb")]


def test_an_endless_event_is_refused() -> None:
    splitter = EventSplitter()
    with pytest.raises(EngineBroken):
        for _ in range(100):
            list(splitter.feed(b"x" * 65536))


@pytest.mark.parametrize(
    ("wire", "events"),
    [
        (b"data: a\n\n", [(b"", b"a")]),
        (b"data: \n\n", []),
        (b"data: a\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
        (b"data: a\r\n\r\n", [(b"", b"a")]),
        (b"data: a\n\ndata: b", [(b"", b"a")]),
        (b"event: e\ndata: a\n\n", [(b"e", b"a")]),
        (b": a comment\n\n", []),
    ],
)
def test_a_chunk_that_is_one_event_is_read_as_every_other(
    wire: bytes, events: list[tuple[bytes, bytes]]
) -> None:
    assert list(EventSplitter().feed(wire)) == events
    begun = EventSplitter()
    assert list(begun.feed(b"data: x\n")) == []
    assert list(begun.feed(b"\n" + wire)) == [(b"", b"x"), *events]
