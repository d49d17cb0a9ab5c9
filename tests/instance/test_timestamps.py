"""RFC 3161 timestamps of checkpoints, by a timestamping authority that openssl plays on loopback."""

import asyncio
import json
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from regalia.cli.timestamps import timestamp, timestamps
from regalia.config import TimestampSettings
from regalia.errors import RegaliaError
from regalia.instance import InstanceError
from regalia.instance.stamping import stamping
from regalia.instance.timestamps import TimestampError, Timestamps
from verify.paper_log import PaperLog, rooted_log

CONFIG = """
[tsa]
default_tsa = tsa_config
[tsa_config]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_alg = sha256
"""


class Authority:
    """A root certificate, a timestamping certificate under it, and `openssl ts` that signs with that."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        root_key, tsa_key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
        root = self._certificate("A root", root_key.public_key(), "A root", root_key)
        tsa = self._certificate("A clock", tsa_key.public_key(), "A root", root_key)
        self.pem = folder / "authority.pem"
        self.pem.write_bytes(root.public_bytes(Encoding.PEM) + tsa.public_bytes(Encoding.PEM))
        (folder / "tsa.pem").write_bytes(tsa.public_bytes(Encoding.PEM))
        key = tsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "tsa.key").write_bytes(key)
        (folder / "serial").write_text("01\n")
        (folder / "openssl.cnf").write_text(CONFIG.format(folder=folder))

    def answer(self, request: bytes) -> bytes:
        (self.folder / "q").write_bytes(request)
        command = ["openssl", "ts", "-reply", "-config", "openssl.cnf", "-queryfile", "q", "-out", "r"]
        signer = ["-inkey", "tsa.key", "-signer", "tsa.pem"]
        subprocess.run([*command, *signer], cwd=self.folder, check=True, capture_output=True, timeout=120)
        return (self.folder / "r").read_bytes()

    @staticmethod
    def _certificate(
        name: str, key: rsa.RSAPublicKey, issuer: str, signer: rsa.RSAPrivateKey
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
        )
        if name != issuer:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
            builder = builder.add_extension(usage, critical=True)
        return builder.sign(signer, hashes.SHA256())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tsa"))


@pytest.fixture(scope="module")
def url(authority: Authority) -> Iterator[str]:
    """The authority over HTTP."""

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = self.rfile.read(int(self.headers["Content-Length"]))
            reply = authority.answer(request) if self.path == "/" else b"x" * 300_000
            self.send_response(200 if self.path != "/moved" else 302)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


LOG = rooted_log()


def publish(folder: Path, log: PaperLog = LOG) -> None:
    (folder / "log").mkdir(exist_ok=True)
    (folder / "log" / "checkpoint").write_text(log.signed())


@pytest.fixture
def stamps(tmp_path: Path, authority: Authority) -> Timestamps:
    publish(tmp_path)
    return Timestamps(tmp_path, authority.pem)


def test_a_checkpoint_is_timestamped_and_verified_by_us_and_by_openssl(
    stamps: Timestamps, url: str, tmp_path: Path, authority: Authority
) -> None:
    assert not stamps.has_newest()
    stamp = stamps.ask(url)
    assert stamp.size == len(LOG.entries)
    assert abs(datetime.now(UTC) - stamp.time) < timedelta(minutes=10)
    assert stamps.has_newest()
    assert stamps.verified() == [stamp]
    note = Path(stamp.file).with_suffix(".note")
    assert note.read_bytes() == (tmp_path / "log" / "checkpoint").read_bytes()
    command = ["openssl", "ts", "-verify", "-data", str(note), "-in", stamp.file, "-CAfile"]
    subprocess.run([*command, str(authority.pem)], check=True, capture_output=True, timeout=120)


def test_files_are_carried_to_an_authority_and_back(stamps: Timestamps, authority: Authority) -> None:
    response = authority.answer(stamps.request())
    assert stamps.accept(response).size == len(LOG.entries)
    with pytest.raises(TimestampError, match="no timestamp was asked for"):
        stamps.accept(response)


def test_a_late_response_is_for_the_checkpoint_of_its_request(
    stamps: Timestamps, authority: Authority, tmp_path: Path
) -> None:
    response = authority.answer(stamps.request())
    longer = rooted_log(9)
    publish(tmp_path, longer)
    later = authority.answer(stamps.request())
    assert stamps.accept(response).size == len(LOG.entries)
    assert stamps.accept(later).size == len(longer.entries)


def test_what_is_not_the_answer_is_refused(
    stamps: Timestamps, authority: Authority, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    response = authority.answer(stamps.request())
    stranger = Authority(tmp_path_factory.mktemp("stranger"))
    request = stamps.request()  # with another nonce
    for wrong in (response, b"", b"nonsense", stranger.answer(request), authority.answer(request)[:-9]):
        with pytest.raises(TimestampError):
            stamps.accept(wrong)
    stamps.accept(authority.answer(request))
    note = next((tmp_path / "timestamps").glob("*.note"))
    note.write_bytes(note.read_bytes().replace(b"\n", b"\n\n", 1))
    with pytest.raises(TimestampError, match="not valid"):
        stamps.verified()


@pytest.mark.parametrize("path", ["moved", "long"])
def test_an_authority_that_misbehaves_is_an_error(stamps: Timestamps, url: str, path: str) -> None:
    with pytest.raises(TimestampError, match="answered with status"):
        stamps.ask(url + path)
    for wrong in ("http://127.0.0.1:1/", "ftp://tsa.example/", "file:///etc/passwd"):
        with pytest.raises(TimestampError):
            stamps.ask(wrong)


async def test_a_server_asks_by_itself_and_only_for_what_is_new(
    stamps: Timestamps, url: str, tmp_path: Path, authority: Authority
) -> None:
    settings = TimestampSettings(url, 0.05, authority.pem)
    async with stamping(tmp_path, settings):
        for log in (LOG, rooted_log(9)):
            publish(tmp_path, log)
            async with asyncio.timeout(200):
                while not stamps.has_newest():  # noqa: ASYNC110 - a file is waited for
                    await asyncio.sleep(0.05)
    assert [one.size for one in stamps.verified()] == [len(LOG.entries), len(rooted_log(9).entries)]


async def test_nothing_is_asked_unless_it_is_configured(stamps: Timestamps, tmp_path: Path) -> None:
    async with stamping(tmp_path, TimestampSettings()):
        await asyncio.sleep(0)
    assert not (tmp_path / "timestamps").exists()
    with pytest.raises(InstanceError, match="certificates"):
        async with stamping(tmp_path, TimestampSettings("http://127.0.0.1:1/")):
            pass


def test_the_commands_ask_carry_and_list(
    stamps: Timestamps, url: str, tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    query, reply = tmp_path / "q.tsq", tmp_path / "r.tsr"
    timestamp(request=query, data_dir=tmp_path)
    reply.write_bytes(authority.answer(query.read_bytes()))
    timestamp(response=reply, certificates=authority.pem, data_dir=tmp_path)
    timestamp(tsa=url, certificates=authority.pem, data_dir=tmp_path)
    capsys.readouterr()
    timestamps(certificates=authority.pem, data_dir=tmp_path, as_json=True)
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["size"] == len(LOG.entries)
    with pytest.raises(RegaliaError, match="name the authority's certificates"):
        timestamps(data_dir=tmp_path)
