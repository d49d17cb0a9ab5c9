"""Trust policies: what the specification allows is read, everything else is refused, quorums count."""

from itertools import chain, combinations

import pytest

from regalia.notes import encode_note
from regalia_verify import note
from regalia_verify.errors import FormatError, NotVerified
from regalia_verify.note import SignedNote
from regalia_verify.policy import TrustPolicy
from verify.paper_log import ORIGIN, PaperLog, Signer, sample_log

LOG = sample_log(3)
WITNESSES = {
    name: Signer(
        f"{name}.example",
        note.MLDSA44_COSIGNATURE if name.startswith("X") else note.ED25519_COSIGNATURE,
        name,
    )
    for name in ("X1", "X2", "X3", "Y1", "Y2", "Y3")
}
KEYS = {name: signer.key.encode() for name, signer in WITNESSES.items()}
LOG_LINE = f"log {LOG.ed25519.key.encode()}\n"
EXAMPLE = f"""\
# the example of the specification, with comments, tabs and URLs
{LOG_LINE.strip()} https://llm.example.org/log

\twitness X1\t{KEYS["X1"]}
witness X2 {KEYS["X2"]} https://x2.example/witness
witness X3 {KEYS["X3"]}
group X-witnesses 2 X1 X2 X3
   # indented comment
witness Y1 {KEYS["Y1"]}
witness Y2 {KEYS["Y2"]}
witness Y3 {KEYS["Y3"]}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def signed_by(*names: str) -> SignedNote:
    """The log's checkpoint with cosignatures."""
    return SignedNote.parse(LOG.signed(None, LOG.ed25519, *(WITNESSES[name] for name in names)))


def test_the_specification_s_example_counts_every_combination_of_witnesses() -> None:
    policy = TrustPolicy.parse(EXAMPLE)
    names = sorted(WITNESSES)
    for chosen in chain.from_iterable(combinations(names, count) for count in range(len(names) + 1)):
        enough = sum(name.startswith("X") for name in chosen) >= 2 and any(
            name.startswith("Y") for name in chosen
        )
        if enough:
            endorsement = policy.check(signed_by(*chosen))
            assert sorted(endorsement.witnesses) == list(chosen)
            assert endorsement.witnessed
        else:
            with pytest.raises(NotVerified) as caught:
                policy.check(signed_by(*chosen))
            assert caught.value.reason == "quorum_missing"


def test_quorum_none_demands_the_log_s_signature_only() -> None:
    endorsement = TrustPolicy.parse(LOG_LINE + "quorum none\n").check(signed_by("X1"))
    assert (endorsement.witnesses, endorsement.witnessed) == ({}, False)
    assert endorsement.signers == (f"{ORIGIN} (Ed25519)",)


def test_the_log_s_own_second_signature_does_not_count_as_a_witness() -> None:
    endorsement = LOG.policy().check(SignedNote.parse(LOG.signed()))
    assert list(endorsement.witnesses) == ["log-pq"]
    assert not endorsement.witnessed


def test_a_log_may_be_known_by_its_ml_dsa_key_alone() -> None:
    policy = TrustPolicy.parse(f"log {LOG.mldsa.key.encode()}\nquorum none\n")
    assert policy.check(SignedNote.parse(LOG.signed())).signers == (f"{ORIGIN} (ML-DSA-44)",)


def test_a_bad_signature_of_a_known_key_condemns_the_note_though_the_quorum_is_reached() -> None:
    policy = TrustPolicy.parse(EXAMPLE.replace("quorum X-and-Y", "quorum X1"))
    text = encode_note(signed_by("X1", "Y1"))
    position = text.rindex("=") - 20
    broken = text[:position] + ("A" if text[position] != "A" else "B") + text[position + 1 :]
    with pytest.raises(NotVerified) as caught:
        policy.check(SignedNote.parse(broken))
    assert caught.value.reason == "bad_signature"


def test_signatures_of_unknown_keys_are_ignored_even_under_a_known_name() -> None:
    stranger = Signer(ORIGIN, note.ED25519, "stranger")
    signed = SignedNote.parse(LOG.signed(None, stranger, LOG.ed25519, LOG.mldsa))
    LOG.policy().check(signed)
    with pytest.raises(NotVerified) as caught:
        LOG.policy().check(SignedNote.parse(LOG.signed(None, stranger, LOG.mldsa)))
    assert caught.value.reason == "log_signature_missing"


def test_a_key_of_another_log_in_the_policy_does_not_sign_for_this_one() -> None:
    other = PaperLog("other.example/log", "other")
    policy = TrustPolicy.parse(f"{LOG_LINE}log {other.ed25519.key.encode()}\nquorum none\n")
    with pytest.raises(NotVerified) as caught:
        policy.check(SignedNote.parse(LOG.signed(None, other.ed25519)))
    assert caught.value.reason == "log_signature_missing"


