"""The API's own contract: who may start what, exactly once, and whose it is then."""

import asyncio
import json

import pytest

from launcher.places import Later, Why
from tests.unit.launcher.api.scene import play


def test_a_caller_starts_a_runner_looks_at_it_and_stops_it():
    """The runner has the labels that were asked for, and is registered for this repository."""

    async def story(scene):
        status, begun = await scene.start()
        assert (status, begun["state"], begun["pool"]) == (200, "starting", "small")
        assert scene.work.hub.registered[0] == ("small", "run-1")
        (request,) = scene.started
        assert request["networkConfiguration"]["awsvpcConfiguration"]["subnets"] == [
            "subnet-0a1b2c3d"
        ]
        status, found = await scene.ask("/state", {"id": begun["id"]})
        assert (status, found["state"]) == (200, "starting")
        scene.work.hub.set_runner(found["runner"], online=True)
        assert (await scene.ask("/state", {"id": begun["id"]}))[1]["state"] == "online"
        status, found = await scene.ask("/stop", {"id": begun["id"]})
        assert (status, found["state"]) == (200, "stopping")
        assert (await scene.ask("/state", {"id": begun["id"]}))[1]["state"] == "stopping"
        (task,) = scene.work.tasks.states
        scene.work.tasks.end(task, 143)
        assert (await scene.ask("/state", {"id": begun["id"]}))[1]["state"] == "ended"
        await scene.work.check_nothing_left()
        assert await scene.work.records.count("caller/octo") == 0

    play(story)


def test_the_runner_takes_jobs_of_its_caller_s_repository_only():
    """The policy that goes with the token says it, wherever the runner is registered."""

    async def story(scene):
        await scene.start()
        (_, text, _) = scene.work.parameters.written[0]
        assert json.loads(text)["policy"]["repositories"] == ["octo/app"]

    play(story)


def test_the_same_start_again_gets_the_first_answer_and_starts_nothing():
    """By the same token, by a new one of the same job, and while it is online."""

    async def story(scene):
        claims = {"run_id": "5", "check_run_id": "55"}
        token = scene.mint(**claims)
        first = await scene.start(token)
        assert await scene.start(token) == first
        scene.work.hub.set_runner(scene.work.hub.runners_by_id[21].name, online=True)
        assert await scene.start(scene.mint(**claims)) == first
        assert len(scene.started) == 1

    play(story)


def test_a_token_begins_one_order_only():
    """Whoever has seen it begins nothing by another key; the same job gets a new one."""

    async def story(scene):
        claims = {"run_id": "5", "check_run_id": "55"}
        token = scene.mint(**claims)
        assert (await scene.start(token))[0] == 200
        status, answer = await scene.start(token, key="another")
        assert (status, "another order" in answer["error"]) == (409, True)
        assert len(scene.started) == 1
        assert (await scene.start(scene.mint(**claims), key="another"))[0] == 200
        assert len(scene.started) == 2

    play(story)


def test_starts_at_the_same_moment_start_one_task():
    """Eight times the same order; who does not get the answer is told to ask again."""

    async def story(scene):
        tokens = [scene.mint(run_id="5", check_run_id="55") for _ in range(8)]
        found = await asyncio.gather(*(scene.start(token) for token in tokens))
        assert {status for status, _ in found} <= {200, 409}
        assert 200 in {status for status, _ in found}
        assert len(scene.work.tasks.states) == 1

    play(story)


CLAIMS = [
    ({"repository_id": 8}, 403, "no caller"),
    ({"event_name": "pull_request_target"}, 403, "the event pull_request_target"),
    ({"ref": "refs/heads/other"}, 403, "the ref refs/heads/other"),
    ({"ref": "refs/heads/main\n"}, 401, "no ref"),
    ({"exp": 1}, 401, "expired"),
    ({"nbf": 2_000_000_000}, 401, "future"),
    ({"iat": 2_000_000_000, "exp": 2_000_000_001}, 401, "future"),
    ({"exp": 3_000_000_000}, 401, "longer than"),
    ({"exp": "soon"}, 401, "no time"),
    ({"exp": 10**400}, 401, "no time"),
    ({"exp": True}, 401, "no time"),
    ({"iss": "https://evil.example"}, 401, "another issuer"),
    ({"aud": "sts.amazonaws.com"}, 401, "another audience"),
    ({"sub": "repo:octo/other:ref:refs/heads/main"}, 401, "subject"),
    ({"sub": "repo:octo@3/app@9:ref:refs/heads/main"}, 401, "subject"),
    ({"jti": None}, 401, "a claim is missing"),
    ({"repository_id": "7 "}, 401, "no repository_id"),
    ({"repository_owner_id": "x"}, 401, "no repository_owner_id"),
    ({"repository": "octo/app/../x"}, 401, "no repository"),
    ({"run_id": "1; rm"}, 401, "no run_id"),
]


