"""The proof that a token may write, by a GitHub that answers as the real one does."""

import asyncio

import pytest

from launcher.api.answers import Refused
from launcher.api.proof import KEPT, MOST, Proof
from local import github
from local.github import payloads
from local.github.scope import Scope

APP = payloads.number_of("octo/app")


def play(story):
    """Run a story with a GitHub and a proof, whose clock is a list of one number."""

    async def run():
        clock = [0.0]
        async with github.serving() as hub, Proof(hub.url, lambda: clock[0]) as proof:
            await story(hub.world, proof, clock)

    asyncio.run(asyncio.wait_for(run(), 60))


def installation(world, contents="write", repositories=("app",)):
    """Make an installation's token, such as a workflow's own; return its text."""
    app = world.apps.add("actions", 1, 1)
    made = world.apps.install(app, "octo", repositories=repositories)
    token = world.mint("installation", None)
    token.installation_id = made.id
    token.permissions = {"metadata": "read", "contents": contents} if contents else {}
    return token.value


def personal(world, permission="write", scope=None):
    """Make a personal token; return its text."""
    token = world.mint("pat", Scope.of_path(scope) if scope else None)
    token.permission = permission
    return token.value


async def refuse(proof, token, repository="octo/app"):
    """Return status and reason of a refusal."""
    with pytest.raises(Refused) as found:
        await proof.find_writable(token, repository)
    return found.value.answer.status, str(found.value)


def test_a_token_that_writes_is_proved():
    """An installation's and a personal one; the repository's number comes with it."""

    async def story(world, proof, clock):
        assert await proof.find_writable(installation(world), "octo/app") == APP
        assert await proof.find_writable(installation(world), "Octo/App") == APP
        assert await proof.find_writable(personal(world), "octo/app") == APP

    play(story)


def test_a_token_that_only_reads_is_refused():
    """GARO took each of these, since all of them read the commit."""

    async def story(world, proof, clock):
        for token in (installation(world, "read"), personal(world, "read")):
            assert await refuse(proof, token) == (403, "the token may not write to the repository")

    play(story)


def test_a_token_of_another_repository_is_refused():
    """Whether it hides the repository or does not list it."""

    async def story(world, proof, clock):
        assert (await refuse(proof, installation(world, repositories=("other",))))[0] == 403
        assert (await refuse(proof, personal(world, scope="/repos/octo/other")))[0] == 403
        assert (await refuse(proof, "ghp_madeup0123456789abcdefghij"))[0] == 403
        assert (await refuse(proof, "gho_madeup0123456789abcdefghij"))[0] == 403

    play(story)


def test_a_long_list_of_repositories_is_read_to_its_end():
    """An organization's App may reach hundreds."""

    async def story(world, proof, clock):
        names = [f"r{number}" for number in range(250)]
        token = installation(world, repositories=(*names, "app"))
        assert await proof.find_writable(token, "octo/app") == APP

    play(story)


def test_an_answer_is_kept_for_a_minute_and_no_longer():
    """Good ones and bad ones: nobody has GitHub asked again and again."""

    async def story(world, proof, clock):
        good, bad = personal(world), personal(world, "read")
        for _ in range(5):
            await proof.find_writable(good, "octo/app")
            await refuse(proof, bad)
        assert world.calls["get-repository"] == 2
        clock[0] += KEPT + 1
        world.tokens.valid(good, world.now(), "pat").permission = "read"
        assert (await refuse(proof, good))[0] == 403

    play(story)


def test_what_github_does_not_answer_is_not_kept():
    """It is answered by 503, and asked again."""

    async def story(world, proof, clock):
        token = personal(world)
        world.faults.add({"call": "get-repository", "status": 500, "count": 1})
        assert (await refuse(proof, token))[0] == 503
        assert await proof.find_writable(token, "octo/app") == APP

    play(story)


def test_the_answers_that_are_kept_are_bounded():
    """However many tokens somebody makes up."""

    async def story(world, proof, clock):
        for number in range(MOST + 50):
            await refuse(proof, f"gho_{number:030d}")
        assert len(proof._known) == MOST

    play(story)
