"""The errors of GitHub's API; the class says whether another try may help."""

from __future__ import annotations

from sidecar.errors import SidecarError


class GitHubError(SidecarError):
    """GitHub refused, and another try would not help."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.tries = 1
        """How many tries it took; GitHub may have done what an earlier one asked, and only its
        answer was lost."""


class PermissionDenied(GitHubError):
    """The credential may not do this: 401, 403, or the 404 that hides what exists."""


class CredentialRefused(PermissionDenied):
    """The credential itself is not accepted: 401, a key that is none, an App not installed."""


class ClockRefused(CredentialRefused):
    """401 to an App's JWT, while this machine's clock differs from GitHub's."""


class AddressRefused(PermissionDenied):
    """403: the organization's IP allow list lacks the address that the call came from."""


class TransientError(GitHubError):
    """There was no answer, or one that may be different the next time."""


class RateLimited(TransientError):
    """GitHub limits the rate; `seconds` is how long it wants no requests, None if it says not."""

    def __init__(self, message: str, status: int, seconds: float | None) -> None:
        super().__init__(message, status)
        self.seconds = seconds


class RunnerBusy(GitHubError):
    """422: the runner has a job, and is not deleted."""


class NameTaken(GitHubError):
    """409: another runner has the name."""
