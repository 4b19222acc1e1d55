"""The scene of one examination: the stand-ins of a whole life, and the doctor as a process.

In it everything is right; each test makes one thing wrong.
"""

from __future__ import annotations

import json
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local import ecs, ecs_agent, iam
from local.ecs.tasks import TaskDefinition
from local.stage import PAT
from tests.lives import stage as stages
from tests.lives.stage import IS_ROOT, PATIENCE
from tests.support import forked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

DOCTOR = (sys.executable, "-m", "sidecar", "doctor")
SECONDS = "60"
"""What a check may take on a busy machine."""
HASTY = ("--seconds", "10", "--only")
"""For a set-up in which something never answers: only the checks that follow.

With more time AWS's library ends its own two tries first, and has another word for it.
"""
REVISION = ecs_agent.Task.revision


@dataclass(frozen=True)
class Examined:
    """What the doctor printed, and how it ended."""

    code: int
    lines: list[dict[str, str]]
    output: str
    errors: str

    def find(self, check: str, level: str = "") -> list[str]:
        """Return the texts of a check's lines, with what to change, or those of a level."""
        return [
            f"{line['text']}. {line['change']}"
            for line in self.lines
            if line["check"] == check and level in ("", line["level"])
        ]

    def first_failed(self) -> dict[str, str]:
        """Return the first line that failed; nothing if none did."""
        return next((line for line in self.lines if line["level"] == "failed"), {})


class Scene(stages.Stage):
    """A whole set-up."""

    plane: ecs.plane.ControlPlane
    iam: iam.Iam
    stack: AsyncExitStack
    """Whatever a test starts beside."""

    def environment(self) -> dict[str, str]:
        """Return the variables of a task in which all is right."""
        found = super().environment()
        del found["SIDECAR_LOG_LEVEL"]
        return {
            **found,
            **({"SIDECAR_RUNNER_USER": "daemon"} if IS_ROOT else {}),
            "AWS_ENDPOINT_URL_ECS": self.plane.url,
            "AWS_ENDPOINT_URL_IAM": self.iam.url,
            "AWS_ENDPOINT_URL_STS": self.ssm.url,
        }

    def list_secrets(self) -> list[str]:
        """List what no output may hold."""
        held = self.ecs._held
        found = [self.token, PAT, self.ecs.credentials_id]
        found += [held[name] for name in ("AccessKeyId", "SecretAccessKey", "Token")]
        return [secret for secret in found if secret]

    async def examine(
        self,
        env: Mapping[str, str | None] | None = None,
        *options: str,
        argv: Sequence[str] = (*DOCTOR, "--json"),
        secrets: Sequence[str] = (),
    ) -> Examined:
        """Run the doctor; no secret may be in what it prints. None removes a variable."""
        merged = {**self.environment(), **(env or {})}
        given = {name: value for name, value in merged.items() if value is not None}
        words = (*argv, "--seconds", SECONDS, *options)
        code, output, errors = await forked.play(words, given, 2 * PATIENCE)
        found = Examined(code, _read_lines(output), output.decode(), errors.decode())
        for secret in (*self.list_secrets(), *secrets):
            assert secret not in found.output + found.errors, "a secret was shown"
        assert "Traceback" not in found.errors, found.errors
        return found


def _read_lines(output: bytes) -> list[dict[str, str]]:
    return json.loads(output)["lines"] if output.startswith(b"{") else []


@asynccontextmanager
async def open_scene(moto: str, **options: Any) -> AsyncIterator[Scene]:
    """Open a scene; `options` are those of `local.stage.start_stand_ins`."""
    options = {"use_sts": True} | options
    async with (
        AsyncExitStack() as stack,
        stages.open_stage(moto, kind=Scene, **options) as scene,
        ecs.serving(_start_nothing) as scene.plane,
        iam.serving() as scene.iam,
    ):
        scene.plane.definitions = [TaskDefinition(revision=REVISION, stop_timeout=30)]
        scene.stack = stack
        manifest = {"libraries": {"Runner.Listener/2.338.0": {"type": "project"}}}
        path = scene.runner_folder / "bin" / "Runner.Listener.deps.json"
        path.write_text(json.dumps(manifest), encoding="utf-8")
        await scene.put()
        yield scene


def _start_nothing(*_: Any) -> Any:
    raise AssertionError("no task is started")
