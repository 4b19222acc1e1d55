"""What the Windows image holds and sets, made by the image's own programs, and run under wine."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from sidecar import __version__
from tests.images.windows_dockerfile import FINAL
from tests.windows import toolchain
from tests.windows.agent_folder import AgentFolder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.windows.wine import Wine

VERSION = "3.13"
"""As the Dockerfile's."""
ON_PATH = [rf"C:\Program Files\{name}" for name in ("runner-sidecar", "git\\cmd", "docker")]
OWN_PORT = {"SIDECAR_HEALTH_ADDRESS": "127.0.0.1:0"}
CTRL_C, DOTNET = 0xC000013A, 0xE0434352
"""How programs end by Ctrl-C, and by an exception of .NET."""


@pytest.fixture(scope="module")
def agent(wine: Wine, tmp_path_factory: pytest.TempPathFactory) -> AgentFolder:
    """Return the agent's folder, made once."""
    python = toolchain.create().pythons[VERSION]
    made = AgentFolder(wine, python, VERSION, tmp_path_factory.mktemp("image"))
    made.make()
    return made


def first_program(agent: AgentFolder, *words: str) -> list[str]:
    """Return the image's first program with a container's arguments."""
    (entrypoint,) = FINAL.find("ENTRYPOINT")
    return [*(agent.path(word.rpartition("\\")[2]) for word in entrypoint.words), *words]


def exit_with(code: int) -> list[str]:
    """Return a command that ends with this code."""
    return ["cmd", "/c", f"exit {code if code < 1 << 31 else code - (1 << 32)}"]


def test_the_agent_s_folder_is_complete(wine: Wine, agent: AgentFolder) -> None:
    """The agent runs in it by both programs: the launcher beside Python, and the first program."""
    for argv in (
        [agent.path("runner-sidecar.exe"), "version"],
        first_program(agent, "runner-sidecar", "version"),
    ):
        done = wine.run(argv)
        assert (done.code, done.output) == (0, __version__)


def test_a_health_check_says_what_it_found(wine: Wine, agent: AgentFolder) -> None:
    """Its command is the one in the image and in the task definitions."""
    (health,) = FINAL.find("HEALTHCHECK")
    program, *words = json.loads(health.rest.partition(" CMD ")[2])
    done = wine.run([agent.path(program.rpartition("\\")[2]), *words])
    assert done.code == 1
    assert done.output.startswith("cannot reach the agent at 127.0.0.1:9190")


def test_nothing_of_a_task_changes_what_the_agent_runs(wine: Wine, agent: AgentFolder) -> None:
    """No variable and no working folder: all is imported from its own folder."""
    evil = agent.home.parent / "evil"
    evil.mkdir(exist_ok=True)
    for name in ("sitecustomize", "usercustomize", "structlog", "sidecar", "json"):
        (evil / f"{name}.py").write_text("import sys; sys.exit(99)")
    env = {"PYTHONPATH": str(evil), "PYTHONHOME": str(evil), "PYTHONSTARTUP": str(evil / "json.py")}
    done = wine.run(first_program(agent, "runner-sidecar", "version"), env=env, cwd=evil)
    assert (done.code, done.output) == (0, __version__)
    show = "import json, sys; print(json.dumps([sys.path, sys.flags.isolated, sys.flags.no_site]))"
    done = wine.run([agent.path("python.exe"), "-c", show], env=env, cwd=evil)
    path, isolated, no_site = json.loads(done.output)
    assert (isolated, no_site) == (1, 1)
    home = agent.path("")
    assert path == [f"{home}\\python313.zip", home, f"{home}\\Lib\\site-packages"]


def test_exit_codes_have_all_their_bits(wine: Wine, agent: AgentFolder) -> None:
    """From a supervised command to whoever started the first program, or the launcher."""
    launcher = [agent.path("runner-sidecar.exe"), "run", "--", *exit_with(DOTNET)]
    assert wine.run(launcher, env=OWN_PORT).code == DOTNET
    # The gateway can be read under wine; there is no program that adds routes, and that is said.
    env = {"ENTRYPOINT_CREDENTIALS_ROUTE": "true", **OWN_PORT}
    done = wine.run(first_program(agent, *exit_with(CTRL_C)), env=env)
    assert done.code == CTRL_C
    assert done.output.count("cannot add a route to 169.254.170.2: ") == 1


def test_a_life_needs_its_settings(wine: Wine, agent: AgentFolder) -> None:
    """Without arguments the first program is a life, which says all that is missing."""
    done = wine.run(first_program(agent), env={"SIDECAR_NAME_PREFIX": "a"})
    assert done.code == 11
    assert "SIDECAR_TOKEN_PARAMETER is missing" in done.output


def test_the_first_program_is_the_agent(wine: Wine, agent: AgentFolder) -> None:
    """No launcher is between the container and it: what it supervises has it as its parent."""
    command = (agent.path("python.exe"), "-c", "import os; print('parent', os.getppid())")
    program = wine.start(first_program(agent, *command), env=OWN_PORT)
    assert program.wait() == 0
    assert f"parent {program.pid}" in program.wait_for_output().splitlines()
    assert wine.find_left() == []


def test_the_registry_gets_the_stop_budget(wine: Wine, tmp_path: Path) -> None:
    """The image's own commands, in a branch of the registry that nothing reads."""
    (command,) = [one.rest for one in FINAL.find("RUN") if "WaitToKillServiceTimeout" in one.rest]
    branch = r"HKCU\Software\Image"
    (tmp_path / "set.cmd").write_text(command.replace("HKLM", branch))
    env = {"STOP_TIMEOUT": "300", "PATH": r"C:\windows\system32"}
    done = wine.run(["cmd", "/C", "set.cmd"], env=env, cwd=tmp_path)
    assert done.code == 0, done.output
    done = wine.run(["reg", "query", branch, "/s"])
    values = dict(re.findall(r"(?m)^ +(\w+) +(REG_\w+ +.*?)\s*$", done.output))
    assert {name: value.split(None, 1) for name, value in values.items()} == {
        "WaitToKillServiceTimeout": ["REG_SZ", "300000"],
        "ProcessShutdownTimeoutSeconds": ["REG_DWORD", "0x12c"],
        "LongPathsEnabled": ["REG_DWORD", "0x1"],
        "Path": [
            "REG_EXPAND_SZ",
            ";".join([*ON_PATH, r"C:\windows\system32"]),
        ],
    }
