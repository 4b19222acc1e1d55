"""The stages of an order, from its settings: tasks or machines, and their user data."""

import os
from dataclasses import replace

import pytest

from launcher.errors import SettingsError
from launcher.order_stages import make_destination, read_user_data
from launcher.places.boot import LONGEST
from launcher.places.ec2_request import CREATE_FLEET, RUN_INSTANCES
from launcher.settings import load
from sidecar.log import masks
from tests.unit.launcher.test_settings import LEAST

TEMPLATE = "lt-0123456789abcdef0"
TOKEN = "ghp_" + "a" * 36
MACHINE = {
    **{key: LEAST[key] for key in LEAST if "GITHUB" in key},
    "LAUNCHER_LAUNCH_TEMPLATE": TEMPLATE,
}


def settings(**given):
    """Return the settings of an order of machines."""
    return load(given, MACHINE)[0]


def refused(path, **given):
    """Return what is wrong with a file of user data."""
    with pytest.raises(SettingsError) as wrong:
        read_user_data(settings(user_data=str(path), **given))
    (problem,) = wrong.value.problems
    assert problem.startswith("LAUNCHER_USER_DATA ")
    assert TOKEN not in problem
    return problem


# ---- the request -------------------------------------------------------------------------------


def test_a_launch_template_is_enough_for_a_machine():
    """It is started on demand, terminates on shutdown, and a tag says where its token will be."""
    made = make_destination(settings(parameter_prefix="/a/b/"))
    assert dict(made.tags) == {"SIDECAR_TOKEN_PARAMETER": "/a/b/{instance}"}
    request = made.make_request("token", "launcher", {**dict(made.tags), "ours": "1"}, 0)
    wanted = request["Parameters"]
    assert request["Operation"] == RUN_INSTANCES
    assert wanted["LaunchTemplate"] == {"LaunchTemplateId": TEMPLATE, "Version": "$Default"}
    assert wanted["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert wanted["MetadataOptions"]["InstanceMetadataTags"] == "enabled"
    assert not {"UserData", "InstanceMarketOptions", "SubnetId"} & wanted.keys()


def test_all_settings_of_machines_reach_ec2():
    """Each capacity, type and subnet is a step; user data go by RunInstances."""
    more = {"capacity_providers": "spot,on-demand", "instance_types": "c7i.large,m7i.large"}
    given = settings(
        launch_template_version="3",
        image="ami-0123456789abcdef0",
        instance_profile="runner",
        instance_name="ci 1",
        subnets="subnet-0a",
        security_groups="sg-0a",
        **more,
    )
    made = replace(make_destination(given), user_data="#!/bin/sh\n")
    assert made.steps == 4
    wanted = made.make_request("token", "launcher", dict(made.tags), 1)["Parameters"]
    assert wanted["LaunchTemplate"]["Version"] == "3"
    assert wanted["InstanceMarketOptions"]["MarketType"] == "spot"
    assert (wanted["InstanceType"], wanted["SubnetId"]) == ("m7i.large", "subnet-0a")
    assert wanted["SecurityGroupIds"] == ["sg-0a"]
    assert wanted["IamInstanceProfile"] == {"Name": "runner"}
    assert wanted["UserData"] == "#!/bin/sh\n"
    (tags,) = wanted["TagSpecifications"]
    assert {"Key": "Name", "Value": "ci 1"} in tags["Tags"]
    fleet = make_destination(settings(**more)).make_request("token", "launcher", {}, 0)
    assert fleet["Operation"] == CREATE_FLEET


# ---- user data ---------------------------------------------------------------------------------


def test_user_data_are_read_as_they_are(tmp_path):
    """Also with the ends of lines that Windows has, and as long as EC2 takes them."""
    path = tmp_path / "user-data.ps1"
    text = "<powershell>\r\n\tWrite-Host 'ä'\r\n</powershell>\r\n"
    text += "#" * (LONGEST - len(text.encode()))
    path.write_bytes(text.encode())
    assert read_user_data(settings(user_data=str(path))) == text
    assert read_user_data(settings()) is None


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"#" * (LONGEST + 1), "is too long: user data of 16385 bytes"),
        (b"\x1f\x8b\x08", "is no text in UTF-8"),
        (b"#!/bin/sh\n\x00\n", "a control character is in line 2"),
    ],
)
def test_what_cannot_be_user_data_is_refused(tmp_path, raw, words):
    """In one line that names the setting and the file."""
    path = tmp_path / "user-data"
    path.write_bytes(raw)
    problem = refused(path)
    assert words in problem
    assert str(path) in problem


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
def test_what_is_no_file_is_refused(tmp_path):
    """A file that is not there, a folder, and a pipe, which would never end."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none.sh", tmp_path, tmp_path / "pipe"):
        assert "is no file that is there" in refused(path)


SECRETS = [
    f"TOKEN={TOKEN}",
    "export X=github_pat_" + "1a" * 20,
    "-----BEGIN RSA PRIVATE KEY-----",
    "run ghp_secret_value",
]
"""The last one is the token of the settings, whatever it looks like."""


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("unmended", [True, False])
def test_a_secret_in_user_data_is_refused(tmp_path, monkeypatch, secret, unmended):
    """Every process on a machine can read its user data; the error does not hold the secret."""
    path = tmp_path / "user-data"
    path.write_text(f"#!/bin/sh\n{secret}\n")
    if unmended:
        monkeypatch.setattr(masks, "has_secret_format", lambda _: False)
        monkeypatch.setattr(masks, "SHORTEST", 1000)
        assert secret in read_user_data(settings(user_data=str(path)))
        return
    problem = refused(path)
    assert "holds what looks like a secret in line 2" in problem
    assert secret not in problem


def test_ordinary_user_data_hold_no_secret(tmp_path):
    """A script may speak of tokens and keys, of ids and sums."""
    path = tmp_path / "user-data"
    path.write_text(
        "TOKEN=$(curl -X PUT http://169.254.169.254/latest/api/token)\n"
        "SIDECAR_TOKEN_PARAMETER=/runners/tokens/{instance}\n"
        f"echo '{'0' * 64}  agent.whl' | sha256sum -c\n"
        "docker pull example.test/runner@sha256:" + "0a" * 32 + "\n"
    )
    assert read_user_data(settings(user_data=str(path)))
