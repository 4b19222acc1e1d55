"""The token of one runner: made, written for its task alone, deleted."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from launcher.pools.access import Access
from launcher.tokens import REUSED, STANDARD, RunnerToken, TokenMaker, TokenStore
from local import aws as local_aws
from local import faults, ssm
from local.faults import Rule
from sidecar import github
from sidecar.aws import calls
from sidecar.aws.calls import AwsError
from sidecar.log import masks
from tests.support.loops import run

TASK = "arn:aws:ecs:eu-central-1:123456789012:task/runners/0f3a"
NAME = "/tokens/0f3a"
TAGS = {"runner-launcher:request": "r1"}
TOKEN = RunnerToken("the-secret-of-the-runner")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    """Give dummy credentials and short pauses; keep tokens out of the other tests' logs."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    monkeypatch.setattr(masks, "_secrets", set())
    growing = calls.growing
    monkeypatch.setattr(
        calls, "growing", lambda kinds, **_: growing(kinds, first=0.02, longest=0.05)
    )


@asynccontextmanager
async def opened(monkeypatch, endpoint, *rules):
    """Yield the store, and the proxy in front of SSM."""
    async with faults.serving(endpoint, rules=rules) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", proxy.url)
        async with TokenStore("/tokens", local_aws.REGION) as store:
            yield store, proxy


def read(endpoint):
    """Read the parameter from outside."""
    return asyncio.to_thread(ssm.read, endpoint, NAME)


async def never():
    """Say that no runner is online."""
    return False


async def always():
    """Say that the runner is online."""
    return True


# --- the parameter ------------------------------------------------------------------------------


def test_a_token_is_written_found_and_deleted(aws, monkeypatch):
    """By its task's id, with the tags of the launch; twice deleted is deleted."""

    async def life():
        async with opened(monkeypatch, aws) as (store, _):
            assert not await store.exists(TASK)
            await store.write(TASK, TOKEN, TAGS, never)
            assert await read(aws) == TOKEN.text
            assert await store.exists(TASK)
            assert await store.find_tasks("r1") == ["0f3a"]
            assert await store.find_tasks("r2") == []
            await store.write(TASK, RunnerToken("another-secret"), TAGS, never)
            assert await read(aws) == "another-secret"
            assert [await store.delete(TASK), await store.delete(TASK)] == [True, False]

    run("asyncio", life())


@pytest.mark.parametrize(("length", "tier"), [(STANDARD, "Standard"), (STANDARD + 1, "Advanced")])
def test_a_long_token_is_an_advanced_parameter(aws, monkeypatch, length, tier):
    """A Standard one holds 4,096 characters."""

    async def life():
        async with opened(monkeypatch, aws) as (store, _):
            await store.write(TASK, RunnerToken("x" * length), TAGS, never)
            listed = await asyncio.to_thread(ssm.call, aws, "DescribeParameters")
            (found,) = listed["Parameters"]
            assert (found["Tier"], found["Type"]) == (tier, "SecureString")

    run("asyncio", life())


def test_a_throttled_write_is_made_again_and_nothing_else_is_asked(aws, monkeypatch):
    """SSM has done nothing: no look-up of the parameter, and none of the runner."""

    async def life():
        rule = Rule("status", target="PutParameter", error="ThrottlingException", times=2)
        async with opened(monkeypatch, aws, rule) as (store, proxy):

            async def asked():
                raise AssertionError("the runner is looked up")

            await store.write(TASK, TOKEN, TAGS, asked)
            assert await read(aws) == TOKEN.text
            assert len(proxy.seen(target="PutParameter")) == 3
            assert proxy.seen(target="GetParameter") == []

    run("asyncio", life())


