"""Give what the launcher shares with the agent the launcher's own names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.errors import describe
from sidecar.examination import aws_errors
from sidecar.examination.finding import Finding

if TYPE_CHECKING:
    from sidecar.errors import SidecarError


def translate(finding: Finding) -> Finding:
    """Translate a finding about an error: errors name the agent's variables and its task role.

    Only these: other findings may be about an agent's variables.
    """
    change = describe(Exception(finding.change)) if finding.change else ""
    return Finding(finding.level, describe(Exception(finding.text)), change)


def explain_aws(error: SidecarError) -> Finding:
    """Say what an error of AWS means for a launch."""
    return translate(aws_errors.explain_aws(error))
