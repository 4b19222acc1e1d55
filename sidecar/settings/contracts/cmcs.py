"""Read the variables of CMCS's mac-fc-github-actions-runner-aws: an ECS service of runners."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar import values
from sidecar.settings.contracts.contract import Contract

if TYPE_CHECKING:
    from sidecar.settings.contracts.contract import Draft


def _read(draft: Draft) -> None:
    draft.take("github_pat", "PERSONAL_ACCESS_TOKEN")
    draft.set_url("REPO_OWNER", "REPO_NAME")
    draft.take("name", "RUNNER_UUID")
    own, labels = draft.env.get("RUNNER_UUID", ""), draft.env.get("RUNNER_LABELS", "")
    if own or labels:
        named = "RUNNER_LABELS" if labels else "RUNNER_UUID"
        draft.set("labels", _join_labels(own, labels), named)


def _join_labels(own: str, labels: str) -> str:
    """Join the UUID, which a job may ask for alone, and labels with spaces or commas between."""
    try:
        listed = values.parse_labels(labels) if labels.startswith("[") else labels.split()
    except ValueError:
        return labels  # the settings' own check reports it
    return ",".join(filter(None, (own, *listed)))


CMCS = Contract(
    name="cmcs",
    marks=(("PERSONAL_ACCESS_TOKEN", "REPO_OWNER", "REPO_NAME"),),
    names=frozenset(
        {"PERSONAL_ACCESS_TOKEN", "REPO_NAME", "REPO_OWNER", "RUNNER_LABELS", "RUNNER_UUID"}
    ),
    read=_read,
)