@pytest.mark.parametrize(("claims", "status", "words"), CLAIMS, ids=[str(it[0]) for it in CLAIMS])
def test_each_claim_is_checked(claims, status, words):
    """Without a check the same token with this one claim changed would start a runner."""

    async def story(scene):
        found, answer = await scene.start(scene.mint(**claims))
        assert (found, words in answer["error"]) == (status, True), answer
        assert scene.started == []
        assert (await scene.start())[0] == 200

    play(story)


@pytest.mark.parametrize("immutable", [False, True])
def test_both_forms_of_the_subject_are_read(immutable):
    """With and without the numbers of owner and repository."""

    async def story(scene):
        assert (await scene.start(scene.mint(immutable=immutable)))[0] == 200

    play(story)


def test_an_owner_s_number_admits_all_of_its_repositories():
    """`owners` instead of `repositories`."""
    pools = (
        '[[pool]]\nname = "small"\nlabels = ["small"]\ntask_definition = "runner"\n'
        'cluster = "runners"\n[[caller]]\nname = "all"\nowners = [3]\npools = ["small"]\n'
    )

    async def story(scene):
        assert (await scene.start(scene.mint(repository_id=99), labels=["small"]))[0] == 200
        assert (await scene.start(scene.mint(owner_id=4), labels=["small"]))[0] == 403

    play(story, pools)


FIELDS = [
    ({"labels": ["large"]}, 403, "no pool that is listed"),
    ({"pool": "large"}, 403, "pool: large"),
    ({"subnet": "subnet-99999999"}, 403, "subnet"),
    ({"security_group": "sg-99999999"}, 403, "security_group"),
    ({"role": "arn:aws:iam::123456789012:role/admin"}, 403, "role"),
    ({"image": "ami-0123456789abcdef0"}, 403, "image is not listed"),
    ({"type": "x1e.32xlarge"}, 403, "type is not listed"),
    ({"subnet": ["subnet-11111111"]}, 403, "subnet"),
    ({"labels": []}, 400, "labels"),
    ({"labels": "small"}, 400, "labels"),
    ({"labels": ["small", "a\nb"]}, 400, "labels"),
    ({"labels": ["small", "x" * 300]}, 400, "labels"),
    ({"labels": ["small"] * 101}, 400, "labels"),
    ({"key": "a b"}, 400, "key"),
    ({"key": "$(id)"}, 400, "key"),
    ({"user_data": "#!/bin/sh"}, 400, "'user_data' is no field"),
    ({"dryrun": "maybe"}, 400, "dryrun"),
    ({"pool": "../x"}, 400, "pool"),
]


@pytest.mark.parametrize(("fields", "status", "words"), FIELDS, ids=[str(it[0]) for it in FIELDS])
def test_a_field_outside_what_is_listed_is_refused_by_its_name(fields, status, words):
    """And nothing is started."""

    async def story(scene):
        found, answer = await scene.start(**fields)
        assert (found, words in answer["error"]) == (status, True), answer
        assert scene.started == []

    play(story)


def test_what_is_listed_may_be_chosen():
    """Subnet, security group and task role of the request go into RunTask."""

    async def story(scene):
        role = "arn:aws:iam::123456789012:role/listed"
        chosen = {"subnet": "subnet-11111111", "security_group": "sg-11111111", "role": role}
        assert (await scene.start(**chosen))[0] == 200
        (request,) = scene.started
        network = request["networkConfiguration"]["awsvpcConfiguration"]
        assert (network["subnets"], network["securityGroups"]) == (
            ["subnet-11111111"],
            ["sg-11111111"],
        )
        assert request["overrides"]["taskRoleArn"] == role

    play(story)


def test_a_dry_run_checks_all_and_starts_nothing():
    """Neither a task nor a record; the token is still good for a start."""

    async def story(scene):
        token = scene.mint()
        status, answer = await scene.start(token, dryrun=True)
        assert (status, answer["dryrun"], answer["pool"]) == (200, True, "small")
        assert scene.started == []
        assert scene.work.records._calls._client.table.items == {}
        assert (await scene.start(token, key="real"))[0] == 200

    play(story)


def test_an_order_is_its_caller_s_alone():
    """Another repository is told that there is none; the same one is, from any of its jobs."""
    pools_of_all = "owners = [3]\n"

    async def story(scene):
        _, begun = await scene.start()
        for path in ("/state", "/stop"):
            stranger = scene.mint(repository="octo/other", repository_id=8)
            status, answer = await scene.ask(path, {"id": begun["id"]}, stranger)
            assert (status, answer["error"]) == (404, "there is no such order of this caller")
        assert scene.work.tasks.stops == []
        assert (await scene.ask("/state", {"id": begun["id"]}))[0] == 200
        assert (await scene.ask("/state", {"id": "0" * 32}))[0] == 404
        assert (await scene.ask("/state", {"id": "../etc"}))[0] == 400

    from tests.unit.launcher.api.scene import POOLS

    play(story, POOLS.replace("repositories = [7]\n", pools_of_all))


