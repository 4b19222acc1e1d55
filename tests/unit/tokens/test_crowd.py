"""How one task behaves where SSM has too much to do: it gives way, and deletes when its turn is."""

import asyncio
import random
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from bench.virtual import played
from sidecar import tokens
from sidecar.shutdown.cleanup import CleanupStack
from sidecar.tokens import ssm

NAME, TOKEN = "/actions/tokens/crowd", "AABBCCDD1234567890EXAMPLE"


class Store(ssm.Store):
    """A store whose client reads what it is told, then the token, and notes each call's time."""

    def __init__(self, *refusals):
        super().__init__(None)
        self.calls, self.gone = [], asyncio.Event()
        self._refusals = list(refusals)
        self._client = SimpleNamespace(
            get_parameter=self.get_parameter, delete_parameter=self.delete_parameter
        )

    async def get_parameter(self, **_):
        """Refuse as long as that was wanted."""
        self.calls.append(("get", asyncio.get_running_loop().time()))
        if self._refusals:
            code = self._refusals.pop(0)
            raise ClientError({"Error": {"Code": code}}, "GetParameter")
        modified = datetime(2026, 1, 1, tzinfo=UTC)
        return {"Parameter": {"Value": TOKEN, "Version": 1, "LastModifiedDate": modified}}

    async def delete_parameter(self, **_):
        """Delete."""
        self.calls.append(("delete", asyncio.get_running_loop().time()))
        self.gone.set()


@pytest.fixture(autouse=True)
def _no_chance(monkeypatch):
    """Take each pause's upper end."""
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)


async def life(store, *, ended=False):
    """Read the token and give it back; return when the delete was, after the read."""
    cleanup_stack = CleanupStack()
    loan = tokens.read_later(store, NAME, cleanup_stack)
    await loan.arrived(600)
    read = asyncio.get_running_loop().time()
    loan.served()
    if ended:
        loan.cleanup_step.begin()
    await store.gone.wait()
    (deleted,) = [at for what, at in store.calls if what == "delete"]
    return read, deleted - read


def test_on_a_quiet_account_the_token_goes_at_once():
    """Reading it, and finding that it is still the same, is all that comes before."""
    store = Store()
    assert played(life(store), 1) == (0.0, 0.0)
    assert [what for what, _ in store.calls] == ["get", "get", "delete"]


def test_who_was_throttled_deletes_when_its_turn_is():
    """After half a minute and seven times as long as it waited, and up to a fifth more."""
    read, put_off = played(life(Store("ThrottlingException", "ThrottlingException")), 1)
    assert read == 1.0 + 2.0
    assert put_off == pytest.approx((30 + 7 * 3.0) * 1.2)


def test_a_turn_that_would_be_far_off_comes_sooner():
    """Four minutes at most, and up to a fifth more."""
    _, put_off = played(life(Store(*["ThrottlingException"] * 20)), 1)
    assert put_off == pytest.approx(240 * 1.2)


def test_the_end_of_a_life_does_not_wait_for_its_turn():
    """What was put off is done now, and once."""
    store = Store("ThrottlingException")
    _, put_off = played(life(store, ended=True), 1)
    assert put_off == 0.0
    assert [what for what, _ in store.calls].count("delete") == 1


def test_pauses_are_as_long_as_others_need():
    """Short for what is not there yet, longer in a crowd, longest where others have to write."""

    def pauses(*errors):
        pause = ssm.patient()
        return [pause(error("x")) for error in errors]

    assert pauses(*[ssm.Missing] * 6) == [0.4, 0.8, 1.6, 3.2, 4.0, 4.0]
    assert pauses(*[ssm.Throttled] * 6) == [1, 2, 4, 6, 6, 6]
    assert pauses(ssm.Missing, *[ssm.Throttled] * 6) == [0.4, 1, 2, 4, 8, 16, 30]
    assert pauses(ssm.TokenError) == [False]
