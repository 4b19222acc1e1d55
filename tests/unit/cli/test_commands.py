"""The commands of `runner-sidecar`: one list, one file each, one help each."""

import subprocess
import sys
from pathlib import Path

import pytest

from sidecar import __version__, cli
from sidecar.__main__ import WRONG_USAGE, main
from sidecar.errors import Exit

FOLDER = Path(cli.__file__).parent


def unlisted(folder, commands):
    """List the files of a folder that are no command of the list, and the reverse."""
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    return files ^ set(commands)


def test_every_file_is_a_command_and_every_command_a_file():
    """Whoever adds a file to cli/ lists it, or this fails."""
    assert unlisted(FOLDER, cli.COMMANDS) == set()


def test_a_command_that_is_not_listed_is_found(tmp_path):
    """The test above does see a file that is forgotten."""
    for name in (*cli.COMMANDS, "__init__", "forgotten"):
        (tmp_path / f"{name}.py").touch()
    assert unlisted(tmp_path, cli.COMMANDS) == {"forgotten"}


@pytest.mark.parametrize("word", ["help", "--help", "-h"])
def test_help_lists_every_command(word, capsys):
    """With a line for each, on standard output."""
    assert main([word]) == 0
    output = capsys.readouterr().out
    for name, summary in cli.COMMANDS.items():
        assert f"  {name} " in output
        assert summary in output


@pytest.mark.parametrize("name", ["containers", "doctor", "health", "roles", "version"])
@pytest.mark.parametrize("word", ["--help", "-h"])
def test_every_command_has_its_own_help(name, word, capsys):
    """It says how the command is used, and does nothing else."""
    assert main([name, word]) == 0
    assert capsys.readouterr().out.startswith(f"usage: runner-sidecar {name}")


def test_run_has_its_own_help():
    """In a process of its own, since `run` changes this one's signal handlers."""
    output = subprocess.run(
        [sys.executable, "-m", "sidecar", "run", "--help"],
        cwd=FOLDER.parents[1],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    assert output.startswith("usage: runner-sidecar run [options] [-- COMMAND ...]")
    assert "--token-parameter" in output


@pytest.mark.parametrize("word", ["version", "--version"])
def test_the_version_is_one_line(word, capsys):
    """And nothing else, for scripts."""
    assert main([word]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["--nonsense", "x"]])
def test_wrong_usage_is_a_wrong_setting(arguments, capsys):
    """The usage goes to standard error, with the exit code of wrong settings."""
    assert main(arguments) == WRONG_USAGE == Exit.SETTINGS
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == cli.usage()
