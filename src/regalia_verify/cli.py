"""Check Regalia's receipts, logs and checkpoints, trusting only the keys in a policy file.

examples:
  regalia-verify receipt answer.tlog-proof --policy policy.txt --request request.json --response response.json
  regalia-verify log https://llm.example.org/log --policy policy.txt --previous checkpoint.last-year
  regalia-verify consistency checkpoint.old checkpoint.new --policy policy.txt --log ./log

exit status: 0 verified, 1 not verified (with the reason), 2 unusable input or wrong usage
"""

import argparse
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

from . import __version__
from .errors import FormatError, NotVerified
from .log import verify_extension, verify_log
from .note import MAX_NOTE
from .policy import MAX_POLICY, Endorsement, TrustPolicy
from .receipt import ERASED, MATCHES, MAX_PROOF, verify_receipt
from .source import open_source, read_file

MAX_CONTENT = 1024**3
DOES_NOT_PROVE = (
    "It does not prove that the answer is right, nor that what the operator recorded about model, engine"
    " and time is true; it proves that this is what the operator recorded and can no longer change."
)
UNWITNESSED = " No witness has cosigned, so the operator could be showing somebody else another log."
Result = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that lacks a character is not a failed check
        sys.stdout.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        policy = TrustPolicy.parse(read_file(options.policy, MAX_POLICY))
        status, result = 0, {"verified": True, **options.run(options, policy)}
    except NotVerified as error:
        status, result = 1, {"verified": False, "reason": error.reason, "detail": str(error)}
    except FormatError as error:
        status, result = 2, {"verified": False, "reason": "unusable_input", "detail": str(error)}
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        _print(result)
    return status


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("regalia-verify", description=__doc__, formatter_class=plain)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--policy", type=Path, required=True, help="tlog-policy file: the keys to trust")
    common.add_argument("--json", action="store_true", help="print the result as JSON")

    receipt = commands.add_parser("receipt", parents=[common], help="check one answer's receipt")
    receipt.set_defaults(run=_receipt)
    receipt.add_argument("file", type=Path, help="the receipt (a tlog-proof)")
    receipt.add_argument("--request", type=Path, help="the exact bytes of the request body")
    receipt.add_argument("--response", type=Path, help="the exact bytes of the response body")

    log = commands.add_parser("log", parents=[common], help="check every entry of a log")
    log.set_defaults(run=_log)
    log.add_argument("location", help="the log's folder or URL")
    log.add_argument("--previous", type=Path, help="an older checkpoint that the log must extend")
    log.add_argument("--closed", action="store_true", help="the log has ended: open calls are a fault")
    log.add_argument("--archived", type=int, default=0, metavar="INDEX", help="entries below may be away")

    pair = commands.add_parser("consistency", parents=[common], help="compare two checkpoints")
    pair.set_defaults(run=_consistency)
    pair.add_argument("old", type=Path, help="the older checkpoint")
    pair.add_argument("new", type=Path, help="the newer checkpoint")
    pair.add_argument("--log", required=True, help="the log's folder or URL, whose tiles prove it")
    return parser


def _receipt(options: argparse.Namespace, policy: TrustPolicy) -> Result:
    given = {"request": options.request, "response": options.response}
    contents = {part: read_file(path, MAX_CONTENT) for part, path in given.items() if path}
    verified = verify_receipt(read_file(options.file, MAX_PROOF), policy, **contents)
    matched = ", ".join(part for part, state in verified.parts.items() if state == MATCHES)
    compared = f"; the {matched} at hand are exactly what it commits to" if matched else ""
    compared += "; its content was erased on the record" if verified.content == ERASED else ""
    return {
        "index": verified.index,
        **_describe(verified.endorsement),
        "parts": verified.parts,
        "content": verified.content,
        "record": verified.record,
        "proves": f"The log {verified.endorsement.checkpoint.origin} holds this record of"
        f" {verified.record['call']} as entry {verified.index}{compared}.",
    }


def _log(options: argparse.Namespace, policy: TrustPolicy) -> Result:
    previous = read_file(options.previous, MAX_NOTE) if options.previous else None
    report = verify_log(open_source(options.location), policy, previous, options.closed, options.archived)
    history = report.history
    rest, unseen = history.size - history.minimum, history.size - history.kinds.total()
    below = f" {unseen} of those below were not examined: the root covers them, but nothing shows what they"
    below += f" say; {history.admitted_before} outcomes are of calls that were admitted below."
    return {
        **_describe(report.endorsement),
        "extends_size": report.previous.checkpoint.size if report.previous else None,
        "kinds": dict(sorted(history.kinds.items())),
        "open_calls": len(history.open),
        "first_open_calls": history.open[:100],
        "first_time": _time(history.first_time),
        "last_time": _time(history.last_time),
        "times_backwards": history.times_backwards,
        "not_examined": unseen,
        "admitted_before": history.admitted_before,
        "proves": f"These are all {rest} entries from {history.minimum} on that the log had when its"
        " checkpoint was signed, none changed or missing, and every call that ended has one admission and"
        " one outcome." + (below if history.minimum else ""),
    }


def _consistency(options: argparse.Namespace, policy: TrustPolicy) -> Result:
    old, new = read_file(options.old, MAX_NOTE), read_file(options.new, MAX_NOTE)
    older, newer = verify_extension(old, new, policy, open_source(options.log))
    return {
        **_describe(newer),
        "extends_size": older.checkpoint.size,
        "proves": f"The log of {newer.checkpoint.size} entries begins with the"
        f" {older.checkpoint.size} entries of the older checkpoint, unchanged.",
        "does_not_prove": "It says nothing about what the entries are; `regalia-verify log` reads them.",
    }


def _describe(endorsement: Endorsement) -> Result:
    return {
        "origin": endorsement.checkpoint.origin,
        "size": endorsement.checkpoint.size,
        "root": endorsement.checkpoint.root.hex(),
        "signers": list(endorsement.signers),
        "witnessed": endorsement.witnessed,
        "does_not_prove": DOES_NOT_PROVE + ("" if endorsement.witnessed else UNWITNESSED),
    }


def _time(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(milliseconds // 1000))


def _print(result: Result) -> None:
    if not result["verified"]:
        print(f"NOT VERIFIED ({result['reason']}): {_printable(result['detail'])}", file=sys.stderr)
        return
    print("VERIFIED")
    for name, value in result.items():
        if name == "record":
            print("record:")
            for field, content in value.items():
                print(f"  {field + ':':<15}{_printable(content)}")
        elif name not in {"verified", "proves", "does_not_prove", "first_open_calls"} and value is not None:
            print(f"{name.replace('_', ' ') + ':':<17}{_printable(value)}")
    print(f"\n{_printable(result['proves'])}\n{result['does_not_prove']}")


def _printable(value: Any) -> str:
    """Text for a terminal: nothing from a record may move the cursor or hide what follows."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in text)
