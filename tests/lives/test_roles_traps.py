"""Whole lives for the traps that rules for roles may fall into; each leads to its role, or to none.

tests/README.md says which trap is held by which test.
"""

import json
import re
import sys
import time

import pytest

from launcher.explain.case import Case, Home
from launcher.explain.sources import agent, logs
from launcher.explain.target import Kind, Target
from local import aws, ecs_agent, oidc, sts
from local.github.payloads import number_of
from local.stage import Addresses
from tests.lives import containers
from tests.lives import stage as stages
from tests.lives.stage import read_output, run_side_by_side
from tests.lives.test_roles import (
    ASK,
    BUILD,
    BY_TOKEN,
    DEPLOY,
    RULES,
    denied,
    got,
    open_roles,
    play,
)
from tests.support.namespace import ECS_AGENT, in_namespace

OWN = number_of("octo/repo")
AGAIN = f"until {{ {ASK.strip()}\n}} | grep role/; do sleep 0.2; done"


def make_rule(role=BUILD, **keys):
    """Write a rule with one role."""
    lines = (f"{key} = {json.dumps(value)}" for key, value in keys.items())
    return "\n".join(["[[job]]", *lines, f'role = "{role}"', ""])


def test_a_renamed_repository_is_matched_by_its_number_alone(aws):
    """Its old name gives nothing, neither to it, nor to whoever has taken that name since."""
    run_side_by_side(
        play(aws, got(BUILD), make_rule(repository_id=OWN)),
        play(aws, denied("octo/repo", "push"), make_rule(repository="octo/old")),
        play(aws, denied("octo/repo"), make_rule(repository="octo/repo", repository_id=OWN + 1)),
    )


def test_case_counts_for_refs_alone(aws):
    """GitHub keeps names in any case; a ref of another case is another ref."""
    workflow = ".github/workflows/Stand-In.YML"
    run_side_by_side(
        play(aws, got(BUILD), make_rule(repository="OCTO/Repo", workflow=workflow)),
        play(aws, denied("refs/heads/main"), make_rule(ref="refs/heads/Main")),
        play(aws, denied("refs/heads/Main"), make_rule(ref="refs/heads/main"), head_branch="Main"),
    )


def test_a_tag_that_is_named_like_a_branch_is_no_branch(aws):
    """Nor is a branch that is named like a tag's whole ref."""
    tags = make_rule(DEPLOY, ref="refs/tags/*") + make_rule(ref="refs/heads/**")
    branches = make_rule(DEPLOY, ref="refs/heads/main") + make_rule()
    run_side_by_side(
        play(aws, got(BUILD), branches, ref="refs/tags/main"),
        play(aws, got(BUILD), branches, head_branch="refs/heads/main"),
        play(aws, got(BUILD), tags, head_branch="refs/tags/main"),
    )


@pytest.mark.parametrize("letter", ["x", "ü"])
def test_a_ref_of_more_than_256_characters_is_no_tag(aws, letter):
    """One of 256 is sent whole, also where its characters take more bytes; nothing is cut."""
    whole = "refs/heads/" + letter * 245

    def sent(job, life, asked):
        got(BUILD)(job, life, asked)
        assert asked.assumed[0].tags["ref"] == whole

    def left_out(job, life, asked):
        got(BUILD)(job, life, asked)
        assert "ref" not in asked.assumed[0].tags
        assert life.find_events("role.tags_left_out")[0]["tags"] == ["ref"]

    run_side_by_side(play(aws, sent, ref=whole), play(aws, left_out, ref=whole + letter))


def check_no_role(*reasons):
    """Return a check that the job was told why, and that nobody got any role."""

    def check(job, life, asked):
        assert re.findall(r"got: (\d+) 1", read_output(job)) == ["503"]
        warning = job.log().partition("::warning title=AWS credentials::")[2]
        (event,) = life.find_events("role.delayed")
        for reason in reasons:
            assert reason in warning
            assert reason in event["reason"]
        assert asked.assumed == []
        assert not [one for one in life.find_events("relay.answered") if one.get("role")]

    return check


