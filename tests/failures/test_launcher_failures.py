"""Play cells of docs/failures_launcher.py with the launcher's real code."""

import asyncio
from functools import partial

import pytest

from docs.failures import Row
from docs.failures_launcher import FAULTS, SECTIONS
from local import ssm
from tests.failures import launch_cell, work_cell
from tests.failures.launching import PREFIX, hurried, open_stage
from tests.failures.side_by_side import play_cells

ROWS = [row for section in SECTIONS for row in section.rows]


@pytest.mark.parametrize("kind", ["commands", "messages"])
def test_a_failing_call_of_the_launcher_has_the_documented_outcome(aws, kind):
    """Exit code and event are those of the table; what the table does not name as left is gone."""
    ssm.put(aws, f"{PREFIX}/first", "the first one takes moto a while")
    rows = [row for row in ROWS if row.play.startswith("work") == (kind == "messages")]
    run_cell = (launch_cell if kind == "commands" else work_cell).run_cell

    def judge(row, cell, ended, name):
        text = f"{name}: {ended.exit} {ended.left}\n{ended.transcript}"
        left = ended.left if kind == "commands" else cell.left  # a worker tries again
        assert (ended.exit, left) == (cell.exit, cell.left), text
        assert cell.event in {"life.ended", *ended.events}, text
        assert "start.crashed" not in ended.events, text
        # One task for one launch, whatever became of the answers.
        assert ended.tasks <= 1, text
        # Whoever is refused a token gives up the task, and tries another.
        assert ended.started == 1 or kind == "commands" or "token.delayed" in ended.events, text
        stopped = kind == "messages" or (row.play == "stop" and cell.event != "stop.failed")
        if not cell.left and (stopped or cell.event == "start.failed"):
            assert (ended.tasks, ended.parameters, ended.runners) == (0, 0, 0), text

    async def scene():
        async with hurried():
            await play_cells(rows, partial(run_cell, aws), judge)

    asyncio.run(asyncio.wait_for(scene(), 900))


def test_each_row_of_the_launcher_has_a_cell_for_each_fault():
    """No cell is missing, and none is for a fault that does not exist."""
    for row in ROWS:
        assert list(row.cells) == list(FAULTS), row.call


@pytest.mark.parametrize("fault", ["403", "404"])
@pytest.mark.parametrize("call", ["GetParameter", "actions/runners\\?"])
def test_a_start_that_fails_never_stops_a_runner_that_has_a_job(aws, call, fault):
    """An earlier start of the same key has started it; what fails is the second start."""

    async def scene():
        async with hurried(), open_stage(aws) as stage:
            assert await launch_cell.run_command(stage, "start", launch_cell.BEGIN, {}) == 0
            world = stage.hub.world
            runner = await world.changes.until(
                lambda: next((each for each in world.runners if world.online(each)), None), 60
            )
            runner.job_id = 7
            match = {"path": call} if call.startswith("actions") else {"target": call}
            where = "github" if call.startswith("actions") else "aws"
            row = Row(call, "repeat", where, match, {})
            stage.proxies[where].add(launch_cell.make_rule(row, fault))
            again = {**launch_cell.BEGIN, "wait": "online", "timeout": "4"}
            await launch_cell.run_command(stage, "start", again, {})
            assert [task.desired for task in stage.plane.tasks] == ["RUNNING"], stage.log
            assert runner in list(world.runners)

    asyncio.run(asyncio.wait_for(scene(), 600))
