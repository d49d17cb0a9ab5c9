"""Every command and noun is there, whether the command line is made for one of them or for all."""

import pytest
from typer.main import get_command

from command_line import command
from regalia import __version__
from regalia.cli.app import COMMANDS, GROUPS, command_line

ALL = get_command(command_line()).commands  # type: ignore[attr-defined]


def test_all_commands_are_shown_together() -> None:
    assert set(ALL) == {*COMMANDS, *GROUPS, "version"}


@pytest.mark.parametrize("name", [*COMMANDS, *GROUPS, "version"])
def test_a_command_alone_is_what_it_is_among_all(name: str) -> None:
    alone = get_command(command_line(name)).commands  # type: ignore[attr-defined]
    assert set(alone) == {name, "version"}
    among = ALL[name]
    assert alone[name].help == among.help
    assert set(getattr(alone[name], "commands", ())) == set(getattr(among, "commands", ()))


@pytest.mark.parametrize("asked", ["version", "--version"])
def test_the_version_is_told_either_way(asked: str) -> None:
    ran = command(asked)
    assert (ran.code, ran.out) == (0, f"regalia {__version__}\n")
