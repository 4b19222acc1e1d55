"""Orders in an account that cannot be reached any more: when they are closed, and when not."""

from structlog.testing import capture_logs

from launcher.api import orders
from launcher.places import Later, Why
from launcher.pools.document import parse_pools
from launcher.work.carrying import DAY
from sidecar.aws.calls import AccessDenied
from tests.unit.launcher.api.scene import ACCOUNT, GARO, POOLS, play

OTHER = "109876543210"
REMOVED = AccessDenied(f"cannot assume arn:aws:iam::{ACCOUNT}:role/GitHubRunnerAssumeRole")
GUEST = (
    POOLS
    + f"""account = "{ACCOUNT}"
role = "arn:aws:iam::{ACCOUNT}:role/runners"
external_id = "an-external-id"
"""
)
LIFE = DAY / 2 + DAY / 24
"""Seconds after which no runner of the pool can live."""


def told(events, name):
    """List the events of a name."""
    return [each for each in events if each["event"] == name]


async def begin(scene):
    """Start an order by GitHub's token; return what `/state` needs, and its launch."""
    status, begun = await scene.start()
    assert status == 200, begun
    return {"id": begun["id"]}, await scene.work.records.read(begun["id"])


def test_an_order_whose_role_is_gone_is_closed_when_its_runner_must_have_ended():
    """Before, each look says why it fails; after, its places are free and its runner is gone."""

    async def story(scene):
        named, _ = await begin(scene)
        scene.accounts.error = REMOVED
        for path in ("/state", "/stop"):
            with capture_logs() as events:
                assert (await scene.ask(path, named))[0] == 502
            assert told(events, "order.failed")[0]["log_level"] == "error"
        assert await scene.work.records.count("caller/octo") == 1
        scene.work.clock[0] += LIFE
        with capture_logs() as events:
            status, found = await scene.ask("/state", named)
            assert (await scene.ask("/stop", named))[1]["state"] == "ended"
        assert (status, found["state"]) == (200, "ended")
        assert f"the account {ACCOUNT} cannot be reached" in found["reason"]
        (event,) = told(events, "order.abandoned")
        assert (event["account"], event["caller"]) == (ACCOUNT, "octo")
        assert scene.work.hub.runners_by_id == {}
        assert await scene.work.records.count("caller/octo") == 0
        assert await scene.work.records.count("pool/small") == 0

    play(story, GUEST)


def test_without_that_it_takes_a_place_for_ever(monkeypatch):
    """As long as it is asked about, and whatever time passes."""

    async def give_nothing_up(around, launch, demand, error):
        raise error

    monkeypatch.setattr(orders, "close_unreachable", give_nothing_up)

    async def story(scene):
        named, _ = await begin(scene)
        scene.accounts.error = REMOVED
        scene.work.clock[0] += 30 * LIFE
        assert (await scene.ask("/state", named))[0] == 502
        assert await scene.work.records.count("caller/octo") == 1

    play(story, GUEST)


def test_an_order_whose_runner_has_a_job_is_never_closed():
    """GitHub says so, whatever the limits of its pool are: its task lives."""

    async def story(scene):
        named, launch = await begin(scene)
        scene.accounts.error = REMOVED
        scene.work.hub.set_runner(launch.runner_name, online=True, busy=True)
        scene.work.clock[0] += LIFE
        assert (await scene.ask("/state", named))[0] == 502
        assert not (await scene.work.records.read(launch.id)).ended
        scene.work.hub.remove(launch.runner_name)
        assert (await scene.ask("/state", named))[1]["state"] == "ended"

    play(story, GUEST)


def test_an_account_that_is_reached_again_goes_on():
    """Nothing was written down meanwhile."""

    async def story(scene):
        named, launch = await begin(scene)
        scene.accounts.error = REMOVED
        await scene.ask("/stop", named)
        scene.accounts.error = None
        assert (await scene.ask("/state", named))[1]["state"] == "starting"
        assert scene.work.tasks.living == [launch.place]

    play(story, GUEST)


