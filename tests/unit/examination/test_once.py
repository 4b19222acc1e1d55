"""What several checks need is asked for once."""

import asyncio

import pytest

from sidecar.examination.once import Once


def test_it_is_asked_for_once():
    """However many need it, at the same time or later."""
    asked = []

    async def ask():
        asked.append(1)
        await asyncio.sleep(0)
        return 7

    async def play():
        once = Once(ask)
        return [*await asyncio.gather(once(), once()), await once()]

    assert asyncio.run(play()) == [7, 7, 7]
    assert asked == [1]


def test_an_error_is_each_one_s():
    """No check takes it for an answer."""

    async def ask():
        raise OSError("no way")

    async def play():
        once = Once(ask)
        return await asyncio.gather(once(), once(), return_exceptions=True)

    assert [str(error) for error in asyncio.run(play())] == ["no way", "no way"]


def test_one_that_gives_up_does_not_take_it_from_the_others():
    """The answer comes to those that still wait."""

    async def play():
        come = asyncio.Event()

        async def ask():
            await come.wait()
            return "late"

        once = Once(ask)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await once()
        come.set()
        return await once()

    assert asyncio.run(play()) == "late"
