"""Say what to do next to who starts the agent with no setting at all, as on a laptop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.settings.contracts import find_contracts
from sidecar.settings.model import PREFIX
from sidecar.settings.platform import TASK_METADATA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FIRST_STEPS = (
    "no setting is given, and this is neither a task of ECS nor a machine of EC2",
    "to see a whole life on this machine, without AWS and GitHub: `make demo` in the repository",
    "to run a first runner: docs/tutorial.md; every setting: runner-sidecar run --help",
)


def choose_lines(
    problems: Sequence[str],
    options: Sequence[str],
    environ: Mapping[str, str],
    machine: Mapping[str, str],
) -> Sequence[str]:
    """Return the lines to print where the settings are wrong: the problems, or the first steps.

    A list of all that is missing helps who has begun; it is a riddle for who has not.
    """
    given = {name: value for name, value in environ.items() if value.strip()}
    begun = any(name.startswith(PREFIX) or name in TASK_METADATA for name in given)
    if options or machine or begun or find_contracts(given, last=True):
        return problems
    return FIRST_STEPS
