"""Name the inputs of the action, where the launcher itself speaks of its settings."""

from __future__ import annotations

import re

SETTINGS = {
    "github_url": "github_url",
    "github_pat": "github_pat",
    "github_app_id": "github_app_id",
    "github_app_key": "github_app_key",
    "runner_group": "runner_group",
    "cluster": "cluster",
    "task_definition": "task_definition",
    "container": "container",
    "launch_type": "launch_type",
    "capacity_provider": "capacity_providers",
    "parameter_prefix": "parameter_prefix",
    "launch-template-id": "launch_template",
    "instance-name": "instance_name",
    "user-data": "user_data",
}
"""Inputs that are settings of the launcher."""
NETWORK = ("subnets", "security_groups", "public_ip")
"""Settings that the input `network` holds."""
_VARIABLE = re.compile(r"LAUNCHER_([A-Z_]+)(=?)")
_KEYS = re.compile(r"\(([a-z_]+(?:, [a-z_]+)*)\)")
"""Settings that a refusal of EC2 names."""


def name_inputs(text: str) -> str:
    """Name inputs where a text names the launcher's settings, as far as there are such inputs."""
    names = {field: name for name, field in SETTINGS.items()} | dict.fromkeys(NETWORK, "network")

    def rename(match: re.Match[str]) -> str:
        name = names.get(match[1].lower())
        return match[0] if name is None else name + (": " if match[2] else "")

    def rename_keys(match: re.Match[str]) -> str:
        found = dict.fromkeys(names.get(key, key) for key in match[1].split(", "))
        return f"({', '.join(found)})"

    return _KEYS.sub(rename_keys, _VARIABLE.sub(rename, text)).replace("--timeout", "timeout")
