"""Read the variables of ECS-Runner-Fleet: a Lambda starts a task for each queued job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.settings.contracts.contract import LONGEST_NAME, Contract

if TYPE_CHECKING:
    from sidecar.settings.contracts.contract import Draft


def _read(draft: Draft) -> None:
    draft.take("token", "RUNNER_TOKEN")
    draft.take("github_url", "RUNNER_REPOSITORY_URL")
    # The defaults are those of its image.
    draft.set("labels", draft.env.get("RUNNER_LABELS", "ecs-fargate"), "RUNNER_LABELS")
    # Every task gets the same name, and GitHub accepts a name once.
    prefix = draft.env.get("RUNNER_NAME", "fargate-runner")[:LONGEST_NAME]
    draft.set("name_prefix", prefix + "-", "RUNNER_NAME")
    if "EVENT_BUS_NAME" in draft.env:
        draft.ignored.append("EVENT_BUS_NAME: no event about the runner's state is sent there")


FLEET = Contract(
    name="fleet",
    marks=(("RUNNER_TOKEN", "RUNNER_REPOSITORY_URL"),),
    names=frozenset(
        {
            "EVENT_BUS_NAME",
            "GITHUB_REPO",
            "RUNNER_LABELS",
            "RUNNER_NAME",
            "RUNNER_REPOSITORY_URL",
            "RUNNER_TABLE",
            "RUNNER_TOKEN",
        }
    ),
    read=_read,
)
