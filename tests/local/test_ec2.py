"""The stand-in for EC2's control plane, judged by AWS's own libraries."""

import asyncio
import base64
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local import aws, ec2
from local.ec2.operations import OPERATIONS
from local.ec2.protocol import read_request, write_answer
from tests.support.loops import run

KEYS = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": aws.REGION}
ONE = {"MinCount": 1, "MaxCount": 1, "LaunchTemplate": {"LaunchTemplateName": "runner"}}
SUBNETS = "subnet-0000000a", "subnet-0000000b"
SPECIFICATION = {"LaunchTemplateName": "runner", "Version": "$Default"}
FLEET = {
    "Type": "instant",
    "ClientToken": "fleet",
    "LaunchTemplateConfigs": [
        {
            "LaunchTemplateSpecification": SPECIFICATION,
            "Overrides": [
                {"InstanceType": "m7i.large", "Priority": 2.0},
                {"InstanceType": "c7i.large", "Priority": 1.0},
            ],
        }
    ],
    "TargetCapacitySpecification": {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "spot"},
}


@asynccontextmanager
async def control_plane(program=ec2.run_for_ever, **more):
    """Serve EC2; yields it and a call of it."""
    async with ec2.serving(program, **more) as plane:
        config = Config(retries={"total_max_attempts": 1})
        client = boto3.client("ec2", endpoint_url=plane.url, config=config, **KEYS)

        async def call(operation, **wanted):
            return await asyncio.to_thread(partial(getattr(client, operation), **wanted))

        yield plane, call


def play(story):
    """Run a story, for 30 s at most."""
    return run("asyncio", story)


async def refused(answer):
    """Return the code of an error."""
    with pytest.raises(ClientError) as caught:
        await answer
    return caught.value.response["Error"]["Code"]


def test_every_operation_is_read_by_the_library():
    """A machine is started, found, tagged, looked at, ended; each answer is what EC2's would be."""

    async def life():
        async with control_plane() as (plane, call):
            tags = [{"Key": "a", "Value": "b"}]
            started = await call(
                "run_instances",
                **ONE,
                UserData="text",
                TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
            )
            (instance,) = started["Instances"]
            assert instance["State"] == {"Code": 0, "Name": "pending"}
            assert plane.machines[0].user_data == "text"
            own = instance["InstanceId"]
            await call("create_tags", Resources=[own], Tags=[{"Key": "c", "Value": "d"}])
            by_tag = [{"Name": "tag:c", "Values": ["x", "d*"]}]
            found = await call("describe_instances", Filters=by_tag)
            (instance,) = found["Reservations"][0]["Instances"]
            assert instance["Tags"] == [*tags, {"Key": "c", "Value": "d"}]
            assert instance["LaunchTime"].year > 2025
            plane.machines[0].say("hello")
            shown = await call("get_console_output", InstanceId=own, Latest=True)
            assert shown["Output"] == "hello\r\n"
            versions = await call(
                "describe_launch_template_versions",
                LaunchTemplateName="runner",
                Versions=["$Latest"],
            )
            assert versions["LaunchTemplateVersions"][0]["VersionNumber"] == 1
            ended = await call("terminate_instances", InstanceIds=[own])
            assert ended["TerminatingInstances"][0]["CurrentState"]["Name"] == "shutting-down"
            fleet = await call("create_fleet", **FLEET)
            assert fleet["Instances"][0]["InstanceType"] == "c7i.large"
            assert len(plane.requests) == len(OPERATIONS)
            assert {operation for operation, _ in plane.requests} == set(OPERATIONS)

    play(life())


def test_a_page_holds_as_many_machines_as_it_is_asked_for():
    """The next one begins where it ended."""

    async def life():
        async with control_plane() as (_, call):
            for number in range(3):
                await call("run_instances", **ONE, ClientToken=str(number))
            first = await call("describe_instances", MaxResults=2)
            assert len(first["Reservations"]) == 2
            rest = await call("describe_instances", MaxResults=2, NextToken=first["NextToken"])
            assert len(rest["Reservations"]) == 1
            assert "NextToken" not in rest

    play(life())


