"""HTTP/1.1 as servers really frame it, cut anywhere, and as servers get it wrong."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regalia.engines import Endpoint, EngineBroken, EngineClient, EngineUnavailable, Timeouts
from regalia.engines.http1 import Connection, ConnectionBroken

QUICK = Timeouts(connect=60.0, first_byte=200.0, between=200.0, total=240.0)


class Transport(asyncio.Transport):
    """A transport that only remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.sent = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def receive(pieces: list[bytes], ended: bool = False) -> tuple[Connection, bytes]:
    connection = Connection()
    connection.connection_made(Transport())
    connection.send(b"GET / HTTP/1.1\r\n\r\n", b"")
    for piece in pieces:
        connection.data_received(piece)
    if ended:
        connection.connection_lost(None)
    await connection.head(5)
    body = b""
    while chunk := await connection.read(5):
        body += chunk
    return connection, body


def cut(wire: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(wire), *(place % (len(wire) + 1) for place in places)})
    return [wire[start:end] for start, end in pairwise(edges)]


def chunked(parts: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"


@given(
    st.lists(st.binary(max_size=50), max_size=5), st.lists(st.integers(0, 2000), max_size=8), st.booleans()
)
def test_any_cut_of_a_reply_reads_the_same(parts: list[bytes], places: list[int], preliminary: bool) -> None:
    body = b"".join(parts)
    framings = {
        b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body): True,
        b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(parts): True,
        b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
        % (len(body), body): False,
    }
    for wire, reusable in framings.items():
        if preliminary:
            wire = b"HTTP/1.1 100 Continue\r\n\r\n" + wire  # noqa: PLW2901 - the same reply, after a prelude
        connection, got = asyncio.run(receive(cut(wire, places)))
        assert (connection.status, connection.content_type, got) == (200, "a/b", body)
        assert connection.complete
        assert connection.reusable is reusable
    until_the_end = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\n" + body
    connection, got = asyncio.run(receive(cut(until_the_end, places), ended=True))
    assert (got, connection.complete, connection.reusable) == (body, True, False)


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_no_bytes_do_more_harm_than_a_broken_connection(pieces: list[bytes]) -> None:
    with contextlib.suppress(ConnectionBroken):
        asyncio.run(receive([b"HTTP/1.1 200 OK\r\n", *pieces], ended=True))


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"",
    ],
)
async def test_a_reply_that_is_cut_off_or_wrong_is_broken(wire: bytes) -> None:
    with pytest.raises(ConnectionBroken):
        await receive([wire], ended=True)


@pytest.mark.parametrize("endless", [b"X-Field: value\r\n", b"x"])
async def test_an_endless_head_is_refused(endless: bytes) -> None:
    connection = Connection()
    transport = Transport()
    connection.connection_made(transport)
    connection.send(b"", b"")
    connection.data_received(b"HTTP/1.1 200 OK\r\nX-First: ")
    for _ in range(100):
        connection.data_received(endless * 1000)
    assert transport.closed
    with pytest.raises(ConnectionBroken):
        await connection.head(5)


async def test_a_reply_that_nobody_asked_for_is_never_taken_for_the_next_one() -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    for pieces in ([reply + b"ok" + reply + b"no"], [reply + b"ok", reply + b"no"]):
        connection, body = await receive(pieces)
        assert body == b"ok"
        assert not connection.reusable


