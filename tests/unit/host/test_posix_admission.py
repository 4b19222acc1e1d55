"""A hook asks the agent whether the job may run: two FIFOs, and the shell lines that use them."""

import asyncio
import os
import stat
import subprocess
import sys
from contextlib import suppress

import pytest

from sidecar import host
from tests.support.loops import on_both, run
from tests.unit.host.nobody import NOBODY, as_nobody

if sys.platform == "win32":
    pytest.skip("needs POSIX", allow_module_level=True)

NAMES = ("GITHUB_REPOSITORY", "GITHUB_REF", "NOT_SET")
WORKER = 'trap "echo asked to end; exit 9" TERM; bash -e "$1" & wait $!; echo "hook: $?"'
"""A shell in the worker's place: it starts the hook, and notes that it is asked to end."""


def write_hook(folder, channel, names=NAMES, **options):
    """Write a started hook that asks."""
    asking = host.build_admission_script(channel, names, **options)
    path = folder / "job-started.sh"
    host.write_new(path, f"#!/bin/sh\n{asking}echo going on\n".encode(), 0o755, None)
    return path


class Worker:
    """A running worker, which has started the hook."""

    def __init__(self, path, **env):
        self.process = subprocess.Popen(
            ["bash", "-c", WORKER, "-", str(path)],
            env={"PATH": os.environ["PATH"], **env},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    async def read_line(self):
        """Return the next line of the worker's or the hook's output."""
        return await asyncio.to_thread(self.process.stdout.readline)

    async def end(self):
        """Wait for the end of both; return the worker's exit code and the rest of the output."""
        code = await asyncio.to_thread(self.process.wait)  # first: the hook sees a dead worker too
        with self.process.stdout:
            return code, await asyncio.to_thread(self.process.stdout.read)


def deciding(answer):
    """Return a decision that notes what it got."""
    asked = []

    async def decide(variables):
        asked.append(variables)
        return answer

    decide.asked = asked
    return decide


@on_both
def test_an_admitted_job_goes_on(loop, tmp_path):
    """The agent gets the variables as they are, whatever characters they hold."""

    async def life():
        decide = deciding(host.ADMITTED)
        async with host.open_admission_channel(tmp_path, None, decide) as channel:
            odd = "a\n'$(touch x)`\" é %s\\0"
            hook = write_hook(tmp_path, channel)
            worker = Worker(hook, GITHUB_REPOSITORY="o/r", GITHUB_REF=odd)
            assert await worker.end() == (0, "going on\nhook: 0\n")
            assert decide.asked == [{"GITHUB_REPOSITORY": "o/r", "GITHUB_REF": odd, "NOT_SET": ""}]
        assert not channel.request.exists()
        assert not channel.answer.exists()

    run(loop, life())


@on_both
def test_a_refused_job_s_worker_is_asked_to_shut_down(loop, tmp_path):
    """A hook that only failed would let steps with `if: always()` run. It says why, in one line."""

    async def life():
        decide = deciding("a stranger")
        async with host.open_admission_channel(tmp_path, None, decide) as channel:
            worker = Worker(write_hook(tmp_path, channel))
            line = await worker.read_line()
            assert line == "::error title=Job not admitted::a stranger\n"
            assert await worker.read_line() == "asked to end\n"
            assert await worker.end() == (9, "")  # the hook ends when its worker has ended

    run(loop, life())


@on_both
def test_without_an_answer_the_job_is_refused(loop, tmp_path):
    """As when the agent is dead: nobody holds the FIFOs any more."""

    async def life():
        undecided = asyncio.Event()

        async def decide(_):
            undecided.set()
            await asyncio.Event().wait()

        async with host.open_admission_channel(tmp_path, None, decide) as channel:
            worker = Worker(write_hook(tmp_path, channel))
            await undecided.wait()
        line = await worker.read_line()
        assert line == "::error title=Job not admitted::the agent did not answer within 10 s\n"
        assert await worker.read_line() == "asked to end\n"
        assert await worker.end() == (9, "")

    run(loop, life())


@on_both
def test_only_the_first_request_is_read(loop, tmp_path):
    """What a job writes later changes nothing, and fills no memory."""

    async def life():
        decide = deciding(host.ADMITTED)
        async with host.open_admission_channel(tmp_path, None, decide) as channel:
            await Worker(write_hook(tmp_path, channel), GITHUB_REF="first").end()
            writer = os.open(channel.request, os.O_WRONLY | os.O_NONBLOCK)
            with suppress(BlockingIOError):  # the FIFO is full, for nobody reads it
                while True:
                    os.write(writer, b"GITHUB_REF=second\0\0" * 100)
            os.close(writer)
            await asyncio.sleep(0)
            assert [asked["GITHUB_REF"] for asked in decide.asked] == ["first"]

    run(loop, life())


@on_both
@pytest.mark.parametrize("junk", [b"x" * 4096, b"\0" * 4096], ids=["endless", "empty"])
def test_a_request_without_sense_is_decided_too(loop, tmp_path, junk):
    """One without an end is cut off, and nothing is known of the job."""

    async def life():
        decided = asyncio.Event()
        asked = []

        async def decide(variables):
            asked.append(variables)
            decided.set()
            return "no"

        async with host.open_admission_channel(tmp_path, None, decide) as channel:
            writer = os.open(channel.request, os.O_WRONLY)
            while not decided.is_set():
                await asyncio.to_thread(os.write, writer, junk)
            os.close(writer)
            assert asked == [None if junk[0] else {"": ""}]

    run(loop, life())


@on_both
def test_an_error_of_one_fifo_leaves_no_other(loop, tmp_path):
    """The folder holds a file of that name."""

    async def life():
        (tmp_path / "answer").touch()
        with pytest.raises(FileExistsError):
            async with host.open_admission_channel(tmp_path, None, deciding("")):
                pass
        assert [path.name for path in tmp_path.iterdir()] == []

    run(loop, life())


@pytest.mark.root
def test_only_the_agent_writes_answers(open_path):
    """A job's user may ask and read; it can neither answer itself nor replace the FIFOs."""

    async def life():

        folder = open_path / "state"
        host.make_private_folder(folder)
        async with host.open_admission_channel(folder, NOBODY, deciding("")) as channel:
            modes = [
                stat.S_IMODE(path.stat().st_mode) for path in (channel.request, channel.answer)
            ]
            assert modes == [0o600, 0o640]
            assert await asyncio.to_thread(
                as_nobody, '[ -w "$1" ] && [ -r "$2" ]', *paths(channel)
            ) == (0, "")
            for attempt in (
                'echo admitted 1<>"$2"',
                'rm -f "$2"',
                'mv "$1" "$2"',
                'chmod 666 "$2"',
            ):
                code, _ = await asyncio.to_thread(as_nobody, attempt, *paths(channel))
                assert code, attempt

    def paths(channel):
        return channel.request, channel.answer

    run("asyncio", life())


@on_both
def test_a_notice_is_a_warning_of_a_job_that_goes_on(loop, tmp_path):
    """One line, whatever it holds."""

    async def life():
        notice = 'no role \'$(touch x)` for "o/r"'
        decide = deciding(host.NOTICE + notice)
        async with host.open_admission_channel(tmp_path, None, decide) as channel:
            worker = Worker(write_hook(tmp_path, channel))
            assert await worker.end() == (
                0,
                f"::warning title=AWS credentials::{notice}\ngoing on\nhook: 0\n",
            )

    run(loop, life())


@on_both
def test_a_job_that_needs_no_answer_goes_on_without(loop, tmp_path):
    """Its log says that it has no credentials; a refusal still ends it."""

    async def life():
        decide = deciding("a stranger")
        async with host.open_admission_channel(tmp_path, None, decide) as channel:
            hook = write_hook(tmp_path, channel, needs_answer=False)
            worker = Worker(hook)
            assert await worker.read_line() == "::error title=Job not admitted::a stranger\n"
            assert (await worker.end())[0] == 9
        code, output = await Worker(hook).end()  # the agent has ended
        assert (code, output.count("::error")) == (0, 0)
        assert output.startswith(f"::warning title=AWS credentials::{host.NO_CREDENTIALS}\n")

    run(loop, life())


@on_both
def test_a_token_of_github_s_is_sent_whole_and_is_no_argument(loop, tmp_path):
    """Everybody may read the arguments of a program; other values are cut."""
    names = ("GITHUB_REF", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_NOT_SET")
    token = "t" * 3000

    async def life():
        decide = deciding(host.ADMITTED)
        async with host.open_admission_channel(tmp_path, None, decide) as channel:
            hook = write_hook(tmp_path, channel, names)
            worker = Worker(hook, GITHUB_REF="r" * 3000, ACTIONS_ID_TOKEN_REQUEST_TOKEN=token)
            assert await worker.end() == (0, "going on\nhook: 0\n")
            (asked,) = decide.asked
            assert asked == {
                "GITHUB_REF": "r" * (1000 - len("GITHUB_REF=")),
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN": token,
                "ACTIONS_NOT_SET": "",
            }
        assert "$@" not in hook.read_text()

    run(loop, life())
