"""No detector has what it would need to open a socket or resolve a name: engines are asked by who runs it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import regalia.policy

ROOT = Path(regalia.policy.__file__).parent
NETWORK = {
    "aiohttp", "dns", "ftplib", "http", "httpx", "imaplib", "multiprocessing", "os", "poplib", "requests",
    "smtplib", "socket", "socketserver", "ssl", "subprocess", "telnetlib", "urllib", "urllib3", "xmlrpc",
}  # fmt: skip
INSTANCE = {"regalia.engines", "regalia.gateway", "regalia.instance", "regalia.api"}


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("file", sorted(ROOT.rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_no_module_of_policies_can_reach_the_network(file: Path) -> None:
    names = set(imported(file))
    assert not {name.partition(".")[0] for name in names} & NETWORK
    assert not {".".join(name.split(".")[:2]) for name in names} & INSTANCE
