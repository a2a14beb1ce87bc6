"""What the program says of itself."""

import re
from pathlib import Path

import pytest

from client_sdk.command.answer import program
from plait_client.command import COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_option_examples_and_exit_codes(name: str, tmp_path: Path) -> None:
    answer = program(tmp_path, name, "--help")
    assert answer.code == 0
    assert answer.out.startswith(f"usage: plait {name} ")
    for part in ("examples:", "exit code:", f"  plait {name} "):
        assert part in answer.out
    for option in re.findall(r"--[a-z-]+", answer.out.partition("\n\n")[0]):
        assert re.search(rf"{option}\b.*\n?.*\w", answer.out.partition("options:")[2]), option


def test_the_program_lists_all_its_commands(tmp_path: Path) -> None:
    told = program(tmp_path, "--help").out
    for name in (*COMMANDS, "serve", "config"):
        assert re.search(rf"\b{name}\b", told)


@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_arguments_are_2_and_told_on_stderr(name: str, tmp_path: Path) -> None:
    answer = program(tmp_path, name, "--no-such-option", "x", "y")
    assert (answer.code, answer.out) == (2, "")
    assert f"usage: plait {name}" in answer.err


def test_an_interrupted_program_says_no_more_than_it_must(tmp_path: Path) -> None:
    assert program(tmp_path, "merg").code == 2
