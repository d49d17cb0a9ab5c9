"""What every test may use: programs beside Python (`needs`), the shared vectors, and a real server."""

import glob
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ports import free_port
from postgresql_kit import running_cluster
from regalia.storage import Database, open_database, upgrade
from serving import FakeEngine, Server, ServerFactory

ROOT = Path(__file__).resolve().parent.parent
VECTORS = ROOT.parent / "shared" / "vectors"
IN_CI = os.environ.get("CI") == "true"

# The same examples in every run, and no limit on their time: that would measure the machine.
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


def _catalogue() -> dict[str, tuple[str, str]]:
    """requirements/system.txt as program -> (Debian package, glob of another place it may be)."""
    rows = {}
    for line in (ROOT / "requirements" / "system.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            program, package, *elsewhere = line.split()
            rows[program] = (package, elsewhere[0] if elsewhere else "")
    return rows


SYSTEM = _catalogue()


def find(program: str) -> Path | None:
    """Where a program from requirements/system.txt is on this machine, or None."""
    _, elsewhere = SYSTEM[program]
    on_path = shutil.which(program)
    found = on_path or next(iter(sorted(glob.glob(elsewhere))), None)  # noqa: PTH207 - absolute glob
    return Path(found) if found else None


def missing(reason: str) -> None:
    """Skip the test with the reason; in CI, where everything is installed, fail it."""
    if IN_CI:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def require(program: str) -> Path:
    """The program's path; otherwise skip with the reason and the command (in CI: fail)."""
    found = find(program)
    if found is None:
        missing(f"needs {program}: sudo apt-get install {SYSTEM[program][0]}")
    assert found is not None
    return found


def pytest_runtest_setup(item: pytest.Item) -> None:
    """`@pytest.mark.needs("go", ...)` checks for the programs before the test's fixtures are made."""
    for marker in item.iter_markers("needs"):
        for program in marker.args:
            require(program)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a `long` test go first; the order is kept otherwise."""
    long = {item.path for item in items if item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def needs() -> Callable[[str], Path]:
    """`needs("go")` gives the program's path, or skips the test with the reason (in CI it fails)."""
    return require


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The public test vectors beside the checkout; absent on a lone clone, always there in CI."""
    if not VECTORS.is_dir():
        missing(f"needs the public test vectors in {VECTORS.relative_to(ROOT.parent)} beside the checkout")
    return VECTORS


@pytest.fixture(scope="session")
def go_verify(needs: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/verify/interop/verify.go, built from Debian's packages without a download."""
    go, sources = needs("go"), needs("go-x-mod")
    folder = tmp_path_factory.mktemp("go")
    environment = os.environ | {
        "GO111MODULE": "off",
        "GOPATH": str(sources).removesuffix("/src/golang.org/x/mod"),
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
        "CGO_ENABLED": "0",
    }
    program = folder / "verify"
    source = ROOT / "tests" / "verify" / "interop" / "verify.go"
    subprocess.run([go, "build", "-o", program, source], check=True, env=environment, timeout=240)
    return program


@pytest.fixture
def port() -> int:
    """A TCP port on loopback that nothing listens on."""
    return free_port()


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[ServerFactory]:
    """A factory of servers, each with its own data directory; all are stopped after the test."""
    factory = ServerFactory(tmp_path)
    yield factory
    factory.stop_all()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One running server with the embedded engine, shared by tests that do not disturb it."""
    factory = ServerFactory(tmp_path_factory.mktemp("shared"))
    yield factory(model=True).start()
    factory.stop_all()


@pytest.fixture(scope="session")
def fake_engine() -> Iterator[FakeEngine]:
    """A cheap engine on loopback that speaks the OpenAI API (tests/fake_engine.py)."""
    with FakeEngine.running() as engine:
        yield engine


@pytest.fixture(scope="session")
def postgresql(needs: Callable[[str], Path]) -> Iterator[Callable[[], str]]:
    """A factory of URLs of fresh databases on a server of our own, which nobody stops."""
    with running_cluster(needs("postgres")) as cluster:
        yield cluster.fresh


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without tables, once of each kind."""
    if request.param == "sqlite":
        opened = open_database(f"sqlite:///{tmp_path}/regalia.db")
    else:
        opened = open_database(request.getfixturevalue("postgresql")())
    yield opened
    opened.close()


@pytest.fixture
def database(empty_database: Database) -> Database:
    """A database with the newest schema, once of each kind."""
    upgrade(empty_database)
    return empty_database