def test_a_runner_with_a_job_is_not_stopped():
    """It ends with its job."""

    async def story(scene):
        _, begun = await scene.start()
        (runner,) = scene.work.hub.runners_by_id.values()
        scene.work.hub.set_runner(runner.name, online=True, busy=True)
        assert (await scene.ask("/stop", {"id": begun["id"]}))[0] == 200
        assert scene.work.tasks.stops == []
        (task,) = scene.work.tasks.states
        scene.work.hub.remove(runner.name)
        scene.work.tasks.end(task, 0)
        assert (await scene.ask("/state", {"id": begun["id"]}))[1]["state"] == "ended"
        await scene.work.check_nothing_left()

    play(story)


def test_a_runner_that_had_its_job_is_not_started_again():
    """The event of its task's end is enough: the order is done, and nothing is left of it."""

    async def story(scene):
        _, begun = await scene.start()
        (task,) = scene.work.tasks.states
        (runner,) = scene.work.hub.runners_by_id.values()
        scene.work.hub.remove(runner.name)
        scene.work.parameters.held.clear()
        await scene.work.send(scene.work.tasks.end(task, 0))
        assert (await scene.ask("/state", {"id": begun["id"]}))[1]["state"] == "done"
        assert len(scene.started) == 1
        await scene.work.check_nothing_left()

    play(story)


def test_a_task_that_fails_has_a_successor_and_three_are_enough():
    """Each end by a fault starts the next one; then the order is given up, and says why."""

    async def story(scene):
        _, begun = await scene.start()
        for number in range(3):
            (*_, task) = scene.work.tasks.states
            scene.work.tasks.end(task, 14)
            await scene.orders.tend()
            await scene.orders.tend()
            assert len(scene.work.tasks.states) == min(3, number + 2)
        found = (await scene.ask("/state", {"id": begun["id"]}))[1]
        assert found["state"] == "ended"
        assert "3 tasks ended" in found["reason"]
        await scene.work.check_nothing_left()

    play(story)


def test_a_caller_has_its_maximum():
    """The third of two is told to come later, and gets its runner when one has ended."""

    async def story(scene):
        for key in ("a", "b"):
            assert (await scene.start(key=key))[0] == 200
        token = scene.mint(run_id="9")
        status, answer = await scene.start(token, key="c")
        assert (status, "caller/octo has 2" in answer["error"]) == (503, True)
        task = next(iter(scene.work.tasks.states))
        scene.work.hub.remove(scene.work.hub.runners_by_id[21].name)
        scene.work.tasks.end(task, 0)
        await scene.orders.tend()
        assert (await scene.start(token, key="c"))[0] == 200

    play(story)


def test_without_capacity_nothing_is_started_and_no_place_is_kept():
    """The answer says when to come again; the same order then starts."""

    async def story(scene):
        scene.work.tasks.answers = [Later(Why.CAPACITY, "RESOURCE:CPU")]
        token = scene.mint()
        status, answer = await scene.start(token)
        assert (status, "RESOURCE:CPU" in answer["error"]) == (503, True)
        assert await scene.work.records.count("caller/octo") == 0
        assert (await scene.start(token))[0] == 200

    play(story)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/status", 200),
        ("POST", "/status", 405),
        ("GET", "/start", 405),
        ("POST", "/", 404),
        ("POST", "/start/", 404),
        ("POST", "/START", 404),
    ],
)
def test_each_path_has_its_method(method, path, status):
    """What is not one of the four is answered without a look at who asks."""

    async def story(scene):
        assert (await scene.ask(path, {}, method=method))[0] == status

    play(story)


BODIES = [
    (b"", 400),
    (b"[]", 400),
    (b"{", 400),
    (b"\xff", 400),
    (b"[" * 10_000, 400),
    (b'{"labels": ["small"], "labels": ["large"]}', 400),
    (b'{"labels": ["small"]}' + b" " * 20_000, 413),
]


@pytest.mark.parametrize(("body", "status"), BODIES, ids=[str(it[0][:20]) for it in BODIES])
def test_a_body_that_cannot_be_read_is_refused(body, status):
    """Also one with a field twice, which two readers would read as two things."""

    async def story(scene):
        assert (await scene.ask("/start", body))[0] == status
        assert scene.started == []

    play(story)


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer a.b", "Basic eA==", "Bearer a.b.c", "Bearer " + "a" * 9000 + ".b.c"],
)
def test_what_is_no_token_is_refused(authorization):
    """Before any key is asked for."""

    async def story(scene):
        answer = await scene.api.answer(
            "POST", "/start", {"authorization": authorization}, b'{"labels": ["small"]}'
        )
        assert answer.status == 401
        assert scene.issuer.fetches == 0

    play(story)
