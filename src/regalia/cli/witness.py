"""`regalia witness`: be a witness of transparency logs, and carry files to one without a network."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from regalia.cli.options import DEFAULT_DATA_DIR, DataDir, Json
from regalia.errors import RegaliaError
from regalia.notes import signature_line
from regalia.witness.errors import Refused
from regalia.witness.remembered import Remembered
from regalia.witness.request import MAX_REQUEST, AddCheckpoint, build_request
from regalia.witness.roster import attach as attach_signatures
from regalia.witness.roster import cosignatures_of, parse_answer, peers_of, reached
from regalia.witness.witness import Witness
from regalia_verify.errors import FormatError, NotVerified
from regalia_verify.note import MAX_NOTE, Checkpoint, SignedNote, VerifierKey
from regalia_verify.policy import MAX_POLICY, TrustPolicy
from regalia_verify.source import Folder, TiledLog, read_file

app = typer.Typer(help="Witnesses, who cosign transparency logs.", no_args_is_help=True)

WitnessDir = Annotated[
    Path, typer.Option("--data-dir", envvar="REGALIA_WITNESS_DIR", help="The witness' data directory.")
]
PolicyFile = Annotated[Path, typer.Argument(help="A tlog-policy file, as `regalia log policy` prints it.")]
WitnessName = Annotated[str, typer.Option("--witness", help="The witness' name, as in its keys.")]


@app.command()
def init(
    data_dir: WitnessDir,
    name: Annotated[str, typer.Option(help="The witness' name for good: a URL without https://.")],
    as_json: Json = False,
) -> None:
    """Make a witness with its own keys, and print them for trust policies.

    Example: `regalia witness init --data-dir /var/lib/witness --name witness.auditor.example/1`
    """
    witness = Witness.create(data_dir, name)
    witness.close()
    if as_json:
        told = {"name": name, "vkeys": _encoded(witness.keys), "policy": _policy_lines(witness)}
        typer.echo(json.dumps(told | {"data_dir": str(data_dir)}))
        return
    typer.echo(f"A witness is in {data_dir}. For trust policies, with its URL after each key if it has one:")
    typer.echo("\n".join(_policy_lines(witness)))
    typer.echo(f"Next: regalia witness add-log POLICY --data-dir {data_dir}")


@app.command("add-log")
def add_log(policy: PolicyFile, data_dir: WitnessDir) -> None:
    """Trust the logs of a policy file; for a log already trusted, replace its keys.

    Example: `regalia witness add-log policy.txt --data-dir /var/lib/witness`
    """
    with _opened(data_dir) as witness:
        for log in witness.trust(_read(policy, MAX_POLICY)):
            typer.echo(f"trusts {log.origin}, signed by one of {len(log.keys)} keys")


@app.command()
def serve(
    data_dir: WitnessDir,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 picks a free one.")] = 8090,
    uds: Annotated[Path | None, typer.Option("--listen", help="A Unix socket instead of a port.")] = None,
    prefix: Annotated[str, typer.Option(help="A path before add-checkpoint, such as /w1.")] = "",
    body_seconds: Annotated[float, typer.Option(help="How long a request's body may take.")] = 10.0,
) -> None:
    """Serve the C2SP tlog-witness protocol in the foreground; SIGTERM and Ctrl-C end it.

    Example: `regalia witness serve --data-dir /var/lib/witness --port 8090`
    """
    from regalia.api.protocol import bounded_protocol  # uvicorn would slow down every other command
    from regalia.config import Limits
    from regalia.witness.server import serve as run

    http = bounded_protocol(Limits(header_bytes=16 * 1024, header_seconds=body_seconds))
    with _opened(data_dir) as witness:
        run(witness, http=http, host=host, port=port, uds=uds, prefix=prefix, body_seconds=body_seconds)


@app.command()
def sign(data_dir: WitnessDir) -> None:
    """Cosign without a network: a checkpoint or request on stdin, signature lines on stdout.

    A checkpoint alone will do for a log's first time; later, `regalia witness request` makes what is needed.

    Example: `regalia witness sign --data-dir /media/witness < request > cosignature`
    """
    with _opened(data_dir) as witness:
        try:
            signatures = witness.cosign(AddCheckpoint.carried(sys.stdin.buffer.read(MAX_REQUEST + 1)))
        except Refused as refusal:
            hint = f"; make a request with --old {refusal.size}" if refusal.size is not None else ""
            raise RegaliaError(f"not cosigned ({refusal.code}): {refusal}{hint}") from refusal
    for signature in signatures:
        typer.echo(signature_line(signature), nl=False)


@app.command()
def status(data_dir: WitnessDir, as_json: Json = False) -> None:
    """Print the witness' keys, and the latest cosigned checkpoint of each log.

    Example: `regalia witness status --data-dir /var/lib/witness --json`
    """
    with _opened(data_dir) as witness:
        logs = [
            {
                "origin": log.origin,
                "keys": _encoded(log.keys),
                "size": entry.checkpoint.size if entry else 0,
                "root": entry.checkpoint.root.hex() if entry else None,
                "time": entry.seconds if entry else None,
            }
            for log, entry in witness.logs()
        ]
        state: dict[str, Any] = {
            "name": witness.name,
            "vkeys": _encoded(witness.keys),
            "policy": _policy_lines(witness),
            "logs": logs,
            "evidence": len(witness.evidence.cases()),
        }
    if as_json:
        typer.echo(json.dumps(state))
        return
    typer.echo("\n".join(state["policy"]))
    for log in logs:
        seen = f"{log['size']} entries, root {log['root']}" if log["root"] else "nothing cosigned yet"
        typer.echo(f"log {log['origin']}: {seen}")
    typer.echo(f"{state['evidence']} cases of evidence")


@app.command()
def evidence(data_dir: WitnessDir, as_json: Json = False) -> None:
    """List the logs that contradicted themselves, and where both notes are kept.

    Example: `regalia witness evidence --data-dir /var/lib/witness`
    """
    with _opened(data_dir) as witness:
        cases = witness.evidence.cases()
    if as_json:
        rows = [
            {
                "kind": case.kind,
                "origin": case.origin,
                "cosigned_size": case.cosigned_size,
                "submitted_size": case.submitted_size,
                "time": case.time,
                "path": str(place),
            }
            for place, case in cases
        ]
        typer.echo(json.dumps(rows))
        return
    for place, case in cases:
        sizes = f"cosigned {case.cosigned_size}, submitted {case.submitted_size} entries"
        typer.echo(f"{case.kind}: {case.origin}, {sizes}: {place}")
    typer.echo(f"{len(cases)} cases")


@app.command()
def request(
    witness: WitnessName,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    old: Annotated[
        int | None, typer.Option(help="The size it has last cosigned; by default, what is remembered here.")
    ] = None,
) -> None:
    """Print what is carried to a witness without a network: the newest checkpoint and its proof.

    Example: `regalia witness request --witness witness.auditor.example/1 --data-dir D > request`
    """
    folder = Folder(data_dir / "log")
    with _readable():
        note = SignedNote.parse(folder.read("checkpoint", MAX_NOTE))
        size = Checkpoint.parse(note.text).size
        known = Remembered(data_dir / "witnesses").size(witness) if old is None else old
        if not 0 <= known <= size:
            raise RegaliaError(f"the witness has cosigned {known} entries, and the log here has {size}")
        made = build_request(note, known, TiledLog(folder, size).node)
    typer.echo(made.encode().decode(), nl=False)


@app.command()
def attach(
    witness: WitnessName,
    policy: Annotated[Path, typer.Option(help="The trust policy, which holds the witness' keys.")],
    request: Annotated[Path, typer.Option(help="The request that was carried to the witness.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Take back what a witness without a network has signed: signature lines on stdin.

    Example: `regalia witness attach --witness W --policy trust.txt --request request < cosignature`
    """
    with _readable():
        trust = TrustPolicy.parse(_read(policy, MAX_POLICY))
        peer = next((peer for peer in peers_of(trust) if peer.name == witness), None)
        if peer is None:
            raise RegaliaError(f"{policy} has no witness whose keys are named {witness}")
        note = AddCheckpoint.carried(_read(request, MAX_REQUEST)).note
        answered = parse_answer(note, sys.stdin.buffer.read(MAX_NOTE))
        cosigned = attach_signatures(note, cosignatures_of(peer, answered))
        Remembered(data_dir / "witnesses").keep(witness, cosigned)
        lacking = reached(trust, cosigned)
    size = Checkpoint.parse(cosigned.text).size
    typer.echo(f"{witness} has cosigned {size} entries; {lacking or 'the trust policy is satisfied'}")


@contextmanager
def _opened(data_dir: Path) -> Iterator[Witness]:
    witness = Witness.open(data_dir)
    try:
        yield witness
    finally:
        witness.close()


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (FormatError, NotVerified) as error:
        raise RegaliaError(str(error)) from error


def _read(path: Path, limit: int) -> bytes:
    with _readable():
        return read_file(path, limit)


def _encoded(keys: tuple[VerifierKey, ...]) -> list[str]:
    return [key.encode() for key in keys]


def _policy_lines(witness: Witness) -> list[str]:
    """The witness as a group of a tlog-policy in which both of its keys must sign."""
    labels = [f"{witness.name}:{kind}" for kind in ("ed25519", "mldsa44")]
    lines = [f"witness {label} {key.encode()}" for label, key in zip(labels, witness.keys, strict=True)]
    return [*lines, f"group {witness.name} all {' '.join(labels)}"]