def test_tokens_of_several_tasks_are_deleted_ten_with_one_call(aws, monkeypatch):
    """One that is gone is no error, and of the others nothing is left."""

    async def life():
        tasks = [f"{TASK}{number}" for number in range(23)]
        async with opened(monkeypatch, aws) as (store, proxy):
            for task in tasks[1:]:
                await store.write(task, TOKEN, TAGS, never)
            await store.delete_many(tasks)
            assert len(proxy.seen(target="DeleteParameters")) == 3
            listed = await asyncio.to_thread(ssm.call, aws, "DescribeParameters")
            assert listed["Parameters"] == []

    run("asyncio", life())


def test_a_lost_answer_writes_no_second_version(aws, monkeypatch):
    """The agent may have read the first one; it deletes what it read, and only that."""

    async def life():
        rule = Rule("close", target="PutParameter", forward=True, times=1)
        async with opened(monkeypatch, aws, rule) as (store, proxy):
            assert await store.write(TASK, TOKEN, TAGS, never) is False
            assert len(proxy.seen(target="PutParameter")) == 1
            assert await read(aws) == TOKEN.text

    run("asyncio", life())


def test_a_token_that_was_used_is_not_written_again(aws, monkeypatch):
    """Its agent has deleted it already, and nobody would delete a second one."""

    async def life():
        rule = Rule("close", target="PutParameter", times=1)
        async with opened(monkeypatch, aws, rule) as (store, _):
            assert await store.write(TASK, TOKEN, TAGS, always) is False
            assert await read(aws) is None

    run("asyncio", life())


def test_a_token_that_was_not_written_is_written_again(aws, monkeypatch):
    """A reset, then a throttle, then it works: and it is known that there may have been two."""

    async def life():
        rules = [
            Rule("reset", target="PutParameter", times=1),
            Rule("status", target="PutParameter", error="ThrottlingException", times=1),
        ]
        async with opened(monkeypatch, aws, *rules) as (store, _):
            assert await store.write(TASK, TOKEN, TAGS, never) is True
            assert await read(aws) == TOKEN.text

    run("asyncio", life())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("AccessDeniedException", "access denied (needs ssm:PutParameter)"),
        ("ParameterLimitExceeded", "10,000 Standard parameters"),
        ("ValidationException", "LAUNCHER_PARAMETER_PREFIX"),
    ],
)
def test_a_refusal_says_what_to_change_and_shows_no_token(aws, monkeypatch, error, words):
    """AWS's own text may quote the value."""

    async def life():
        body = json.dumps({"__type": error, "message": f"bad value {TOKEN.text}"})
        rule = Rule("status", target="PutParameter", status=400, body=body)
        async with opened(monkeypatch, aws, rule) as (store, _):
            with pytest.raises(AwsError) as failed:
                await store.write(TASK, TOKEN, TAGS, never)
            assert words in str(failed.value)
            assert TOKEN.text not in str(failed.value)

    run("asyncio", life())


# --- the token ----------------------------------------------------------------------------------


class FakeGitHub:
    """A connection that counts what it is asked for."""

    url = "https://github.com/o/r"

    def __init__(self, *errors):
        self.asked = []
        self.errors = list(errors)

    async def runners(self):
        """Return the calls."""
        return self

    async def create_registration_token(self, *, tries):
        """Issue one more token."""
        assert tries == 1
        self.asked.append("token")
        if self.errors:
            raise self.errors.pop(0)
        await asyncio.sleep(0)
        return github.IssuedToken(f"TOKEN{len(self.asked)}", datetime.now(UTC))

    async def create_jit_config(self, name, labels, group, work, *, tries):
        """Register one more runner."""
        assert tries == 1
        if self.errors:
            raise self.errors.pop(0)
        self.asked.append((name, labels, group, work))
        return github.JitConfig("BLOB", 21, name)


