"""Check what a start names beside its pool: only what is listed for its caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.api.answers import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.api.requests import Fields
    from launcher.pools.callers import Choices
    from launcher.pools.pool import Pool

NAMES = {name: name for name in ("subnet", "security_group", "role", "image", "type")}
"""The fields of the API's own contract, by what they choose."""
OF_MACHINES = ("image", "type")
LONGEST = 600


def choose(
    fields: Fields, choices: Choices, names: Mapping[str, str] = NAMES
) -> dict[str, str | None]:
    """Read what is chosen, each out of its list. `names` are the fields that choose it.

    Raises Refused with 403, which names the field.
    """
    listed = {
        "subnet": choices.subnets,
        "security_group": choices.security_groups,
        "role": choices.roles,
        "image": choices.images,
        "type": choices.instance_types,
    }
    return {
        what: check_listed(fields.take(field), field, listed[what]) for what, field in names.items()
    }


def check_fitting(
    chosen: Mapping[str, str | None], pool: Pool, names: Mapping[str, str] = NAMES
) -> None:
    """Refuse what only a machine has, where the pool starts tasks. Raises Refused."""
    for what in OF_MACHINES:
        if chosen[what] is not None and pool.machine is None:
            raise Refused(403, f"{names[what]} is for machines, and {pool.name} has tasks")


def check_listed(value: object, field: str, listed: tuple[str, ...]) -> str | None:
    """Return the value if it is listed; None where there is none. Raises Refused."""
    if value in (None, ""):
        return None
    if not isinstance(value, str) or len(value) > LONGEST or value not in listed:
        raise Refused(403, f"{field} is not listed for this caller")
    return value
