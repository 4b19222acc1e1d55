"""The task definitions: valid, within each launch type's rules, and allowed what a life calls."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import boto3
import pytest
from botocore.session import get_session
from botocore.validate import validate_parameters

from local import aws as local_aws
from local.github import apps
from sidecar import host
from sidecar.settings import load as settings
from sidecar.settings import model
from tests.lives.stage import PATIENCE, open_stage, run_side_by_side

FOLDER = Path(__file__).parents[2] / "task-definitions"
FILLED = {
    "ACCOUNT": "123456789012",
    "APP_ID": "123456",
    "APP_KEY": "/actions/app-key",
    "CLUSTER": "runners",
    "DIND_IMAGE": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/runner:1-dind",
    "EXECUTION_ROLE": "runner-execution",
    "GITHUB_URL": "https://github.com/octo-org/octo-repo",
    "IMAGE": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/runner:1",
    "LOG_GROUP": "/runners",
    "REGION": "eu-central-1",
    "REPOSITORY": "runner",
    "SECURITY_GROUP": "sg-0123456789abcdef0",
    "SUBNET": "subnet-0123456789abcdef0",
    "TASK_ROLE": "runner-task",
    "TOKEN_PATH": "/actions/tokens/",
    "WINDOWS_IMAGE": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/runner:1-ltsc2022",
}
DEFINITIONS = sorted(path.parent.name for path in FOLDER.glob("*/task-definition.json"))
POLICIES = sorted(
    str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.json") if "-role" in path.name
)
WINDOWS = ["windows-ec2", "windows-fargate"]
TOKENS = ["fargate", "ec2-docker-sock", "ec2-docker-in-docker", *WINDOWS]
"""Those of tasks that a launcher starts, each with a token of its own."""


def run_fill(name, values):
    """Run the fill-in command; gives its exit code, what it wrote and what it complained of."""
    done = subprocess.run(
        [FOLDER / "fill", FOLDER / name],
        env={"PATH": "/usr/bin:/bin", **values},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    return done.returncode, done.stdout, done.stderr


def filled(name):
    """Give a file as the fill-in command writes it."""
    code, text, error = run_fill(name, FILLED)
    assert code == 0, error
    return json.loads(text)


def definition(name):
    """Give a task definition, filled in."""
    return filled(f"{name}/task-definition.json")


def containers(name):
    """Give a definition's containers by their names."""
    return {one["name"]: one for one in definition(name)["containerDefinitions"]}


def environment(container):
    """Give a container's plain variables."""
    return {one["name"]: one["value"] for one in container.get("environment", [])}


def test_there_are_six():
    """One for each place that the agent is used in."""
    linux = ["ec2-docker-in-docker", "ec2-docker-sock", "fargate", "service"]
    assert sorted([*linux, *WINDOWS]) == DEFINITIONS


# --- filling in -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(str(p.relative_to(FOLDER)) for p in FOLDER.rglob("*.json")))
def test_one_command_fills_in_all_that_is_open(name):
    """What is left is JSON without a single open name; each name is explained in the README."""
    text = run_fill(name, FILLED)[1]
    assert json.loads(text)
    assert not re.search(r"\$\{[A-Z_]+\}", text)
    told = (FOLDER / "README.md").read_text()
    for wanted in re.findall(r"\$\{([A-Z_]+)\}", (FOLDER / name).read_text()):
        assert f"`{wanted}`" in told


def test_what_is_not_given_is_named():
    """All that is missing at once, and nothing on stdout that somebody could register."""
    code, text, error = run_fill("trust.json", {})
    assert (code, text) == (1, "")
    assert error.endswith("not set: ACCOUNT REGION\n")


def test_a_value_is_taken_as_it_is():
    """Slashes, ampersands, bars and backslashes included."""
    odd = r"a/b&c|d\\e"
    text = run_fill("trust.json", FILLED | {"REGION": odd})[1]
    assert f"arn:aws:ecs:{odd}:123456789012:*" in text


# --- valid for AWS --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ecs_model():
    """Give botocore's description of ECS."""
    return get_session().get_service_model("ecs")


@pytest.mark.parametrize("name", DEFINITIONS)
def test_aws_s_own_model_accepts_it(ecs_model, name):
    """Every member is known, of its type and within its bounds."""
    shape = ecs_model.operation_model("RegisterTaskDefinition").input_shape
    validate_parameters(definition(name), shape)


def test_aws_s_own_model_accepts_the_service(ecs_model):
    """The service that keeps runners there."""
    service = filled("service/service.json")
    validate_parameters(service, ecs_model.operation_model("CreateService").input_shape)
    assert service["taskDefinition"] == definition("service")["family"]


