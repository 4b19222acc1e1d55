"""The first program of a Windows container, `entrypoint/start.py`, as far as it runs anywhere."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sidecar.errors import Exit
from tests.entrypoint.words import WORDS

START = Path(__file__).parents[2] / "entrypoint" / "start.py"
AGENT = """
import json, os, sys
if __name__ == "__main__":
    print(json.dumps({"argv": sys.argv[1:], "pid": os.getpid(), "env": dict(os.environ)}))
    sys.exit(7)
"""
PATIENCE = 60.0


def start(tmp_path, *argv, **env):
    """Run it with a stand-in for the agent; returns exit code, what that reports, and errors."""
    folder = tmp_path / "sidecar"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "__main__.py").write_text(AGENT)
    needed = {name: os.environ[name] for name in ("SYSTEMROOT", "PATH") if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, START, *argv],
        env={"PYTHONPATH": str(tmp_path), **needed, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, errors = process.communicate(timeout=PATIENCE)
    report = json.loads(out) if out else None
    assert report is None or report["pid"] == process.pid
    return process.returncode, report, errors


@pytest.mark.parametrize(("argv", "agent_s"), WORDS)
def test_words_mean_what_they_mean_on_linux(tmp_path, argv, agent_s):
    """It becomes the agent in the same process, with the agent's exit code."""
    code, report, errors = start(tmp_path, *argv)
    assert (code, errors) == (7, "")
    assert report["argv"] == agent_s


def test_the_program_may_have_its_ending(tmp_path):
    """Windows' users write `runner-sidecar.exe`."""
    assert start(tmp_path, "runner-sidecar.exe", "health")[1]["argv"] == ["health"]


def test_jobs_do_not_see_its_own_variables(tmp_path):
    """They are removed from the environment; all others stay."""
    given = {
        "LIFE": "one",
        "ENTRYPOINT_DOCKERD": "false",
        "ENTRYPOINT_CREDENTIALS_ROUTE": "false",
    }
    report = start(tmp_path, **given)[1]
    assert report["env"]["LIFE"] == "one"
    assert not [name for name in report["env"] if name.startswith("ENTRYPOINT_")]


@pytest.mark.parametrize("value", ["true", "yes"])
def test_there_is_no_daemon_to_start(tmp_path, value):
    """The exit code is that of an image for Linux without one; the agent does not begin."""
    code, report, errors = start(tmp_path, ENTRYPOINT_DOCKERD=value)
    assert (code, report) == (Exit.DOCKER, None)
    assert errors.startswith(f"cannot start the docker daemon: ENTRYPOINT_DOCKERD={value}")


def test_a_wrong_value_is_named(tmp_path):
    """A route that somebody asked for with another word is not left out without a word."""
    code, report, errors = start(tmp_path, ENTRYPOINT_CREDENTIALS_ROUTE="yes")
    assert (code, report) == (Exit.SETTINGS, None)
    assert errors == "ENTRYPOINT_CREDENTIALS_ROUTE=yes is neither true nor false\n"


# --- the route to the credentials -----------------------------------------------------------------


class Routes:
    """A system's routes, and its `route` program."""

    def __init__(self, monkeypatch, *, works=True):
        self.own = False
        self.commands = []
        self.works = works
        self.program = runpy.run_path(str(START), run_name="start")
        monkeypatch.setitem(self.program["add_route"].__globals__, "find_gateway", self.find)
        monkeypatch.setattr(subprocess, "run", self.run)

    def find(self):
        """Return the gateway, and whether the credentials have a route of their own."""
        return "172.30.0.1", self.own

    def run(self, command, **_):
        """Add a route, or say why not; the exit code is 0 in any case, as on Windows."""
        self.commands.append(command)
        self.own = self.works
        return SimpleNamespace(
            stdout=b"", stderr=b"" if self.works else b"denied\r\n", returncode=0
        )

    def add(self):
        """Add the route, as the program does."""
        self.program["add_route"]()


def test_the_credentials_get_a_route_to_the_instance(monkeypatch):
    """One route, to that one address, by the container's own gateway."""
    routes = Routes(monkeypatch)
    routes.add()
    assert routes.commands == [
        ["route", "add", "169.254.170.2", "mask", "255.255.255.255", "172.30.0.1"]
    ]


def test_a_route_that_is_there_is_left_alone(monkeypatch):
    """A container that starts again has it already, and so has network mode awsvpc."""
    routes = Routes(monkeypatch)
    routes.add()
    routes.add()
    assert len(routes.commands) == 1


def test_a_route_that_did_not_come_is_noticed(monkeypatch):
    """`route` may end with 0 although it added nothing: what it said is the reason."""
    with pytest.raises(OSError, match="denied"):
        Routes(monkeypatch, works=False).add()


def test_without_a_route_the_agent_begins_all_the_same(monkeypatch, capsys):
    """It may need no credentials; if it does, it says what it could not read."""
    program = Routes(monkeypatch, works=False).program
    began = []
    monkeypatch.setattr(runpy, "run_module", lambda name, **_: began.append((name, sys.argv[1:])))
    monkeypatch.setattr(sys, "argv", [str(START), "--name-prefix", "x"])
    monkeypatch.setenv("ENTRYPOINT_CREDENTIALS_ROUTE", "true")
    program["main"]()
    assert began == [("sidecar", ["run", "--name-prefix", "x"])]
    assert capsys.readouterr().err == "cannot add a route to 169.254.170.2: denied\n"


def test_only_a_life_needs_the_route(tmp_path):
    """Other commands of the agent, such as health checks, ask for nothing."""
    words = ("runner-sidecar", "version")
    _, report, errors = start(tmp_path, *words, ENTRYPOINT_CREDENTIALS_ROUTE="true")
    assert (report["argv"], errors) == (["version"], "")
