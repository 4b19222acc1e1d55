"""Turn an error of AWS into a finding: how bad it is, and what to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.aws.calls import AccessDenied, NotFound, RateLimited, TransientError
from sidecar.examination.finding import Finding, failed, warning

if TYPE_CHECKING:
    from sidecar.errors import SidecarError

_BY_WORDS = {
    "KMS refuses": "allow kms:Decrypt for its key, in the role's policy and in the key's",
    "no AWS credentials": "give the task a taskRoleArn, the machine an instance profile, or this "
    "shell credentials (AWS_PROFILE)",
    "no region": "set AWS_REGION",
    "does not accept the credentials": "replace the credentials, and look at the line clock",
    "credentials have expired": "replace the credentials, and look at the line clock",
    "cannot get the task role's credentials": "look at the line roles",
}
"""What to change, by what an error says."""
_IN_BRACKETS = "change what stands in brackets"


def explain_aws(error: SidecarError) -> Finding:
    """Say what an error means for a life that makes the same call."""
    text = str(error)
    for words, change in _BY_WORDS.items():
        if words in text:
            return failed(text, change)
    match error:
        case NotFound():
            return warning(text, "correct the name, or let the launcher write it: a life waits")
        case AccessDenied():
            return failed(text, "allow the call that stands in brackets, in the policy that denies")
        case RateLimited():
            return warning(text, "ask again later: the account makes too many calls")
        case TransientError():
            return failed(text, "open the way to AWS; see the lines dns, proxy and certificates")
    return failed(text, _IN_BRACKETS)
