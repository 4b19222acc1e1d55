"""Run the agent's relay (`tests.engines.relayed`) as a process in a network namespace."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from local import aws
from local.runner import install
from tests.engines import spaces
from tests.engines.roots import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engines.spaces import Space

PATIENCE = 60.0


@dataclass
class Agent:
    """The process, and the lines that it has printed."""

    process: subprocess.Popen[str]
    lines: queue.Queue[str | None] = field(default_factory=queue.Queue)
    events: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    """The variables that a job would have."""

    def read(self) -> None:
        """Read every line, until the end."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def wait_for_line(self, word: str) -> str:
        """Wait for a line that begins with `word`; return the rest of it."""
        while (line := self.lines.get(timeout=PATIENCE)) is not None:
            if line.startswith("{"):
                self.events.append(json.loads(line))
            if line.startswith(f"{word} "):
                return line.removeprefix(f"{word} ").strip()
        raise AssertionError(f"it ended without {word}: {self.events}")

    def wait_for_event(self, name: str) -> dict[str, Any]:
        """Wait for an event; it may have been logged already."""
        while not (matching := [event for event in self.events if event["event"] == name]):
            line = self.lines.get(timeout=PATIENCE)
            assert line is not None, f"it ended without {name}: {self.events}"
            if line.startswith("{"):
                self.events.append(json.loads(line))
        return matching[0]

    @property
    def uri(self) -> str:
        """The path in its containers' variables."""
        return self.environment["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]

    def stop(self) -> int:
        """Ask it to stop, and wait; return its exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """Kill it, so that no cleanup step runs."""
        self.process.kill()
        self.process.wait(PATIENCE)


@contextmanager
def start(
    space: Space, folder: Path, env: dict[str, str], *, word: str = "ready"
) -> Iterator[Agent]:
    """Run it in `space` within the block, which begins when it prints `word`."""
    root = folder / "runner"
    if not root.exists():
        install(root)
    variables = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "AWS_REGION": aws.REGION,
        "SIDECAR_TOKEN_PARAMETER": "/unused",
        "SIDECAR_RUNNER_DIR": str(root),
        "SIDECAR_RUNNER_USER": "nobody",
        **env,
    }
    argv = space.argv(sys.executable, "-m", "tests.engines.relayed")
    with subprocess.Popen(
        [*spaces.DIE_WITH_PARENT, *argv],
        cwd=REPOSITORY,
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        agent = Agent(process)
        threading.Thread(target=agent.read, daemon=True).start()
        try:
            rest = agent.wait_for_line(word)
            if word == "ready":
                agent.environment = json.loads(rest)
            yield agent
        finally:
            process.kill()
