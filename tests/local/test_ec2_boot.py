"""Machines of the stand-in for EC2 that really boot: user data, metadata, console, power."""

import base64
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from launcher.places.boot import AgentSource, Boot, write_user_data
from launcher.places.ec2 import EXIT_LINE
from local import agent, ec2, leftovers
from local.aws import ACCOUNT, REGION
from local.ec2 import paths
from local.ec2.console import follow_lines
from tests.support.loops import run

ASK = """\
#!/bin/sh
own=/opt/runner-machine
mkdir -p $own /etc/systemd/system
ask() {
    curl -sS --max-time 60 --noproxy '*' "$@"
}
imds=http://169.254.169.254/latest
head=X-aws-ec2-metadata-token
token=$(ask -X PUT -H "$head-ttl-seconds: 60" $imds/api/token)
"""
WHO = f"""{ASK}
echo "id $(ask -H "$head: $token" $imds/meta-data/instance-id)"
echo "tag $(ask -H "$head: $token" $imds/meta-data/tags/instance/colour)"
echo "without a token $(ask -o /dev/null -w '%{{http_code}}' $imds/meta-data/instance-id)"
echo "there: $(ls -d $own)" >/dev/console
systemctl --no-block poweroff
"""
SERVICE = f"""{ASK}
cat >/etc/systemd/system/own.service <<END
FailureAction=poweroff
ExecStart=/bin/sh -c 'echo begins; exec sleep 600'
ExecStopPost=/bin/sh -c 'echo ended: \\$EXIT_CODE \\$EXIT_STATUS'
END
systemctl start --no-block own.service
"""
SPOT = f"""{ASK}
echo waits
until found=$(ask -f -H "$head: $token" $imds/meta-data/spot/instance-action 2>&1); do :; done
echo "notice: $found"
systemctl poweroff
"""
OWN_AGENT = """\
#!/bin/sh
echo "agent of $SIDECAR_TOKEN_PARAMETER in $AWS_REGION"
exit 18
"""
SPACES = pytest.mark.parametrize(
    "isolated", [pytest.param(True, marks=pytest.mark.root), False], ids=["namespaces", "replaced"]
)
WANTED = {
    "MinCount": 1,
    "MaxCount": 1,
    "ImageId": "ami-1",
    "InstanceType": "m7i.large",
    "InstanceInitiatedShutdownBehavior": "terminate",
    "MetadataOptions": {"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
    "TagSpecifications": [
        {"ResourceType": "instance", "Tags": [{"Key": "colour", "Value": "red"}]}
    ],
}


@asynccontextmanager
async def booting(aws_url, *, isolated, agents=()):
    """Serve EC2 whose machines boot; yields its plane, and the host of the machines."""
    with agent.make_folder("boot-") as folder:
        host = ec2.MachineHost(folder, aws_url, aws_url, isolated=isolated, agents=list(agents))
        async with ec2.serving(host.boot) as plane:
            yield plane, host


def start(plane, text, **more):
    """Start a machine with these user data; return it."""
    encoded = base64.b64encode(text.encode()).decode()
    plane.run_instances({**WANTED, "UserData": encoded, **more})
    return plane.machines[-1]


async def wait_for_line(host, text):
    """Wait until the next machine has said something."""
    booted = await host.new.get()
    async for line in follow_lines(booted.process):
        if line == text:
            return
    pytest.fail(f"it ended without {text!r}: {booted.process.text}")


def play(story):
    """Run a story, for two minutes at most."""
    return run("asyncio", story, timeout=120)


@SPACES
def test_user_data_are_really_run_and_find_the_machine_s_own_metadata(aws, isolated):
    """By a token alone; what they write to the console is there, and a power-off terminates."""

    async def life():
        async with booting(aws, isolated=isolated) as (plane, host):
            machine = start(plane, WHO)
            await plane.wait_for(lambda: not machine.lives)
            said = machine.console.splitlines()
            assert said[:3] == [f"id {machine.id}", "tag red", "without a token 401"]
            there = "/opt/runner-machine"
            assert (
                said[3] == f"there: {there if isolated else f'{host.folder}/{machine.id}{there}'}"
            )
            assert machine.reason == ec2.SHUT_DOWN
            assert leftovers.find(host.folder / machine.id) == {}

    play(life())
    assert not Path("/opt/runner-machine").exists()


@SPACES
def test_a_machine_that_is_terminated_is_asked_to_shut_down(aws, isolated):
    """Its service gets SIGTERM, and the service's last command still runs."""

    async def life():
        async with booting(aws, isolated=isolated) as (plane, host):
            machine = start(plane, SERVICE)
            await wait_for_line(host, "begins")
            assert machine.state == "running"
            machine.end()
            await plane.wait_for(lambda: not machine.lives)
            assert machine.console.splitlines()[-1] == "ended: killed TERM"
            assert leftovers.find(host.folder / machine.id) == {}

    play(life())


@SPACES
def test_the_launcher_s_user_data_run_their_agent_and_power_off(aws, isolated):
    """From the text that every machine of a pool gets to the line that tells the exit code."""
    boot = Boot("linux", AgentSource(), "/tokens", 3600)

    async def life():
        async with booting(aws, isolated=isolated, agents=[OWN_AGENT]) as (plane, _):
            machine = start(plane, write_user_data(boot))
            await plane.wait_for(lambda: not machine.lives)
            assert f"agent of /tokens/{machine.id} in {REGION}" in machine.console
            assert EXIT_LINE.search(machine.console)[1] == "18"
            assert machine.reason == ec2.SHUT_DOWN

    play(life())


@pytest.mark.root
def test_any_user_s_machines_have_namespaces_too(aws, monkeypatch):
    """If the kernel allows them: nothing of it needs root."""
    monkeypatch.setattr(agent, "IS_ROOT", False)

    async def life():
        async with booting(aws, isolated=None) as (plane, host):
            machine = start(plane, WHO)
            await plane.wait_for(lambda: not machine.lives)
            assert host.isolated
            assert machine.console.startswith(f"id {machine.id}\r\n")

    play(life())


def test_spot_tells_a_machine_by_its_metadata(aws):
    """As EC2 tells the queue by an event."""

    async def life():
        async with booting(aws, isolated=False) as (plane, host):
            machine = start(plane, SPOT)
            await wait_for_line(host, "waits")
            machine.is_taken_soon.set()
            await plane.wait_for(lambda: not machine.lives)
            assert 'notice: {"action": "terminate"' in machine.console

    play(life())


def test_what_names_another_link_local_address_is_not_run(aws):
    """Without namespaces nothing may reach for the metadata of the machine that this runs on."""
    asks = "#!/bin/sh\ncurl https://169.254.170.2/\n"
    with pytest.raises(paths.UnsafeError, match=r"169\.254"):
        paths.redirect(asks, Path("/x"), "http://127.0.0.1:1")

    async def life():
        async with booting(aws, isolated=False) as (plane, _):
            machine = start(plane, asks)
            await plane.wait_for(lambda: not machine.lives)
            assert "crashed: UnsafeError" in machine.console

    play(life())


def test_namespaces_are_not_used_where_they_would_hide_what_runs(aws, tmp_path, monkeypatch):
    """Such as an interpreter below /opt."""
    monkeypatch.setattr("sys.base_prefix", "/opt/python")

    async def life():
        async with booting(aws, isolated=None) as (_, host):
            await host.prepare()
            assert host.isolated is False

    play(life())


def test_an_account_sees_its_own_machines_alone(monkeypatch):
    """Whoever signs with a key of another account neither finds nor ends them."""

    async def life():
        async with ec2.serving() as plane:
            plane.find_account = lambda key: "210987654321" if key == "OTHER" else ACCOUNT
            plane.account = plane.find_account("OTHER")
            machine = start(plane, "")
            assert machine.account == "210987654321"
            assert plane.find_machine(machine.id) is machine
            plane.account = plane.find_account("")
            assert plane.list_machines() == []
            with pytest.raises(ec2.RefusedError, match="does not exist"):
                plane.find_machine(machine.id)

    play(life())