def test_what_ec2_does_not_have_is_neither_read_nor_answered():
    """Both are judged by the library's description of it."""
    with pytest.raises(ValueError, match="Colour"):
        read_request("RunInstances", {"Colour": "red", "MinCount": "1", "MaxCount": "1"})
    with pytest.raises(ValueError, match="Colour"):
        write_answer("RunInstances", {"Colour": "red"}, "1")


def test_a_request_is_refused_as_ec2_refuses_it():
    """Without a signature, of an unknown operation, with an unknown parameter."""

    async def life():
        async with control_plane() as (plane, call), aiohttp.ClientSession() as session:

            async def ask(form, headers):
                async with session.post(plane.url, data=form, headers=headers) as answer:
                    return answer.status, await answer.text()

            status, text = await ask({"Action": "RunInstances"}, {})
            assert (status, "MissingAuthenticationToken" in text) == (400, True)
            signed = {"Authorization": "x"}
            _, text = await ask({"Action": "Fly"}, signed)
            assert "InvalidAction" in text
            _, text = await ask({"Action": "RunInstances", "Colour": "red"}, signed)
            assert "UnknownParameter" in text
            assert await refused(call("describe_vpcs")) == "InvalidAction"

    play(life())


@pytest.mark.parametrize(
    ("operation", "wanted", "code"),
    [
        ("run_instances", {**ONE, "UserData": "x" * 16_385}, "InvalidParameterValue"),
        ("run_instances", {**ONE, "ClientToken": "x" * 65}, "InvalidParameterValue"),
        ("run_instances", {**ONE, "MaxCount": 2}, "InvalidParameterValue"),
        ("run_instances", {**ONE, "SubnetId": "subnet-1"}, "InvalidSubnetID.NotFound"),
        ("run_instances", {"MinCount": 1, "MaxCount": 1}, "MissingParameter"),
        (
            "run_instances",
            {**ONE, "LaunchTemplate": {"LaunchTemplateId": "lt-1"}},
            "InvalidLaunchTemplateId.NotFound",
        ),
        (
            "run_instances",
            {**ONE, "LaunchTemplate": {"LaunchTemplateName": "x"}},
            "InvalidLaunchTemplateName.NotFoundException",
        ),
        (
            "run_instances",
            {**ONE, "LaunchTemplate": {"LaunchTemplateName": "runner", "Version": "2"}},
            "InvalidLaunchTemplateId.VersionNotFound",
        ),
        ("create_fleet", {**FLEET, "Type": "maintain"}, "InvalidParameterValue"),
        ("describe_instances", {"InstanceIds": ["i-1"]}, "InvalidInstanceID.NotFound"),
        (
            "describe_instances",
            {"Filters": [{"Name": "colour", "Values": ["red"]}]},
            "InvalidParameterValue",
        ),
        (
            "describe_instances",
            {"Filters": [{"Name": "instance-id", "Values": ["i-1"] * 201}]},
            "FilterLimitExceeded",
        ),
        ("terminate_instances", {"InstanceIds": ["i-1"]}, "InvalidInstanceID.NotFound"),
        ("get_console_output", {"InstanceId": "i-1"}, "InvalidInstanceID.NotFound"),
    ],
)
def test_what_ec2_checks_is_checked(operation, wanted, code):
    """And nothing is started."""

    async def life():
        async with control_plane() as (plane, call):
            assert await refused(call(operation, **wanted)) == code
            assert plane.machines == []

    play(life())


@pytest.mark.parametrize(
    ("key", "count", "code"),
    [
        ("aws:x", 1, "InvalidParameterValue"),
        ("a b", 1, "InvalidParameterValue"),
        ("k", 51, "TagLimitExceeded"),
    ],
)
def test_tags_are_checked(key, count, code):
    """With tags in the metadata their keys have no spaces."""

    async def life():
        async with control_plane() as (_, call):
            tags = [{"Key": f"{key}{number}", "Value": "x"} for number in range(count)]
            wanted = {
                "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
                "MetadataOptions": {"InstanceMetadataTags": "enabled"},
            }
            assert await refused(call("run_instances", **ONE, **wanted)) == code

    play(life())


