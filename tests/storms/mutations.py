"""Faults that somebody could build into the launcher, each with what a storm then shows."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from unittest import mock

from launcher import identity
from launcher.demand import queue
from launcher.launch import Stages
from launcher.places import Later, Why, ec2, ecs
from launcher.places.ec2 import Ec2
from launcher.places.ecs import Ecs
from launcher.places.request import make_request
from launcher.pools.access import Access
from launcher.record import records
from launcher.record.launch import Launch
from launcher.record.records import Records
from launcher.tokens import RunnerToken, TokenStore
from launcher.work import Resources
from sidecar import github
from sidecar.aws.calls import TransientError
from sidecar.errors import SidecarError
from tests.storms.machines import Fate
from tests.storms.plan import HOUR, Machines, Plan, Turn, make_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Patch = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True)
class Mutation:
    """One fault."""

    patch: Patch
    shown: str
    """Part of what the verdict then says."""
    changes: dict[str, Any] = field(default_factory=dict)
    """What a plan must have for it to show soon."""
    machines: Machines = field(default_factory=Machines)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Build the fault in."""
        with self.patch():
            yield

    def plan(self, seed: str) -> Plan:
        """Make the plan of a small storm in which it shows."""
        plan = make_plan(seed, **_SMALL | self.changes)
        jobs = [job for job in plan.jobs if job.turn not in (Turn.APPROVE, Turn.RECONSIDER)]
        return replace(plan, jobs=tuple(jobs[:8]), machines=self.machines)


def _request_is_made_anew() -> Any:
    """Send a request that is not stored, with a client token of its own each time."""

    async def mutated(self: Stages, launch: Launch) -> Any:
        destination, tags = self.destination, self._tags(launch)
        started_by = identity.started_by(launch.order_id)
        request = make_request(destination, uuid.uuid4().hex, started_by, tags, launch.step)
        return launch, await self.ecs.start(request)

    return mock.patch.object(Stages, "_ask", mutated)


def _unknown_is_refused(place: type[Ecs | Ec2] = Ecs, module: Any = ecs) -> Any:
    start = place.start

    async def mutated(self: Any, request: dict[str, Any]) -> Any:
        try:
            return await start(self, request)
        except TransientError as error:
            return Later(Why.CAPACITY, str(error))

    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.object(place, "start", mutated))
    stack.enter_context(mock.patch.object(module, "TRIES", 1))
    return stack


def _unknown_machine_is_refused() -> Any:
    return _unknown_is_refused(Ec2, ec2)


def _halted_is_kept() -> Any:
    return mock.patch.object(ec2, "HALTED", ())


def _machine_is_kept() -> Any:
    async def mutated(self: Ec2, task: str, reason: str) -> None:
        del task, reason

    return mock.patch.object(Ec2, "stop", mutated)


def _no_conditions() -> Any:
    update = records.update_launch

    def mutated(*given: Any) -> dict[str, Any]:
        made: dict[str, Any] = update(*given)
        del made["ConditionExpression"]
        made["ExpressionAttributeValues"].pop(":before", None)
        return made

    return mock.patch.object(records, "update_launch", mutated)


def _try_is_not_raised() -> Any:
    next_try = Launch.next_try

    def mutated(self: Launch, reason: str) -> Launch:
        return replace(next_try(self, reason), tries=self.tries)

    return mock.patch.object(Launch, "next_try", mutated)


def _parameter_is_kept() -> Any:
    async def mutated(self: TokenStore, task: str) -> bool:
        return True

    return mock.patch.object(TokenStore, "delete", mutated)


def _runner_is_kept() -> Any:
    async def mutated(self: github.Runners, runner_id: int) -> bool:
        return True

    return mock.patch.object(github.Runners, "delete", mutated)


def _place_is_kept() -> Any:
    async def mutated(self: Records, launch: Launch) -> Launch:
        return launch

    return mock.patch.object(Records, "give_places", mutated)


def _old_message_goes_first() -> Any:
    """Delete a message before it is handled."""

    async def mutated(own: Any, received: Any, worker: Any) -> bool:
        await own.delete(received)
        return await queue.take(own, received.message, worker)

    from tests.storms import launching

    return mock.patch.object(launching, "process", mutated)


class _Forgetful:
    """A worker that takes each error for an end, as one of the older systems does."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    async def handle(self, message: Any) -> Any:
        """Handle a message."""
        with contextlib.suppress(SidecarError):
            return await self._worker.handle(message)


def _error_ends_message() -> Any:
    """Delete what fails all the same."""

    async def mutated(own: Any, received: Any, worker: Any) -> bool:
        return await queue.process(own, received, _Forgetful(worker))

    from tests.storms import launching

    return mock.patch.object(launching, "process", mutated)


def _policy_stays_here() -> Any:
    return mock.patch.object(Access, "to_policy", return_value={"forks": True})


def _token_is_not_sealed() -> Any:
    async def keeps(self: Resources) -> bool:
        return True

    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.object(Resources, "_keeps_token", keeps))
    stack.enter_context(mock.patch.object(RunnerToken, "seal", lambda self, *_: self))
    return stack


_SMALL = {
    "longest": 2 * HOUR,
    "outages": {},
    "droughts": (),
    "broken": (),
    "deaths": None,
    "lost": 0.0,
    "maximum": 60,
}
_ALL = "small", "large"
_OUTAGE = {"outages": {"dynamodb": (0.0, 600.0)}}
_UNLUCKY = {"faults": 0.15, "deaths": 60}
MUTATIONS: dict[str, Mutation] = {
    "a request is made anew each time": Mutation(_request_is_made_anew, "two living", _UNLUCKY),
    "an unknown outcome counts as refused": Mutation(_unknown_is_refused, "two living", _UNLUCKY),
    "an unknown outcome of EC2 counts as refused": Mutation(
        _unknown_machine_is_refused, "two living", _UNLUCKY, Machines(_ALL)
    ),
    "a machine that was stopped is left alone": Mutation(
        _halted_is_kept, "(halt) has lived for", machines=Machines(_ALL, 0.8, (Fate.HALT,))
    ),
    "a machine is not ended": Mutation(
        _machine_is_kept, "(freeze) has lived for", machines=Machines(_ALL, 0.8, (Fate.FREEZE,))
    ),
    "records are written without a condition": Mutation(_no_conditions, "counter", {"hooks": 2}),
    "the try is not raised": Mutation(_try_is_not_raised, "is left", {"mishaps": 0.9, **_UNLUCKY}),
    "the parameter is not deleted": Mutation(_parameter_is_kept, "parameter ", {"mishaps": 0.5}),
    "the runner is not deleted": Mutation(_runner_is_kept, "runner ", {"mishaps": 0.5}),
    "the place in the counter is not given back": Mutation(_place_is_kept, "counter"),
    "a message is deleted before its work": Mutation(
        _old_message_goes_first, "is still queued", {"deaths": 40}
    ),
    "an error deletes the message": Mutation(_error_ends_message, "is still queued", _OUTAGE),
    "the policy does not go with the token": Mutation(_policy_stays_here, "a stranger's"),
    "a token for many runners is not sealed": Mutation(
        _token_is_not_sealed, "can read a registration token"
    ),
}
