"""Run the launcher with one fault built in: `python -m tests.launches.mutated FAULT COMMAND …`."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

from launcher.__main__ import main
from launcher.sweep.claims import Claims
from launcher.sweep.parameters import Parameters
from launcher.sweep.sweeper import Sweeper
from sidecar import github
from sidecar.github import runners

if TYPE_CHECKING:
    from collections.abc import Callable

    Patch = Callable[[], contextlib.AbstractContextManager[Any]]


def _one_look_only() -> Any:
    return mock.patch.object(Sweeper, "_is_due", return_value=True)


def _busy_is_not_looked_at() -> Any:
    """Read each runner as one without a job, and take a refusal for a removal."""
    read, delete = runners._runner, github.Runners.delete

    async def mutated(self: github.Runners, runner_id: int) -> bool:
        with contextlib.suppress(github.RunnerBusy):
            return await delete(self, runner_id)
        return True

    stack = contextlib.ExitStack()
    stack.enter_context(
        mock.patch.object(runners, "_runner", lambda body: replace(read(body), busy=False))
    )
    stack.enter_context(mock.patch.object(github.Runners, "delete", mutated))
    return stack


def _foreign_is_taken() -> Any:
    """Take whatever looks like ours, whoever's it is."""
    listed = Parameters.list_tokens

    async def mutated(self: Parameters, prefix: str, deployment: str | None) -> Any:
        del deployment
        return await listed(self, prefix, None)

    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.object(Claims, "owns", return_value=True))
    stack.enter_context(mock.patch.object(Parameters, "list_tokens", mutated))
    return stack


FAULTS: dict[str, Patch] = {
    "one look only": _one_look_only,
    "busy is not looked at": _busy_is_not_looked_at,
    "foreign is taken": _foreign_is_taken,
}

if __name__ == "__main__":
    with FAULTS[sys.argv[1]]():
        sys.exit(main(sys.argv[2:]))
