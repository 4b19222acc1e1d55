"""The API's log has the lines that its stack counts for the dashboard."""

import re

from structlog.testing import capture_logs

from launcher.places import Later, Refused, Why
from sidecar.aws.calls import AccessDenied
from tests.deploy.templates import API, resources
from tests.unit.launcher.api.scene import GARO, POOLS, play

TERM = re.compile(r'\$\.(\w+) (!?=) "([^"]+)"')


def count(events):
    """Count the lines of a log as the stack's filters do, by the metric's name."""
    found = {}
    for each in resources(API, "AWS::Logs::MetricFilter").values():
        ways = [TERM.findall(way) for way in each["FilterPattern"].split("||")]
        fitting = [line for line in events if any(fits(line, way) for way in ways)]
        found[each["MetricTransformations"][0]["MetricName"]] = len(fitting)
    return {name: number for name, number in found.items() if number}


def fits(line, terms):
    """Return whether a line has what all terms ask for."""
    line = {**line, "level": line["log_level"]}
    return all((line.get(key) == value) is (sign == "=") for key, sign, value in terms)


async def do(scene, work):
    """Do something; return what was counted meanwhile, and the status."""
    with capture_logs() as events:
        status, _ = await work
    return status, count(events)


def test_each_outcome_of_a_start_is_counted_once():
    """Started, refused, no capacity, a throttle, refused by AWS: each is a metric of its own."""

    async def story(scene):
        for number, (answer, wanted) in enumerate(
            [
                (Later(Why.CAPACITY, "RESOURCE:CPU"), {"ApiNoCapacity": 1}),
                (Later(Why.THROTTLE, "Rate exceeded"), {"ApiDelayed": 1}),
                (Refused("no such subnet"), {"ApiRefusedByAws": 1, "ApiFaults": 1}),
            ]
        ):
            scene.work.tasks.answers = [answer]
            assert await do(scene, scene.start(key=f"k{number}")) == (503, wanted)
        status, counted = await do(scene, scene.start())
        assert (status, counted) == (200, {"ApiStarted": 1, "ApiPlaced": 1})
        assert await do(scene, scene.start(subnet="subnet-22222222")) == (403, {"ApiRefused": 1})
        assert await do(scene, scene.garo(external_id="wrong")) == (403, {"ApiRefused": 1})

    play(story, POOLS + GARO)


def test_each_outcome_of_a_later_request_is_counted_once():
    """Stopped by its caller; not done, as AWS refuses; its account not reached any more."""

    async def story(scene):
        _, begun = await scene.garo()
        named = {"name": begun["name"], "sg": None, "subnet": None}
        assert (await do(scene, scene.garo("/stop", **named)))[1]["ApiStopped"] == 1
        _, begun = await scene.garo(type="ondemand")
        named["name"] = begun["name"]
        scene.accounts.error = AccessDenied("cannot assume the role")
        status, counted = await do(scene, scene.garo("/state", **named))
        assert (status, counted) == (502, {"ApiFailed": 1, "ApiFaults": 1})
        scene.work.clock[0] += 86_400
        status, counted = await do(scene, scene.garo("/state", **named))
        assert (status, counted["ApiAbandoned"], counted["ApiFaults"]) == (200, 1, 1)

    play(story, POOLS + GARO)
