"""Choose the exit code of a command that an error has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.errors import Exit, LaunchError, describe
from sidecar import github
from sidecar.aws import calls

if TYPE_CHECKING:
    from sidecar.errors import SidecarError


def explain(error: LaunchError | SidecarError) -> tuple[Exit, str]:
    """Return the exit code and the reason for the log."""
    if isinstance(error, LaunchError):
        return error.exit, str(error)
    is_passing = isinstance(error, calls.TransientError | github.TransientError)
    return Exit.UNAVAILABLE if is_passing else Exit.REFUSED, describe(error)
