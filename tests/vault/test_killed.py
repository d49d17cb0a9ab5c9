"""Killed at any step, with SIGKILL: the vault opens again, nothing kept is lost, repeating finishes the work.

The child dies before its Nth step, for every N until it gets to the end. A step is each write, sync and
commit of the vault, each transaction of the table of contents, and the making of the record.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from regalia.vault import ContentErased, RootKey, RootKeyError, Sealed, SecretRoot, Vault, erasure
from regalia.vault.keyslots import KeySlots
from regalia.vault.register import Register
from vault.content_table import ContentTable, files_containing
from vault.instances import NOW, Instance, slots_in

MAX_STEPS = 60
CONTENT = b"the content of "


class Steps:
    """Counts steps, and kills this process before the one it was told to."""

    def __init__(self, last: int) -> None:
        self._left = last

    def __call__(self) -> None:
        self._left -= 1
        if self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            self()
            return function(*arguments)

        return counted

    def watch(self) -> None:
        """Count every write of the vault and of the table of contents, in this process from here on."""
        for kind, name in [
            (KeySlots, "_put"),
            (KeySlots, "sync"),
            (KeySlots, "advance"),
            (ContentTable, "move"),
            (ContentTable, "drop"),
        ]:
            setattr(kind, name, self.before(getattr(kind, name)))
        transaction = Register.transaction

        @contextmanager
        def counted(register: Register) -> Iterator[None]:
            with transaction(register):
                yield
                self()  # all is written, nothing is committed

        Register.transaction = counted  # type: ignore[method-assign,assignment]


def killed_before(step: int, work: Callable[[Steps], None]) -> bool:
    """Do the work in a child that dies before this step; whether it did die."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            steps = Steps(step)
            steps.watch()
            work(steps)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


class Case:
    """An instance with two projects, closed: the child and the parent open it in turn."""

    def __init__(self, folder: Path) -> None:
        instance = Instance(folder)
        self.folder, self.root = folder, instance.root
        self.calls = {
            project: [f"{project}-{number}" for number in range(6)] for project in ("alpha", "beta")
        }
        for project, calls in self.calls.items():
            for call in calls:
                instance.rows.seal(instance.vault, project, call, CONTENT + call.encode(), NOW)
        self.sealed = {call: instance.rows.sealed(call) for call in instance.rows.calls()}
        self.bucket = next(iter(instance.rows.locate(frozenset(self.calls["alpha"]))))
        self.wrapped = instance.slots()
        instance.close()

    def open(self, root: RootKey | None = None) -> tuple[Vault, ContentTable]:
        return Vault.open(self.folder / "keys", root or self.root), ContentTable(self.folder / "regalia.db")

    def assert_whole(self, vault: Vault, rows: ContentTable, calls: list[str]) -> None:
        for call in calls:
            assert rows.open(vault, call.partition("-")[0], call) == CONTENT + call.encode()


def every_step(tmp_path: Path, work: Callable[[Case, Steps], None]) -> Iterator[Case]:
    """The case as each possible kill leaves it, and last as the finished work leaves it."""
    for step in range(MAX_STEPS):
        case = Case(tmp_path / str(step))
        died = killed_before(step, lambda steps, case=case: work(case, steps))  # type: ignore[misc]
        yield case
        if not died:
            assert step > 5, "the steps were not counted"
            return
    pytest.fail(f"the work has more than {MAX_STEPS} steps")


def erase_project(case: Case, steps: Steps) -> None:
    vault, _ = case.open()
    erasure.erase_project(vault, "alpha", steps, NOW)


def erase_calls(case: Case, steps: Steps) -> None:
    vault, rows = case.open()
    erasure.ROWS = 2
    erasure.erase_calls(vault, rows, frozenset(case.calls["alpha"][:2]), steps, NOW)


def erase_bucket(case: Case, steps: Steps) -> None:
    vault, rows = case.open()
    erasure.erase_selected(vault, rows, [case.bucket], {}, steps, NOW)


