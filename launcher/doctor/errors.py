"""Turn an error of GitHub, or of reading the credential for it, into a finding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.doctor.words import explain_aws, translate
from sidecar.aws.calls import AwsError
from sidecar.examination.finding import Finding, failed
from sidecar.github import AddressRefused, GitHubError, PermissionDenied, TransientError
from sidecar.github.errors import ClockRefused

if TYPE_CHECKING:
    from sidecar.errors import SidecarError


def explain_github(error: SidecarError, change: str) -> Finding:
    """Say what an error means for a launch; `change` is for what no kind of error tells."""
    return translate(_explain(error, change))


def _explain(error: SidecarError, change: str) -> Finding:
    if isinstance(error.__cause__, AwsError):  # the secret was not read; with its own words around
        return explain_aws(error.__cause__)
    text = str(error)
    match error:
        case AwsError():
            return explain_aws(error)
        case ClockRefused():
            return failed(text, "set the clock of the machine; see the line clock")
        case AddressRefused():
            return failed(text, "add this address to the organization's IP allow list")
        case PermissionDenied(status=401):
            what = "GitHub does not know it, or it has ended"
            return failed(text, f"replace the credential: {what}")
        case TransientError():
            return failed(text, "open the way to GitHub; see the lines dns, proxy and clock")
        case GitHubError():
            return failed(text, change)
    return failed(text, "correct the reference, or give the secret itself")
