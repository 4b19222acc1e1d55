"""The launcher as it is deployed, end to end: commands, then function URL, queue, worker, task.

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

from launcher.deploy.parameters import WEBHOOK_SECRETS, parameter
from local import aws
from local.github import payloads
from tests.deploy import garo, guests, ministack
from tests.deploy.denied import list_denied
from tests.deploy.deployed import (
    API_STACK,
    CANARY,
    DEPLOYMENT,
    GARO_STACK,
    GUEST_STACK,
    PAT,
    POOL_STACK,
    STACK,
    deploy,
)
from tests.deploy.permissions import Question, Roles, find_questions, list_actions, simulate
from tests.deploy.runtime import running
from tests.deploy.story import POISON, Story, play

pytestmark = pytest.mark.node
TIMEOUT = 300.0
BY_LAMBDA = {
    "Worker": {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"},
    "Webhook": set(),
    "Api": set(),
    "Sweep": set(),
    "Guest": set(),
    "Garo": set(),
}
"""What Lambda itself calls with a function's role: its event source. No call of these is seen."""
LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
"""The same for its log."""
STARTS = ("RunTask", "RunInstances", "CreateFleet")
CALLER_TAG = {"aws:RequestTag/Caller": guests.CALLER, "aws:TagKeys": ["Caller"]}
ROLES = {
    "Webhook": ("WebhookRole", STACK),
    "Worker": ("WorkerRole", STACK),
    "Api": ("ApiRole", API_STACK),
    "Sweep": ("SweepRole", STACK),
    "Guest": ("CallersRole", GUEST_STACK),
    "Garo": ("CallersRole", GARO_STACK),
}
"""The callers of AWS, each by its role: the functions, and the API in its callers' account."""
ASSUMED = {"Guest": guests.ROLE, "Garo": garo.ROLE}
"""The callers' roles, which the API assumes, by who calls AWS with them."""
TRUST = {guests.ROLE: GUEST_STACK, garo.ROLE: GARO_STACK}
"""The stack of each."""


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """Deploy, and play the story."""
    if not ministack.PROGRAM.exists():
        pytest.skip(f"needs ministack: see {ministack.__file__}")
    with deploy(tmp_path_factory.mktemp("aws")) as deployed:
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


def test_a_queued_job_starts_a_machine_of_its_own(story):
    """By RunInstances with the launcher's user data, by CreateFleet with the template's."""
    assert story.started == ["RunInstances", "CreateFleet"]


def test_a_caller_of_the_api_has_each_kind_of_runner_in_the_account_that_is_its_own(story):
    """Function URL and GitHub's token alone start, show and end a task and machines, in both."""
    assert [each.label for each in story.orders] == [label for label, _ in guests.ORDERS]
    assert {each.states[0] for each in story.orders} == {"starting"}
    assert {each.states[-1] for each in story.orders} == {"ended"}
    for function in ("Api", "Guest"):
        assert sorted(_list_starts(story, function)) == sorted(STARTS), function


def test_a_caller_of_garos_contract_has_its_machines_in_the_account_that_is_its_own(story):
    """Signed by its token alone; a replay gets the first answer, and starts no second machine."""
    assert [each.kind for each in story.garo] == list(garo.TYPES)
    assert [each.replayed for each in story.garo] == [each.begun for each in story.garo]
    assert {each.states[0] for each in story.garo} == {"starting"}
    assert {each.states[-1] for each in story.garo} == {"removing"}
    assert _list_starts(story, "Garo") == ["RunInstances", "CreateFleet"]


def test_the_sweep_ends_what_nobody_needs_at_its_second_look(story):
    """A task and a machine without runners, and its token; a forgotten launch is given on."""
    assert story.swept["left"] == []
    counts = story.swept["counts"]
    assert (counts["removed"], counts["kept"]) == (2, 0)


def test_nothing_is_left(story):
    """No task, machine, runner, token or place in a counter; nor does a cancelled job leave any."""
    assert story.left == {
        "parameters": [],
        "runners": [],
        "tasks": [],
        "machines": [],
        "counters": [],
    }


