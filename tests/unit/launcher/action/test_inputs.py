"""The inputs of the action: PasseiDireto's names and what they mean, and the new ones."""

import json
from dataclasses import replace

import pytest

from launcher.action import inputs
from launcher.errors import SettingsError
from launcher.order_stages import make_destination
from launcher.places.request import make_request

ENVIRON = {
    "GITHUB_REPOSITORY": "octo/repo",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_RUN_ID": "4711",
    "GITHUB_RUN_ATTEMPT": "1",
    "GITHUB_JOB": "pre-job",
    "GITHUB_ACTION": "__octo_runners",
    "ACTION_JOB_INDEX": "0",
    "ACTION_CHECK_RUN": "99",
    "ACTION_ORDINAL": "1",
    "AWS_REGION": "eu-central-1",
}
LEAST = {"github_pat": "ghp_0123456789", "cluster": "runners"}
ROLE = "arn:aws:iam::123456789012:role/runner"


@pytest.fixture
def read(tmp_path):
    """Give what reads inputs, with a workspace that may hold a file of parameters."""

    def read_(params=None, environ=None, command="start", **given):
        if params is not None:
            name = given.get("task_params_file") or "task-params.json"
            (tmp_path / name).write_text(json.dumps(params))
        values = {**ENVIRON, "GITHUB_WORKSPACE": str(tmp_path), **(environ or {})}
        values["ACTION_INPUTS"] = json.dumps({**LEAST, **given})
        return inputs.read(command, values)

    return read_


def problems(read, *args, **given):
    """Return what is wrong with some inputs."""
    with pytest.raises(SettingsError) as wrong:
        read(*args, **given)
    return wrong.value.problems


def request_of(request):
    """Return what is sent to ECS for an order."""
    destination = replace(make_destination(request.settings), **request.more)
    return make_request(destination, "token", "launcher", {"ours": "1"}, 0)


def test_a_token_and_a_cluster_are_enough(read):
    """The rest is as with PasseiDireto: its defaults, and the repository of the workflow."""
    request = read()
    assert request.settings.github_url == "https://github.com/octo/repo"
    assert request.settings.task_definition == "gh-runner"
    assert (request.order.count, request.order.wait, request.order.timeout) == (1, "online", 600)
    assert request.labels == ("self-hosted", request.label)
    assert request.label.startswith("run-4711-")
    assert "ghp_0123456789" not in repr(request)


def test_an_app_takes_the_place_of_a_token(read):
    """One of the two, and not both."""
    app = {"github_app_id": "7", "github_app_key": "-----BEGIN KEY-----"}
    assert read(github_pat="", **app).settings.github_app_id == "7"
    (problem,) = problems(read, **app)
    assert problem.startswith("github_pat contradicts github_app_id")


@pytest.mark.parametrize("name", ["count", "task_count"])
def test_count_has_two_names(read, name):
    """That of the seed's documents and that of its code."""
    assert read(**{name: "3"}).order.count == 3
    (problem,) = problems(read, **{name: "0"})
    assert "must be a number from 1 to 100, not '0'" in problem


def test_two_counts_contradict(read):
    """Only where they differ."""
    assert read(count="3", task_count="3").order.count == 3
    (problem,) = problems(read, count="3", task_count="4")
    assert problem == "count and task_count contradict each other: set one of them"


