"""What begins a response leaves in one write; what follows leaves at once, and in order."""

import asyncio

from regalia.api.transport import GatheringTransport


class Wire(asyncio.Transport):
    """Remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed, "an event loop's transport refuses this"
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


async def test_head_and_body_are_one_write_and_each_event_after_them_is_one_at_once() -> None:
    wire = Wire()
    transport = GatheringTransport(wire, asyncio.get_running_loop())
    transport.write(b"head ")
    transport.write(b"first event ")
    assert wire.writes == []
    await asyncio.sleep(0)
    assert wire.writes == [b"head first event "]
    transport.write(b"second ")
    transport.write(b"third")
    assert wire.writes[1:] == [b"second ", b"third"]


async def test_the_next_request_on_the_connection_is_gathered_again() -> None:
    wire = Wire()
    transport = GatheringTransport(wire, asyncio.get_running_loop())
    for _ in range(2):
        transport.gather()
        transport.write(b"head ")
        transport.write(b"body")
        await asyncio.sleep(0)
    assert wire.writes == [b"head body", b"head body"]


async def test_what_waits_is_sent_before_the_end_and_nothing_after_it() -> None:
    wire = Wire()
    transport = GatheringTransport(wire, asyncio.get_running_loop())
    transport.write(b"all of it")
    transport.close()
    transport.write(b"too late")
    await asyncio.sleep(0)
    transport.write(b"too late")
    assert wire.writes == [b"all of it"]
