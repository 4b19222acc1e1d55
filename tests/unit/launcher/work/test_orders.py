"""What a worker does with what a caller of the API has ordered: the same table, the same events."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from launcher.demand.delivery import Demand
from launcher.demand.order import Order
from launcher.record.launch import Launch
from launcher.record.paces import Pace
from launcher.work import Rates, machine_events, ordered, resources, task_events
from launcher.work.carrying import Carrier
from launcher.work.deleting import Deleting
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


@pytest.mark.parametrize("is_over", [True, False])
def test_a_served_order_is_looked_at_until_its_task_has_ended(is_over):
    """Who wrote that it is served may have died before the launch was closed."""

    async def story(scene):
        ordered = await begin(scene)
        around = scene.make_resources()
        async with hold(around.records, await scene.records.read(ordered.id)) as held:
            await held.save(replace(held.launch, served=True, online=True))
        if is_over:
            scene.tasks.end(ordered.place, 0)
        async with hold(around.records, await scene.records.read(ordered.id)) as held:
            await scene.worker._queued._carrier.carry_on(held, make_order(), _message(scene))
        found = await scene.records.read(ordered.id)
        assert (found.ended, found.counters == ()) == (is_over, is_over)
        assert scene.tasks.stops == []

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


# --- orders in another account ------------------------------------------------------------------

ELSEWHERE = replace(ORDER, account="210987654321")
MACHINE = "i-0123456789abcdef0"


async def begin_elsewhere(scene, place):
    """Have an order whose task is in its caller's account; return its launch."""
    demand = make_demand(0, order=ELSEWHERE)
    launch = Launch("0" * 32, "small", demand.to_json(), scene.now())
    async with hold(scene.records, launch) as held:
        await held.take_places({"pool/small": 3, "caller/octo": 5})
        request = '{"cluster": "runners"}'
        placed = replace(held.launch, request=request, place=place, placed_at=scene.now())
        await held.save(replace(placed, runner_name="r", generation=1, handed_over=True))
    return await scene.records.read(launch.id)


def forwarded(scene, kind):
    """Make the event of an end in the caller's account, that somebody forwards to our queue."""
    if kind == "machine":
        detail = {"instance-id": MACHINE, "state": "terminated"}
        return MACHINE, {"detail-type": machine_events.STATE_CHANGE, "detail": detail}
    task = "arn:aws:ecs:eu-central-1:210987654321:task/runners/" + "9" * 32
    return task, scene.tasks.end(task, 13)


@pytest.mark.parametrize("kind", ["task", "machine"])
def test_an_order_in_another_account_is_not_the_workers(kind):
    """Though an event of its end is forwarded: nothing is started, deleted or written for it."""

    async def story(scene):
        place, event = forwarded(scene, kind)
        ordered_before = await begin_elsewhere(scene, place)
        with capture_logs() as events:
            assert await scene.send(event) is None
        assert await scene.records.read(ordered_before.id) == ordered_before
        assert (scene.tasks.sent, scene.tasks.stops, scene.hub.calls) == ([], [], [])
        assert await scene.records.count("caller/octo") == 1
        (told,) = [each for each in events if each["event"] == "order.skipped"]
        assert (told["launch"], told["account"]) == (ordered_before.id, "210987654321")

    play(story)


@pytest.mark.parametrize("is_checked", [True, False])
def test_without_that_the_worker_would_start_the_order_in_its_own_account(monkeypatch, is_checked):
    """The second guard, of the clients, raises before anything is done; without both it happens."""
    monkeypatch.setattr(task_events, "is_elsewhere", lambda *_: False)
    if not is_checked:
        monkeypatch.setattr(resources, "check_account", lambda *_: None)

    async def story(scene):
        place, event = forwarded(scene, "task")
        await begin_elsewhere(scene, place)
        if is_checked:
            with pytest.raises(RuntimeError, match="210987654321 is handled with the clients of"):
                await scene.send(event)
            assert scene.tasks.sent == []
        else:
            await scene.send(event)
            assert len(scene.tasks.sent) == 1

    play(story)


def test_a_message_cannot_hand_an_order_of_another_account_to_the_worker():
    """Not even whoever may send to the queue begins anything by it."""

    async def story(scene):
        assert await scene.send(make_demand(5, order=ELSEWHERE)) is None
        assert (scene.tasks.sent, scene.hub.calls) == ([], [])

    play(story)


def test_the_clients_of_an_account_are_for_its_orders_alone():
    """Neither another account's nor the launcher's own launches are handled with them."""
    for order, account in ((None, "1"), (ORDER, "1"), (ELSEWHERE, "1"), (ELSEWHERE, None)):
        with pytest.raises(RuntimeError):
            ordered.check_account(make_demand(0, order=order), account)
    ordered.check_account(make_demand(0, order=ELSEWHERE), ELSEWHERE.account)
    ordered.check_account(make_demand(0, order=ORDER), None)


@pytest.mark.parametrize(("order", "is_left"), [(ORDER, True), (ELSEWHERE, False)])
def test_a_token_in_another_account_is_never_left_to_the_workers(order, is_left):
    """Its agent deletes it: a worker would look for it in the launcher's own account."""

    async def story(scene):
        await scene.records.paces.take_now(Pace("DeleteParameter", 0.1, 0))
        around = replace(scene.make_resources(), account=order.account)
        queued = scene.worker._queued
        carrier = Carrier(around, queued._carrier._jobs, queued._admission)
        demand = make_demand(0, order=order)
        launch = Launch("0" * 32, "small", demand.to_json(), scene.now())
        async with hold(around.records, launch) as held:
            await carrier.carry_on(held, demand, _message(scene))
            assert held.launch.handed_over
            assert held.launch.keeps_token is is_left

    play(story, rates=Rates(deletions=0.1, deletion_burst=0))


@pytest.mark.parametrize("account", [None, ELSEWHERE.account])
def test_a_token_that_was_left_in_another_account_is_deleted_there(account):
    """By whoever has its clients, and at once; the workers' list has only what they reach."""

    async def story(scene):
        around = replace(scene.make_resources(), account=account)
        launch = await begin_elsewhere(scene, forwarded(scene, "task")[0])
        scene.parameters.held[launch.place] = "used"
        left = await Deleting(around).leave_token(replace(launch, keeps_token=True))
        assert not left.keeps_token
        listed = await scene.records.used_tokens.claim()
        assert (len(listed or ()), len(scene.parameters.held)) == (
            (1, 1) if account is None else (0, 0)
        )

    play(story)
