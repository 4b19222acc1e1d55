"""What must hold at the end of a storm that was swept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.storms.verdict import Named, judge_errors, judge_job, judge_secrets

if TYPE_CHECKING:
    from tests.storms.swept.world import SweptWorld
    from tests.storms.verdict import Events


def judge(world: SweptWorld, events: Events) -> list[str]:
    """Return what is wrong: something of ours is left, or something foreign is not as it was."""
    after = world.foreign.snapshot(world)
    named = Named(events)
    return [
        *world.wrong,
        *(f"{what} is left after {world.sweeps} sweeps" for what in world.find_left()),
        *(
            f"{what}, which is not ours, was changed"
            for what in after
            if after[what] != world.before[what]
        ),
        *(line for job in world.admitted for line in judge_job(job, named)),
        *judge_secrets(world, events),
        *judge_errors(events),
    ]
