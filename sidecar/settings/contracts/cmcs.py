"""Read the variables of CMCS's mac-fc-github-actions-runner-aws: an ECS service of runners."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.settings.contracts.contract import Contract

if TYPE_CHECKING:
    from sidecar.settings.contracts.contract import Draft


def _read(draft: Draft) -> None:
    draft.take("github_pat", "PERSONAL_ACCESS_TOKEN")
    draft.set_url("REPO_OWNER", "REPO_NAME")
    draft.take("name", "RUNNER_UUID")
    # Its labels are separated by spaces or commas; a job may ask for the UUID alone.
    words = [draft.env[name] for name in ("RUNNER_UUID", "RUNNER_LABELS") if name in draft.env]
    if words:
        named = "RUNNER_LABELS" if "RUNNER_LABELS" in draft.env else "RUNNER_UUID"
        draft.set("labels", ",".join(" ".join(words).split()), named)


CMCS = Contract(
    name="cmcs",
    marks=(("PERSONAL_ACCESS_TOKEN", "REPO_OWNER", "REPO_NAME"),),
    names=frozenset(
        {"PERSONAL_ACCESS_TOKEN", "REPO_NAME", "REPO_OWNER", "RUNNER_LABELS", "RUNNER_UUID"}
    ),
    read=_read,
)
