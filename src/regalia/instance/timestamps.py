"""RFC 3161 timestamps of published checkpoints: a signed one existed when an outsider's clock said so.

    D/timestamps/<size>.note   the checkpoint as it was published, which is what the timestamp is of
    D/timestamps/<size>.tsq    the request, with the nonce that the response must repeat
    D/timestamps/<size>.tsr    the response, verified against the pinned certificates before it is kept

Off unless it is configured; the timestamping authority's URL is the only address that is contacted, and for a
machine without a network the request and the response are carried as files. Anyone can verify what is kept:
`openssl ts -verify -data SIZE.note -in SIZE.tsr -CAfile CERTIFICATES`. Needs the extra `regalia[timestamps]`.
"""

import http.client
import re
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from regalia.errors import RegaliaError
from regalia.keyfile import sync_folder, write_private
from regalia_verify.errors import FormatError
from regalia_verify.note import MAX_NOTE, Checkpoint, SignedNote

MAX_RESPONSE = 256 * 1024
MAX_CERTIFICATES = 1024 * 1024
TIMEOUT_S = 30.0
_NAME = re.compile(r"[0-9]{20}\.tsr")


class TimestampError(RegaliaError):
    """A timestamp can't be had, or is not what it should be; nothing was kept."""


class Timestamp(msgspec.Struct, frozen=True):
    """A verified timestamp: the checkpoint's size, and the time by the authority's clock."""

    size: int
    time: datetime
    file: str


class Timestamps:
    """The timestamps of one log, verified with the certificates of the authority in a PEM file."""

    def __init__(self, data_dir: Path, certificates: Path) -> None:
        self._data_dir = data_dir
        self._folder = data_dir / "timestamps"
        self._certificates = certificates

    def request(self) -> bytes:
        """A request for the newest checkpoint, kept so that the response can be told to be its own."""
        client = _client()
        note = self._newest()
        place = self._place(note)
        if not place.with_suffix(".note").exists():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            write_private(place.with_suffix(".note"), note)
        stamped = place.with_suffix(".note").read_bytes()  # witnesses may have cosigned it since
        made = client.TimestampRequestBuilder(data=stamped, hash_algorithm=client.HashAlgorithm.SHA256)
        request = made.build()
        state = msgspec.json.encode({"nonce": str(request.nonce)})
        place.with_suffix(".asked").unlink(missing_ok=True)
        write_private(place.with_suffix(".asked"), state)
        encoded: bytes = request.as_bytes()
        return encoded

    def accept(self, response: bytes) -> Timestamp:
        """Verify a response to the latest request for some checkpoint, and keep it. Raises TimestampError."""
        asked = sorted(self._folder.glob("*.asked"), reverse=True)
        if not asked:
            raise TimestampError("no timestamp was asked for: make a request first")
        problem = TimestampError("the response is not one to a request made here")
        for place in asked:
            nonce = int(msgspec.json.decode(place.read_bytes(), type=dict[str, str])["nonce"])
            try:
                stamp = self._verify(place.with_suffix(".note"), response, nonce)
            except TimestampError as error:
                problem = error
                continue
            place.with_suffix(".tsr").unlink(missing_ok=True)
            write_private(place.with_suffix(".tsr"), response)
            place.unlink()
            sync_folder(self._folder)
            return stamp
        raise problem

    def ask(self, url: str) -> Timestamp:
        """Have the newest checkpoint timestamped by the authority at `url`. Raises TimestampError."""
        return self.accept(_post(url, self.request()))

    def has_newest(self) -> bool:
        """Whether the newest checkpoint is timestamped."""
        return self._place(self._newest()).with_suffix(".tsr").exists()

    def verified(self) -> list[Timestamp]:
        """All timestamps that are kept, verified again. Raises TimestampError with the first that fails."""
        files = sorted(path for path in self._folder.glob("*.tsr") if _NAME.fullmatch(path.name))
        return [self._verify(file.with_suffix(".note"), file.read_bytes(), None) for file in files]

    def _newest(self) -> bytes:
        path = self._data_dir / "log" / "checkpoint"
        try:
            with path.open("rb") as file:
                return file.read(MAX_NOTE)
        except OSError as error:
            raise TimestampError(f"the checkpoint {path} can't be read: {error.strerror}") from error

    def _place(self, note: bytes) -> Path:
        try:
            size = Checkpoint.parse(SignedNote.parse(note).text).size
        except FormatError as error:
            raise TimestampError(f"the newest checkpoint is not one: {error}") from error
        return self._folder / f"{size:020d}"

    def _verify(self, note: Path, response: bytes, nonce: int | None) -> Timestamp:
        client = _client()
        builder = client.VerifierBuilder(nonce=nonce)
        for certificate in self._read_certificates():
            if certificate.issuer == certificate.subject:
                builder = builder.add_root_certificate(certificate)
            elif _stamps(certificate):
                builder = builder.tsa_certificate(certificate)
            else:
                builder = builder.add_intermediate_certificate(certificate)
        try:
            decoded = client.decode_timestamp_response(response)
            builder.build().verify_message(decoded, note.read_bytes())
        except (ValueError, client.VerificationError, OSError) as error:
            raise TimestampError(f"the timestamp of {note.name} is not valid: {error}") from error
        return Timestamp(int(note.stem), decoded.tst_info.gen_time, str(note.with_suffix(".tsr")))

    def _read_certificates(self) -> list[x509.Certificate]:
        try:
            with self._certificates.open("rb") as file:
                found = x509.load_pem_x509_certificates(file.read(MAX_CERTIFICATES))
        except (OSError, ValueError) as error:
            raise TimestampError(f"can't read the certificates {self._certificates}: {error}") from error
        if not any(certificate.issuer == certificate.subject for certificate in found):
            raise TimestampError(f"{self._certificates} lacks the root certificate of the authority")
        return found


def _stamps(certificate: x509.Certificate) -> bool:
    """Whether a certificate is for timestamping."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.TIME_STAMPING in usage.value


def _post(url: str, request: bytes) -> bytes:
    """Ask an authority; follows no redirect, and reads no more than a response can be."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise TimestampError(f"the authority's URL must be http://… or https://…, not {url!r}")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", target, request, {"Content-Type": "application/timestamp-query"})
        reply = connection.getresponse()
        body = reply.read(MAX_RESPONSE + 1)
    except (OSError, http.client.HTTPException) as error:
        raise TimestampError(f"no answer from {url}: {error or type(error).__name__}") from error
    finally:
        connection.close()
    if reply.status != 200 or len(body) > MAX_RESPONSE:
        raise TimestampError(f"{url} answered with status {reply.status} and {len(body)} bytes")
    return body


def _client() -> Any:
    """The module, which is an extra."""
    try:
        import rfc3161_client
    except ImportError as error:
        raise TimestampError("timestamps need the extra: pip install 'regalia[timestamps]'") from error
    return rfc3161_client
