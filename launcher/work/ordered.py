"""Start a pool's task or machine as a caller of the API has ordered it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from launcher.places.ec2_request import Machine
from launcher.places.request import Destination

if TYPE_CHECKING:
    from launcher.demand.delivery import Demand
    from launcher.demand.order import Order
    from launcher.places import Startable
    from launcher.record.launch import Launch

log = structlog.get_logger()


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


def is_elsewhere(launch: Launch, demand: Demand) -> bool:
    """Return whether an order's task is in its caller's own account: the worker has no role there.

    The API alone may assume the caller's role. An event of that account comes here only where
    somebody forwards it. Without this the worker would clean up here, find nothing there, and begin
    the next try in the launcher's own account.
    """
    order = demand.order
    if order is None or order.account is None:
        return False
    log.info("order.skipped", launch=launch.id, caller=order.caller, account=order.account)
    return True


def check_account(demand: Demand, account: str | None) -> None:
    """Refuse to handle a launch with the clients of another account than its own.

    Raises RuntimeError: that is a mistake in the launcher itself.
    """
    own = demand.order.account if demand.order is not None else None
    if own != account:
        names = [f"the account {each}" if each else "the launcher's own" for each in (own, account)]
        raise RuntimeError(f"a launch of {names[0]} is handled with the clients of {names[1]}")