@pytest.mark.parametrize("name", DEFINITIONS)
def test_it_registers_as_it_is(aws, name):
    """What is registered is what is written."""
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    client = boto3.client("ecs", endpoint_url=aws, region_name=local_aws.REGION, **keys)
    try:
        wanted = definition(name)
        got = client.register_task_definition(**wanted)["taskDefinition"]
    finally:
        client.close()
    assert got["family"] == wanted["family"]
    assert got["runtimePlatform"] == wanted["runtimePlatform"]
    assert got["networkMode"] == wanted.get("networkMode", got["networkMode"])
    assert [one["name"] for one in got["containerDefinitions"]] == list(containers(name))
    assert got["taskRoleArn"] == wanted["taskRoleArn"]


# --- the rules of ECS -----------------------------------------------------------------------------

FARGATE_MEMORY = {
    256: {512, 1024, 2048},
    512: set(range(1024, 4097, 1024)),
    1024: set(range(2048, 8193, 1024)),
    2048: set(range(4096, 16385, 1024)),
    4096: set(range(8192, 30721, 1024)),
}


UNKNOWN_TO_WINDOWS = {
    *("disableNetworking", "dnsSearchDomains", "dnsServers", "extraHosts", "links"),
    *("linuxParameters", "privileged", "readonlyRootFilesystem", "ulimits", "user"),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_launch_type_s_rules(name):
    """Fargate: awsvpc, a size that it sells, 120 s to stop, and nothing of the instance's."""
    task = definition(name)
    (launch_type,) = task["requiresCompatibilities"]
    if launch_type == "EC2":
        assert task.get("networkMode") in (("bridge", "awsvpc"), (None, "awsvpc"))[name in WINDOWS]
        for one in task["containerDefinitions"]:
            assert "memory" in one or "memoryReservation" in one
        return
    assert task["networkMode"] == "awsvpc"
    assert int(task["memory"]) in FARGATE_MEMORY[int(task["cpu"])]
    assert "volumes" not in task
    for one in task["containerDefinitions"]:
        assert one["stopTimeout"] <= 120
        assert not {"privileged", "dockerSecurityOptions", "extraHosts", "links"} & set(one)
        added = one.get("linuxParameters", {}).get("capabilities", {}).get("add", [])
        assert set(added) <= {"SYS_PTRACE"}


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_has_less(name):
    """Nothing that ECS does not know for Windows containers, and no less than 1 vCPU."""
    task = definition(name)
    assert task["runtimePlatform"] == {
        "operatingSystemFamily": "WINDOWS_SERVER_2022_CORE",  # the image's default
        "cpuArchitecture": "X86_64",
    }
    assert not {"pidMode", "ipcMode", "proxyConfiguration", "placementConstraints"} & set(task)
    for one in task["containerDefinitions"]:
        assert not UNKNOWN_TO_WINDOWS & set(one)
        if (
            name == "windows-ec2"
        ):  # sizes of the task are ignored there, and no size is 1 % of a CPU
            assert not {"cpu", "memory"} & set(task)
            assert one["cpu"] >= 1024
        else:
            assert int(task["cpu"]) in (1024, 2048, 4096)
            assert "restartPolicy" not in one


def test_windows_on_ec2_is_led_to_its_credentials():
    """In the default network mode ECS adds no route to them; in `awsvpc` there would be one."""
    asked = environment(containers("windows-ec2")["runner"]).get("ENTRYPOINT_CREDENTIALS_ROUTE")
    assert "networkMode" not in definition("windows-ec2")
    assert asked == "true"
    assert "ENTRYPOINT_CREDENTIALS_ROUTE" not in environment(
        containers("windows-fargate")["runner"]
    )


def test_the_instance_s_pipe_is_mounted_where_docker_looks():
    """A pipe is mounted under its own name; the agent learns of it by DOCKER_HOST."""
    task, runner = definition("windows-ec2"), containers("windows-ec2")["runner"]
    (source,) = [one["host"]["sourcePath"] for one in task["volumes"]]
    assert source == "\\\\.\\pipe\\docker_engine"
    assert list(paths(runner).values()) == [source]
    assert environment(runner)["DOCKER_HOST"] == "npipe://" + source.replace("\\", "/")


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_stop_timeout_is_the_agent_s_budget(name):
    """A task cannot read its own: the two numbers are the same."""
    runner = containers(name)["runner"]
    assert int(environment(runner)["SIDECAR_STOP_TIMEOUT"]) == runner["stopTimeout"]


@pytest.mark.parametrize("name", DEFINITIONS)
def test_its_health_is_asked(name):
    """Of each container, within ECS's bounds; where the agent is, by its own command."""
    for one in containers(name).values():
        check = one["healthCheck"]
        assert 5 <= check["interval"] <= 300
        assert 2 <= check["timeout"] <= 60
        assert 1 <= check["retries"] <= 10
        assert 0 <= check["startPeriod"] <= 300
    program = "runner-sidecar.exe" if name in WINDOWS else "runner-sidecar"
    command = containers(name)["runner"]["healthCheck"]["command"]
    assert command == ["CMD", program, "health"]


@pytest.mark.parametrize("name", DEFINITIONS)
def test_nothing_restarts_in_place_and_everything_logs(name):
    """A life has one token: the next needs another. The log goes where the role may write."""
    for one in containers(name).values():
        if name != "windows-fargate":  # which knows no such policy, and never restarts
            assert one["restartPolicy"] == {"enabled": False}
        options = one["logConfiguration"]["options"]
        assert options["awslogs-group"] == FILLED["LOG_GROUP"]
        assert options["awslogs-stream-prefix"] == one["name"]


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_main_container_is_where_launchers_look(name):
    """`runner`, the first one: four launchers override it by that name."""
    task = definition(name)
    assert task["containerDefinitions"][0]["name"] == "runner"
    assert task["containerDefinitions"][0]["essential"] is True


@pytest.mark.parametrize("name", DEFINITIONS)
def test_what_is_waited_for_and_mounted_is_there(name):
    """Dependencies and volumes name what the definition has; HEALTHY needs a check."""
    task, there = definition(name), containers(name)
    volumes = {one["name"] for one in task.get("volumes", [])}
    for one in there.values():
        for wanted in one.get("dependsOn", []):
            assert wanted["condition"] == "HEALTHY"
            assert "healthCheck" in there[wanted["containerName"]]
        mounts = one.get("mountPoints", [])
        assert {mount["sourceVolume"] for mount in mounts} <= volumes


def paths(container):
    """Give where a container has each volume."""
    return {mount["sourceVolume"]: mount["containerPath"] for mount in container["mountPoints"]}


def test_the_daemon_and_the_runner_share_paths():
    """What a job asks the daemon to mount has the same path on both sides."""
    there = containers("ec2-docker-in-docker")
    runner, daemon = there["runner"], there["docker"]
    assert paths(runner).items() <= paths(daemon).items()
    assert environment(runner)["SIDECAR_SHARED_DIR"] == paths(runner)["shared"]
    socket = environment(runner)["DOCKER_HOST"]
    assert Path(socket.removeprefix("unix://")).parent == Path(paths(runner)["daemon"])
    assert f"--host={socket}" in daemon["command"]
    assert f"--host={socket}" in daemon["healthCheck"]["command"]
    assert daemon["privileged"] is True
    assert runner["linuxParameters"]["capabilities"]["add"] == ["NET_ADMIN"]


def test_the_instance_s_daemon_finds_what_is_shared():
    """It is mounted from the very path that it has in the container."""
    task, runner = definition("ec2-docker-sock"), containers("ec2-docker-sock")["runner"]
    sources = {one["name"]: one["host"]["sourcePath"] for one in task["volumes"]}
    assert paths(runner)["shared"] == sources["shared"]
    assert environment(runner)["SIDECAR_SHARED_DIR"] == sources["shared"]
    assert environment(runner)["DOCKER_HOST"] == f"unix://{paths(runner)['docker-socket']}"


@pytest.mark.parametrize("name", ["ec2-docker-in-docker", "ec2-docker-sock"])
def test_the_daemon_s_own_socket_is_not_where_jobs_look(name):
    """There they would go around the agent, which gives their containers credentials."""
    assert environment(containers(name)["runner"])["DOCKER_HOST"] != "unix:///var/run/docker.sock"
    assert "/var/run/docker.sock" not in paths(containers(name)["runner"]).values()


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_agent_accepts_what_it_is_told(name, tmp_path):
    """Every variable is a setting, and together they are enough, with a launcher's override."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "Runner.Listener").touch()
    runner = containers(name)["runner"]
    env = environment(runner) | {one["name"]: "-----BEGIN" for one in runner.get("secrets", [])}
    env.pop("ENTRYPOINT_CREDENTIALS_ROUTE", None)  # the first program's, which removes it
    env |= {"SIDECAR_RUNNER_DIR": str(tmp_path), "SIDECAR_RUNNER_USER": host.agent_user_name()}
    if name in TOKENS:
        env["SIDECAR_TOKEN_PARAMETER"] = FILLED["TOKEN_PATH"] + "0f3a"
    assert settings.load([], env).warnings == ()


@pytest.mark.parametrize("name", DEFINITIONS)
def test_no_secret_is_written_down(name):
    """Secrets come by the execution role, and never stand in the definition."""
    for one in containers(name).values():
        for field in model.SECRETS:
            assert model.variable(field) not in environment(one)


# --- policies -------------------------------------------------------------------------------------


def statements(*names):
    """Give the statements of policies, filled in."""
    return [one for name in names for one in filled(name)["Statement"]]


def granted(*names):
    """Give the actions that policies allow."""
    listed = [one["Action"] for one in statements(*names)]
    return {action for each in listed for action in ([each] if isinstance(each, str) else each)}


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_allows_what_it_names_and_no_more(name):
    """No star among actions; one resource, or the one action that has none."""
    for one in statements(name):
        assert one["Effect"] == "Allow"
        assert not any("*" in action for action in granted(name))
        if one["Action"] != "ecr:GetAuthorizationToken":
            assert one["Resource"].startswith("arn:aws:")
            assert FILLED["ACCOUNT"] in one["Resource"]


def test_a_task_s_own_token_and_no_other():
    """By tag the policy grants what the task's own session is written on."""
    (one,) = statements("task-role-by-tag.json")
    assert one["Condition"] == {
        "StringEquals": {"aws:ResourceTag/runner-sidecar:task": "${aws:userid}"}
    }
    assert granted("task-role-by-tag.json") == granted("task-role.json")


def test_only_ecs_may_take_the_roles():
    """For tasks of this account: another's cannot be made to use them."""
    (one,) = statements("trust.json")
    assert one["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
    assert one["Condition"]["StringEquals"] == {"aws:SourceAccount": FILLED["ACCOUNT"]}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_secrets_are_the_execution_role_s(name):
    """What the definition has ECS fetch, that role may read; the task role may not."""
    own = "service/" if name == "service" else ""
    execution = statements(f"{own}execution-role.json")
    readable = [one["Resource"] for one in execution if one["Action"] == "ssm:GetParameters"]
    for one in containers(name)["runner"].get("secrets", []):
        assert one["valueFrom"] in readable
        task_role = statements(f"{own}task-role.json")
        assert one["valueFrom"] not in [each["Resource"] for each in task_role]


ACTIONS = {
    "GetParameter": "ssm:GetParameter",
    "DeleteParameter": "ssm:DeleteParameter",
    "PUT": "ecs:UpdateTaskProtection",
    "GET": "ecs:GetTaskProtection",
}
"""What is asked for by each call: of SSM, and of the ECS agent about the task's protection."""


def called(aws_requests, agent_requests):
    """Give the actions that a life needed, from what came in at AWS and at the ECS agent."""
    methods = [method for method, path in agent_requests if "task-protection" in path]
    return {ACTIONS[name] for name in (*(seen.target for seen in aws_requests), *methods)}


def called_on(stage):
    """Give the actions that a whole life on a stage needed."""
    return called(stage.ssm.requests, [(seen.method, seen.path) for seen in stage.ecs.requests])


@pytest.mark.parametrize("name", TOKENS)
def test_a_launched_task_s_policy_is_what_a_life_calls(aws, name):
    """Exactly that, but for scale-in protection, which a task of no service cannot have."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            stage.ecs.protection.name = "not-a-service"
            stage.job("echo hello")
            told = environment(containers(name)["runner"])
            env = {
                "SIDECAR_STOP_TIMEOUT": told["SIDECAR_STOP_TIMEOUT"],
                "AWS_ENDPOINT_URL": stage.ssm.url,  # of every service, so that none goes unseen
            }
            async with stage.life(env=env) as life:
                await stage.check_end(life, 0)
            assert called_on(stage) - {"ecs:UpdateTaskProtection"} == granted("task-role.json")

    run_side_by_side(play())


def test_a_service_s_policy_is_what_a_life_calls(aws):
    """Exactly that: its App mints what it needs, so that there is no token to take."""

    async def play():
        async with open_stage(aws) as stage:
            pem, modulus, exponent = apps.fresh_key()
            known = stage.world.apps.add("runners", modulus, exponent)
            stage.world.apps.install(known, "octo")
            runner = containers("service")["runner"]
            env = environment(runner) | {
                "SIDECAR_GITHUB_URL": stage.github_url,
                "SIDECAR_GITHUB_APP_ID": known.client_id,
                **{one["name"]: pem for one in runner["secrets"]},
                "SIDECAR_TOKEN_PARAMETER": None,
                "AWS_ENDPOINT_URL": stage.ssm.url,
            }
            stage.job("echo hello")
            async with stage.life(env=env) as life:
                await stage.check_end(life, 0)
            assert life.find_events("task.protected")
            assert called_on(stage) == granted("service/task-role.json")

    run_side_by_side(play())