@pytest.mark.parametrize(
    ("given", "waits"),
    [
        ({"wait": "true"}, "online"),
        ({"wait": "True"}, "online"),
        ({"wait": "false"}, "none"),
        ({"wait_for": "running"}, "running"),
        ({"wait": "true", "wait_for": "none"}, "none"),
        ({"wait": "false", "wait_for": "none"}, "none"),
    ],
)
def test_what_is_waited_for(read, given, waits):
    """`wait_for` says it; `wait` is the seed's name for all or nothing."""
    assert read(**given).order.wait == waits


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"wait": "maybe"}, "wait "),
        ({"wait_for": "ever"}, "wait_for"),
        ({"wait": "false", "wait_for": "online"}, "wait_for"),
        ({"timeout": "soon"}, "timeout"),
        ({"labels": "a\nb"}, "labels"),
        ({"task_role_arn": "runner"}, "task_role_arn"),
        ({"execution_role_arn": "runner"}, "execution_role_arn"),
        ({"network": "vpc-1"}, "network"),
        ({"network": "sg-1"}, "network"),
        ({"capacity_provider": "FARGATE", "launch_type": "EC2"}, "launch_type"),
        ({"launch_type": "LAMBDA"}, "launch_type"),
        ({"parameter_prefix": "tokens"}, "parameter_prefix"),
        ({"runner_group": "-x"}, "runner_group"),
        ({"cluster": ""}, "cluster"),
        ({"task_params_file": "none.json"}, "task_params_file"),
    ],
)
def test_a_mistake_names_its_input(read, given, name):
    """One line, and no variable of the launcher's in it."""
    (problem,) = problems(read, **given)
    assert problem.startswith(name)
    assert "LAUNCHER_" not in problem


def test_a_missing_region_says_what_to_do(read):
    """The usual cause is that the step with AWS's credentials is missing."""
    (problem,) = problems(read, environ={"AWS_REGION": ""})
    assert "before this one" in problem
    assert read(environ={"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-1"})


def test_labels(read):
    """The unique one comes on top; `none` and the empty text leave it alone."""
    assert read(labels="gpu, linux").labels[:2] == ("gpu", "linux")
    for text in ("none", ""):
        request = read(labels=text)
        assert request.labels == (request.label,)


def test_capacity_providers_are_asked_in_turn(read):
    """`default`, the seed's documented default, is the cluster's own."""
    assert read(capacity_provider="FARGATE_SPOT, FARGATE").settings.capacity_providers == (
        "FARGATE_SPOT",
        "FARGATE",
    )
    assert read(capacity_provider="default").settings.capacity_providers == ()


def test_the_network_of_the_tasks(read):
    """Ids tell what they are; `public` gives an address."""
    sent = request_of(read(network="subnet-0a\nsg-0123, public", launch_type="FARGATE"))
    assert sent["networkConfiguration"]["awsvpcConfiguration"] == {
        "subnets": ["subnet-0a"],
        "securityGroups": ["sg-0123"],
        "assignPublicIp": "ENABLED",
    }


def test_roles_reach_ecs(read):
    """The seed dropped both."""
    other = ROLE.replace("runner", "start")
    sent = request_of(read(task_role_arn=ROLE, execution_role_arn=other))
    assert sent["overrides"]["taskRoleArn"] == ROLE
    assert sent["overrides"]["executionRoleArn"] == other


PARAMS = {
    "cluster": "theirs",
    "taskDefinition": "theirs",
    "count": 2,
    "group": "mine",
    "startedBy": "me",
    "clientToken": "mine",
    "launchType": "EC2",
    "enableECSManagedTags": False,
    "tags": [{"key": "team", "value": "a"}, {"key": "ours", "value": "no"}],
    "networkConfiguration": {
        "awsvpcConfiguration": {"subnets": ["subnet-9"], "securityGroups": ["sg-9"]}
    },
    "overrides": {
        "taskRoleArn": "theirs",
        "cpu": "2048",
        "containerOverrides": [
            {"name": "log", "cpu": 1},
            {
                "name": "runner",
                "memory": 512,
                "environment": [
                    {"name": "A", "value": "b"},
                    {"name": "SIDECAR_TOKEN_PARAMETER", "value": "theirs"},
                ],
            },
        ],
    },
}


