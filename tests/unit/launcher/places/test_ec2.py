"""Machines of EC2: what is asked, and what each answer means."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from botocore.exceptions import ClientError
from structlog.testing import capture_logs

from launcher.identity import CLIENT_TOKEN_TAG, client_token, is_machine, started_by
from launcher.places import Later, Refused, Started, Why
from launcher.places.ec2 import CONSOLE_LINES, Ec2, _translate
from launcher.places.ec2_answers import lacks_room, read_fleet, translate_error
from launcher.places.ec2_request import Machine
from launcher.places.request import make_tags
from local import aws, ec2, faults
from sidecar.aws import calls
from sidecar.aws.calls import AccessDenied, AwsError, TransientError
from tests.support.loops import run

SUBNETS = "subnet-0000000a", "subnet-0000000b"
ENDS = {"InstanceInitiatedShutdownBehavior": "terminate"}
SINGLE = Machine("lt-0123456789abcdef0", user_data="#!/bin/sh\n")
FLEET = Machine(
    "runner",
    capacities=("spot", "on-demand"),
    instance_types=("c7i.large", "m7i.large"),
    subnets=SUBNETS,
    instance_profile="runner",
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


def play(story):
    """Run a story, for 30 s at most."""
    return run("asyncio", story)


def request(number=1, step=0, machine=SINGLE, order="order"):
    """Make the request for one machine."""
    tags = make_tags("deployment", order, f"launch-{number}")
    token = client_token("id", number, 1, step)
    return machine.make_request(token, started_by(order), tags, step)


def error(code, message="x"):
    """Make an error as the library raises it."""
    return ClientError({"Error": {"Code": code, "Message": message}}, "RunInstances")


# ---- its life ----------------------------------------------------------------------------------


def test_a_machine_is_started_looked_at_found_and_ended(monkeypatch):
    """To end what is gone is no error; what EC2 does not know is left out."""

    async def life():
        async with place(monkeypatch) as (plane, client):
            placed = await client.start(request())
            (machine,) = plane.machines
            assert placed == Started(machine.id)
            assert is_machine(placed.task)
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
            assert await client.look([]) == {}

    play(life())


def test_a_machine_has_the_tags_of_a_task_and_ends_when_it_shuts_down(monkeypatch):
    """Deployment, order, launch; its metadata ask for a session, and answer nobody further away."""

    async def ends(machine):
        machine.say("runner-machine: the agent has ended with exit code 18")

    async def life():
        async with place(monkeypatch, program=ends) as (plane, client):
            plane.templates = [ec2.LaunchTemplate()]  # whose machines would only stop
            placed = await client.start(request())
            (machine,) = plane.machines
            await plane.wait_for(lambda: machine.state == "terminated")
            assert machine.tags == {
                **make_tags("deployment", "order", "launch-1"),
                CLIENT_TOKEN_TAG: client_token("id", 1, 1, 0),
            }
            assert machine.user_data == "#!/bin/sh\n"
            options = machine.wanted["MetadataOptions"]
            assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)
            state = (await client.look([placed.task]))[placed.task]
            assert (state.ended, state.exit_code) == (True, 18)
            assert "InstanceInitiatedShutdown" in state.reason

    play(life())


def test_a_fleet_takes_all_types_and_subnets_in_one_request(monkeypatch):
    """Spot first, then on demand: two requests, each of which has four places to look at."""

    async def life():
        async with place(monkeypatch) as (plane, client):
            assert FLEET.steps == 2
            plane.droughts = [
                ec2.Drought(capacity="spot"),
                ec2.Drought(kind="c7i.large"),
                ec2.Drought(kind="m7i.large", zone="eu-central-1a"),
            ]
            refused = await client.start(request(machine=FLEET))
            assert refused.why is Why.CAPACITY
            assert "InsufficientInstanceCapacity" in refused.reason
            placed = await client.start(request(step=1, machine=FLEET))
            (machine,) = plane.machines
            assert placed == Started(machine.id)
            got = machine.capacity, machine.kind, machine.zone
            assert got == ("on-demand", "m7i.large", "eu-central-1b")
            spot, on_demand = plane.asked("CreateFleet")
            assert spot["TargetCapacitySpecification"]["DefaultTargetCapacityType"] == "spot"
            assert on_demand["OnDemandOptions"]["AllocationStrategy"] == "prioritized"
            assert len(spot["LaunchTemplateConfigs"][0]["Overrides"]) == 4

    play(life())


def test_a_fleet_s_template_must_end_its_machines(monkeypatch):
    """A fleet cannot say it, and a machine that only stops costs money for ever."""

    async def life():
        async with place(monkeypatch) as (plane, client):
            right, plane.templates = plane.templates, [ec2.LaunchTemplate()]
            refused = await client.start(request(machine=FLEET))
            assert isinstance(refused, Refused)
            assert "InstanceInitiatedShutdownBehavior = terminate" in refused.reason
            assert "launch_template" in refused.reason
            assert plane.machines == []
            plane.templates = right
            for number in range(3):
                assert isinstance(await client.start(request(number, machine=FLEET)), Started)
            assert len(plane.asked("DescribeLaunchTemplateVersions")) == 2  # then it is known
            plane.templates = []
            (other,) = [Machine("other", instance_types=("a1.large", "c6g.large"))]
            refused = await client.start(request(9, machine=other))
            assert isinstance(refused, Refused)
            assert "there is no launch template of that name (launch_template)" in refused.reason

    play(life())


def test_user_data_go_by_runinstances_one_capacity_after_the_other(monkeypatch):
    """Of two capacities, two types and two subnets there are eight steps."""

    async def life():
        machine = Machine(
            "runner",
            "1",
            ("spot", "on-demand"),
            ("c7i.large", "m7i.large"),
            SUBNETS,
            ("sg-01234567",),
            "ami-00000000",
            "arn:aws:iam::1:instance-profile/p",
            "text",
        )
        assert machine.steps == 8
        async with place(monkeypatch) as (plane, client):
            for step in range(8):
                await client.start(request(step=step, machine=machine))
            made = [(each.capacity, each.kind, each.zone[-1]) for each in plane.machines]
            assert made == [
                (capacity, kind, zone)
                for capacity in ("spot", "on-demand")
                for kind in ("c7i.large", "m7i.large")
                for zone in "ab"
            ]
            for each in plane.asked("RunInstances"):
                assert each["InstanceInitiatedShutdownBehavior"] == "terminate"
                assert each["ImageId"] == "ami-00000000"
                assert each["SecurityGroupIds"] == ["sg-01234567"]

    play(life())


def test_a_request_is_the_same_each_time():
    """It holds no time and no chance; each step, round and try has a client token of its own."""
    for machine in (SINGLE, FLEET):
        made = request(machine=machine)
        assert made == request(machine=machine)
        tokens = {
            request(number, step, machine)["Parameters"]["ClientToken"]
            for number in range(2)
            for step in range(machine.steps)
        }
        assert len(tokens) == 2 * machine.steps
        assert len(made["Parameters"]["ClientToken"]) <= 64


# ---- once only ---------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", [SINGLE, FLEET])
def test_a_machine_is_recognised_before_another_is_made(monkeypatch, machine):
    """By its tag; and while EC2 does not show it yet, by the client token."""

    async def life():
        async with place(monkeypatch) as (plane, client):
            plane.unseen = 1
            first = await client.start(request(machine=machine))
            again = await client.start(request(machine=machine))  # not seen: the token tells it
            assert again == first
            third = await client.start(request(machine=machine))
            assert third == Started(first.task, adopted=True)
            assert len(plane.machines) == 1
            operation = request(machine=machine)["Operation"]
            assert len(plane.asked(operation)) == 2  # the third was not asked for at all

    play(life())


@pytest.mark.parametrize("machine", [SINGLE, FLEET])
def test_a_lost_answer_is_asked_for_again(monkeypatch, machine):
    """With the same request, so that there is one machine."""

    async def life():
        operation = request(machine=machine)["Operation"]
        rule = faults.Rule("close", target=operation, forward=True, times=2)
        async with place(monkeypatch, rule) as (plane, client):
            plane.unseen = 1
            placed = await client.start(request(machine=machine))
            assert [each.id for each in plane.machines] == [placed.task]

    play(life())


def test_a_token_with_other_parameters_is_looked_up_and_adopted(monkeypatch):
    """IdempotentParameterMismatch: its machine is found by its tag, as soon as EC2 shows it."""

    async def life():
        async with place(monkeypatch) as (plane, client):
            plane.unseen = 1
            first = await client.start(request())
            other = Machine("lt-0123456789abcdef0", user_data="other")
            again = await client.start(request(machine=other))
            assert again == Started(first.task, adopted=True)
            assert len(plane.machines) == 1
            plane.unseen = 100
            await client.start(request(2))
            refused = await client.start(request(2, machine=other))
            assert refused.why is Why.CAPACITY  # the next step has another token
            assert "IdempotentParameterMismatch" in refused.reason

    play(life())


def test_a_machine_that_has_ended_is_found_as_ended(monkeypatch):
    """The look says so, and the launch's next try has another token."""

    async def life():
        async with place(monkeypatch) as (plane, client):
            first = await client.start(request())
            await client.stop(first.task, "gone")
            await plane.wait_for(lambda: plane.living() == [])
            again = await client.start(request())
            assert again == Started(first.task, adopted=True)
            assert (await client.look([again.task]))[again.task].ended
            plane.machines[0].tags.clear()  # an hour later EC2 shows it no more
            refused = await client.start(request())
            assert refused.why is Why.CAPACITY
            assert "IdempotentInstanceTerminated" in refused.reason

    play(life())