@asynccontextmanager
async def raw_server(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], object],
    port: int,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[None]:
    """A server that gives each connection its number."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await answer(reader, writer, count)  # type: ignore[misc]
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=tls)
    try:
        yield
    finally:
        server.close()


async def test_connections_are_kept_used_last_first_and_bounded(port: int) -> None:
    served: list[int] = []
    most = now = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        nonlocal most, now
        while True:
            await reader.readuntil(b"\r\n\r\n")
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.01)
            served.append(number)
            now -= 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with raw_server(answer, port):
        client = EngineClient(Endpoint(f"http://127.0.0.1:{port}"), QUICK, connections=4)
        for _ in range(5):
            await client.get("/")
        assert served == [1] * 5
        await asyncio.gather(*(client.get("/") for _ in range(20)))
        assert most == 4
        assert set(served) == {1, 2, 3, 4}
        await client.close()


async def test_an_engine_that_dies_at_work_is_not_asked_again(port: int) -> None:
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        nonlocal asked
        while True:
            await reader.readuntil(b"\r\n\r\n")
            asked += 1
            if asked == 2:
                await asyncio.sleep(1.2)
                return
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with raw_server(answer, port):
        client = EngineClient(Endpoint(f"http://127.0.0.1:{port}"), QUICK)
        await client.get("/")
        with pytest.raises(EngineBroken):
            await client.get("/")
        assert asked == 2
        await client.close()


async def test_a_reader_that_is_slow_stops_the_writer(port: int) -> None:
    written = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536

    async with raw_server(answer, port):
        client = EngineClient(Endpoint(f"http://127.0.0.1:{port}"), QUICK)
        got = 0
        async with client.stream("/", b"") as stream:
            await asyncio.sleep(0.3)
            assert written < 20_000_000, "64 MB were taken in while nobody read"
            async for chunk in stream:
                got += len(chunk)
        assert got == 65_536_000
        await client.close()


async def test_a_certificate_that_nobody_trusts_is_refused(port: int, tmp_path: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*self_signed(tmp_path))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with raw_server(answer, port, tls):
        client = EngineClient(Endpoint(f"https://127.0.0.1:{port}"), QUICK)
        with pytest.raises(EngineUnavailable, match="certificate"):
            await client.get("/")
        assert client._tls is not None
        client._tls.load_verify_locations(tmp_path / "cert.pem")
        assert (await client.get("/")).body == b"ok"
        await client.close()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


@pytest.mark.parametrize(
    "endpoint", [Endpoint("ftp://x"), Endpoint("http://"), Endpoint("http://x", "a\r\nb: c")]
)
async def test_an_endpoint_that_cannot_be_asked_is_refused(endpoint: Endpoint) -> None:
    with pytest.raises(EngineUnavailable):
        EngineClient(endpoint)


class StillClock:
    """The event loop, but time passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.set: list[tuple[float, StillTimer]] = []

    def time(self) -> float:
        return self.now

    def create_future(self) -> "asyncio.Future[None]":
        return asyncio.get_running_loop().create_future()

    def call_later(self, seconds: float, ring: Callable[[], None]) -> "StillTimer":
        timer = StillTimer(ring)
        self.set.append((self.now + seconds, timer))
        return timer

    async def pass_by(self, seconds: float) -> None:
        await asyncio.sleep(0)  # whoever is about to wait begins to
        self.now += seconds
        due = [timer for when, timer in self.set if when <= self.now]
        self.set = [(when, timer) for when, timer in self.set if when > self.now]
        for timer in due:
            timer.ring()
        for _ in range(3):
            await asyncio.sleep(0)


class StillTimer:
    def __init__(self, ring: Callable[[], None]) -> None:
        self.ring = ring

    def cancel(self) -> None:
        self.ring = lambda: None


def asked(clock: StillClock, connection: Connection) -> asyncio.Task[object]:
    """A request that has been sent, by that clock, and whose head is waited for for 900 s."""
    connection._loop = clock  # type: ignore[assignment]
    connection.connection_made(Transport())
    connection.send(b"GET / HTTP/1.1\r\n\r\n", b"")
    return asyncio.create_task(connection.head(900))


async def test_each_read_may_take_its_time_and_none_takes_longer() -> None:
    clock, connection = StillClock(), Connection()
    head = asked(clock, connection)
    await clock.pass_by(800)
    connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await head
    for _ in range(10):  # together longer than any one of them may take
        read = asyncio.create_task(connection.read(100))
        await clock.pass_by(90)
        assert not read.done()
        connection.data_received(b"1\r\nx\r\n")
        assert await read == b"x"
    assert len(clock.set) <= 2, "a timer for each read"
    read = asyncio.create_task(connection.read(100))
    await clock.pass_by(60)
    assert not read.done(), "it counts from the read before"
    await clock.pass_by(60)
    with pytest.raises(TimeoutError):
        await read


async def test_a_shorter_wait_after_a_longer_one_ends_in_time() -> None:
    clock, connection = StillClock(), Connection()
    head = asked(clock, connection)
    await clock.pass_by(1)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    await head
    read = asyncio.create_task(connection.read(2))
    await clock.pass_by(2)
    with pytest.raises(TimeoutError):
        await read
    connection.connection_lost(None)
    await clock.pass_by(1000)
    with pytest.raises(TimeoutError):
        await connection.read(1)