def test_sts_that_throttles_or_is_unreachable_gives_no_other_role(aws):
    """The job runs on without, and is told by which failure; `required` makes it fail for it."""

    def throttle(asked):
        asked.faults += [(400, "Throttling")] * 1000

    async def unreachable():
        async with open_roles(aws) as (stage, asked, env):
            job = stage.job(ASK)
            closed = {"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1"}
            async with stage.life(env={**env, **closed}) as life:
                await stage.check_end(life, 0)
            check_no_role("no network path to STS")(job, life, asked)

    async def required():
        rules = RULES.replace('duration = "15m"', "required = true")
        async with open_roles(aws, rules) as (stage, asked, env):
            throttle(asked)
            job = stage.job('echo "in"side')
            async with stage.life(env=env) as life:
                await stage.check_end(life, 25)
            assert job.result == "failed"
            assert "inside" not in read_output(job)
            assert "its role is required: cannot get credentials" in job.log()
            assert asked.assumed == []

    throttled = play(aws, check_no_role("throttled by STS"), prepare=throttle)
    run_side_by_side(throttled, unreachable(), required())


def test_an_expired_token_of_github_s_is_never_used_twice(aws):
    """GitHub is asked again for each session, at the start and at every renewal."""

    async def life_of_a_job(late):
        rules = BY_TOKEN.replace('environment = "production"\n', "")
        async with oidc.serving() as issuer, open_roles(aws, rules) as (stage, asked, env):
            asked.roles[DEPLOY].claims = {"repository": "octo/repo"}
            asked.roles[DEPLOY].longest = 7200
            asked.validity = 4.0  # so it is renewed within the job
            if late:
                issuer.now = lambda: time.time() - 2 * oidc.LIFE
            known = {"repository": "octo/repo", "repository_id": OWN}
            url = issuer.admit_job(**known, run_id=None, run_attempt=None)
            gate, open_gate = stage.make_gate()
            job = stage.job(ASK, gate, AGAIN, id_token_url=url)
            async with stage.life(env=env) as life:
                await stage.wait_for_output(job, "at the gate")
                if late:
                    assert "got: 503" in read_output(job)
                    assert "have expired" in job.log()
                    assert asked.assumed == []
                    issuer.now = time.time
                await life.wait_for_event("relay.refreshed")
                open_gate()
                await stage.check_end(life, 0)
            assert f"got: {DEPLOY}" in read_output(job)
            tokens = [one.claims["jti"] for one in asked.assumed]
            assert len(tokens) == len(set(tokens)) >= 2

    run_side_by_side(life_of_a_job(late=False), life_of_a_job(late=True))


def test_a_job_that_kills_its_last_hook_has_its_own_role_until_its_end(aws):
    """What stays behind of it asks without a pause, and gets that role or nothing."""

    async def life_of_a_job():
        async with open_roles(aws) as (stage, asked, env):
            hook, found = stage.folder / "last-hook.sh", stage.folder / "found"
            hook.write_text("while :; do sleep 0.05; done\n")
            kill = f"kill -9 $(pgrep -f '{stage.folder}/last-hoo[k]'); sleep 0.05"
            behind = ">/dev/null 2>&1 </dev/null &"
            job = stage.job(
                f"cat >ask.sh <<'END-OF-IT'\n{ASK}END-OF-IT\n"
                f"setsid sh -c 'while :; do sh ask.sh >>{found}; done' {behind}\n"
                f"setsid sh -c 'while :; do {kill}; done' {behind}\n"
                f"until [ -s {found} ]; do sleep 0.05; done",
                head_branch="dev",
            )
            env["ACTIONS_RUNNER_HOOK_JOB_COMPLETED"] = str(hook)
            async with stage.life(env=env) as life:
                await stage.check_end(life, 0)
            assert job.result == "failed", "its hook was not killed"
            assert set(found.read_text().splitlines()) == {f"got: {BUILD}"}
            assert {one.role for one in asked.assumed} == {BUILD}

    run_side_by_side(life_of_a_job())


# --- containers -----------------------------------------------------------------------------------

DB, WEB, CACHE = (f"arn:aws:iam::{aws.ACCOUNT}:role/{name}" for name in ("db", "web", "cache"))
OF_CONTAINERS = f"""
[[job]]
repository = "octo/repo"
role = "{BUILD}"
container_roles = ["{DB}", "{WEB}", "{CACHE}"]
""" + "".join(
    f'[[container]]\nname = "{name}"\nservice = "{name}"\nrole = "{role}"\n'
    for name, role in (("db", DB), ("web", WEB), ("cache", CACHE), ("untrusted", "none"))
)
COMPOSE = """
import http.client, json, os, socket

class Engine(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ["DOCKER_HOST"].removeprefix("unix://"))

def call(method, path, body=None):
    engine = Engine("docker")
    given = {"Content-Type": "application/json"}
    engine.request(method, "/v1.51" + path, json.dumps(body) if body else None, given)
    answer = engine.getresponse()
    text = answer.read().decode()
    assert answer.status < 300, text
    return text

services = ("app", "db", "web", "cache", "untrusted")
made = {}
for service in services:
    labels = {"com.docker.compose.project": "demo", "com.docker.compose.service": service}
    labels["com.docker.compose.oneoff"] = "False"
    wanted = {"Image": "app", "Labels": labels, "HostConfig": {"NetworkMode": "demo_default"}}
    wanted["Env"] = ["JOB_PATH=" + os.environ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]]
    name = f"demo-{service}-1"
    made[service] = json.loads(call("POST", f"/containers/create?name={name}", wanted))["Id"]
other = {"Labels": {"com.docker.compose.service": "db"}}
call("POST", f"/containers/{made['untrusted']}/update", other)
for service in services:
    call("POST", f"/containers/{made[service]}/start")
    print("found" + ":", service, call("GET", f"/containers/{made[service]}/logs").strip())
"""