def test_a_token_belongs_to_the_zone_that_is_named(monkeypatch):
    """So each subnet is a step of its own, with its own token: one machine for each is the most."""

    async def life():
        async with place(monkeypatch) as (plane, client):
            machines = [
                Machine("runner", subnets=(subnet,), user_data="text") for subnet in SUBNETS
            ]
            plane.unseen = 100
            for machine in machines:
                await client.start(request(machine=machine))
            assert len(plane.machines) == 2  # the same token, and two machines: EC2 is like that
            both = Machine("runner", subnets=SUBNETS, user_data="text")
            wanted = [request(step=step, machine=both)["Parameters"] for step in range(2)]
            assert wanted[0]["ClientToken"] != wanted[1]["ClientToken"]

    play(life())


def test_an_outcome_that_stays_unknown_is_transient(monkeypatch):
    """The caller keeps the request and sends it again."""

    async def life():
        rule = faults.Rule("status", status=503, target="RunInstances")
        async with place(monkeypatch, rule) as (_, client):
            with pytest.raises(TransientError):
                await client.start(request())

    play(life())


def test_a_throttle_after_a_lost_answer_is_transient(monkeypatch):
    """The lost one may have started a machine: only the same request tells it."""

    async def life():
        rules = (
            faults.Rule("close", target="RunInstances", forward=True, times=1),
            faults.Rule("status", error="RequestLimitExceeded", target="RunInstances"),
        )
        async with place(monkeypatch, *rules) as (plane, client):
            plane.unseen = 100
            with pytest.raises(TransientError):
                await client.start(request())

    play(life())


