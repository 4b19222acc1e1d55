"""The templates in all their variants: what a switch adds, and that it adds nothing else."""

import itertools
import json
import re

import pytest

from launcher.deploy.parameters import APP_KEY, PAT
from tests.deploy.templates import (
    ACCOUNT,
    ALL,
    API,
    LAUNCHER,
    RUNNERS,
    find_references,
    list_switches,
    read,
    variant,
)


def statements_of(found, role):
    """Return the statements of a role by their names, and the actions of each."""
    (policy,) = found["Resources"][role]["Properties"]["Policies"]
    return {each["Sid"]: each for each in policy["PolicyDocument"]["Statement"]}


@pytest.mark.parametrize("name", ALL)
def test_each_variant_refers_to_what_it_has(name):
    """Whichever conditions hold, nothing refers to a resource that this stack leaves out."""
    template = read(name)
    conditions = list_switches(name)
    given = {*template["Parameters"], *(f"AWS::{each}" for each in PSEUDO)}
    for count in range(len(conditions) + 1):
        for true in itertools.combinations(conditions, count):
            found = variant(name, *true)
            assert set(find_references(found)) <= given | set(found["Resources"]), true
            assert "Fn::If" not in json.dumps(found)


PSEUDO = ("AccountId", "Partition", "Region", "URLSuffix")


def test_a_private_task_has_no_public_address_and_another_way_out():
    """NAT: private subnets, whose route leads to the gateway; else public ones, and an address."""
    for true, subnets, public, via in (
        ((), "${PublicSubnetA},${PublicSubnetB}", "true", "GatewayId"),
        (("UsesNat",), "${PrivateSubnetA},${PrivateSubnetB}", "false", "NatGatewayId"),
    ):
        found = variant(RUNNERS, *true)
        assert found["Outputs"]["SubnetIds"]["Value"] == {"Fn::Sub": subnets}
        assert found["Outputs"]["PublicIp"]["Value"] == public
        properties = {
            key: each["Properties"]
            for key, each in found["Resources"].items()
            if "Properties" in each
        }
        for subnet in find_references({"Fn::Sub": subnets}):
            (table,) = [
                each["RouteTableId"]
                for each in properties.values()
                if each.get("SubnetId") == {"Ref": subnet} and "RouteTableId" in each
            ]
            (route,) = [
                each
                for each in properties.values()
                if each.get("RouteTableId") == table and "DestinationCidrBlock" in each
            ]
            assert via in route


FUNCTIONS = (
    (LAUNCHER, "Worker", "WorkerRole"),
    (LAUNCHER, "Sweep", "SweepRole"),
    (API, "Api", "ApiRole"),
)


@pytest.mark.parametrize(("name", "function", "role"), FUNCTIONS)
@pytest.mark.parametrize("app", [True, False])
def test_a_function_reads_the_credential_that_it_has(name, function, role, app):
    """With a GitHub App its key, else the personal access token; never both."""
    found = variant(name, *(["UsesApp"] if app else []))
    own, other = (APP_KEY, PAT) if app else (PAT, APP_KEY)
    read_ = json.dumps(statements_of(found, role)["ReadPoolsAndGitHubCredential"])
    assert (f"/{own}" in read_, f"/{other}" in read_) == (True, False)
    variables = found["Resources"][function]["Properties"]["Environment"]["Variables"]
    keys = {APP_KEY: "LAUNCHER_GITHUB_APP_KEY", PAT: "LAUNCHER_GITHUB_PAT"}
    assert variables[keys[own]]["Fn::Sub"].endswith(own)
    assert variables[keys[other]] == ""


@pytest.mark.parametrize(
    ("name", "role", "reads"),
    [
        (LAUNCHER, "WebhookRole", "ReadWebhookSecrets"),
        (LAUNCHER, "WorkerRole", "ReadPoolsAndGitHubCredential"),
        (LAUNCHER, "SweepRole", "ReadPoolsAndGitHubCredential"),
        (API, "ApiRole", "ReadPoolsAndGitHubCredential"),
    ],
)
def test_with_a_key_of_ones_own_who_reads_a_secret_may_decrypt_it(name, role, reads):
    """With that key alone, and through SSM alone; without it no role has a right at KMS."""
    with_key = statements_of(variant(name, "UsesOwnKey"), role)
    without = statements_of(variant(name), role)
    assert reads in without
    (added,) = with_key.keys() - without.keys()
    decrypts = with_key[added]
    assert (decrypts["Action"], decrypts["Resource"]) == ("kms:Decrypt", {"Ref": "KmsKeyArn"})
    assert list(decrypts["Condition"]["StringEquals"]) == ["kms:ViaService"]
    assert "kms:" not in json.dumps(list(without.values()))


