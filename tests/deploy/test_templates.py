"""The templates: what AWS's own rules say of them, and what we promise of them."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.deploy.parameters import APP_KEY, PAT, POOLS, WEBHOOK_SECRETS
from launcher.deploy.stack import FOLDER
from launcher.record.table import EXPIRES, KEY
from tests.deploy.templates import find_references, read, resources, variant

LAUNCHER, RUNNERS = "launcher.yaml", "runners.yaml"


def test_aws_own_rules_find_nothing():
    """cfn-lint, which knows every property and type, is silent about both templates."""
    lint = Path(sys.executable).parent / "cfn-lint"
    command = [str(lint), *map(str, sorted(FOLDER.glob("*.yaml")))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", [LAUNCHER, RUNNERS])
def test_a_template_fits_into_a_call(name):
    """CloudFormation takes 51,200 bytes without a bucket."""
    assert len((FOLDER / name).read_bytes()) <= 51_200


def test_a_message_is_hidden_for_six_times_the_workers_timeout():
    """Lambda's documentation asks for it: else a message comes again while it is handled."""
    queue = resources(LAUNCHER, "AWS::SQS::Queue")["Queue"]
    worker = resources(LAUNCHER, "AWS::Lambda::Function")["Worker"]
    assert queue["VisibilityTimeout"] >= 6 * worker["Timeout"]
    assert queue["RedrivePolicy"]["maxReceiveCount"] >= 5
    dead = resources(LAUNCHER, "AWS::SQS::Queue")["DeadLetters"]
    assert dead["MessageRetentionPeriod"] > queue["MessageRetentionPeriod"] > 86_400


def test_the_worker_reports_which_messages_failed():
    """Without ReportBatchItemFailures a list of failures would count as success."""
    (mapping,) = resources(LAUNCHER, "AWS::Lambda::EventSourceMapping").values()
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "Concurrency"}}
    assert read(LAUNCHER)["Parameters"]["Concurrency"]["MinValue"] == 2


def test_the_function_url_has_both_permissions():
    """Since October 2025 one alone answers 403; the second is limited to calls by the URL."""
    permissions = resources(LAUNCHER, "AWS::Lambda::Permission").values()
    assert {each["Action"]: each for each in permissions} == {
        "lambda:InvokeFunctionUrl": {
            "FunctionName": {"Fn::GetAtt": ["Webhook", "Arn"]},
            "Principal": "*",
            "Action": "lambda:InvokeFunctionUrl",
            "FunctionUrlAuthType": "NONE",
        },
        "lambda:InvokeFunction": {
            "FunctionName": {"Fn::GetAtt": ["Webhook", "Arn"]},
            "Principal": "*",
            "Action": "lambda:InvokeFunction",
            "InvokedViaFunctionUrl": True,
        },
    }


def test_the_table_is_that_of_the_records():
    """Its key and its time to live are those that the launcher writes."""
    (table,) = resources(LAUNCHER, "AWS::DynamoDB::Table").values()
    assert table["KeySchema"] == [{"AttributeName": KEY, "KeyType": "HASH"}]
    assert table["TimeToLiveSpecification"] == {"AttributeName": EXPIRES, "Enabled": True}


def test_all_logs_end():
    """Each log group has a retention, so no log is kept, and paid for, for ever."""
    for name in (LAUNCHER, RUNNERS):
        groups = resources(name, "AWS::Logs::LogGroup")
        assert groups
        assert all(each["RetentionInDays"] == {"Ref": "LogDays"} for each in groups.values())
    functions = resources(LAUNCHER, "AWS::Lambda::Function").values()
    assert all("LogGroup" in each["LoggingConfig"] for each in functions)


def test_events_of_the_launchers_own_stopped_tasks_reach_the_queue():
    """Only these rules may send, and only stops of tasks that the launcher has started."""
    rules = resources(LAUNCHER, "AWS::Events::Rule")
    queue = {"Fn::GetAtt": ["Queue", "Arn"]}
    assert all([each["Arn"] for each in rule["Targets"]] == [queue] for rule in rules.values())
    assert rules["TaskStopped"]["EventPattern"] == {
        "source": ["aws.ecs"],
        "detail-type": ["ECS Task State Change"],
        "detail": {
            "lastStatus": ["STOPPED"],
            "clusterArn": {"Ref": "ClusterArns"},
            "startedBy": [{"prefix": "runner-launcher/"}],
        },
    }
    assert rules["TaskInterrupted"]["EventPattern"] == {
        **rules["TaskStopped"]["EventPattern"],
        "detail": {
            **rules["TaskStopped"]["EventPattern"]["detail"],
            "lastStatus": [{"anything-but": ["STOPPED"]}],
            "stopCode": ["SpotInterruption", "TerminationNotice"],
        },
    }
    assert json.loads(rules["Tick"]["Targets"][0]["Input"]) == {"kind": "tick"}
    (policy,) = resources(LAUNCHER, "AWS::SQS::QueuePolicy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Condition"]["ArnEquals"]["aws:SourceArn"] == [
        {"Fn::GetAtt": [name, "Arn"]} for name in rules
    ]