# ---- errors ------------------------------------------------------------------------------------


def test_a_throttle_is_later(monkeypatch):
    """Nothing was started, and the same request may be sent again."""

    async def life():
        async with place(monkeypatch) as (plane, client):
            plane.throttles = {"RunInstances": 100}
            assert (await client.start(request())).why is Why.THROTTLE
            assert plane.machines == []
            plane.throttles = {"RunInstances": 2, "DescribeInstances": 1}
            assert isinstance(await client.start(request()), Started)

    play(life())


def test_quotas_are_told_apart_by_capacity_and_family(monkeypatch):
    """Spot has a quota of its own, and so has each family: the next step is worth asking."""

    async def life():
        machine = Machine("runner", "1", ("spot", "on-demand"), ("c7i.large",), user_data="text")
        async with place(monkeypatch) as (plane, client):
            plane.most_spot, plane.most_of_family = 0, {"c": 0}
            for step, code in enumerate(["MaxSpotInstanceCountExceeded", "VcpuLimitExceeded"]):
                refused = await client.start(request(step=step, machine=machine))
                assert (refused.why, refused.elsewhere, refused.asks_next) == (
                    Why.QUOTA,
                    True,
                    True,
                )
                assert code in refused.reason
            other = Machine("runner", instance_types=("m7i.large",), user_data="text")
            assert isinstance(await client.start(request(2, machine=other)), Started)
            fleet = await client.start(request(3, machine=FLEET))
            assert (fleet.why, fleet.asks_next) == (Why.QUOTA, True)

    play(life())


DENIED = (
    "You are not authorized to perform this operation. User: arn:aws:sts::1:x is not authorized to "
    "perform: {0} on resource: y. Encoded authorization failure message: c2VjcmV0"
)


