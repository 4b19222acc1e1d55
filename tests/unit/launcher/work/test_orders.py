"""What a worker does with what a caller of the API has ordered: the same table, the same events."""

import pytest

from launcher.demand.delivery import Demand
from launcher.demand.order import Order
from launcher.record.launch import Launch
from launcher.work.held import hold
from tests.unit.launcher.work.scene import make_demand, play

ORDER = Order("octo", 5, subnet="subnet-11111111")


def make_order(**more):
    """Make the demand of an order."""
    return make_demand(0, order=ORDER, **more)


def test_an_order_is_kept_in_a_message_and_read_again():
    """With all of it; a worker that is newer or older understands the rest."""
    demand = make_order()
    assert Demand.from_json(demand.to_json()) == demand
    newer = demand.to_json().replace('"caller"', '"colour": "red", "caller"')
    assert Demand.from_json(newer) == demand
    assert not demand.is_warm
    assert make_demand(0).is_warm
    with pytest.raises(ValueError, match="no demand"):
        Demand.from_json(demand.to_json().replace('"maximum"', '"most"'))


async def begin(scene):
    """Start what is ordered, as the API does; return its launch."""
    demand = make_order()
    launch = Launch("0" * 32, "small", demand.to_json(), scene.now())
    around = scene.make_resources()
    async with hold(around.records, launch) as held:
        await scene.worker._queued._carrier.carry_on(held, demand, _message(scene))
        return held.launch


def _message(scene):
    from launcher.demand.message import Message

    return Message("", scene.now(), sent=scene.now())


def test_an_order_s_runner_ends_when_it_is_idle_and_not_with_the_pool():
    """A warm one waits for as long as it lives; this one has the pool's idle limit."""

    async def story(scene):
        await begin(scene)
        (request,) = scene.tasks.sent
        (container,) = request["overrides"]["containerOverrides"]
        environment = {each["name"]: each["value"] for each in container["environment"]}
        assert environment["SIDECAR_IDLE_LIMIT"] == "300"

    play(story)


def test_a_job_on_an_order_s_runner_has_stolen_nothing():
    """Its caller ordered the runner for it: neither is moved, and nothing more is started."""

    async def story(scene):
        ordered = await begin(scene)
        await scene.begin(1)
        await scene.boot(1)
        before = len(scene.tasks.states)
        scene.parameters.held.pop(ordered.place, None)
        await scene.run(1, ordered.runner_name)
        assert (await scene.records.read(ordered.id)).place == ordered.place
        assert len(scene.tasks.states) == before

    play(story)


@pytest.mark.parametrize(("code", "served"), [(0, True), (17, True), (18, False), (13, False)])
def test_the_end_of_a_task_ends_its_order(code, served):
    """By its event alone: with its job, or unused; the next try is for faults only."""

    async def story(scene):
        ordered = await begin(scene)
        scene.hub.remove(ordered.runner_name)
        scene.parameters.held.clear()
        await scene.send(scene.tasks.end(ordered.place, code))
        found = await scene.records.read(ordered.id)
        if code == 13:
            assert (found.tries, found.failures, found.ended) == (2, 1, False)
            return
        assert (found.served, found.ended) == (served, True)
        assert await scene.records.count("caller/octo") == 0
        assert len(scene.tasks.states) == 1

    play(story)


def test_an_order_whose_pool_is_gone_is_given_up():
    """Nobody but its caller may choose another pool."""

    async def story(scene):
        ordered = await begin(scene)
        scene.pools = type(scene.pools)({})
        demand = make_order()
        around = scene.make_resources()
        async with hold(around.records, await scene.records.read(ordered.id)) as held:
            await scene.worker._queued._carrier.carry_on(held, demand, _message(scene))
        assert [task for task, _ in scene.tasks.stops] == [ordered.place]

    play(story)
