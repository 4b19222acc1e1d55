"""A registration token that the agent mints itself."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from sidecar.errors import TokenError
from sidecar.github import Denied
from sidecar.github.runners import Token
from sidecar.tokens import MintedToken
from sidecar.tokens.value import RegistrationToken
from tests.support.loops import on_both, run

END = datetime(2026, 1, 22, 12, 0, tzinfo=UTC)


class Calls:
    """GitHub's calls, as the mint makes them."""

    def __init__(self, answer):
        self.answer = answer

    async def registration_token(self, *, tries):
        """Answer, or never."""
        assert tries is None, "the deadline is the mint's, not a number of tries"
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is None:
            await asyncio.get_running_loop().create_future()
        return self.answer


def mint(answer, *, jit=False):
    """Make a mint whose GitHub answers so; None never answers."""

    async def runners():
        return Calls(answer)

    return MintedToken(runners, jit=jit)


@on_both
def test_a_token_is_minted(loop):
    """Its end is known, so that it is not tried at the end of a long job."""
    made = mint(Token("SECRET", END))
    assert not made.usable()
    with capture_logs() as events:
        assert run(loop, made.arrived(20)) == RegistrationToken("SECRET")
    assert events == [
        {"event": "token.minted", "log_level": "info", "expires": "2026-01-22T12:00:00+00:00"}
    ]
    assert made.usable(END - timedelta(minutes=6))
    assert not made.usable(END - timedelta(minutes=5))
    made.served()


def test_just_in_time_needs_no_token():
    """GitHub is asked only when it registers."""
    made = mint(None, jit=True)
    assert run("asyncio", made.arrived(1)) == RegistrationToken()
    assert not made.usable()


def test_a_refusal_names_the_permission():
    """For a repository and for an organization it is another one."""
    with pytest.raises(
        TokenError, match=r"cannot mint a registration token: no\b.*administration:write"
    ):
        run("asyncio", mint(Denied("no", 404)).arrived(20))


def test_no_answer_names_the_setting():
    """GitHub may limit for an hour: the wait has an end."""
    with pytest.raises(TokenError, match=r"no answer within 0\.05 s \(SIDECAR_TOKEN_TIMEOUT\)"):
        run("asyncio", mint(None).arrived(0.05))