def test_an_order_is_looked_after_in_the_account_that_it_was_started_in():
    """Not in the one that its caller has by now: there nothing of it would be found."""

    async def story(scene):
        named, launch = await begin(scene)
        scene.work.pools = parse_pools(GUEST.replace(ACCOUNT, OTHER))
        opened = len(scene.accounts.opened)
        with capture_logs() as events:
            status, found = await scene.ask("/state", named)
            await scene.orders.tend()
        assert (status, found["error"]) == (
            403,
            f"the account {ACCOUNT} of octo is not listed any more",
        )
        assert len(scene.accounts.opened) == opened
        assert told(events, "order.refused")
        assert told(events, "order.failed")
        assert scene.work.tasks.living == [launch.place]
        assert len(scene.started) == 1

    play(story, GUEST)


def test_it_is_closed_without_being_asked():
    """Once its caller is gone, nobody asks; it is looked at no more after that."""

    async def story(scene):
        _, launch = await begin(scene)
        scene.work.pools = parse_pools(POOLS.partition("[[caller]]")[0])
        scene.work.clock[0] += LIFE
        with capture_logs() as events:
            await scene.orders.tend()
            await scene.orders.tend()
        assert len(told(events, "order.abandoned")) == 1
        assert (await scene.work.records.read(launch.id)).ended
        assert scene.orders._living == {}

    play(story, GUEST)


def test_a_garo_order_is_closed_as_well():
    """Its answer is GARO's word for what is over."""

    async def story(scene):
        status, begun = await scene.garo()
        assert status == 200, begun
        scene.accounts.error = REMOVED
        scene.work.clock[0] += LIFE
        status, found = await scene.garo("/state", name=begun["name"], sg=None, subnet=None)
        assert (status, found["runnerstate"]) == (200, "removing")

    play(story, POOLS + GARO)


def test_an_order_in_the_launchers_own_account_is_not_closed():
    """A refusal there is a mistake in the launcher's own role: somebody mends it."""

    async def story(scene):
        named, launch = await begin(scene)

        async def refuse(tasks):
            raise AccessDenied("no ecs:DescribeTasks")

        scene.work.tasks.look = refuse
        scene.work.clock[0] += LIFE
        assert (await scene.ask("/state", named))[0] == 502
        assert not (await scene.work.records.read(launch.id)).ended

    play(story, POOLS)


# --- orders that nobody asks about any more -----------------------------------------------------


def test_what_has_ended_in_another_account_is_closed_by_whoever_has_a_tick():
    """Another process than that which began it, as a Lambda function's containers are."""

    async def story(scene):
        _, launch = await begin(scene)
        assert await scene.work.records.list_open_orders() == [launch.id]
        scene.work.hub.remove(launch.runner_name)
        scene.work.parameters.held.clear()
        scene.work.tasks.end(launch.place, 0)
        other = orders.Orders(scene.work.make_resources(), scene.accounts)
        await other.tend()
        assert (await scene.work.records.read(launch.id)).ended
        assert await scene.work.records.count("caller/octo") == 0
        assert await scene.work.records.list_open_orders() == []

    play(story, GUEST)


def test_what_could_not_be_started_is_not_looked_after():
    """Its caller asks again, and it is listed again then; in the own account nothing is listed."""

    async def story(scene):
        scene.work.tasks.answers = [Later(Why.CAPACITY, "no room")]
        assert (await scene.start())[0] == 503
        assert await scene.work.records.list_open_orders() == []

    play(story, GUEST)

    async def own(scene):
        await begin(scene)
        assert await scene.work.records.list_open_orders() == []

    play(own, POOLS)


def test_an_open_order_whose_record_is_gone_is_forgotten():
    """The table keeps a record for three days; the list has no end of its own."""

    async def story(scene):
        await scene.work.records.open_order("0" * 32)
        await scene.orders.tend()
        assert await scene.work.records.list_open_orders() == []

    play(story, GUEST)
