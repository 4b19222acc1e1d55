"""The templates: what AWS's own rules say of them, and what we promise of them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.launcher_events import EVENTS
from launcher import api_function
from launcher.deploy import api_stack
from launcher.deploy.parameters import APP_KEY, PAT, POOLS, WEBHOOK_SECRETS
from launcher.deploy.stack import FOLDER
from launcher.places import Why
from launcher.record.table import EXPIRES, KEY
from tests.deploy.templates import ALL, API, LAUNCHER, RUNNERS, read, resources, variant


def test_aws_own_rules_find_nothing():
    """cfn-lint, which knows every property and type, is silent about all templates."""
    lint = Path(sys.executable).parent / "cfn-lint"
    command = [str(lint), *map(str, sorted(FOLDER.glob("*.yaml")))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ALL)
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


@pytest.mark.parametrize(("name", "function"), [(LAUNCHER, "Webhook"), (API, "Api")])
def test_the_function_url_has_both_permissions(name, function):
    """Since October 2025 one alone answers 403; the second is limited to calls by the URL."""
    permissions = resources(name, "AWS::Lambda::Permission").values()
    public = [each for each in permissions if each["Principal"] == "*"]
    assert {each["Action"]: each for each in public} == {
        "lambda:InvokeFunctionUrl": {
            "FunctionName": {"Fn::GetAtt": [function, "Arn"]},
            "Principal": "*",
            "Action": "lambda:InvokeFunctionUrl",
            "FunctionUrlAuthType": "NONE",
        },
        "lambda:InvokeFunction": {
            "FunctionName": {"Fn::GetAtt": [function, "Arn"]},
            "Principal": "*",
            "Action": "lambda:InvokeFunction",
            "InvokedViaFunctionUrl": True,
        },
    }


def test_the_api_answers_before_lambda_ends_it():
    """Its own limit of a request comes first, so that a caller always gets an answer."""
    function = resources(API, "AWS::Lambda::Function")["Api"]
    assert function["Timeout"] >= api_function.LONGEST + api_function.SPARE
    assert function["Handler"] == "launcher.lambdas.api"


def test_the_api_looks_after_orders_in_other_accounts_by_a_schedule():
    """The rule sends what the function knows, and nothing but this rule may send it."""
    (rule,) = resources(API, "AWS::Events::Rule").values()
    (target,) = rule["Targets"]
    assert json.loads(target["Input"]) == {"kind": api_function.TICK}
    assert target["Arn"] == {"Fn::GetAtt": ["Api", "Arn"]}
    (permission,) = [
        each
        for each in resources(API, "AWS::Lambda::Permission").values()
        if each["Principal"] == "events.amazonaws.com"
    ]
    assert permission["SourceArn"] == {"Fn::GetAtt": ["Tick", "Arn"]}
    assert "Tick" in variant(API, "AssumesRoles")["Resources"]
    assert "Tick" not in variant(API)["Resources"]


def test_the_sweep_is_called_by_a_schedule_and_one_at_a_time():
    """It ends before it is called again, and nothing but this rule may call it."""
    rule = resources(LAUNCHER, "AWS::Events::Rule")["SweepSchedule"]
    minutes = int(re.fullmatch(r"rate\((\d+) minutes\)", rule["ScheduleExpression"])[1])
    assert [each["Arn"] for each in rule["Targets"]] == [{"Fn::GetAtt": ["Sweep", "Arn"]}]
    function = resources(LAUNCHER, "AWS::Lambda::Function")["Sweep"]
    assert function["Handler"] == "launcher.lambdas.sweep"
    assert 60 < function["Timeout"] < minutes * 60
    permissions = resources(LAUNCHER, "AWS::Lambda::Permission")
    assert permissions["SweepIsScheduled"] == {
        "FunctionName": {"Fn::GetAtt": ["Sweep", "Arn"]},
        "Principal": "events.amazonaws.com",
        "Action": "lambda:InvokeFunction",
        "SourceArn": {"Fn::GetAtt": ["SweepSchedule", "Arn"]},
    }


def test_the_sweep_has_the_worker_s_settings():
    """It looks where the worker writes; and at the webhook, where that is no App's."""
    functions = resources(LAUNCHER, "AWS::Lambda::Function")
    worker, sweep = (functions[name]["Environment"]["Variables"] for name in ("Worker", "Sweep"))
    assert sweep == {**worker, "LAUNCHER_WEBHOOK_URL": sweep["LAUNCHER_WEBHOOK_URL"]}
    condition, *urls = sweep["LAUNCHER_WEBHOOK_URL"]["Fn::If"]
    assert (condition, urls) == ("UsesApp", ["", {"Fn::GetAtt": ["WebhookUrl", "FunctionUrl"]}])


