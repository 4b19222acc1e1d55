"""Read the tags of terraform-aws-github-runner's machines, or our variables in their place.

They name a configuration in SSM, which says where the token of this machine is (sidecar.tokens).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.settings.contracts.contract import INSTANCE_ID, Contract, tag

if TYPE_CHECKING:
    from sidecar.settings.contracts.contract import Draft

CONFIG_PATH, NAME_PREFIX = tag("ghr:ssm_config_path"), tag("ghr:runner_name_prefix")


def _read(draft: Draft) -> None:
    draft.take("launch_config", "SIDECAR_LAUNCH_CONFIG", CONFIG_PATH)
    draft.take("launch_id", "SIDECAR_LAUNCH_ID", INSTANCE_ID)
    if NAME_PREFIX in draft.env and "launch_id" in draft.settings:
        # A whole name: the launcher ends machines whose runner's name does not end with their id.
        name = draft.env[NAME_PREFIX] + draft.settings["launch_id"]
        draft.set("name", name, NAME_PREFIX)


TERRAFORM = Contract(
    name="terraform",
    marks=(("SIDECAR_LAUNCH_CONFIG",), (CONFIG_PATH, INSTANCE_ID)),
    names=frozenset(
        {"SIDECAR_LAUNCH_CONFIG", "SIDECAR_LAUNCH_ID", CONFIG_PATH, NAME_PREFIX, INSTANCE_ID}
    ),
    read=_read,
)