def test_the_limits_that_the_specification_recommends_are_supported() -> None:
    logs = [f"log {PaperLog(f'log{n}.example', str(n)).ed25519.key.encode()}" for n in range(32)]
    witnesses = [f"witness w{n} {Signer(f'w{n}', 4, f'w{n}').key.encode()}" for n in range(32)]
    groups = [f"group g{n} 1 w{n}" for n in range(32)]
    policy = TrustPolicy.parse("\n".join([*logs, *witnesses, *groups, "quorum g31", ""]))
    assert (len(policy.logs), len(policy.witnesses), len(policy.groups)) == (32, 32, 32)


def test_names_are_octets() -> None:
    kelvin = LOG_LINE.encode() + b"witness \xe2\x84\xaa " + KEYS["X1"].encode() + b"\nquorum \xe2\x84\xaa\n"
    TrustPolicy.parse(kelvin).check(signed_by("X1"))
    not_utf8 = LOG_LINE.encode() + b"# \xff\nwitness \xff " + KEYS["X1"].encode() + b"\nquorum \xff\n"
    TrustPolicy.parse(not_utf8).check(signed_by("X1"))
    with pytest.raises(FormatError):
        TrustPolicy.parse(kelvin.replace(b"quorum \xe2\x84\xaa", b"quorum K"))


RENAMED = Signer("another.example", note.ED25519, "log ed25519").key.encode()
MANY = [f"witness w{n} {Signer(f'w{n}', 4, f'w{n}').key.encode()}\n" for n in range(129)]
W = f"witness X1 {KEYS['X1']}\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("empty", ""),
        ("no quorum", LOG_LINE),
        ("no log", W + "quorum X1\n"),
        ("two quorums", LOG_LINE + "quorum none\nquorum none\n"),
        ("quorum undefined", LOG_LINE + "quorum X1\n"),
        ("quorum defined below", LOG_LINE + "quorum X1\n" + W),
        ("quorum with two names", LOG_LINE + W + "quorum X1 X1\n"),
        ("unknown keyword", LOG_LINE + "trust me\nquorum none\n"),
        ("keyword in capitals", LOG_LINE + "Quorum none\n"),
        ("log without a key", "log\nquorum none\n"),
        ("log with two URLs", LOG_LINE.strip() + " a b\nquorum none\n"),
        ("log with a witness key", f"log {KEYS['Y1']}\nquorum none\n"),
        ("log twice", LOG_LINE * 2 + "quorum none\n"),
        ("log key under two names", LOG_LINE + f"log {RENAMED}\nquorum none\n"),
        ("witness with a log key", LOG_LINE + f"witness a {LOG.ed25519.key.encode()}\nquorum none\n"),
        ("witness key twice", LOG_LINE + W + W.replace(" X1 ", " X2 ") + "quorum none\n"),
        ("witness name twice", LOG_LINE + W + f"witness X1 {KEYS['X2']}\nquorum none\n"),
        ("witness called none", LOG_LINE + f"witness none {KEYS['X1']}\nquorum none\n"),
        ("group of none", LOG_LINE + W + "group g any none\nquorum g\n"),
        ("group without members", LOG_LINE + W + "group g any\nquorum g\n"),
        ("group named like a witness", LOG_LINE + W + "group X1 any X1\nquorum X1\n"),
        ("group of itself", LOG_LINE + W + "group g any g\nquorum g\n"),
        ("group of a later name", LOG_LINE + "group g any X1\n" + W + "quorum g\n"),
        ("member twice", LOG_LINE + W + "group g 1 X1 X1\nquorum g\n"),
        ("member of two groups", LOG_LINE + W + "group g any X1\ngroup h any X1\nquorum g\n"),
        ("threshold 0", LOG_LINE + W + "group g 0 X1\nquorum g\n"),
        ("threshold too high", LOG_LINE + W + "group g 2 X1\nquorum g\n"),
        ("threshold with a leading zero", LOG_LINE + W + "group g 01 X1\nquorum g\n"),
        ("threshold in words", LOG_LINE + W + "group g one X1\nquorum g\n"),
        ("carriage return", LOG_LINE + "quorum none\r\n"),
        ("delete character", LOG_LINE + "# \x7f\nquorum none\n"),
        ("nul", LOG_LINE + "quorum none\0\n"),
        ("no-break space", LOG_LINE + "quorum\u00a0none\n"),
        ("root that is no key", LOG_LINE + "# regalia-root nonsense\nquorum none\n"),
        ("former keys without a size", LOG_LINE + f"# regalia-until {RENAMED} {RENAMED}\nquorum none\n"),
        ("former keys with a signed size", LOG_LINE + f"# regalia-until +5 {KEYS['X1']}\nquorum none\n"),
        ("former key that is none", LOG_LINE + "# regalia-until 5 nonsense\nquorum none\n"),
        ("too many witnesses", LOG_LINE + "".join(MANY) + "quorum none\n"),
        ("too long", "#" * 2**20 + "\n" + LOG_LINE + "quorum none\n"),
    ],
)  # fmt: skip
def test_malformed_policies_are_refused(name: str, text: str) -> None:
    with pytest.raises(FormatError):
        TrustPolicy.parse(text)