def test_the_file_of_parameters_is_merged_at_every_depth(read):
    """What no input says is kept, also beside what an input says; the inputs win."""
    request = read(PARAMS, task_role_arn=ROLE, capacity_provider="FARGATE", network="subnet-1")
    assert request.order.count == 2
    assert [warning for warning in request.warnings if "startedBy" in warning]
    sent = request_of(request)
    assert sent == {
        "cluster": "runners",
        "taskDefinition": "theirs",
        "count": 1,
        "clientToken": "token",
        "startedBy": "launcher",
        "group": "mine",
        "enableECSManagedTags": False,
        "capacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1}],
        "tags": [{"key": "team", "value": "a"}, {"key": "ours", "value": "1"}],
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": ["subnet-1"],
                "securityGroups": [],
                "assignPublicIp": "DISABLED",
            }
        },
        "overrides": {
            "taskRoleArn": ROLE,
            "cpu": "2048",
            "containerOverrides": [
                {"name": "log", "cpu": 1},
                {
                    "name": "runner",
                    "memory": 512,
                    "environment": [
                        {"name": "A", "value": "b"},
                        {
                            "name": "SIDECAR_TOKEN_PARAMETER",
                            "value": "/runner-launcher/tokens/{task}",
                        },
                    ],
                },
            ],
        },
    }


def test_inputs_win_over_the_file(read):
    """Also those that are settings."""
    request = read(PARAMS, task_definition="ours", count="1", launch_type="FARGATE")
    assert (request.order.count, request.settings.task_definition) == (1, "ours")
    assert request_of(request)["launchType"] == "FARGATE"


def test_a_file_by_another_name(read):
    """From the workspace, as the seed has it."""
    request = read({"group": "mine"}, task_params_file="more.json")
    assert request_of(request)["group"] == "mine"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ([], "JSON object"),
        ({"overides": {}}, "overides"),
        ({"overrides": {"cpu": 2048}}, "cpu"),
        ({"overrides": {"containerOverrides": [{"cpu": 1}]}}, "without 'name'"),
    ],
)
def test_a_file_that_ecs_would_refuse_is_refused_before(read, params, words):
    """By AWS's own description of RunTask."""
    (problem,) = problems(read, params)
    assert problem.startswith("task_params_file")
    assert words in problem


def test_a_file_that_is_no_json(read, tmp_path):
    """It says so, and where."""
    (tmp_path / "task-params.json").write_text("{")
    (problem,) = problems(read)
    assert "task-params.json" in problem


@pytest.mark.parametrize(
    "name",
    [
        "GITHUB_RUN_ID",
        "GITHUB_RUN_ATTEMPT",
        "GITHUB_JOB",
        "GITHUB_ACTION",
        "ACTION_JOB_INDEX",
        "ACTION_CHECK_RUN",
        "ACTION_ORDINAL",
    ],
)
def test_the_key_tells_steps_apart(read, name):
    """The same step always has the same one."""
    assert read().label == read().label
    assert read(environ={name: "5"}).label != read().label


# ---- machines ------------------------------------------------------------------------------------

MACHINE = {"cluster": "", "github_pat": "", "github-token": "ghp_0123456789"}
MACHINE |= {"launch-template-id": "lt-0123456789"}
SCRIPT = "#!/bin/sh\nrunner-sidecar run\n"


@pytest.fixture
def script(tmp_path):
    """Give a file of user data in the workspace."""
    path = tmp_path / "user-data.sh"
    path.write_text(SCRIPT)
    return path


def test_the_inputs_of_the_ec2_system(read, script):
    """Under its names; a file of parameters of tasks is not read, though it is there."""
    given = {"aws-region": "eu-west-1", "instance-name": "ci", "user-data": script.name}
    request = read({"group": "mine"}, **MACHINE, **given)
    assert request.has_machines
    assert (request.region, request.more) == ("eu-west-1", {"user_data": SCRIPT})
    assert request.settings.github_pat.get_secret_value() == "ghp_0123456789"
    made = replace(make_destination(request.settings), **request.more)
    assert (made.launch_template, made.user_data) == ("lt-0123456789", SCRIPT)
    assert dict(made.tags)["Name"] == "ci"
    assert read(**MACHINE).more == {"user_data": None}