@pytest.mark.parametrize(
    ("code", "message", "kind", "words"),
    [
        ("InsufficientInstanceCapacity", "no room", Why.CAPACITY, "no room"),
        ("InsufficientFreeAddressesInSubnet", "no address", Why.CAPACITY, "no address"),
        ("UnfulfillableCapacity", "x", Why.CAPACITY, "Unfulfillable"),
        ("SpotMaxPriceTooLow", "x", Why.CAPACITY, "SpotMaxPriceTooLow"),
        ("Unsupported", "not in that zone", Why.CAPACITY, "zone"),
        ("IdempotentInstanceTerminated", "x", Why.CAPACITY, "Terminated"),
        ("MaxSpotInstanceCountExceeded", "x", Why.QUOTA, "MaxSpot"),
        ("VcpuLimitExceeded", "x", Why.QUOTA, "Vcpu"),
        ("InstanceLimitExceeded", "x", Why.QUOTA, "InstanceLimit"),
        ("NetworkInterfaceLimitExceeded", "x", Why.QUOTA, "NetworkInterface"),
        ("UnauthorizedOperation", DENIED.format("ec2:RunInstances"), None, "ec2:RunInstances"),
        ("UnauthorizedOperation", "You are not authorized.", None, "needs ec2:RunInstances"),
        ("UnauthorizedOperation", DENIED.format("iam:PassRole"), None, "needs iam:PassRole"),
        (
            "UnauthorizedOperation",
            f"{DENIED.format('ec2:CreateTags')} with an explicit deny in a service control policy",
            None,
            "denied by a service control policy (needs ec2:CreateTags)",
        ),
        ("InvalidLaunchTemplateId.NotFound", "x", None, "(launch_template)"),
        ("InvalidLaunchTemplateId.VersionNotFound", "x", None, "launch_template_version"),
        ("InvalidLaunchTemplateName.NotFoundException", "x", None, "(launch_template)"),
        ("InvalidAMIID.NotFound", "x", None, "(image)"),
        ("InvalidSubnetID.NotFound", "x", None, "(subnets)"),
        ("InvalidGroup.NotFound", "x", None, "(security_groups)"),
        (
            "InvalidParameterValue",
            "Value (x) for parameter iamInstanceProfile.name is invalid",
            None,
            "(instance_profile)",
        ),
        ("InvalidParameterValue", "Invalid value 'x' for InstanceType", None, "(instance_types)"),
        ("InvalidParameterValue", "User data is limited to 16384 bytes", None, "(user_data)"),
        (
            "InvalidParameterCombination",
            "Network interfaces and an instance-level subnet ID may not be specified",
            None,
            "(subnets, security_groups)",
        ),
        ("InvalidParameterValue", "'a b' is not a valid tag key", None, "(tags)"),
        ("MissingParameter", "The request must contain ImageId", None, "(launch_template)"),
        ("PendingVerification", "x", None, "verifies"),
        ("OptInRequired", "x", None, "signed up"),
        ("Blocked", "x", None, "support"),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "x", None, "service-linked role"),
    ],
)
def test_each_error_has_its_meaning(code, message, kind, words):
    """A refusal names what to change, and nothing of AWS's encoded message is shown."""
    found = _translate(error(code, message), "ec2:RunInstances")
    assert type(found) is (Refused if kind is None else Later)
    assert getattr(found, "why", None) == kind
    assert words in found.reason
    assert "c2VjcmV0" not in found.reason


@pytest.mark.parametrize("code", ["RequestExpired", "InternalError", "RequestLimitExceeded"])
def test_what_all_calls_have_in_common_is_left_to_them(code):
    """An expired token, an error of EC2's own, a throttle: they are raised."""
    with pytest.raises(ClientError):
        _translate(error(code), "ec2:RunInstances")


@pytest.mark.parametrize(
    ("codes", "kind", "asks_next"),
    [
        (["InsufficientInstanceCapacity", "UnfulfillableCapacity"], Why.CAPACITY, True),
        (["MaxSpotInstanceCountExceeded"], Why.QUOTA, True),
        (["VcpuLimitExceeded", "InsufficientInstanceCapacity"], Why.CAPACITY, True),
        (["RequestLimitExceeded"], Why.CAPACITY, True),
        (["InvalidSubnetID.NotFound", "InsufficientInstanceCapacity"], Why.CAPACITY, True),
        (["InvalidSubnetID.NotFound"], None, None),
        (["SomethingNew"], None, None),
        ([], Why.CAPACITY, True),
    ],
)
def test_the_errors_of_a_fleet_have_one_meaning_together(codes, kind, asks_next):
    """A throttle inside of a fleet needs a new token: its answer would be given again."""
    errors = [{"ErrorCode": code, "ErrorMessage": "x"} for code in codes]
    found = read_fleet({"Errors": errors, "Instances": []})
    assert type(found) is (Refused if kind is None else Later)
    assert (getattr(found, "why", None), getattr(found, "asks_next", None)) == (kind, asks_next)


def test_a_fleet_with_a_machine_and_errors_has_started():
    """One of its types had room."""
    answer = {
        "Errors": [{"ErrorCode": "InsufficientInstanceCapacity", "ErrorMessage": "x"}],
        "Instances": [{"InstanceIds": ["i-1"]}],
    }
    assert read_fleet(answer) == Started("i-1")


