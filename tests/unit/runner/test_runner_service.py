"""GitHub's runner services, asked about one runner, against the stand-in for GitHub."""

import json
from contextlib import asynccontextmanager

import pytest

from local import github as hub
from local.github.scope import Scope
from sidecar.github import Connection, GitHubError, Pat, PermissionDenied, RunnerBusy
from sidecar.runner.runner_service import RunnerService
from sidecar.runner.saved_identity import SavedIdentity
from sidecar.runner.state_file import SavedFile
from sidecar.tokens.value import parse_jit_config
from tests.support.loops import on_both, run

SCOPE = Scope.of_path("/repos/octo/demo")


pytestmark = pytest.mark.usefixtures("short_github_pauses")


@asynccontextmanager
async def asked(*, usable=True, url=True, admin_flow=False):
    """Give GitHub's state, the runner as it knows it, and the services asked about it."""
    async with hub.serving() as served:

        async def be():
            return Pat("ghp_local")

        async with Connection(be) as connection:
            connection.url = f"{served.url}/octo/demo"
            made = await (await connection.runners()).create_jit_config("box-1", ("a",), 1, "_work")
        files = parse_jit_config(made.blob, "here").jit
        if admin_flow:
            settings = json.loads(files[".runner"].decode("utf-8-sig"))
            files[".runner"] = json.dumps({**settings, "useRunnerAdminFlow": True}).encode()
        identity = SavedIdentity({name: SavedFile(text, 0o600) for name, text in files.items()})
        token = served.world.mint("registration", SCOPE, 3600).value
        github_url = f"{served.url}/octo/demo" if url else ""
        service = RunnerService(github_url, token, lambda: usable, lambda: identity)
        served.world.calls.clear()
        yield served.world, served.world.runners.get(made.runner_id), service


@on_both
@pytest.mark.parametrize(
    ("admin_flow", "calls"),
    [(False, {"runner-registration", "runner-delete"}), (True, {"delete-runner"})],
)
def test_a_runner_is_removed_with_its_token(loop, admin_flow, calls):
    """By two requests in the tenant flow, by one in the admin flow."""

    async def play():
        async with asked(admin_flow=admin_flow) as (world, runner, service):
            await service.deregister(runner.id)
            assert list(world.runners) == []
            assert set(world.calls) == calls
            await service.deregister(runner.id)  # gone already

    run(loop, play())


@on_both
@pytest.mark.parametrize("admin_flow", [False, True])
def test_a_busy_runner_stays(loop, admin_flow):
    """GitHub's refusal has an error of its own, in both flows."""

    async def play():
        async with asked(admin_flow=admin_flow) as (world, runner, service):
            runner.job_id = 1
            with pytest.raises(RunnerBusy):
                await service.deregister(runner.id)
            assert list(world.runners) == [runner]

    run(loop, play())


@on_both
@pytest.mark.parametrize("admin_flow", [False, True])
@pytest.mark.parametrize("usable", [False, True])
def test_github_is_asked_with_the_token_or_with_the_key(loop, usable, admin_flow):
    """After an hour only the runner's own key is left; a job cannot have written its copy."""

    async def play():
        async with asked(usable=usable, admin_flow=admin_flow) as (world, runner, service):
            assert service.can_ask
            assert await service.is_registered(runner.id, runner.name)
            assert ("runner-oauth" in world.calls) == (not usable)
            world.runners.remove(runner, "test")
            assert not await service.is_registered(runner.id, runner.name)

    run(loop, play())


def test_a_refused_token_leaves_the_key():
    """The token may have expired earlier than its age says."""

    async def play():
        async with asked() as (world, runner, service):
            for token in world.tokens:
                token.expires_at = 0.0
            assert await service.is_registered(runner.id, runner.name)
            assert world.calls["runner-oauth"] == 1
            with pytest.raises(PermissionDenied):
                await service.deregister(runner.id)

    run("asyncio", play())


def test_without_a_url_the_configuration_names_github():
    """A just-in-time configuration in SSM needs no SIDECAR_GITHUB_URL."""

    async def play():
        async with asked(url=False) as (world, runner, service):
            assert service.usable_token is None
            assert await service.is_registered(runner.id, runner.name)
            assert set(world.calls) == {"runner-oauth"}

    run("asyncio", play())


def test_with_neither_token_nor_key_nothing_is_asked():
    """An error, not a no."""

    async def play():
        service = RunnerService(
            "https://github.com/o", "T", lambda: False, lambda: SavedIdentity({})
        )
        assert not service.can_ask
        with pytest.raises(GitHubError, match="no copy of its key"):
            await service.is_registered(7, "box-1")
        with pytest.raises(GitHubError, match="too old"):
            await service.deregister(7)

    run("asyncio", play())
