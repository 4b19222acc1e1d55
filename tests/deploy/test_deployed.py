"""The launcher as it is deployed, end to end: two commands, then function URL, queue, worker, task.

One story is played once, at an AWS that runs the functions as processes (ministack), with GitHub
and ECS as stand-ins and real agents; each test then looks at what has come of it.
"""

import asyncio
import hmac
import json
import urllib.error
import urllib.request
import zipfile

import pytest

from launcher.deploy.parameters import APP_KEY, POOLS, WEBHOOK_SECRETS, parameter
from local import aws
from tests.deploy import ministack
from tests.deploy import stage as stages
from tests.deploy.permissions import Question, Roles, find_questions, list_actions, simulate
from tests.deploy.runtime import running
from tests.deploy.stage import CANARY, DEPLOYMENT, PAT, POOL_STACK
from tests.deploy.story import POISON, Story, play

pytestmark = pytest.mark.node
TIMEOUT = 300.0
BY_LAMBDA = {
    "Worker": {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"},
    "Webhook": set(),
}
"""What Lambda itself calls with a function's role: its event source. No call of these is seen."""
LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
"""The same for its log."""


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """Deploy, and play the story."""
    if not ministack.PROGRAM.exists():
        pytest.skip(f"needs ministack: see {ministack.__file__}")
    with stages.deploy(tmp_path_factory.mktemp("aws")) as deployed:
        told = Story(deployed)
        asyncio.run(asyncio.wait_for(play(told), TIMEOUT))
        told.log = (deployed.folder / "ministack.log").read_text()
        yield told


# --- what becomes of jobs -----------------------------------------------------------------------


def test_a_queued_job_is_done_by_a_task_of_its_own(story, record_property):
    """Function URL, queue, worker, RunTask, agent: the job succeeds, and the task ends well."""
    record_property("calls of AWS for one job", story.calls_of_first_job)
    assert story.results == ["succeeded"]
    assert story.exit_codes == [0]


def test_a_delivery_that_comes_twice_starts_nothing_twice(story):
    """GitHub's redelivery is taken with thanks, and the launch is recognised."""
    assert story.redelivery == "OK"
    assert story.tasks_of_first_job == 1


def test_nothing_is_left(story):
    """No task, no runner, no token, no place in a counter; a cancelled job leaves nothing too."""
    assert story.left == {"parameters": [], "runners": [], "tasks": [], "counters": []}


def test_poison_reaches_the_dead_letters_only_after_all_receives(story):
    """A message that nobody understands is tried five times; nothing else is ever dead."""
    assert story.dead == [POISON]
    refused = [line for line in story.log.splitlines() if '"message.refused"' in line]
    assert [json.loads(line)["received"] for line in refused] == [1, 2, 3, 4, 5]


def test_a_forged_delivery_is_refused(story):
    """Without the right signature the deployed webhook answers 401, and sends nothing."""
    request = urllib.request.Request(
        story.deployed.webhook_url,
        b"{}",
        {"X-Hub-Signature-256": "sha256=" + "0" * 64, "Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    with refused.value as answer:
        assert answer.code == 401


# --- the zip ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unpacked(story, tmp_path_factory):
    """Unpack the zip that the functions were deployed with."""
    folder = tmp_path_factory.mktemp("zip")
    objects = story.deployed.client("s3")
    bucket = f"runner-launcher-{aws.ACCOUNT}-{aws.REGION}"
    (found,) = objects.list_objects_v2(Bucket=bucket)["Contents"]
    objects.download_file(bucket, found["Key"], str(folder / "launcher.zip"))
    with zipfile.ZipFile(folder / "launcher.zip") as archive:
        archive.extractall(folder / "code")
    return folder / "code"


def test_the_webhook_runs_under_lambdas_own_client(unpacked, tmp_path):
    """With awslambdaric, and of this environment nothing but the zip, it answers a ping."""
    body = "{}"
    signature = hmac.digest(CANARY.encode(), body.encode(), "sha256").hex()
    event = {
        "requestContext": {"http": {"method": "POST"}},
        "headers": {"x-github-event": "ping", "x-hub-signature-256": f"sha256={signature}"},
        "body": body,
    }
    settings = {"LAUNCHER_QUEUE_URL": "http://127.0.0.1:9/1/q", "LAUNCHER_WEBHOOK_SECRETS": CANARY}
    with running("launcher.lambdas.webhook", unpacked, tmp_path, **settings) as handler:
        answer = handler.call(event)
    assert (answer["statusCode"], answer["body"]) == (200, "pong")


def test_the_worker_runs_under_lambdas_own_client(unpacked, tmp_path):
    """It imports all that it uses, and hands back the message that it does not understand."""
    pools = tmp_path / "pools.toml"
    pools.write_text('[[pool]]\nname = "a"\nlabels = ["a"]\ntask_definition = "a"\n')
    settings = {
        "LAUNCHER_QUEUE_URL": "http://127.0.0.1:9/1/q",
        "LAUNCHER_TABLE": "launches",
        "LAUNCHER_POOLS": str(pools),
        "LAUNCHER_GITHUB_URL": "https://github.com",
        "LAUNCHER_GITHUB_PAT": PAT,
    }
    record = {"messageId": "m1", "body": POISON, "attributes": {"ApproximateReceiveCount": "1"}}
    with running("launcher.lambdas.work", unpacked, tmp_path, **settings) as handler:
        assert handler.call({"Records": []}) == {"batchItemFailures": []}
        answer = handler.call({"Records": [record]})
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m1"}]}


# --- secrets ------------------------------------------------------------------------------------


def test_no_secret_is_seen_anywhere(story):
    """Not in outputs, templates, events of the stacks, environments, messages, tasks and logs."""
    places = {
        "stacks": story.deployed.templates(),
        "functions": story.deployed.environments(),
        "commands": story.deployed.printed,
        "messages": repr([c.arguments for c in _of_sqs(story)]),
        "dead letters": repr(story.dead),
        "tasks": story.runtask,
        "logs": story.log,
        "table": repr(aws.read_table(story.deployed.url, story.deployed.outputs["TableName"])),
    }
    assert len(story.secrets) > 2
    assert all(places.values())
    found = [
        (name, secret)
        for name, text in places.items()
        for secret in story.secrets
        if secret in text
    ]
    assert found == []
    # They stand where they belong, so this test would see them.
    assert CANARY in _read_parameter(story, WEBHOOK_SECRETS)


def _of_sqs(story):
    calls = [*story.calls["Webhook"], *story.calls["Worker"]]
    return [call for call in calls if call.target.startswith("AmazonSQS")]


def _read_parameter(story, name):
    ssm = story.deployed.client("ssm")
    found = ssm.get_parameter(Name=parameter(DEPLOYMENT, name), WithDecryption=True)["Parameter"]
    assert found["Type"] == "SecureString"
    return found["Value"]


# --- permissions --------------------------------------------------------------------------------


def _seen(story, function):
    """Return what IAM is asked for all calls of a function."""
    calls = [*story.calls[function], *(story.calls["ECS"] if function == "Worker" else [])]
    roles = Roles(
        story.definition,
        tuple(story.deployed.role_arn(role, POOL_STACK) for role in ("TaskRole", "ExecutionRole")),
    )
    return find_questions(calls, roles)


@pytest.mark.parametrize("function", ["Webhook", "Worker"])
def test_each_call_that_was_seen_is_allowed(story, function):
    """The role of the function lets it make every call that it made."""
    questions = _seen(story, function)
    role = f"{function}Role"
    answers = simulate(story.deployed.role_arn(role), story.deployed.policies(role), questions)
    denied = [each for each, answer in zip(questions, answers, strict=True) if answer != "Allowed"]
    assert questions
    assert denied == []


@pytest.mark.parametrize("function", ["Webhook", "Worker"])
def test_each_action_that_is_allowed_was_seen(story, function):
    """No role has an action that nobody needs."""
    allowed = list_actions(story.deployed.policies(f"{function}Role"))
    seen = {question.action for question in _seen(story, function)}
    assert allowed - seen - BY_LAMBDA[function] == LOGS


def test_what_is_somebody_elses_is_denied(story):
    """Other clusters, roles, task definitions, parameters, queues and tables are out of reach."""
    ssm = f"arn:aws:ssm:{aws.REGION}:{aws.ACCOUNT}:parameter"
    ecs = f"arn:aws:ecs:{aws.REGION}:{aws.ACCOUNT}:"
    sqs = f"arn:aws:sqs:{aws.REGION}:{aws.ACCOUNT}:"
    cluster, other = story.deployed.pool_outputs["ClusterArn"], ecs + "cluster/production"
    service = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
    role = story.deployed.role_arn("TaskRole", POOL_STACK)
    questions = {
        "WorkerRole": [
            Question("ecs:RunTask", story.definition, {"ecs:cluster": other}),
            Question("ecs:RunTask", ecs + "task-definition/other:1", {"ecs:cluster": cluster}),
            Question("ecs:StopTask", ecs + "task/production/1", {"ecs:cluster": other}),
            Question("ecs:TagResource", ecs + "task/production/1", {}),
            Question("iam:PassRole", f"arn:aws:iam::{aws.ACCOUNT}:role/admin", service),
            Question("iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"}),
            Question("ssm:GetParameter", ssm + parameter(DEPLOYMENT, WEBHOOK_SECRETS)),
            Question("ssm:GetParameter", ssm + parameter("other", POOLS)),
            Question("ssm:PutParameter", ssm + parameter(DEPLOYMENT, POOLS)),
            Question("ssm:DeleteParameter", ssm + parameter(DEPLOYMENT, APP_KEY)),
            Question("ssm:PutParameter", ssm + parameter("other", "tokens/1")),
            Question("sqs:SendMessage", sqs + "other"),
        ],
        "WebhookRole": [
            Question("ssm:GetParameter", ssm + parameter(DEPLOYMENT, "github-pat")),
            Question("ssm:GetParameter", ssm + parameter(DEPLOYMENT, "tokens/1")),
            Question("sqs:SendMessage", sqs + "other"),
            Question("ecs:RunTask", story.definition, {"ecs:cluster": cluster}),
        ],
    }
    for name, asked in questions.items():
        answers = simulate(story.deployed.role_arn(name), story.deployed.policies(name), asked)
        assert set(answers) == {"ImplicitlyDenied"}, dict(zip(asked, answers, strict=True))


def test_a_task_reaches_its_own_token_alone(story):
    """The task's session is named by its id, and so is the tag that the launcher puts."""
    name = parameter(DEPLOYMENT, "tokens/0a1b")
    resource = f"arn:aws:ssm:{aws.REGION}:{aws.ACCOUNT}:parameter{name}"
    tag = "aws:ResourceTag/runner-launcher:task"

    def ask(session, **tags):
        return [
            Question(action, resource, {"aws:userid": f"AROAROLE:{session}", **tags})
            for action in ("ssm:GetParameter", "ssm:DeleteParameter")
        ]

    role = story.deployed.role_arn("TaskRole", POOL_STACK)
    policies = story.deployed.policies("TaskRole", POOL_STACK)
    own = simulate(role, policies, ask("0a1b", **{tag: "0a1b"}))
    others = simulate(role, policies, [*ask("0a1c", **{tag: "0a1b"}), *ask("0a1b")])
    assert (set(own), set(others)) == ({"Allowed"}, {"ImplicitlyDenied"})
    (write,) = [
        call.arguments["Tags"]
        for call in story.calls["Worker"]
        if call.target.endswith(".PutParameter")
    ][:1]
    assert "runner-launcher:task" in {each["Key"] for each in write}