@pytest.mark.root
@pytest.mark.skipif(sys.platform != "linux", reason="needs network namespaces")
def test_compose_with_four_roles_and_a_service_that_has_none():
    """By the own path, the address, the job's path and the task's: each service is itself.

    A label that is changed after a container was created changes nothing.
    """

    async def life_of_a_job():
        task = ecs_agent.Task(network_mode="awsvpc")
        at = Addresses(ecs_agent=(ECS_AGENT, 80))
        async with stages.open_stage(at=at, task=task) as stage, sts.serving() as asked:
            for role in (BUILD, DB, WEB, CACHE):
                asked.add(role)
            await stage.put()
            socket = stage.folder / "engine.sock"
            async with containers.serving(socket) as engine:
                engine.more["TASK_PATH"] = stage.ecs.relative_uri
                env = {
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI": None,
                    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": stage.ecs.relative_uri,
                    "AWS_ENDPOINT_URL_STS": asked.url,
                    "SIDECAR_ROLES": OF_CONTAINERS,
                    "SIDECAR_RELAY": "netfilter",
                    "SIDECAR_DOCKER_PROXY": "on",
                    "SIDECAR_SHARED_DIR": str(stage.folder / "shared"),
                    "DOCKER_HOST": f"unix://{socket}",
                }
                job = stage.job(f"python3 - <<'END'\n{COMPOSE}END", ASK_BY_PATH)
                async with stage.life(env=env) as life:
                    await stage.check_end(life, 0)
            check_services(job, life)
            assert {one.role for one in asked.assumed} == {BUILD, DB, WEB, CACHE}

    in_namespace(life_of_a_job())


ASK_BY_PATH = """\
python3 - <<'END'
import json, os, urllib.request
uri = "http://169.254.170.2" + os.environ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]
with urllib.request.urlopen(uri) as answer:
    print("found" + ":", "step", json.dumps(json.load(answer)["RoleArn"]))
END
"""


def check_services(job, life):
    """Check who got what, and that the log says so."""
    found = {
        name: json.loads(text) for name, text in re.findall(r"found: (\w+) (.*)", read_output(job))
    }
    wanted = {"app": BUILD, "db": DB, "web": WEB, "cache": CACHE, "untrusted": 403}
    assert found.pop("step") == BUILD
    for name, role in wanted.items():
        by_name = role if role == 403 else role.rpartition("/")[2]
        assert found[name]["own"] == role
        assert found[name]["address"] == by_name
        assert found[name]["job's"] == role
        assert found[name]["task's"] not in (200, role)
    chosen = {one["rule"]: one["refused"] for one in life.find_events("container.role_chosen")}
    assert chosen == {None: False, "db": False, "web": False, "cache": False, "untrusted": True}
    assert {one["service"] for one in life.find_events("container.role_chosen")} == set(wanted)
    check_story(life)


def check_story(life):
    """Check that `runner-launcher explain` tells it from the agent's own log."""
    events, _ = logs.parse(life.text.splitlines())
    case = Case(Target(Kind.TASK, "1" * 32), time.time())
    told = [entry.text for entry in agent.tell(case, Home("1" * 32, events=events))]
    assert f"the job has the role {BUILD}, by the rule job-1 (runner)" in told
    assert "the job may run: octo/repo, refs/heads/main, event push" in told
    of = "a container of app (service"
    assert f"{of} app) has its job's role: no rule for containers is for it" in told
    assert f"{of} db) has the role {DB}, by the rule db" in told
    none = f"{of} untrusted) has no role, by the rule untrusted: the rule 'untrusted' of"
    assert any(text.startswith(none) for text in told)
