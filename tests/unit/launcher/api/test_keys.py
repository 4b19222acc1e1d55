"""The keys of GitHub's OIDC tokens: fetched seldom, rotated, and from nowhere else."""

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web

from launcher.api.keys import AGAIN, KEPT, LARGEST, LONGEST, Keys, NoKeys, make_fetch, read_keys
from local import oidc
from local.listening import listening
from local.oidc import Issuer, Key


class Fetched:
    """Keys of an issuer, with a clock of their own."""

    def __init__(self):
        self.issuer = Issuer("https://issuer")
        self.clock = 1000.0
        self.fails = False
        self.keys = Keys(self._fetch, lambda: self.clock)

    async def _fetch(self):
        found = self.issuer.list_keys()
        await asyncio.sleep(0)
        if self.fails:
            raise OSError("unreachable")
        return found


def play(story):
    """Run a story with its own keys."""
    return asyncio.run(asyncio.wait_for(story(Fetched()), 30))


def test_keys_are_fetched_once_for_many_tokens():
    """Also where all of them come at once."""

    async def story(fetched):
        name = fetched.issuer.key.name
        found = await asyncio.gather(*(fetched.keys.find(name) for _ in range(50)))
        assert None not in found
        assert fetched.issuer.fetches == 1

    play(story)


def test_a_new_key_is_found_by_one_fetch():
    """The old one still holds: GitHub lists both for a while."""

    async def story(fetched):
        old = fetched.issuer.key.name
        await fetched.keys.find(old)
        new = fetched.issuer.rotate().name
        fetched.clock += AGAIN
        assert await fetched.keys.find(new) is not None
        assert await fetched.keys.find(old) is not None
        assert fetched.issuer.fetches == 2

    play(story)


def test_names_that_are_made_up_cost_one_fetch_in_half_a_minute():
    """Without the bound each of them would be a call of ours."""

    async def story(fetched):
        for number in range(1000):
            assert await fetched.keys.find(f"made-up-{number}") is None
        assert fetched.issuer.fetches == 1
        fetched.clock += AGAIN
        await asyncio.gather(*(fetched.keys.find(f"again-{number}") for number in range(1000)))
        assert fetched.issuer.fetches == 2

    play(story)


def test_a_key_that_github_has_withdrawn_ends_within_the_hour():
    """And not before: nobody waits for a fetch."""

    async def story(fetched):
        old = fetched.issuer.key.name
        await fetched.keys.find(old)
        fetched.issuer.listed = [Key.fresh()]
        fetched.clock += KEPT - 1
        assert await fetched.keys.find(old) is not None
        fetched.clock += 2
        assert await fetched.keys.find(old) is None

    play(story)


def test_while_keys_cannot_be_fetched_the_old_ones_hold_for_a_day():
    """Then nobody is believed any more."""

    async def story(fetched):
        name = fetched.issuer.key.name
        await fetched.keys.find(name)
        fetched.fails = True
        fetched.clock += LONGEST
        assert await fetched.keys.find(name) is not None
        fetched.clock += AGAIN
        with pytest.raises(NoKeys):
            await fetched.keys.find(name)

    play(story)


def test_without_keys_nobody_is_believed():
    """It is told apart from a key that is not known: that one is nobody's."""

    async def story(fetched):
        fetched.fails = True
        with pytest.raises(NoKeys):
            await fetched.keys.find("any")
        fetched.fails = False
        fetched.clock += AGAIN
        assert await fetched.keys.find(fetched.issuer.key.name) is not None

    play(story)


@pytest.mark.parametrize(
    "changes",
    [
        {"kty": "oct", "k": "c2VjcmV0"},
        {"use": "enc"},
        {"alg": "RS512"},
        {"kid": 7},
        {"n": "AQ"},
        {"n": None},
        {"n": oidc.encode(b"\xff" * 128)},
    ],
)
def test_a_key_of_another_kind_is_left_out(changes):
    """A secret one, one for another use, a short one, one that cannot be read."""
    good, odd = Key.fresh().to_jwk(), {**Key.fresh().to_jwk(), **changes}
    found = read_keys(json.dumps({"keys": [odd, "x", good]}).encode())
    assert list(found) == [good["kid"]]
    with pytest.raises(ValueError, match="none of them signs"):
        read_keys(json.dumps({"keys": [odd]}).encode())


def test_keys_come_from_the_issuer_alone():
    """Not from where it redirects to, and not without end."""

    async def story():
        async def answer(request):
            if request.path.startswith("/moved"):
                raise web.HTTPFound("/good/.well-known/jwks")
            if request.path.startswith("/large"):
                return web.Response(body=b" " * (LARGEST + 1))
            return web.Response(body=Issuer("").list_keys())

        async with listening(answer) as url, aiohttp.ClientSession() as session:
            assert read_keys(await make_fetch(f"{url}/good", session)())
            for path, words in (("moved", "HTTP 302"), ("large", "more than")):
                with pytest.raises(ValueError, match=words):
                    await make_fetch(f"{url}/{path}", session)()

    asyncio.run(asyncio.wait_for(story(), 30))
