"""A source that is assigned once: before that nobody is asked for anything."""

import asyncio
from contextlib import asynccontextmanager

from sidecar.relay.assigned_role import AssignedRole


class Source:
    """A source that says when it is connected."""

    def __init__(self, name):
        self.where, self.advice = name, f"check {name}"
        self.connections = 0

    @asynccontextmanager
    async def connected(self):
        """Count it; yield the name in the place of a function."""
        self.connections += 1
        yield self.where


def test_the_first_source_counts():
    """A later one changes nothing, and is never connected."""

    async def work():
        role, first, second = AssignedRole(), Source("a"), Source("b")
        assert (role.where, role.advice) == ("the role of the job", "check SIDECAR_ROLES")

        async def connect():
            async with role.connected() as fetch:
                return fetch

        waiting = asyncio.create_task(connect())
        await asyncio.sleep(0)
        assert not waiting.done()
        role.assign(first)
        role.assign(second)
        assert await waiting == "a"
        assert (role.where, role.advice) == ("a", "check a")
        assert (first.connections, second.connections) == (1, 0)

    asyncio.run(work())