def test_a_client_token_belongs_to_the_zone_that_is_named():
    """The same in one zone, another machine in another; without a zone it is the region's."""

    async def life():
        async with control_plane() as (plane, call):
            for subnet in (*SUBNETS, SUBNETS[0]):
                await call("run_instances", **ONE, SubnetId=subnet, ClientToken="t")
            for _ in range(2):
                await call("run_instances", **ONE, ClientToken="t")
            zones = [machine.zone[-1] for machine in plane.machines]
            assert zones == ["a", "b", "a"]
            other = {**ONE, "UserData": "other", "ClientToken": "t"}
            assert await refused(call("run_instances", **other)) == "IdempotentParameterMismatch"
            plane.machines[2].end()
            await plane.wait_for(lambda: not plane.machines[2].lives)
            again = call("run_instances", **ONE, ClientToken="t")
            assert await refused(again) == "IdempotentInstanceTerminated"

    play(life())


def test_a_fleet_s_answer_is_given_again_with_its_errors():
    """Also after there is room: a new round needs a new token."""

    async def life():
        async with control_plane() as (plane, call):
            plane.droughts = [ec2.Drought()]
            first = await call("create_fleet", **FLEET)
            codes = [error["ErrorCode"] for error in first["Errors"]]
            assert codes == ["InsufficientInstanceCapacity"] * 2
            assert first["Instances"] == []
            plane.droughts = []
            again = await call("create_fleet", **FLEET)
            assert (again["FleetId"], again["Errors"]) == (first["FleetId"], first["Errors"])
            other = await call("create_fleet", **{**FLEET, "ClientToken": "next"})
            assert len(other["Instances"]) == 1

    play(life())


def test_droughts_quotas_and_throttles_are_told_apart():
    """By capacity, type and zone; by Spot and family; by operation."""

    async def life():
        async with control_plane() as (plane, call):
            plane.droughts = [ec2.Drought(zone=f"{aws.REGION}a"), ec2.Drought(kind="t3.small")]
            assert await refused(call("run_instances", **ONE)) == "InsufficientInstanceCapacity"
            other = {**ONE, "InstanceType": "c7i.large"}
            await call("run_instances", **other)
            assert plane.machines[0].zone == f"{aws.REGION}b"
            plane.droughts, plane.most_of_family, plane.most_spot = [], {"c": 1}, 0
            assert await refused(call("run_instances", **other)) == "VcpuLimitExceeded"
            spot = {**other, "InstanceMarketOptions": {"MarketType": "spot"}}
            assert await refused(call("run_instances", **spot)) == "MaxSpotInstanceCountExceeded"
            plane.throttles = {"RunInstances": 1}
            assert await refused(call("run_instances", **ONE)) == "RequestLimitExceeded"
            await call("run_instances", **ONE)

    play(life())


@pytest.mark.parametrize(
    ("behaviour", "state"), [({}, "stopped"), ({"Behavior": "terminate"}, "terminated")]
)
def test_a_shutdown_stops_a_machine_unless_something_else_was_asked_for(behaviour, state):
    """That is EC2's default, which costs money for ever."""

    async def shuts_down(machine):
        machine.say("down")

    async def life():
        more = {f"InstanceInitiatedShutdown{key}": value for key, value in behaviour.items()}
        async with control_plane(shuts_down) as (plane, call):
            await call("run_instances", **ONE, **more)
            (machine,) = plane.machines
            await plane.wait_for(lambda: machine.state == state)
            assert machine.reason[0] == "Client.InstanceInitiatedShutdown"
            assert (len(plane.living()) == 0) == (state == "terminated")
            assert machine.show_console(latest=False) == "down\r\n"

    play(life())


def test_a_program_that_crashes_says_so_on_the_console():
    """And its machine shuts down."""

    async def crashes(_):
        raise OSError("no disk")

    async def life():
        async with control_plane(crashes) as (plane, call):
            await call("run_instances", **ONE)
            await plane.wait_for(lambda: plane.machines[0].state == "stopped")
            assert "no disk" in plane.machines[0].console

    play(life())


