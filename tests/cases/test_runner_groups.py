"""A runner group just in time: by its name, which GitHub's API does not take, or its number."""

from contextlib import asynccontextmanager

import pytest

from local import github as hub
from sidecar.errors import Exit, RegistrationError
from sidecar.github import Connection, Pat
from sidecar.runner import just_in_time
from sidecar.runner.just_in_time import JustInTimeRegistration
from sidecar.runner.registration_request import RegistrationRequest
from sidecar.tokens.value import RegistrationToken
from tests.support.loops import on_both, run
from tests.unit.conftest import short_github_pauses, spare_children  # noqa: F401  fixtures
from tests.unit.runner.conftest import root  # noqa: F401  a fixture

pytestmark = pytest.mark.usefixtures("short_github_pauses")


@asynccontextmanager
async def registering(folder, group, at="octo"):
    """Yield GitHub's state, and a runner that is to be registered in a group."""

    async def get_credential():
        return Pat("ghp_local")

    async with hub.serving() as served, Connection(get_credential) as connection:
        served.world.settings.runner_groups = ["Default", "Two words", "production"]
        connection.url = f"{served.url}/{at}"
        request = RegistrationRequest(connection.url, None, "n", ("a",), False, group, "_work")
        yield (
            served.world,
            JustInTimeRegistration(folder, request, RegistrationToken(), connection, 20.0),
        )


@on_both
@pytest.mark.parametrize(
    ("group", "number"), [("production", 3), ("two WORDS", 2), ("2", 2), ("default", 1), (None, 1)]
)
def test_a_group_is_found_by_its_name_or_its_number(loop, root, group, number, monkeypatch):  # noqa: F811
    """The same setting as with a registration token; its case does not matter to GitHub."""

    async def play():
        async with registering(root, group) as (world, runner):
            await runner.register()
            assert next(iter(world.runners)).group_id == number

    run(loop, play())


@pytest.mark.parametrize(
    ("group", "at", "why"),
    [
        ("nobody", "octo", "there is no runner group nobody"),
        ("²", "octo", "there is no runner group ²"),
        ("٣", "octo", "there is no runner group ٣"),
        ("production", "octo/demo", "a repository has no runner group production"),
    ],
)
def test_a_group_that_is_none_is_refused_by_name(root, group, at, why):  # noqa: F811
    """Exit 13 with the setting to change; nothing is registered. `²` was a crash of the agent."""

    async def play():
        async with registering(root, group, at) as (world, runner):
            with pytest.raises(RegistrationError, match=why) as refused:
                await runner.register()
            assert "SIDECAR_RUNNER_GROUP" in str(refused.value)
            assert refused.value.exit is Exit.REGISTRATION
            assert not runner.exists
            assert not list(world.runners)

    run("asyncio", play())


def test_the_default_group_of_a_repository_has_its_name(root):  # noqa: F811
    """A repository's runners are in that one alone."""

    async def play():
        async with registering(root, "Default", "octo/demo") as (world, runner):
            await runner.register()
            assert next(iter(world.runners)).group_id == 1
            assert "runner-groups" not in world.calls

    run("asyncio", play())


def test_a_refused_look_up_names_what_is_needed(root):  # noqa: F811
    """A credential that may register need not be allowed to list groups."""

    async def play():
        async with registering(root, "production") as (world, runner):
            world.faults.add({"call": "runner-groups", "count": -1, "status": 403})
            with pytest.raises(RegistrationError, match="or set the group's number"):
                await runner.register()

    run("asyncio", play())


def test_without_the_mend_a_name_is_no_group(root, monkeypatch):  # noqa: F811
    """The switch of this file: the name goes to GitHub as a number."""
    monkeypatch.setattr(just_in_time.github, "read_group_number", int)

    async def play():
        async with registering(root, "production") as (_, runner):
            with pytest.raises(ValueError, match="invalid literal"):
                await runner.register()

    run("asyncio", play())
