"""What sealing and witnessing cost: both on, over both off, with everything else of the record on.

On: contents are sealed, and two witnesses on the same machine cosign at the default cadence. Off: contents
are stored in the clear (`bench/unsealed.py`) and nobody is asked. Rounds take turns; the ratio is taken
inside each. Run as `PYTHONPATH=tests python -m bench.sealed`.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from bench import rivals
from bench.load import Figures, Target, load
from bench.report import Ratio, ratios, table

from ports import free_port
from serving import REGALIA, ROOT, Server, background, regalia

CONNECTIONS = (16, 64)
ROUNDS = 5
SECONDS = 3
WARM_UP_SECONDS = 4
BOUND = 0.85
ON, OFF = "sealed, two witnesses", "neither"


@contextmanager
def witnesses(folder: Path, log_policy: str) -> Iterator[Path]:
    """Two witnesses that serve; the trust policy that demands both."""
    own = folder / "log-policy"
    own.write_text(log_policy)
    lines = [line for line in log_policy.splitlines() if not line.startswith("quorum")]
    with ExitStack() as stack:
        for name in ("w1", "w2"):
            where = ["--data-dir", str(folder / name)]
            made = json.loads(regalia("witness", "init", *where, "--name", f"{name}.bench", "--json").stdout)
            regalia("witness", "add-log", str(own), *where)
            port = free_port()
            url = f"http://127.0.0.1:{port}"
            stack.enter_context(background([REGALIA, "witness", "serve", *where, "--port", str(port)], url))
            lines.append(f"witness {name} {made['vkeys'][0]} {url}")
        policy = folder / "trust-policy"
        policy.write_text("\n".join([*lines, "group all all log-pq w1 w2", "quorum all", ""]))
        yield policy


@contextmanager
def serving(folder: Path, name: str, upstream_port: int) -> Iterator[Target]:
    """A server with both, or with neither."""
    engine = {"name": "upstream", "base_url": f"http://127.0.0.1:{upstream_port}/v1", "models": ["fake"]}
    config = {"embedded": False, "engines": [engine], "log_level": "warning"}
    server = Server(folder / ("data-on" if name == ON else "data-off"), config).init()
    with ExitStack() as stack:
        if name == ON:
            policy = stack.enter_context(witnesses(folder, server.policy()))
            server.config["log"] = {"trust_policy": str(policy)}
        else:
            server.program = (sys.executable, str(ROOT / "bench" / "unsealed.py"))
        stack.callback(server.stop)
        server.start()
        yield Target(name, f"{server.url}/v1/chat/completions", {"Authorization": f"Bearer {server.api_key}"})


def run() -> tuple[str, list[Ratio]]:
    """The table, and the ratio of both on to both off."""
    measured: dict[tuple[str, int], list[Figures]] = {}
    rivals.INSTALLED.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="regalia-bench-", dir=rivals.INSTALLED))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        port = stack.enter_context(rivals.upstream(folder))
        targets = [stack.enter_context(serving(folder, name, port)) for name in (ON, OFF)]
        for target in targets:
            load(target, 16, WARM_UP_SECONDS)
        for number in range(ROUNDS):
            for connections in CONNECTIONS:
                for target in targets if number % 2 else reversed(targets):
                    runs = measured.setdefault((target.name, connections), [])
                    runs.append(load(target, connections, SECONDS))
    held = [
        Ratio(
            f"calls/s at c={connections}, sealing and witnessing on over off",
            median(
                on.per_second / off.per_second
                for on, off in zip(measured[ON, connections], measured[OFF, connections], strict=True)
            ),
            BOUND,
        )
        for connections in CONNECTIONS
    ]
    rows = [
        (
            name,
            *(f"{median(run.per_second for run in measured[name, c]):,.0f}" for c in CONNECTIONS),
            f"{median(run.p99 for run in measured[name, CONNECTIONS[0]]) / 1000:.1f} ms",
        )
        for name in (ON, OFF)
    ]
    head = ("", *(f"c={c}, calls/s" for c in CONNECTIONS), f"p99 at c={CONNECTIONS[0]}")
    return f"{table(head, rows)}\n\n{ratios(held)}", held


if __name__ == "__main__":
    print(run()[0])