def test_a_registration_token_serves_many_runners():
    """Each gets its own name; after half an hour there is a new one."""
    clock = [0.0]
    hub = FakeGitHub()
    maker = TokenMaker(
        hub, ("a", "b"), group="big ones", just_in_time=False, clock=lambda: clock[0]
    )

    async def make(name):
        return json.loads((await maker.make(name)).text)

    first, second = run("asyncio", make("n1")), run("asyncio", make("n2"))
    assert first == {
        "url": hub.url,
        "token": "TOKEN1",
        "name": "n1",
        "labels": ["a", "b"],
        "no_default_labels": True,
        "group": "big ones",
    }
    assert (second["name"], second["token"]) == ("n2", "TOKEN1")
    clock[0] = REUSED + 1
    assert run("asyncio", make("n3"))["token"] == "TOKEN2"


def test_many_runners_at_once_get_one_registration_token():
    """The others wait for the first one's call."""
    hub = FakeGitHub()
    maker = TokenMaker(hub, ("a",), just_in_time=False)

    async def make_all():
        return await asyncio.gather(*(maker.make(f"n{number}") for number in range(50)))

    made = [json.loads(token.text) for token in run("asyncio", make_all())]
    assert {document["token"] for document in made} == {"TOKEN1"}
    assert len({document["name"] for document in made}) == 50
    assert hub.asked == ["token"]


@pytest.mark.parametrize("just_in_time", [True, False])
@pytest.mark.parametrize("seconds", [1800.0, None])
def test_a_limit_that_lasts_longer_than_our_patience_is_told_at_once(just_in_time, seconds):
    """Its message is put off, and the pool's others wait too."""
    limit = github.RateLimited("slow down", 403, seconds)
    maker = TokenMaker(FakeGitHub(limit), ("a",), just_in_time=just_in_time, patience=5.0)
    with pytest.raises(github.RateLimited) as told:
        run("asyncio", maker.make("n"))
    assert (told.value.seconds, told.value.tries) == (seconds, 1)


def test_a_limit_after_a_lost_answer_says_that_it_was_not_the_first_try(monkeypatch):
    """GitHub may have registered the runner that an answer was lost of."""
    monkeypatch.setattr("launcher.tokens.github_backoff", lambda: lambda _: 0.001)
    errors = github.TransientError("no answer"), github.RateLimited("slow down", 403, 60.0)
    with pytest.raises(github.RateLimited) as told:
        run("asyncio", TokenMaker(FakeGitHub(*errors), ("a",), patience=5.0).make("n"))
    assert told.value.tries == 2


@pytest.mark.parametrize("just_in_time", [True, False])
def test_the_agent_is_told_that_the_launcher_deletes_its_token(just_in_time):
    """Its own code reads it; without the word it deletes the token itself."""
    maker = TokenMaker(FakeGitHub(), ("a",), just_in_time=just_in_time)
    kept = json.loads(run("asyncio", maker.make("n", keep=True)).text)
    assert kept["keep"] is True
    assert '"keep"' not in run("asyncio", maker.make("n")).text


def test_just_in_time_each_runner_is_registered_at_once():
    """With exactly the labels that were asked for, in the group of that number."""
    hub = FakeGitHub()
    with capture_logs() as events:
        token = run("asyncio", TokenMaker(hub, ("a",), group="3").make("n"))
    assert (token.text, token.runner_id) == ("BLOB", 21)
    assert hub.asked == [("n", ("a",), 3, "_work")]
    assert "BLOB" not in repr(token)
    assert events == []


@pytest.mark.parametrize("just_in_time", [True, False])
def test_the_agent_reads_the_policy_that_goes_with_its_token(just_in_time):
    """As JSON in both kinds; a pool's policy that says nothing still refuses forks."""
    policy = Access(owners=("acme",)).to_policy()
    maker = TokenMaker(FakeGitHub(), ("a",), just_in_time=just_in_time, policy=policy)
    document = json.loads(run("asyncio", maker.make("n")).text)
    assert document["policy"] == {"owners": ["acme"], "forks": False}
    assert document["jit_config" if just_in_time else "token"] == (
        "BLOB" if just_in_time else "TOKEN1"
    )
