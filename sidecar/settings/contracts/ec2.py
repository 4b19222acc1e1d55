"""Read the id of a machine that aws-ec2-self-hosted-runner started.

The launcher sets nothing on the machine: it writes three parameters that begin with its id, after
the launch (sidecar.tokens). So every machine has the mark, and any other launcher comes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.settings.contracts.contract import INSTANCE_ID, Contract

if TYPE_CHECKING:
    from sidecar.settings.contracts.contract import Draft


def _read(draft: Draft) -> None:
    draft.take("launch_id", "SIDECAR_LAUNCH_ID", INSTANCE_ID)
    if "SIDECAR_LAUNCH_CONFIG" in draft.env:  # only if SIDECAR_LAUNCHER names this launcher
        draft.problems.append(
            "SIDECAR_LAUNCH_CONFIG contradicts SIDECAR_LAUNCHER=ec2: it is of the launcher "
            "terraform (example: SIDECAR_LAUNCHER=auto)"
        )


EC2 = Contract(
    name="ec2",
    marks=(("SIDECAR_LAUNCH_ID",), (INSTANCE_ID,)),
    names=frozenset({"SIDECAR_LAUNCH_ID", INSTANCE_ID}),
    read=_read,
    last=True,
)
