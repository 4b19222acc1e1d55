"""Measure the start of the agent on Windows, under wine: from its process to its configure.

It is `bench.startup` with a Windows Python, beside the same floor there. Both start by turns in one
wine. Milliseconds of wine are not those of Windows; the ratio is what is looked at.
"""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from bench.figure import Figure, typical
from tests.windows import pythons, toolchain
from tests.windows.wine import Wine, WineError, translate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.stage import Stage

HERE = Path(__file__).parent
KEYS = ("wine_startup_vs_floor",)
PYTHON = "3.11"
RUNS = 7
DEADLINE = 120.0
LINUX_ONLY = ("PATH", "HOME", "LANG", "TMPDIR", "SIDECAR_RUNNER_USER")
"""Variables of a stage that wine must have its own of."""


def missing() -> str | None:
    """Return what this needs and is missing here; None if it can be measured."""
    if lacking := toolchain.find_missing():
        return f"wine: {lacking}"
    return None if toolchain.is_built() else "wine: make test-windows builds it"


def measure(stage: Stage, runs: int = RUNS) -> Iterator[Figure]:
    """Measure both programs by turns, so that a busy machine slows them alike."""
    if missing() is not None:
        return
    readings: dict[str, list[float]] = {"agent": [], "floor": []}
    tools = toolchain.create()
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Wine(tools, stage.folder / "wine") as wine,
    ):
        server.settimeout(DEADLINE)
        root = install_listener(stage.folder, server.getsockname()[1])
        listener = translate(root / "bin" / "Runner.Listener.exe")
        programs = {
            "agent": ("-m", "sidecar", "run"),
            "floor": (translate(HERE / "floor.py"), "{}", listener, "configure"),
        }
        for turn in range(runs + 1):
            for name, words in programs.items():
                took = once(stage, wine, server, root, words)
                if turn:  # the first one of each pays for cold caches
                    readings[name].append(took)
    ms = {name: typical(taken) * 1000 for name, taken in readings.items()}
    yield Figure(
        *KEYS,
        ms["agent"] / ms["floor"],
        f"{ms['agent']:.0f} ms (wine)",
        f"{ms['floor']:.0f} ms (floor, wine)",
        {"wine_startup_ms": ms["agent"], "wine_startup_floor_ms": ms["floor"]},
    )


def once(
    stage: Stage, wine: Wine, server: socket.socket, root: Path, words: Sequence[str]
) -> float:
    """Return the seconds from the start of one process to the start of its configure."""
    parameter = stage.token()
    env: dict[str, str | None] = {**stage.environment(parameter, root)}
    env |= dict.fromkeys(LINUX_ONLY)
    env |= {"SIDECAR_RUNNER_DIR": translate(root)}
    began = monotonic()
    argv = (wine.python(PYTHON), *(word.format(parameter) for word in words))
    program = wine.start(argv, env=env, cwd=HERE.parent)
    try:
        server.accept()[0].close()
        took = monotonic() - began
        program.wait(DEADLINE)
    except (TimeoutError, WineError) as error:
        raise RuntimeError(f"configure did not start: {program.output}") from error
    return took


def install_listener(folder: Path, port: int) -> Path:
    """Make a runner's folder whose listener only tells a port that it started."""
    root = folder / "windows-runner"
    (root / "bin").mkdir(parents=True)
    program = str(root / "bin" / "Runner.Listener.exe")
    compile_it = (pythons.COMPILER, "-O2", "-s", f"-DPORT={port}", "-o", program)
    subprocess.run([*compile_it, str(HERE / "started.c"), "-lws2_32"], check=True)
    return root
