"""Read the variables of CloudSnorkel's cdk-github-runners (its ECS and Fargate providers).

Its task definition brings a command that registers by itself. The agent then supervises the
command and reads nothing here. Without the command, these variables are all that is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.settings.contracts.contract import Contract

if TYPE_CHECKING:
    from sidecar.settings.contracts.contract import Draft


def _read(draft: Draft) -> None:
    draft.take("token", "RUNNER_TOKEN")
    draft.take("name", "RUNNER_NAME")
    draft.take("labels", "RUNNER_LABEL")
    draft.take("runner_group", "RUNNER_GROUP2")  # RUNNER_GROUP1 is the option --runnergroup
    if draft.env.get("DEFAULT_LABELS") == "--no-default-labels":
        draft.set("no_default_labels", "true", "DEFAULT_LABELS")
    if "REGISTRATION_URL" in draft.env:
        draft.take("github_url", "REGISTRATION_URL")
        return
    # Older versions set the parts of the URL; an organization has an empty REPO.
    host = f"https://{draft.env['GITHUB_DOMAIN']}"
    draft.set_url("OWNER", "REPO" if "REPO" in draft.env else None, host=host)


CDK = Contract(
    name="cdk",
    marks=(("RUNNER_TOKEN", "REGISTRATION_URL"), ("RUNNER_TOKEN", "GITHUB_DOMAIN", "OWNER")),
    names=frozenset(
        {
            "DEFAULT_LABELS",
            "GITHUB_DOMAIN",
            "OWNER",
            "REGISTRATION_URL",
            "REPO",
            "RUNNER_GROUP1",
            "RUNNER_GROUP2",
            "RUNNER_LABEL",
            "RUNNER_NAME",
            "RUNNER_TOKEN",
            "RUNNER_VERSION",
        }
    ),
    read=_read,
)
