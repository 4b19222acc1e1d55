"""A registration token that the agent asks GitHub for."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from sidecar.errors import TokenError
from sidecar.github import IssuedToken, PermissionDenied
from sidecar.tokens import MintedToken
from sidecar.tokens.value import RegistrationToken
from tests.support.loops import on_both, run

END = datetime(2026, 1, 22, 12, 0, tzinfo=UTC)


class Calls:
    """A stand-in for GitHub's calls."""

    def __init__(self, answer):
        self.answer = answer

    async def create_registration_token(self, *, tries):
        """Answer, or never."""
        assert tries is None, "the limit is a time, not a number of tries"
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is None:
            await asyncio.get_running_loop().create_future()
        return self.answer

    async def find_new_url(self):
        """Answer that the repository has no new name."""


def mint(answer, *, jit=False):
    """Make a source whose GitHub answers so; None never answers."""

    async def runners():
        return Calls(answer)

    return MintedToken(runners, jit=jit)


@on_both
def test_a_token_is_minted(loop):
    """It is usable until shortly before its end, which GitHub says."""
    made = mint(IssuedToken("SECRET", END))
    assert not made.is_usable()
    with capture_logs() as events:
        assert run(loop, made.wait(20)) == RegistrationToken("SECRET")
    assert events == [
        {"event": "token.minted", "log_level": "info", "expires": "2026-01-22T12:00:00+00:00"}
    ]
    assert made.is_usable(END - timedelta(minutes=6))
    assert not made.is_usable(END - timedelta(minutes=5))
    made.delete_soon()


def test_just_in_time_needs_no_token():
    """GitHub is asked only when the runner registers."""
    made = mint(None, jit=True)
    assert run("asyncio", made.wait(1)) == RegistrationToken()
    assert not made.is_usable()


def test_a_refusal_names_the_permission():
    """It differs between a repository and an organization."""
    with pytest.raises(
        TokenError, match=r"cannot mint a registration token: no\b.*administration:write"
    ):
        run("asyncio", mint(PermissionDenied("no", 404)).wait(20))


def test_no_answer_names_the_setting():
    """GitHub may limit the rate for an hour, but the wait has an end."""
    with pytest.raises(TokenError, match=r"no answer within 0\.05 s \(SIDECAR_TOKEN_TIMEOUT\)"):
        run("asyncio", mint(None).wait(0.05))


def test_a_credential_that_cannot_be_read_is_an_error_with_its_own_reason():
    """It names the credential's setting, and not the time."""

    async def runners():
        raise TokenError("cannot read SIDECAR_GITHUB_PAT: no network path")

    with pytest.raises(TokenError, match=r"^cannot read SIDECAR_GITHUB_PAT: no network path$"):
        run("asyncio", MintedToken(runners, jit=False).wait(20))