def test_the_api_has_what_the_launcher_has():
    """Each parameter that the command takes over is there on both sides, and means the same."""
    launcher, api = read(LAUNCHER), read(API)
    for name in api_stack.SHARED:
        assert launcher["Parameters"][name] == api["Parameters"][name]
    for ours, theirs in api_stack.NETWORK.items():
        assert launcher["Parameters"][theirs]["Type"] == api["Parameters"][ours]["Type"]
    for ours, theirs in api_stack.OUTPUTS.items():
        assert theirs in launcher["Outputs"]
        assert ours in api["Parameters"]


def test_the_table_is_that_of_the_records():
    """Its key and its time to live are those that the launcher writes."""
    (table,) = resources(LAUNCHER, "AWS::DynamoDB::Table").values()
    assert table["KeySchema"] == [{"AttributeName": KEY, "KeyType": "HASH"}]
    assert table["TimeToLiveSpecification"] == {"AttributeName": EXPIRES, "Enabled": True}


def test_all_logs_end():
    """Each log group has a retention, so no log is kept, and paid for, for ever."""
    for name in (LAUNCHER, RUNNERS, API):
        groups = resources(name, "AWS::Logs::LogGroup")
        assert groups
        assert all(each["RetentionInDays"] == {"Ref": "LogDays"} for each in groups.values())
        functions = resources(name, "AWS::Lambda::Function").values()
        assert all("LogGroup" in each["LoggingConfig"] for each in functions)


def test_events_of_the_launchers_own_tasks_and_of_machines_reach_the_queue():
    """Only these rules may send: ends of its own tasks, and of all machines, which name nobody."""
    rules = {**resources(LAUNCHER, "AWS::Events::Rule")}
    del rules["SweepSchedule"]  # which calls a function
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
    assert [rules[name]["EventPattern"] for name in ("MachineEnded", "MachineInterrupted")] == [
        {
            "source": ["aws.ec2"],
            "detail-type": ["EC2 Instance State-change Notification"],
            "detail": {"state": ["stopping", "stopped", "shutting-down", "terminated"]},
        },
        {"source": ["aws.ec2"], "detail-type": ["EC2 Spot Instance Interruption Warning"]},
    ]
    assert json.loads(rules["Tick"]["Targets"][0]["Input"]) == {"kind": "tick"}
    found = variant(LAUNCHER, "StartsTasks", "StartsMachines")["Resources"]
    (statement,) = found["QueuePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Condition"]["ArnEquals"]["aws:SourceArn"] == [
        {"Fn::GetAtt": [name, "Arn"]} for name in rules
    ]


@pytest.mark.parametrize(
    ("name", "named"),
    [(LAUNCHER, {WEBHOOK_SECRETS, APP_KEY, PAT, POOLS}), (API, {APP_KEY, PAT, POOLS})],
)
def test_the_functions_get_references_and_no_secrets(name, named):
    """No parameter is a secret; what the environment names are parameters of SSM."""
    found = read(name)
    assert not any("NoEcho" in each for each in found["Parameters"].values())
    text = json.dumps(resources(name, "AWS::Lambda::Function"))
    secrets = re.findall(r"ssm:/runner-launcher/\$\{Deployment\}/([a-z0-9-]+)", text)
    assert set(secrets) == named
    for word in ("secret", "key", "pat", "token", "password"):
        assert not [name for name in found["Outputs"] if word in name.lower()]