def test_poison_reaches_the_dead_letters_only_after_all_receives(story):
    """A message that nobody understands is tried five times; nothing else is ever dead."""
    assert story.dead == [POISON]
    refused = [line for line in story.log.splitlines() if '"message.refused"' in line]
    # A worker that stands still is overtaken by the next one.
    assert sorted(json.loads(line)["received"] for line in refused) == [1, 2, 3, 4, 5]


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


def test_the_sweep_runs_under_lambdas_own_client(unpacked, tmp_path):
    """It imports all that it uses; where AWS does not answer it ends nothing, and says so."""
    settings = {"LAUNCHER_GITHUB_PAT": PAT, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    with running("launcher.lambdas.sweep", unpacked, tmp_path, **settings) as handler:
        counts = handler.call({})
    assert set(counts.values()) == {0}


def test_the_api_runs_under_lambdas_own_client(unpacked, tmp_path):
    """It imports all that it uses, and answers."""
    pools = tmp_path / "pools.toml"
    pools.write_text('[[pool]]\nname = "a"\nlabels = ["a"]\ntask_definition = "a"\n')
    settings = {
        "LAUNCHER_TABLE": "launches",
        "LAUNCHER_POOLS": str(pools),
        "LAUNCHER_GITHUB_PAT": PAT,
    }
    event = {"requestContext": {"http": {"method": "GET"}}, "rawPath": "/status", "headers": {}}
    with running("launcher.lambdas.api", unpacked, tmp_path, **settings) as handler:
        answer = handler.call(event)
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"status": "ok"})


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


def _list_calls(story, function):
    """List the calls of a function; those of callers are the API's in their account."""
    prefix = "Api" if function in ASSUMED else function
    calls = [call for name, made in story.calls.items() if name.startswith(prefix) for call in made]
    return [call for call in calls if story.sessions.get(call.key) == ASSUMED.get(function)]


def _list_starts(story, function):
    """List the calls that start runners; one that is repeated, word for word, had a late answer."""
    made = [(call.target, call.arguments) for call in _list_calls(story, function)]
    once = [target for at, (target, given) in enumerate(made) if (target, given) not in made[:at]]
    names = [target.rpartition(".")[2] for target in once]
    return [name for name in names if name in STARTS]


def _seen(story, function):
    """Return what IAM is asked for all calls of a function."""
    deployed, guest = story.deployed, story.deployed.guest
    own = tuple(deployed.role_arn(role, POOL_STACK) for role in ("TaskRole", "ExecutionRole"))
    roles = Roles(story.definition, own, deployed.machines)
    if function in ASSUMED:
        roles = Roles(guest.definition, guest.roles, guest.machines, guests.ACCOUNT)
    return find_questions(_list_calls(story, function), roles)


def _assume(story, questions):
    """Ask whether the API may assume a caller's role: its own policy and the role's have to."""
    (role,) = {each.resource for each in questions}
    return simulate(
        story.deployed.role_arn("ApiRole", API_STACK),
        story.deployed.policies("ApiRole", API_STACK),
        questions,
        story.deployed.trust("CallersRole", TRUST[role]),
    )


@pytest.mark.parametrize("function", ROLES)
def test_each_call_that_was_seen_is_allowed(story, function):
    """The role of the function lets it make every call that it made."""
    role = ROLES[function]
    sessions, questions = [], []
    for each in _seen(story, function):
        (sessions if each.action.startswith("sts:") else questions).append(each)
    answers = simulate(story.deployed.role_arn(*role), story.deployed.policies(*role), questions)
    asked = dict(zip(questions, answers, strict=True))
    if function == "Api":
        for caller in TRUST:
            his = [each for each in sessions if each.resource == caller]
            asked |= dict(zip(his, _assume(story, his), strict=True))
        assert {(each.action, each.resource) for each in sessions} == {
            ("sts:AssumeRole", guests.ROLE),
            ("sts:TagSession", guests.ROLE),
            ("sts:AssumeRole", garo.ROLE),
        }
    assert questions
    assert [each for each, answer in asked.items() if answer != "Allowed"] == []


