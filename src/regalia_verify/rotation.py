"""How a log's keys change: the record `log.key_rotated` and the signatures in it.

It is signed by all of the log's keys until then, and by all keys of its root, which is kept elsewhere
and signs nothing else. Both are raw signatures in base64, in the order of the keys, over

    "regalia/keys/v1" 0x00 and the canonical JSON of the record without `signatures`

If the record is entry i, the keys until then sign no checkpoint of more than i entries (`policy`).
"""

from cryptography.exceptions import InvalidSignature

from .errors import FormatError, NotVerified
from .note import ALGORITHMS, VerifierKey
from .record import Record, canonical
from .strict import base64_bytes

DOMAIN = b"regalia/keys/v1\x00"


def statement(record: Record) -> bytes:
    """What the signatures in a record are about."""
    return DOMAIN + canonical({name: value for name, value in record.items() if name != "signatures"})


def verify_signed(record: Record, by: str, keys: tuple[VerifierKey, ...]) -> None:
    """Check that all keys "log" or "root" (`by`) have signed a rotation; raise NotVerified otherwise."""
    signatures = record["signatures"][by]
    if len(signatures) != len(keys):
        raise NotVerified("rotation_unsigned", f"signed by {len(signatures)} of the {by}'s {len(keys)} keys")
    try:
        for key, signature in zip(keys, signatures, strict=True):
            public_key = ALGORITHMS[key.type][0].from_public_bytes(key.public)
            public_key.verify(base64_bytes(signature, "signature"), statement(record))
    except (InvalidSignature, FormatError) as error:
        raise NotVerified("rotation_signature", f"a signature by the {by}'s keys is not valid") from error