def test_the_functions_get_references_and_no_secrets():
    """No parameter is a secret; what the environment names are parameters of SSM."""
    found = read(LAUNCHER)
    assert not any("NoEcho" in each for each in found["Parameters"].values())
    text = json.dumps(resources(LAUNCHER, "AWS::Lambda::Function"))
    secrets = re.findall(r"ssm:/runner-launcher/\$\{Deployment\}/([a-z0-9-]+)", text)
    assert set(secrets) == {WEBHOOK_SECRETS, APP_KEY, PAT, POOLS}
    for word in ("secret", "key", "pat", "token", "password"):
        assert not [name for name in found["Outputs"] if word in name.lower()]


@pytest.mark.parametrize("name", [LAUNCHER, RUNNERS])
def test_no_role_may_do_anything_to_everything(name):
    """A star as resource stands only where AWS knows no resource, and a star as action nowhere."""
    unlimited = {"ecr:GetAuthorizationToken"} | {
        f"ec2:{verb}"
        for verb in (
            "CreateNetworkInterface",
            "DescribeNetworkInterfaces",
            "DescribeSubnets",
            "DeleteNetworkInterface",
            "AssignPrivateIpAddresses",
            "UnassignPrivateIpAddresses",
        )
    }
    statements = list(find_statements(name))
    assert statements
    for statement in statements:
        actions = statement["Action"]
        actions = {actions} if isinstance(actions, str) else set(actions)
        assert not [action for action in actions if "*" in action]
        if statement["Resource"] == "*":
            assert actions <= unlimited, statement["Sid"]


def find_statements(name):
    """Yield each statement of each role of a template."""
    for role in resources(name, "AWS::IAM::Role").values():
        for policy in role["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def test_alarms_and_dashboard_name_what_exists():
    """Each alarm goes to the topic, and says what is wrong; silence is no alarm."""
    alarms = resources(LAUNCHER, "AWS::CloudWatch::Alarm")
    assert {"PoisonAlarm", "BacklogAlarm", "WebhookAlarm", "WorkerAlarm"} <= set(alarms)
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == [{"Ref": "Alarms"}]
        assert alarm["AlarmDescription"]
        assert alarm["TreatMissingData"] == "notBreaching"


# --- variants -------------------------------------------------------------------------------------


def statements_of(found, role):
    """Return the statements of a role by their names, and the actions of each."""
    (policy,) = found["Resources"][role]["Properties"]["Policies"]
    return {each["Sid"]: each for each in policy["PolicyDocument"]["Statement"]}


@pytest.mark.parametrize("name", [LAUNCHER, RUNNERS])
def test_each_variant_refers_to_what_it_has(name):
    """Whichever conditions hold, nothing refers to a resource that this stack leaves out."""
    template = read(name)
    conditions = sorted(template["Conditions"])
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


@pytest.mark.parametrize("app", [True, False])
def test_the_worker_reads_the_credential_that_it_has(app):
    """With a GitHub App its key, else the personal access token; never both."""
    found = variant(LAUNCHER, *(["UsesApp"] if app else []))
    own, other = (APP_KEY, PAT) if app else (PAT, APP_KEY)
    read_ = json.dumps(statements_of(found, "WorkerRole")["ReadPoolsAndGitHubCredential"])
    assert (f"/{own}" in read_, f"/{other}" in read_) == (True, False)
    variables = found["Resources"]["Worker"]["Properties"]["Environment"]["Variables"]
    keys = {APP_KEY: "LAUNCHER_GITHUB_APP_KEY", PAT: "LAUNCHER_GITHUB_PAT"}
    assert variables[keys[own]]["Fn::Sub"].endswith(own)
    assert variables[keys[other]] == ""


@pytest.mark.parametrize(
    ("role", "reads"),
    [
        ("WebhookRole", "ReadWebhookSecrets"),
        ("WorkerRole", "ReadPoolsAndGitHubCredential"),
    ],
)
def test_with_a_key_of_ones_own_who_reads_a_secret_may_decrypt_it(role, reads):
    """With that key alone, and through SSM alone; without it no role has a right at KMS."""
    with_key = statements_of(variant(LAUNCHER, "UsesOwnKey"), role)
    without = statements_of(variant(LAUNCHER), role)
    assert reads in without
    (added,) = with_key.keys() - without.keys()
    decrypts = with_key[added]
    assert (decrypts["Action"], decrypts["Resource"]) == ("kms:Decrypt", {"Ref": "KmsKeyArn"})
    assert list(decrypts["Condition"]["StringEquals"]) == ["kms:ViaService"]
    assert "kms:" not in json.dumps(list(without.values()))


def test_a_worker_in_a_vpc_may_have_network_interfaces():
    """Lambda creates them in the role's name; elsewhere the role has no right at EC2."""
    inside, outside = variant(LAUNCHER, "IsInVpc"), variant(LAUNCHER)
    assert "VpcConfig" in inside["Resources"]["Worker"]["Properties"]
    assert "VpcConfig" not in outside["Resources"]["Worker"]["Properties"]
    added = statements_of(inside, "WorkerRole").keys() - statements_of(outside, "WorkerRole").keys()
    assert added == {"HaveNetworkInterfaces"}
    assert "ec2:" not in json.dumps(outside)
