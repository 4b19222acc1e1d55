"""Read the variables of fargate-aws-github-runner: a Lambda puts a token into SSM per task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.settings.contracts.contract import Contract

if TYPE_CHECKING:
    from sidecar.settings.contracts.contract import Draft


def _read(draft: Draft) -> None:
    draft.take("token_parameter", "RUNNER_TOKEN_PATH")
    draft.take("labels", "LABELS")
    draft.take("runner_group", "RUNNER_GROUP")
    organization = draft.env.get("USE_ORG") == "true"
    draft.set_url("ORGANIZATION", None if organization else "REPO")


FARGATE = Contract(
    name="fargate",
    marks=(("RUNNER_TOKEN_PATH",),),
    names=frozenset(
        {"RUNNER_TOKEN_PATH", "ORGANIZATION", "REPO", "LABELS", "USE_ORG", "RUNNER_GROUP"}
    ),
    read=_read,
)
