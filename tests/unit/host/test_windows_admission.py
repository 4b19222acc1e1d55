"""A hook asks the agent whether the job may run: a named pipe, and who plays PowerShell."""

import asyncio
import sys

import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows (make test-windows)", allow_module_level=True)

from sidecar import host
from sidecar.host.win32.pipes import FOLDER
from tests.support.windows import open_pipe
from tests.unit.host.test_windows_hooks import run

NAMES = ("GITHUB_REPOSITORY", "GITHUB_REF", "NOT_SET")


def deciding(answer):
    """Return a decision that notes what it got."""
    asked = []

    async def decide(variables):
        asked.append(variables)
        return answer

    decide.asked = asked
    return decide


def connect(channel):
    """Connect to the agent as a hook does."""
    return open_pipe(FOLDER + channel.name)


def ask(channel, request):
    """Send a request in two parts; return the answer."""
    with connect(channel) as pipe:
        pipe.write(request[:2])
        pipe.write(request[2:])
        return pipe.readline()


def test_an_admitted_job_gets_the_answer(tmp_path):
    """The agent gets the variables as they are, whatever characters they hold."""

    async def life():
        decide = deciding(host.ADMITTED)
        async with host.open_admission_channel(tmp_path, None, decide) as channel:
            odd = "a\n'$(x)`\" é %s\\0"
            request = f"GITHUB_REPOSITORY=o/r\0GITHUB_REF={odd}\0NOT_SET=\0\0".encode()
            assert await asyncio.to_thread(ask, channel, request) == b"admitted\n"
            assert decide.asked == [{"GITHUB_REPOSITORY": "o/r", "GITHUB_REF": odd, "NOT_SET": ""}]
        with pytest.raises(FileNotFoundError), connect(channel):
            pass

    run(life())


def test_a_refused_job_gets_the_reason(tmp_path):
    """In one line of limited length, which the hook shows in the job's log."""

    async def life():
        decide = deciding("a stranger" * 1000)
        async with host.open_admission_channel(tmp_path, None, decide) as channel:
            answer = await asyncio.to_thread(ask, channel, b"A=b\0\0")
            assert answer == b"a stranger" * 100 + b"\n"

    run(life())


def test_too_long_a_request_is_none(tmp_path):
    """It is decided without being read to its end."""

    async def life():
        decide = deciding("too long")
        async with host.open_admission_channel(tmp_path, None, decide) as channel:
            answer = await asyncio.to_thread(ask, channel, b"A=" + b"x" * 70_000)
            assert (answer, decide.asked) == (b"too long\n", [None])

    run(life())


def test_a_second_request_is_never_read(tmp_path):
    """A job that got in cannot ask about another one."""

    async def life():
        decide = deciding(host.ADMITTED)
        async with host.open_admission_channel(tmp_path, None, decide) as channel:
            assert await asyncio.to_thread(ask, channel, b"A=b\0\0") == b"admitted\n"
            with await asyncio.to_thread(connect, channel) as second:
                for part in (b"A=c\0\0", b"x" * 50_000):  # more than the system keeps unread
                    await asyncio.to_thread(second.write, part)
        assert decide.asked == [{"A": "b"}]

    run(life())


def test_an_agent_that_leaves_closes_the_channel(tmp_path):
    """While it still decides: the hook gets no answer, and so no job runs."""

    async def life():
        asked = asyncio.Event()

        async def decide(_variables):
            asked.set()
            return await asyncio.get_running_loop().create_future()

        async with host.open_admission_channel(tmp_path, None, decide) as channel:
            answer = asyncio.create_task(asyncio.to_thread(ask, channel, b"A=b\0\0"))
            await asked.wait()
        assert await answer == b""

    run(life())


def test_the_hook_goes_on_only_after_the_one_answer(tmp_path):
    """Every other way through its lines ends in a loop that never ends by itself."""
    script = host.build_admission_script(host.AdmissionChannel("a-pipe"), NAMES)
    assert "'GITHUB_REPOSITORY', 'GITHUB_REF', 'NOT_SET'" in script
    condition, refused = script.split("if ($answer -cne 'admitted') {\n")
    assert "exit" not in script
    assert condition.count("{") == condition.count("}")
    assert "while ($true) {\n    Start-Sleep -Seconds 30\n" in refused
    assert refused.endswith("  }\n}\n")