@pytest.mark.parametrize("function", ROLES)
def test_each_action_that_is_allowed_was_seen(story, function):
    """No role has an action that nobody needs."""
    allowed = list_actions(story.deployed.policies(*ROLES[function]))
    seen = {question.action for question in _seen(story, function)}
    assert allowed - seen - BY_LAMBDA[function] == (set() if function in ASSUMED else LOGS)


@pytest.mark.parametrize(
    ("role", "action", "context"),
    [
        (guests.ROLE, "sts:AssumeRole", {"sts:ExternalId": garo.EXTERNAL_ID}),
        (guests.ROLE, "sts:AssumeRole", {}),
        (guests.ROLE, "sts:TagSession", {**CALLER_TAG, "aws:RequestTag/Caller": "own"}),
        (guests.ROLE, "sts:TagSession", {**CALLER_TAG, "aws:TagKeys": ["Admin"]}),
        (garo.ROLE, "sts:AssumeRole", {"sts:ExternalId": guests.EXTERNAL_ID}),
        (garo.ROLE, "sts:AssumeRole", {}),
        (garo.ROLE, "sts:TagSession", {**CALLER_TAG, "aws:RequestTag/Caller": garo.CALLER}),
    ],
)
def test_a_callers_role_is_assumed_for_this_caller_alone(story, role, action, context):
    """With the external id of the document; sessions are tagged as this caller's, or never."""
    (answer,) = _assume(story, [Question(action, role, context)])
    assert answer.endswith("Denied")


def test_a_role_of_garos_contract_trusts_the_api_and_its_external_id_alone(story):
    """There is no more in its trust policy: one principal, one action, one condition."""
    (statement,) = story.deployed.trust("CallersRole", GARO_STACK)["Statement"]
    statement.pop("Sid")
    assert statement == {
        "Effect": "Allow",
        "Principal": {"AWS": story.deployed.role_arn("ApiRole", API_STACK)},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": garo.EXTERNAL_ID}},
    }


def test_a_session_has_the_external_id_and_duration_of_the_document(story):
    """And the tags that say for whom it is, but by GARO's contract: its roles allow none."""
    asked = {call.arguments["RoleArn"]: call.arguments for call in story.calls["ApiSTS"]}
    own, other = asked[guests.ROLE], asked[garo.ROLE]
    assert (own["ExternalId"], own["DurationSeconds"]) == (guests.EXTERNAL_ID, "3600")
    assert own["Tags"] == {
        "Caller": guests.CALLER,
        "Repository": guests.REPOSITORY,
        "RepositoryId": str(payloads.number_of(guests.REPOSITORY)),
    }
    assert (other["ExternalId"], other["DurationSeconds"]) == (garo.EXTERNAL_ID, str(garo.SESSION))
    assert other["Tags"] == {}


@pytest.mark.parametrize(
    ("role", "external_id"),
    [(guests.ROLE, guests.EXTERNAL_ID), (garo.ROLE, garo.EXTERNAL_ID)],
)
def test_nobody_but_the_api_assumes_a_callers_role(story, role, external_id):
    """Not the worker, whatever it were allowed in its own account."""
    everything = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    (answer,) = simulate(
        story.deployed.role_arn("WorkerRole"),
        [{"Version": "2012-10-17", **everything}],
        [Question("sts:AssumeRole", role, {"sts:ExternalId": external_id})],
        story.deployed.trust("CallersRole", TRUST[role]),
    )
    assert answer.endswith("Denied")


@pytest.mark.parametrize("function", ROLES)
def test_what_is_somebody_elses_is_denied(story, function):
    """Other clusters, roles, definitions, machines, parameters, queues are out of reach."""
    asked, role = list_denied(story.deployed, story.definition)[function], ROLES[function]
    answers = simulate(story.deployed.role_arn(*role), story.deployed.policies(*role), asked)
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