def test_a_region_is_taken_from_the_input_first(read):
    """Else from what a step before has set."""
    assert read(**{"aws-region": "eu-west-1"}).region == "eu-west-1"
    assert read().region == "eu-central-1"
    assert read(environ={"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-3"}).region == "eu-west-3"


def test_the_two_names_of_the_token(read):
    """The same value under both is one token."""
    assert read(**{"github-token": LEAST["github_pat"]})
    (problem,) = problems(read, **{"github-token": "ghp_9876543210"})
    assert problem == "github_pat and github-token contradict each other: set one of them"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"cluster": "runners"}, "cluster"),
        ({"task_definition": "runner"}, "task_definition"),
        ({"container": "runner"}, "container"),
        ({"launch_type": "FARGATE"}, "launch_type"),
        ({"network": "public"}, "network"),
        ({"task_role_arn": ROLE}, "task_role_arn"),
        ({"execution_role_arn": ROLE}, "execution_role_arn"),
        ({"task_params_file": "more.json"}, "task_params_file"),
        ({"capacity_provider": "FARGATE"}, "capacity_provider"),
        ({"launch-template-id": "a b"}, "launch-template-id"),
        ({"aws-region": "Frankfurt"}, "aws-region"),
        ({"instance-name": "a\nb"}, "instance-name"),
        ({"user-data": "none.sh"}, "user-data"),
    ],
)
def test_a_mistake_with_machines_names_its_input(read, given, name):
    """One line, and no variable of the launcher's in it."""
    (problem,) = problems(read, **{**MACHINE, **given})
    assert problem.startswith(f"{name} ")
    assert "LAUNCHER_" not in problem


@pytest.mark.parametrize("name", ["instance-name", "user-data"])
def test_an_input_of_machines_needs_a_launch_template(read, script, name):
    """A task has neither."""
    (problem,) = problems(read, **{name: script.name})
    assert problem.startswith(f"{name} is for machines: it needs launch-template-id")


def test_a_stop_needs_to_know_where(read):
    """As the start did: a cluster, or a launch template; the default task definition is no sign."""
    assert read(command="stop", label="run-1", **MACHINE).has_machines
    (problem,) = problems(read, command="stop", label="run-1", cluster="")
    assert problem.startswith("cluster is missing; for machines set launch-template-id")


@pytest.mark.parametrize("unmended", [True, False])
def test_a_link_in_the_workspace_does_not_lead_out_of_it(read, tmp_path, monkeypatch, unmended):
    """A checkout could send the runner's own files to a machine; an absolute path is meant."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (tmp_path / "outside").write_text(SCRIPT)
    (workspace / "link").symlink_to(tmp_path / "outside")
    environ = {"GITHUB_WORKSPACE": str(workspace)}
    assert read(environ=environ, **MACHINE, **{"user-data": str(tmp_path / "outside")})
    if unmended:
        monkeypatch.setattr(inputs.Path, "resolve", lambda path: path)
        assert read(environ=environ, **MACHINE, **{"user-data": "link"}).more["user_data"]
        return
    for name in ("link", "../outside"):
        (problem,) = problems(read, environ=environ, **MACHINE, **{"user-data": name})
        assert problem == f"user-data leads out of the workspace: {name}"


# ---- the order -----------------------------------------------------------------------------------


def test_a_stop_takes_the_label_of_the_start(read):
    """It has no labels, count and file of its own."""
    request = read(command="stop", label="run-4711-abc")
    assert request.order.key == "run-4711-abc"
    assert request.order.request == read(command="stop", label="run-4711-abc").order.request


def test_the_other_settings_are_variables(read):
    """Whatever has no input can be set as LAUNCHER_ variable; an unknown one is told."""
    environ = {"LAUNCHER_NAME_PREFIX": "ci-", "LAUNCHER_NAME_PREFX": "ci-"}
    request = read(environ=environ)
    assert request.settings.name_prefix == "ci-"
    assert any("LAUNCHER_NAME_PREFX" in warning for warning in request.warnings)
