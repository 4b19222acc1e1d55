"""The settings of machines of EC2, which `start` may start in place of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from launcher.settings import checks
from sidecar.fields import GivenSettings, setting

if TYPE_CHECKING:
    from collections.abc import Mapping

Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(checks.parse_names)]
CAPACITIES = ("spot", "on-demand")
OF_TASKS = ("cluster", "task_definition", "container", "launch_type", "public_ip")
"""Settings that a machine has no use for."""


class MachineSettings(GivenSettings):
    """The settings of machines: a launch template, and what stands in its place."""

    launch_template: Annotated[str, AfterValidator(checks.check_template)] | None = setting(
        None, "launch template, by id or name: machines are started then, no tasks", "lt-0123456789"
    )
    launch_template_version: Annotated[str, AfterValidator(checks.check_version)] = setting(
        "$Default", "version of the launch template: a number, $Default or $Latest", "3"
    )
    instance_types: Names = setting(
        (), "instance types, the preferred first; default: the launch template's", "m7i.large"
    )
    image: Annotated[str, AfterValidator(checks.check_image)] | None = setting(
        None, "image of the machines; default: the launch template's", "ami-0123456789abcdef0"
    )
    instance_profile: Annotated[str, AfterValidator(checks.check_name)] | None = setting(
        None, "instance profile, by name or ARN; default: the launch template's", "runner"
    )
    instance_name: Annotated[str, AfterValidator(checks.check_tag)] | None = setting(
        None, "tag `Name` of the machines", "runner"
    )
    user_data: str | None = setting(
        None,
        "file of the user data, without a secret; default: the launch template's user data",
        "user-data.sh",
    )


def check_place(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Check that there are the settings of tasks or of machines, and not of both.

    Returns each setting that is wrong, and what is wrong with it.
    """
    if "launch_template" not in given:
        own = [field for field in MachineSettings.model_fields if field in given]
        missing = [field for field in ("cluster", "task_definition") if field not in given]
        problems = [(field, "is for machines: it needs LAUNCHER_LAUNCH_TEMPLATE") for field in own]
        what = "is missing; for machines set LAUNCHER_LAUNCH_TEMPLATE"
        return [*problems, *((field, what) for field in missing)]
    what = "contradicts LAUNCHER_LAUNCH_TEMPLATE: it is for tasks, that is for machines"
    problems = [(field, what) for field in OF_TASKS if field in given]
    asked = checks.parse_names(given.get("capacity_providers", ()))
    if isinstance(asked, tuple) and not set(asked) <= set(CAPACITIES):
        what = f"must be {' or '.join(CAPACITIES)} with LAUNCHER_LAUNCH_TEMPLATE"
        problems.append(("capacity_providers", what))
    return problems