@pytest.mark.parametrize(("name", "function", "role"), FUNCTIONS)
def test_a_function_in_a_vpc_may_have_network_interfaces(name, function, role):
    """Lambda creates them in the role's name; elsewhere the role has no right at EC2."""
    inside, outside = variant(name, "IsInVpc"), variant(name)
    assert "VpcConfig" in inside["Resources"][function]["Properties"]
    assert "VpcConfig" not in outside["Resources"][function]["Properties"]
    added = statements_of(inside, role).keys() - statements_of(outside, role).keys()
    assert added == {"HaveNetworkInterfaces"}
    assert "ec2:" not in json.dumps(outside)


# --- what starts runners --------------------------------------------------------------------------

STARTERS = ((LAUNCHER, "WorkerRole"), (API, "ApiRole"), (ACCOUNT, "CallersRole"))


@pytest.mark.parametrize(
    ("switch", "service", "rules"),
    [
        ("StartsTasks", "ecs:", {"TaskStopped", "TaskInterrupted"}),
        ("StartsMachines", "ec2:", {"MachineEnded", "MachineInterrupted"}),
    ],
)
def test_what_is_switched_off_adds_nothing(switch, service, rules):
    """Without tasks no rule and no right at ECS, without machines none at EC2, in any template."""
    on, off = variant(LAUNCHER, switch), variant(LAUNCHER)
    assert on["Resources"].keys() - off["Resources"].keys() == rules
    for name, role in STARTERS:
        given, left = (statements_of(variant(name, *each), role) for each in ([switch], []))
        added = [given[sid] for sid in given.keys() - left.keys()]
        assert service in json.dumps(added)
        assert "iam:PassRole" in json.dumps(added)
        assert not {"ecs:", "ec2:", "iam:"} & set(re.findall(r"\w+:", json.dumps(left)))


@pytest.mark.parametrize(
    ("switch", "added"),
    [
        ("StartsTasks", {"ListTasks", "LookAtTasksAndStopThem"}),
        ("StartsMachines", {"LookAtMachines", "EndMachines"}),
    ],
)
def test_the_sweep_may_end_what_the_worker_may_end_and_start_nothing(switch, added):
    """Tasks of its clusters, machines with the tag of its deployment; no role is passed."""
    found, left = (statements_of(variant(LAUNCHER, *on), "SweepRole") for on in ([switch], []))
    worker = statements_of(variant(LAUNCHER, switch), "WorkerRole")
    assert found.keys() - left.keys() == added
    ends = found["EndMachines"] if switch == "StartsMachines" else found["LookAtTasksAndStopThem"]
    theirs = worker["ReadConsolesAndEndMachines" if switch == "StartsMachines" else ends["Sid"]]
    assert (ends["Resource"], ends["Condition"]) == (theirs["Resource"], theirs["Condition"])
    assert not re.findall(r"iam:|RunTask|RunInstances|PutParameter", json.dumps(found))


def test_an_api_without_callers_of_a_kind_may_do_nothing_for_them():
    """No token is written where nothing is started, no role assumed where no account is listed."""
    assert statements_of(variant(API), "ApiRole").keys() == {
        "KeepRecords",
        "ReadPoolsAndGitHubCredential",
        "WriteLog",
    }
    garo = statements_of(variant(API, "AssumesRoles"), "ApiRole")
    assert garo["AssumeCallersRoles"]["Resource"] == {"Ref": "AccountRoleArns"}
    assert "sts:TagSession" not in json.dumps(garo)
    tagged = statements_of(variant(API, "AssumesRoles", "TagsThem"), "ApiRole")
    assert tagged["SayForWhom"]["Resource"] == {"Ref": "TaggedRoleArns"}


def test_runners_are_started_by_the_same_rights_everywhere():
    """The worker, the API and a caller's role have word for word the same statements for it."""
    switches = ("StartsTasks", "StartsMachines")
    worker, *others = (statements_of(variant(name, *switches), role) for name, role in STARTERS)
    alone = statements_of(variant(LAUNCHER), "WorkerRole").keys()
    expected = {sid: each for sid, each in worker.items() if sid not in alone}
    assert len(expected) > 10
    for found in others:
        assert {sid: found[sid] for sid in expected} == expected
        tokens = {**worker["WriteTokens"], "Action": found["WriteTokens"]["Action"]}
        assert found["WriteTokens"] == tokens
