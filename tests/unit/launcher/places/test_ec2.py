"""Machines of EC2: what is asked, and what each answer means."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from botocore.exceptions import ClientError

from launcher.identity import CLIENT_TOKEN_TAG, client_token, started_by
from launcher.places import Later, Refused, Started, Why
from launcher.places.ec2 import CONSOLE_LINES, Ec2, _translate
from launcher.places.ec2_answers import lacks_room, read_fleet, translate_error
from launcher.places.ec2_request import Machine
from launcher.places.request import make_tags
from local import aws, ec2, faults
from sidecar.aws import calls
from sidecar.aws.calls import AwsError, TransientError
from tests.support.loops import run

SUBNETS = "subnet-0000000a", "subnet-0000000b"
ENDS = {"InstanceInitiatedShutdownBehavior": "terminate"}
SINGLE = Machine("lt-0123456789abcdef0", user_data="#!/bin/sh\n")
FLEET = Machine(
    "lt-0123456789abcdef0",
    capacities=("spot", "on-demand"),
    instance_types=("c7i.large", "m7i.large"),
    subnets=SUBNETS,
)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    """Give dummy credentials and short pauses."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    growing = calls.growing
    monkeypatch.setattr(
        calls, "growing", lambda kinds, **_: growing(kinds, first=0.02, longest=0.05)
    )


@asynccontextmanager
async def place(monkeypatch, *rules, program=ec2.run_for_ever):
    """Yield EC2, and a client of it; `rules` make its calls fail."""
    async with (
        ec2.serving(program) as plane,
        faults.serving(plane.url, rules=rules) as front,
        Ec2(aws.REGION) as client,
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", front.url)
        template = ec2.LaunchTemplate()
        plane.templates = [ec2.LaunchTemplate(data={**template.data, **ENDS})]
        yield plane, client


def request(number=1, step=0, machine=SINGLE, order="order"):
    """Make the request for one machine."""
    tags = make_tags("deployment", order, f"launch-{number}")
    token = client_token("id", number, 1, step)
    return machine.make_request(token, started_by(order), tags, step)


def test_a_machine_is_started_looked_at_found_and_ended(monkeypatch):
    """To end what is gone is no error; what EC2 does not know is left out."""

    async def life():
        async with place(monkeypatch) as (plane, client):
            placed = await client.start(request())
            (machine,) = plane.machines
            assert placed == Started(machine.id)
            await plane.wait_for(lambda: machine.state == "running")
            assert await client.find(started_by("order")) == [machine.id]
            looked = await client.look([machine.id, "i-00000000000000000"])
            assert set(looked) == {machine.id}
            state = looked[machine.id]
            assert (state.status, state.stopping, state.exit_code) == ("RUNNING", False, None)
            await client.stop(machine.id, "enough")
            await plane.wait_for(lambda: machine.state == "terminated")
            state = (await client.look([machine.id]))[machine.id]
            assert (state.ended, state.exit_code) == (True, None)
            assert state.reason == "Client.UserInitiatedShutdown: User initiated shutdown"
            assert await client.find(started_by("order")) == []
            await client.stop(machine.id, "again")
            await client.stop("i-00000000000000000", "gone")

    run("asyncio", life())