def test_an_explicit_parameter_overwrites_the_template_s():
    """User data as a whole; tags are added up."""

    async def life():
        async with control_plane() as (plane, call):
            encoded = base64.b64encode(b"template").decode()
            tags = [{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "b"}]}]
            data = {**ec2.LaunchTemplate().data, "UserData": encoded, "TagSpecifications": tags}
            plane.templates = [ec2.LaunchTemplate(data=data)]
            await call("run_instances", **ONE)
            own = [{"ResourceType": "instance", "Tags": [{"Key": "c", "Value": "d"}]}]
            await call("run_instances", **ONE, UserData="own", TagSpecifications=own)
            assert [machine.user_data for machine in plane.machines] == ["template", "own"]
            assert plane.machines[1].tags == {"a": "b", "c": "d"}

    play(life())


def test_changes_and_notices_are_told_as_eventbridge_tells_them():
    """With best effort: one may be lost."""

    async def life():
        told = []

        async def tell(event):
            told.append(event)

        async with control_plane(tell=tell) as (plane, call):
            plane.events.lose = lambda event: event["detail"].get("state") == "running"
            await call("run_instances", **ONE)
            (machine,) = plane.machines
            await plane.wait_for(lambda: machine.state == "running")
            plane.events.note_rebalance(machine)
            plane.events.note_interruption(machine)
            machine.end(ec2.SPOT)
            await plane.wait_for(lambda: len(told) == 4)
            kinds = [(event["detail-type"], event["detail"].get("state")) for event in told]
            assert kinds == [
                ("EC2 Instance Rebalance Recommendation", None),
                ("EC2 Spot Instance Interruption Warning", None),
                ("EC2 Instance State-change Notification", "shutting-down"),
                ("EC2 Instance State-change Notification", "terminated"),
            ]
            assert {event["detail"]["instance-id"] for event in told} == {machine.id}
            assert {event["source"] for event in told} == {"aws.ec2"}

    play(life())


def test_a_machine_has_ended_before_that_is_told():
    """The event comes later: one who looks at a queue waits for it first."""
    told, may_tell = [], asyncio.Event()

    async def tell(event):
        await may_tell.wait()
        told.append(event["detail"]["state"])

    async def life():
        async with control_plane(tell=tell) as (plane, call):
            await call("run_instances", **ONE)
            plane.machines[0].end()
            await plane.wait_for(lambda: plane.living() == [])
            assert told == []
            may_tell.set()
            await plane.events.wait_until_told()
            assert told[-1] == "terminated"

    play(life())


def test_a_new_machine_is_not_seen_at_once():
    """EC2's looks are consistent in the end; one that asks by id fails as a whole."""

    async def life():
        async with control_plane() as (plane, call):
            plane.unseen = 2
            started = await call("run_instances", **ONE)
            own = started["Instances"][0]["InstanceId"]
            asked = call("describe_instances", InstanceIds=[own])
            assert await refused(asked) == "InvalidInstanceID.NotFound"
            assert (await call("describe_instances"))["Reservations"] == []
            assert len((await call("describe_instances"))["Reservations"]) == 1

    play(life())


def test_a_machine_that_was_stopped_from_outside_is_still_there():
    """Until it is terminated; a protected one cannot be."""

    async def life():
        async with control_plane() as (plane, call):
            await call("run_instances", **ONE, InstanceInitiatedShutdownBehavior="terminate")
            (machine,) = plane.machines
            await plane.wait_for(lambda: machine.state == "running")
            machine.halt()
            await plane.wait_for(lambda: machine.state == "stopped")
            plane.protected.add(machine.id)
            ended = call("terminate_instances", InstanceIds=[machine.id])
            assert await refused(ended) == "OperationNotPermitted"
            plane.protected.clear()
            await call("terminate_instances", InstanceIds=[machine.id])
            assert machine.state == "terminated"

    play(life())
