"""Start a pool's task or machine as a caller of the API has ordered it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from launcher.places.ec2_request import Machine
from launcher.places.request import Destination

if TYPE_CHECKING:
    from launcher.demand.order import Order
    from launcher.places import Startable


def apply(order: Order, startable: Startable) -> Startable:
    """Return what is started with what the caller has chosen; the rest is the pool's."""
    match startable:
        case Destination():
            return replace(
                startable,
                subnets=_one(order.subnet) or startable.subnets,
                security_groups=_one(order.security_group) or startable.security_groups,
                task_role=order.role or startable.task_role,
            )
        case Machine():
            return replace(
                startable,
                subnets=_one(order.subnet) or startable.subnets,
                security_groups=_one(order.security_group) or startable.security_groups,
                instance_profile=order.role or startable.instance_profile,
                image=order.image or startable.image,
                instance_types=_one(order.type) or startable.instance_types,
            )
    return startable


def _one(chosen: str | None) -> tuple[str, ...]:
    return (chosen,) if chosen is not None else ()
