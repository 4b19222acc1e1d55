"""Tokens that a launcher writes by a machine's id, in a real SSM behind a proxy that fails."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from local import aws as local_aws
from local import faults
from local import ssm as local_ssm
from local.faults import Rule
from sidecar.errors import TokenError
from sidecar.shutdown.cleanup import CleanupStack
from sidecar.tokens import ConfiguredToken, MachineToken, Overrides, ParameterStore
from tests.support.loops import run

pytestmark = pytest.mark.usefixtures("short_pauses")

MACHINE = "i-0123456789abcdef0"
CONFIG, TOKENS = "/pool/config", "/pool/tokens"
TOKEN = "AABBCCDD1234567890EXAMPLE"
URL = "https://github.com/o/r"
NO_OVERRIDES = Overrides(name=None, name_prefix="", url=None, runner_user="runner")
DENIED = Rule("status", error="AccessDeniedException")


@asynccontextmanager
async def open_store(monkeypatch, endpoint, *rules):
    """Yield a store and the proxy in front of SSM; nothing is left there afterwards."""
    async with faults.serving(endpoint, rules=rules) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", proxy.url)
        async with ParameterStore(local_aws.REGION) as store:
            yield store, proxy
    for name in await names(endpoint):
        await asyncio.to_thread(local_ssm.call, endpoint, "DeleteParameter", Name=name)


async def put(endpoint, **parameters):
    """Write the machine's parameters, in this order: by the end of their names."""
    for what, value in parameters.items():
        await asyncio.to_thread(local_ssm.put, endpoint, f"{MACHINE}_{what}", value, "String")


async def configure(endpoint, **config):
    """Write a pool's configuration."""
    for key, value in config.items():
        await asyncio.to_thread(local_ssm.put, endpoint, f"{CONFIG}/{key}", value, "String")


def write_token(endpoint, value):
    """Write the token of the machine where the configuration says."""
    return asyncio.to_thread(local_ssm.put, endpoint, f"{TOKENS}/{MACHINE}", value)


def names(endpoint):
    """List what is there, from outside."""
    return asyncio.to_thread(local_aws.names, endpoint)


# --- terraform-aws-github-runner -----------------------------------------------------------------


@pytest.mark.parametrize("denied", [False, True])
def test_the_configuration_says_where_the_token_is(aws, monkeypatch, denied):
    """It is waited for, also where the policy allows only what exists; then it is deleted."""

    async def life():
        await configure(aws, token_path=TOKENS, disable_default_labels="true", run_as="ubuntu")
        rules = [Rule("status", **ABSENT_IS_DENIED)] if denied else []
        async with open_store(monkeypatch, aws, *rules) as (store, proxy):
            steps = CleanupStack()
            source = ConfiguredToken(store, f"{CONFIG}/", MACHINE, NO_OVERRIDES, steps)
            with capture_logs() as logs:
                waiting = asyncio.create_task(source.wait(30))
                await proxy.reached(2, target="GetParameter")
                assert not source.is_usable()
                await write_token(aws, f"--url {URL} --token {TOKEN} --labels a")
                token = await waiting
            assert (token.token, token.url, token.labels) == (TOKEN, URL, ("a",))
            assert (token.name, token.no_default_labels) == (MACHINE, True)
            assert source.is_usable()
            (event,) = [one for one in logs if one["event"] == "launcher.configured"]
            assert event["parameter"] == f"{TOKENS}/{MACHINE}"
            assert event["unheeded"] == [
                "run_as=ubuntu: the runner runs as runner (SIDECAR_RUNNER_USER)"
            ]
            source.delete_soon()
            await steps.steps[0].begin()
            assert f"{TOKENS}/{MACHINE}" not in await names(aws)
            assert [seen.target for seen in proxy.requests].count("GetParameters") == 1

    run("asyncio", life())


ABSENT_IS_DENIED = {
    "target": "GetParameter",
    "instead_of": "ParameterNotFound",
    "error": "AccessDeniedException",
}


def test_a_user_s_own_name_wins_over_the_machine_s_id(aws, monkeypatch):
    """A name replaces it, a prefix stands before it."""

    async def life():
        await configure(aws, token_path=TOKENS, agent_mode="ephemeral")
        async with open_store(monkeypatch, aws) as (store, _):
            for overrides, name in (
                (Overrides("mine", "", None, "runner"), "mine"),
                (Overrides(None, "build-", None, "runner"), f"build-{MACHINE}"),
            ):
                await write_token(aws, f"--url {URL} --token {TOKEN}")
                source = ConfiguredToken(store, CONFIG, MACHINE, overrides, CleanupStack())
                assert (await source.wait(5)).name == name

    run("asyncio", life())


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (None, f"there is no {CONFIG}/token_path (change SIDECAR_LAUNCH_CONFIG)"),
        (DENIED, "access denied (needs ssm:GetParameters)"),
        (Rule("not-json"), "unreadable answer"),
        (Rule("status", error="ThrottlingException"), "throttled by SSM"),
    ],
)
def test_a_configuration_that_cannot_be_read(aws, monkeypatch, rule, reason):
    """The error says why, and what to change; another try is made only where it may help."""

    async def life():
        rules = [] if rule is None else [rule]
        async with open_store(monkeypatch, aws, *rules) as (store, proxy):
            source = ConfiguredToken(store, CONFIG, MACHINE, NO_OVERRIDES, CleanupStack())
            with pytest.raises(TokenError) as failed:
                await source.wait(0.2)
            assert str(failed.value).startswith(
                f"cannot read the launcher's configuration {CONFIG}"
            )
            assert reason in str(failed.value)
            final = rule is None or rule is DENIED
            assert (len(proxy.requests) == 1) is final

    run("asyncio", life())