def test_erasing_a_project(tmp_path: Path) -> None:
    for case in every_step(tmp_path, erase_project):
        vault, rows = case.open()
        case.assert_whole(vault, rows, case.calls["beta"])
        rows.seal(vault, "alpha", "alpha-later", CONTENT + b"alpha-later", NOW)
        left = [key for key in case.wrapped if key not in slots_in(case.folder)]
        assert files_containing(case.folder, [case.wrapped[key] for key in left]) == set()
        if not left:  # the erasure had not got to destroying: all is as it was
            case.assert_whole(vault, rows, case.calls["alpha"])
        erasure.erase_project(vault, "alpha", lambda: None, NOW)
        with pytest.raises(ContentErased):
            rows.open(vault, "alpha", "alpha-0")
        case.assert_whole(vault, rows, case.calls["beta"])
        assert vault.check() == []
        vault.close()
        rows.close()


def test_erasing_calls(tmp_path: Path) -> None:
    erased, kept = frozenset({"alpha-0", "alpha-1"}), [f"alpha-{number}" for number in range(2, 6)]
    for case in every_step(tmp_path, erase_calls):
        vault, rows = case.open()
        case.assert_whole(vault, rows, kept + case.calls["beta"])
        erasure.resume(vault, rows, NOW)
        case.assert_whole(vault, rows, kept + case.calls["beta"])
        assert vault.replacing() == {}
        erasure.erase_calls(vault, rows, erased, lambda: None, NOW)
        case.assert_whole(vault, rows, kept + case.calls["beta"])
        assert rows.calls() == {*kept, *case.calls["beta"]}
        assert files_containing(case.folder, [case.wrapped[case.bucket]]) == set()
        remnant = case.sealed["alpha-0"]
        assert isinstance(remnant, Sealed)
        with pytest.raises(ContentErased):
            vault.open_sealed("alpha", b"alpha-0/outcome", remnant)
        assert vault.check() == []
        vault.close()
        rows.close()


def test_erasing_a_bucket(tmp_path: Path) -> None:
    for case in every_step(tmp_path, erase_bucket):
        vault, rows = case.open()
        case.assert_whole(vault, rows, case.calls["beta"])
        erasure.erase_selected(vault, rows, [case.bucket], {}, lambda: None, NOW)
        assert rows.calls() == set(case.calls["beta"])
        assert files_containing(case.folder, [case.wrapped[case.bucket]]) == set()
        case.assert_whole(vault, rows, case.calls["beta"])
        assert vault.check() == []
        vault.close()
        rows.close()


def test_rotating_the_root_key(tmp_path: Path) -> None:
    new = SecretRoot(os.urandom(32))

    def rotate(case: Case, _steps: Steps) -> None:
        vault, _ = case.open()
        vault.rotate_root(new)

    seen = set()
    for case in every_step(tmp_path, rotate):
        try:
            vault, rows = case.open()
            seen.add("old")
        except RootKeyError:
            vault, rows = case.open(new)
            seen.add("new")
        case.assert_whole(vault, rows, case.calls["alpha"] + case.calls["beta"])
        assert vault.rotate_root(new) == 2
        case.assert_whole(vault, rows, case.calls["alpha"] + case.calls["beta"])
        assert vault.check() == []
        vault.close()
        rows.close()
        vault, rows = case.open(new)
        case.assert_whole(vault, rows, case.calls["alpha"] + case.calls["beta"])
        vault.close()
        rows.close()
    assert seen == {"old", "new"}


def test_beginning_a_bucket(tmp_path: Path) -> None:
    def begin(case: Case, _steps: Steps) -> None:
        vault, rows = case.open()
        for project in ("alpha", "beta", "gamma"):
            rows.seal(vault, project, f"{project}-new", CONTENT + f"{project}-new".encode(), NOW)

    for case in every_step(tmp_path, begin):
        vault, rows = case.open()
        assert rows.calls() >= {*case.calls["alpha"], *case.calls["beta"]}
        case.assert_whole(vault, rows, sorted(rows.calls()))
        assert vault.check() == []
        vault.close()
        rows.close()