def test_a_throttle_is_known_where_it_is_read():
    """As of a fleet's errors."""
    assert translate_error("RequestLimitExceeded", "x", "ec2:RunInstances").why is Why.THROTTLE


def test_a_denied_look_names_its_permission(monkeypatch):
    """What may be asked at all is told by name."""

    async def life():
        rule = faults.Rule("status", error="UnauthorizedOperation", target="DescribeInstances")
        async with place(monkeypatch, rule) as (_, client):
            with pytest.raises(AccessDenied, match="needs ec2:DescribeInstances"):
                await client.start(request())

    play(life())


# ---- ends --------------------------------------------------------------------------------------


def test_a_machine_that_dies_after_a_good_answer_lacked_room(monkeypatch):
    """It ends within seconds; its reason says that it is no fault of its own."""

    async def life():
        async with place(monkeypatch) as (plane, client):
            plane.failing_starts = [ec2.NO_ROOM]
            placed = await client.start(request())
            await plane.wait_for(lambda: plane.living() == [])
            state = (await client.look([placed.task]))[placed.task]
            assert state.ended
            assert lacks_room(state.reason)
            assert lacks_room("Server.SpotInstanceTermination: Spot instance termination")
            assert not lacks_room("Client.InternalError: the key of its volume is denied")
            assert not lacks_room("Client.UserInitiatedShutdown: User initiated shutdown")

    play(life())


def test_a_machine_that_was_only_stopped_is_ended(monkeypatch):
    """It never runs again, and its disks cost money: whoever looks at it terminates it."""

    async def life():
        async with place(monkeypatch) as (plane, client):
            placed = await client.start(request())
            (machine,) = plane.machines
            await plane.wait_for(lambda: machine.state == "running")
            machine.halt()
            await plane.wait_for(lambda: machine.state == "stopped")
            state = (await client.look([placed.task]))[placed.task]
            assert (state.stopping, state.ended) == (True, False)
            await plane.wait_for(lambda: machine.state == "terminated")

    play(life())


def test_a_protected_machine_is_named(monkeypatch):
    """Nobody but its owner can end it."""

    async def life():
        async with place(monkeypatch) as (plane, client):
            placed = await client.start(request())
            plane.protected.add(placed.task)
            with pytest.raises(AwsError, match="may not be terminated"):
                await client.stop(placed.task, "x")

    play(life())


def test_the_console_s_last_lines_are_read(monkeypatch):
    """Without colours, short; of an older type only what it had at its end."""

    async def talks(machine):
        for number in range(100):
            machine.say(f"\x1b[32mline {number}\x1b[0m \x07{'x' * 400}\r")
        machine.say("")
        await asyncio.Event().wait()

    async def life():
        async with place(monkeypatch, program=talks) as (plane, client):
            placed = await client.start(request())
            await plane.wait_for(lambda: plane.machines[0].console.count("\n") > 100)
            lines = await client.read_console(placed.task)
            assert len(lines) == CONSOLE_LINES
            assert lines[-1].startswith("line 99 xxx")
            assert {len(line) for line in lines} == {300}
            old = Machine("runner", instance_types=("t2.micro",), user_data="text")
            placed = await client.start(request(2, machine=old))
            assert await client.read_console(placed.task) == []
            await client.stop(placed.task, "x")
            await plane.wait_for(lambda: not plane.machines[1].lives)
            assert len(await client.read_console(placed.task)) == CONSOLE_LINES
            assert await client.read_console("i-00000000000000000") == []

    play(life())


def test_an_end_whose_console_cannot_be_read_has_no_exit_code(monkeypatch):
    """The look goes on, and a line says why."""

    async def life():
        rule = faults.Rule("status", error="UnauthorizedOperation", target="GetConsoleOutput")
        async with place(monkeypatch, rule) as (plane, client):
            placed = await client.start(request())
            await client.stop(placed.task, "x")
            await plane.wait_for(lambda: plane.living() == [])
            with capture_logs() as events:
                state = (await client.look([placed.task]))[placed.task]
            assert (state.ended, state.exit_code) == (True, None)
            (event,) = [each for each in events if each["event"] == "console.unread"]
            assert "ec2:GetConsoleOutput" in event["reason"]

    play(life())


def test_a_look_takes_two_hundred_machines_a_call(monkeypatch):
    """As many values as a filter has."""

    async def life():
        async with place(monkeypatch) as (plane, client):
            await client.look([f"i-{number:017x}" for number in range(450)])
            asked = [each["Filters"][0]["Values"] for each in plane.asked("DescribeInstances")]
            assert [len(values) for values in asked] == [200, 200, 50]

    play(life())