def test_a_token_that_never_comes_is_named_with_its_setting(aws, monkeypatch):
    """The reason names the parameter and SIDECAR_LAUNCH_CONFIG, where its name comes from."""

    async def life():
        await configure(aws, token_path=TOKENS)
        async with open_store(monkeypatch, aws) as (store, _):
            monkeypatch.setattr("sidecar.tokens.launched.LEAST", 0.2)
            source = ConfiguredToken(store, CONFIG, MACHINE, NO_OVERRIDES, CleanupStack())
            with pytest.raises(TokenError) as failed:
                await source.wait(0.2)
            assert f"{TOKENS}/{MACHINE}: there is no such parameter" in str(failed.value)
            assert "SIDECAR_LAUNCH_CONFIG" in str(failed.value)

    run("asyncio", life())


@pytest.mark.parametrize("written", [True, False])
def test_an_early_stop_deletes_what_was_never_read(aws, monkeypatch, written):
    """The cleanup step looks for the token by itself; that there is none is no failure."""

    async def life():
        await configure(aws, token_path=TOKENS)
        async with open_store(monkeypatch, aws) as (store, _):
            if written:
                await write_token(aws, TOKEN)
            steps = CleanupStack()
            ConfiguredToken(store, CONFIG, MACHINE, NO_OVERRIDES, steps)
            await steps.steps[0].begin()
            assert steps.not_done == {}
            assert steps.steps[0].result == ("deleted" if written else "absent")
            assert f"{TOKENS}/{MACHINE}" not in await names(aws)

    run("asyncio", life())


# --- aws-ec2-self-hosted-runner ------------------------------------------------------------------


def test_three_parameters_make_one_token(aws, monkeypatch):
    """The token comes last; the id is name and label, and all three are deleted."""

    async def life():
        async with open_store(monkeypatch, aws) as (store, proxy):
            steps = CleanupStack()
            source = MachineToken(store, MACHINE, NO_OVERRIDES, steps)
            waiting = asyncio.create_task(source.wait(30))
            await proxy.reached(2, target="GetParameter")
            await put(aws, UniqueRunId=MACHINE, RepositoryUrl=URL, AgentToken=TOKEN)
            token = await waiting
            assert (token.token, token.url) == (TOKEN, URL)
            assert (token.name, token.labels) == (MACHINE, (MACHINE,))
            assert source.is_usable()
            source.delete_soon()
            await steps.steps[0].begin()
            assert await names(aws) == []
            assert steps.not_done == {}

    run("asyncio", life())


def test_a_user_s_own_url_is_not_read_from_the_parameter(aws, monkeypatch):
    """SIDECAR_GITHUB_URL wins; the parameter is deleted all the same."""

    async def life():
        async with open_store(monkeypatch, aws) as (store, _):
            await put(aws, UniqueRunId=MACHINE, RepositoryUrl="no URL", AgentToken=TOKEN)
            steps = CleanupStack()
            overrides = Overrides("mine", "", "https://ghe.example.com/o/r", "runner")
            token = await MachineToken(store, MACHINE, overrides, steps).wait(5)
            assert (token.name, token.url) == ("mine", "https://ghe.example.com/o/r")
            await steps.steps[0].begin()
            assert await names(aws) == []

    run("asyncio", life())


def test_a_wrong_url_is_named(aws, monkeypatch):
    """The error names the machine and says what is wrong."""

    async def life():
        async with open_store(monkeypatch, aws) as (store, _):
            await put(aws, UniqueRunId=MACHINE, RepositoryUrl="no URL", AgentToken=TOKEN)
            with pytest.raises(TokenError, match=f"{MACHINE}.* must begin with https://"):
                await MachineToken(store, MACHINE, NO_OVERRIDES, CleanupStack()).wait(5)

    run("asyncio", life())


def test_one_that_may_not_be_deleted_does_not_keep_the_others(aws, monkeypatch):
    """The step fails with what is missing, and the token itself is gone."""

    async def life():
        refused = Rule("status", target="DeleteParameter", error="AccessDeniedException", skip=2)
        async with open_store(monkeypatch, aws, refused) as (store, _):
            await put(aws, UniqueRunId=MACHINE, RepositoryUrl=URL, AgentToken=TOKEN)
            steps = CleanupStack()
            MachineToken(store, MACHINE, NO_OVERRIDES, steps)
            await steps.steps[0].begin()
            assert "needs ssm:DeleteParameter" in steps.not_done["token"]
            assert len(await names(aws)) == 1

    run("asyncio", life())