@pytest.mark.parametrize("name", ALL)
def test_no_role_may_do_anything_to_everything(name):
    """A star as resource stands only where AWS knows no resource, and a star as action nowhere."""
    unlimited = {"ecr:GetAuthorizationToken", "ecs:ListTasks", "ssm:DescribeParameters"} | {
        f"ec2:{verb}"
        for verb in (
            "CreateNetworkInterface",
            "DescribeNetworkInterfaces",
            "DescribeSubnets",
            "DeleteNetworkInterface",
            "AssignPrivateIpAddresses",
            "UnassignPrivateIpAddresses",
            "DescribeInstances",
            "DescribeLaunchTemplateVersions",
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


@pytest.mark.parametrize(
    ("name", "topic", "named"),
    [
        (
            LAUNCHER,
            "Alarms",
            {"PoisonAlarm", "BacklogAlarm", "WebhookAlarm", "WorkerAlarm", "SweepAlarm"},
        ),
        (API, "AlarmTopicArn", {"ApiAlarm", "FaultAlarm", "ThrottleAlarm"}),
    ],
)
def test_alarms_name_what_exists(name, topic, named):
    """Each alarm goes to the topic, and says what is wrong; silence is no alarm."""
    alarms = resources(name, "AWS::CloudWatch::Alarm")
    assert named <= set(alarms)
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == [{"Ref": topic}]
        assert alarm["AlarmDescription"]
        assert alarm["TreatMissingData"] == "notBreaching"


# --- graphs -------------------------------------------------------------------------------------

LAMBDA = {
    "ConcurrentExecutions",
    "Duration",
    "Errors",
    "Invocations",
    "Throttles",
    "Url4xxCount",
    "Url5xxCount",
    "UrlRequestCount",
    "UrlRequestLatency",
}
"""The metrics of each function. Source: Lambda's developer guide, "Types of metrics"."""
SQS = {
    "ApproximateAgeOfOldestMessage",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesVisible",
}
"""The same of a queue of SQS. Source: SQS's developer guide, "Available CloudWatch metrics"."""
OWN = "RunnerLauncher/${Deployment}"
COUNTS = {
    "AWS/Lambda": ("FunctionName", "AWS::Lambda::Function", LAMBDA),
    "AWS/SQS": ("QueueName", "AWS::SQS::Queue", SQS),
}


def list_filters(name):
    """Return the patterns of the lines that are counted, by the metric's name."""
    found = {}
    for each in resources(name, "AWS::Logs::MetricFilter").values():
        (counted,) = each["MetricTransformations"]
        assert counted["MetricNamespace"] == {"Fn::Sub": OWN}
        assert each["LogGroupName"]["Ref"] in resources(name, "AWS::Logs::LogGroup")
        found[counted["MetricName"]] = each["FilterPattern"]
    return found


def read_widgets(name):
    """Return the widgets of a template's dashboard."""
    (dashboard,) = resources(name, "AWS::CloudWatch::Dashboard").values()
    return json.loads(dashboard["DashboardBody"]["Fn::Sub"])["widgets"]


def list_graphs(name):
    """List what a template's dashboard shows: namespace, metric, dimensions."""
    shown = [widget["properties"].get("metrics", []) for widget in read_widgets(name)]
    return [(line[0], line[1], line[2:-1]) for graph in shown for line in graph]


def find_wrong_graphs(name, graphs):
    """Return the graphs whose metric neither the template nor an own part of AWS makes."""
    wrong = []
    for namespace, metric, dimensions in graphs:
        if namespace == OWN:
            is_made = metric in list_filters(name) and not dimensions
        else:
            dimension, kind, counted = COUNTS[namespace]
            referred = re.fullmatch(r"\$\{(\w+)(\.QueueName)?\}", dimensions[1])
            is_ours = referred is not None and referred[1] in resources(name, kind)
            is_made = metric in counted and dimensions[0] == dimension and is_ours
        if not is_made:
            wrong.append((namespace, metric))
    return wrong


@pytest.mark.parametrize("name", [LAUNCHER, API])
def test_each_metric_on_a_graph_is_made(name):
    """By a filter of the same template, or by AWS for a function or queue of the template."""
    graphs = list_graphs(name)
    assert graphs
    assert find_wrong_graphs(name, graphs) == []
    others = [
        (OWN, "Renamed", []),
        ("AWS/Lambda", "UrlCount", ["FunctionName", "${Api}"]),
        ("AWS/Lambda", "Errors", ["FunctionName", "${Other}"]),
    ]
    assert len(find_wrong_graphs(name, others)) == len(others)


@pytest.mark.parametrize("name", [LAUNCHER, API])
def test_each_line_that_is_counted_is_one_that_the_launcher_writes(name):
    """Its event is documented, as each of the code is; a cause is one that a place can name."""
    for pattern in list_filters(name).values():
        events = re.findall(r'\$\.event = "([^"]+)"', pattern)
        assert events or pattern == '{ $.level = "error" }', pattern
        assert set(events) <= set(EVENTS), pattern
        assert set(re.findall(r'\$\.why !?= "([^"]+)"', pattern)) <= {str(why) for why in Why}


@pytest.mark.parametrize("name", [LAUNCHER, API])
def test_whatever_is_counted_is_shown_or_alarms(name):
    """No metric is made, and paid for, that nobody sees."""
    shown = {metric for namespace, metric, _ in list_graphs(name) if namespace == OWN}
    alarms = resources(name, "AWS::CloudWatch::Alarm").values()
    assert set(list_filters(name)) <= shown | {each["MetricName"] for each in alarms}


def test_the_api_has_graphs_of_what_its_operator_asks():
    """Requests by their answer, what was refused and started, capacity errors, and the time."""
    shown = {metric for _, metric, _ in list_graphs(API)}
    assert shown >= {
        "UrlRequestCount",
        "Url4xxCount",
        "Url5xxCount",
        "ApiRefused",
        "ApiStarted",
        "ApiNoCapacity",
        "Duration",
    }
    titles = [widget["properties"]["title"] for widget in read_widgets(API)]
    assert len(set(titles)) == len(titles) == 5
