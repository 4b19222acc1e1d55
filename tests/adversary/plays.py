"""Play a cell: an agent's kill, with its own code, against one attack each."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from sidecar import host, process
from sidecar.host import posix_killer, posix_processes
from sidecar.process import Command, run_child
from sidecar.runner import user_processes
from sidecar.runner.state_file import StateFile
from sidecar.runner.user_processes import own_user
from tests.adversary import attacks
from tests.adversary.cell import ATTACKER, BYSTANDER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

USER = host.User("attacker", ATTACKER, ATTACKER, (ATTACKER,), "/")
PYTHON = shutil.which("python3", path=os.defpath) or "python3"
"""The system's own: the one of these tests may be in a folder that no other user may enter."""
COMPUTING, WORK = 40, 0.05
"""Processes that compute, and seconds of a processor that the agent's own work needs."""
PATIENCE = 30.0
"""Seconds that a busy machine may take for what happens at once elsewhere."""
FIRST_SUBORDINATE = 700000
"""The first of the ids that a job may have in a user namespace (subuid(5))."""


def attack(program: str, *arguments: str) -> Command:
    """Return the command that a job runs."""
    argv = (PYTHON, "-I", "-c", program, *arguments)
    return Command(argv, {"PATH": os.defpath}, Path("/"), USER)


@asynccontextmanager
async def attacked(program: str, *arguments: str) -> AsyncIterator[str]:
    """Run an attack within the block, from its word `up` on; kill it as the agent kills a job.

    Yields what it prints.
    """
    up: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_line(_stream: str, line: str) -> None:
        if not up.done():
            up.set_result(line)

    async with run_child(attack(program, *arguments), on_line):
        yield await up


def list_own() -> list[int]:
    """Return the living processes of the attacker."""
    return list(host.list_user_processes(ATTACKER))


def start_sleeping(uid: int | None) -> subprocess.Popen[bytes]:
    """Start a process of that user's that does nothing."""
    return subprocess.Popen(["sleep", "60"], user=uid)


async def wait_until(look: Callable[[], bool], looks: int = 1) -> None:
    """Wait until `look` says yes so often in a row."""
    count = 0
    while count < looks:
        count = count + 1 if look() else 0
        await asyncio.sleep(0.01)


def begin(*, mended: bool = True) -> None:
    """Do what the agent's first lines do, but for what an unmended one does not."""
    # On a busy machine the kernel's kill, and the end of the killed, take as long as they take.
    posix_killer._ANSWER_TIMEOUT = user_processes.LEFTOVER_TIMEOUT = PATIENCE
    process.user_kill.killer = host.fork_killer() if mended else None
    host.harden()


def token_after_kill(found: str, mended: bool) -> dict[str, bool]:
    """Kill a job that no list of processes shows; tell whether it reads the next one's token."""
    begin(mended=mended)
    posix_processes._living_tree = dict  # a list without it: as if it forked all the time

    async def play() -> dict[str, bool]:
        await own_user(USER)
        bystander, roots = start_sleeping(BYSTANDER), start_sleeping(None)
        async with attacked(attacks.WATCHER, found):
            pass
        remove = host.spawn(["sleep", "60"], {"TOKEN": "secret"}, Path("/"), USER)
        await wait_until(lambda: Path(found).exists() or list_own() == [remove.pid])
        others_live = (bystander.poll(), roots.poll()) == (None, None)
        return {"others live": others_live}

    return asyncio.run(play()) | {"read": Path(found).exists()}


def namespace_after_kill(mended: bool) -> bool:
    """Kill a job's daemon with another id, which no list shows; return whether it lives on."""
    begin(mended=mended)
    posix_processes._living_tree = dict

    async def play() -> int:
        await own_user(USER)
        lines: asyncio.Queue[str] = asyncio.Queue()
        command = attack(attacks.NAMESPACER)
        async with run_child(command, lambda _stream, line: lines.put_nowait(line)):
            daemon = int(await lines.get())
            map_ids(daemon)
            os.kill(daemon, signal.SIGUSR1)
            assert await lines.get() == "up"
            assert daemon not in list_own()
        return daemon

    daemon = asyncio.run(play())

    def lives() -> bool:
        return daemon in host.list_user_processes(FIRST_SUBORDINATE + 1)

    if mended:
        asyncio.run(wait_until(lambda: not lives()))
    return lives()


def map_ids(pid: int) -> None:
    """Give a user namespace ids, as the set-user-id programs newuidmap and newgidmap do."""
    for name in ("gid_map", "uid_map"):
        Path(f"/proc/{pid}/{name}").write_text(f"0 {FIRST_SUBORDINATE} 1000")


def forkers_after_kill() -> int:
    """Kill a job that forks all the time; return how many of its processes are left."""
    begin()

    async def play() -> int:
        await own_user(USER)
        async with attacked(attacks.FORKER):
            pass
        with suppress(TimeoutError):  # they live for a minute, unless they are killed
            await asyncio.wait_for(wait_until(lambda: not list_own()), 10)
        return len(list_own())

    return asyncio.run(play())


def touch_killer(mended: bool) -> list[str]:
    """Let a job do what it can to the process that kills; return what worked."""
    if not mended:
        posix_killer._find_free_id = lambda: ATTACKER
    begin()

    async def play() -> list[str]:
        killer = process.user_kill.killer
        assert killer is not None
        assert await killer.aim(ATTACKER)
        async with attacked(attacks.TOUCHER, str(killer.pid)) as line:
            return line.split(" ")[1].split(",") if line != "up " else []

    return asyncio.run(play())


def priorities(mended: bool) -> dict[str, list[int]]:
    """Let a job compute, and slow it down as a stop does; return the priorities."""
    begin(mended=mended)

    def read() -> list[int]:
        return sorted({os.getpriority(os.PRIO_PROCESS, pid) for pid in list_own()})

    async def play() -> dict[str, list[int]]:
        await own_user(USER)
        bystander = start_sleeping(BYSTANDER)
        async with attacked(attacks.COMPUTER):
            before = read()
            await process.user_kill.slow_down()
            others = [os.getpriority(os.PRIO_PROCESS, pid) for pid in (0, bystander.pid)]
            return {"before": before, "after": read(), "others": others}

    return asyncio.run(play())


def work_beside_computers(mended: bool) -> float:
    """Let a job compute; return how many times longer the agent's own work takes before a stop.

    The least of some rounds each, for others compute on this machine too. The job is in the agent's
    session: some kernels give each session the same part of the processors.
    """
    begin(mended=mended)

    def work() -> float:
        began, used = time.perf_counter(), time.thread_time()
        while time.thread_time() < used + WORK:
            pass
        return time.perf_counter() - began

    async def play() -> float:
        await own_user(USER)
        command = attack(attacks.COMPUTER, str(COMPUTING))
        with subprocess.Popen(  # noqa: ASYNC220  its start is short
            command.argv, user=ATTACKER, group=ATTACKER, extra_groups=[], stdout=subprocess.PIPE
        ) as job:
            assert job.stdout is not None
            assert await asyncio.to_thread(job.stdout.readline) == b"up\n"
            before = min(work() for _ in range(2))
            await process.user_kill.slow_down()
            after = min(work() for _ in range(4))
            job.kill()  # the rest of it ends with this pid namespace
        return before / after

    return asyncio.run(play())


def collected_before_stop(mended: bool, dead: int) -> int:
    """Let a child die whenever one is collected; return how many are, before a stop is heard."""
    collected = 0
    find, collect = posix_processes._first_dead_child, posix_processes._collect

    def find_after_a_death() -> int | None:
        if collected < dead:
            child = os.posix_spawn("/bin/true", ["true"], {})
            os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        return find()

    def count(pid: int) -> bool:
        nonlocal collected
        collected += collect(pid)
        return True

    posix_processes._first_dead_child, posix_processes._collect = find_after_a_death, count
    if not mended:
        posix_processes.MOST_REAPED = sys.maxsize

    async def play() -> int:
        stop = asyncio.Event()
        running = asyncio.get_running_loop()
        async with process.collect_orphans():
            running.call_soon(running.call_soon, stop.set)  # in the first turn of collecting
            await stop.wait()
            return collected

    return asyncio.run(play())


# ---- agents that are killed ----------------------------------------------------------------------


class Agent:
    """An agent in a process of its own: it takes its user, starts a job, and waits to be killed."""

    def __init__(self, state: str, *, mended: bool = True, job: bool = True) -> None:
        answers, answer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(answers)
            with suppress(BaseException):
                begin(mended=mended)
                asyncio.run(self._live(state, answer, job=job))
            os._exit(1)
        os.close(answer)
        with os.fdopen(answers) as pipe:
            self.said: dict[str, Any] = json.loads(pipe.readline())

    async def _live(self, state: str, answer: int, *, job: bool) -> None:
        file = StateFile(Path(state))
        with capture_logs() as logs:
            await own_user(USER, file)
        left = list_own()
        file.save_runner("runner", unique=True)
        async with AsyncExitStack() as stack:
            if job:
                await stack.enter_async_context(attacked(attacks.DAEMON))
            killer = process.user_kill.killer
            said = {"logs": logs, "left": len(left), "killer": killer and killer.pid}
            os.write(answer, json.dumps(said).encode() + b"\n")
            await asyncio.Event().wait()

    def kill(self, *, killer: bool = False) -> None:
        """Kill it, and before that its killer too."""
        for pid in [self.said["killer"]] * killer + [self.pid]:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def die_with_agent(state: str, mended: bool) -> int:
    """Kill an agent alone; return how many processes of its job live on."""
    Agent(state, mended=mended).kill()
    if mended:
        asyncio.run(wait_until(lambda: not list_own()))
    return len(list_own())


def begin_after_kill(state: str, mended: bool) -> dict[str, Any]:
    """Kill an agent and its killer; return what the next one finds left once it has begun."""
    Agent(state).kill(killer=True)
    if not mended:
        StateFile.read = lambda _self: []  # nothing tells whose the processes are
    return Agent(state, job=False).said


def helper_before(state: str) -> dict[str, Any]:
    """Start a helper of the runner's user before the agent, kill both agents that come then."""
    helper = start_sleeping(ATTACKER)
    first, second = Agent(state), Agent(state + "2", job=False)
    first.kill()
    second.kill()
    return {"said": first.said["logs"], "helper lives": helper.poll() is None}


def two_agents(state: str) -> dict[str, Any]:
    """Start two agents of the same user; return what the second says, and what outlives both."""
    user_processes.KILLER_TIMEOUT = 0.1
    first, second = Agent(state), Agent(state + "2", job=False)
    first.kill()
    second.kill()
    asyncio.run(wait_until(lambda: not list_killers()))
    return {"said": second.said["logs"], "job lives": bool(list_own())}


def list_killers() -> list[int]:
    """Return the killers that still live."""
    return host.list_other_killers(host.Killer(0, -1, -1))


def take_user(as_root: bool) -> list[dict[str, Any]]:
    """Take the runner's user at a life's beginning; return the events."""
    host.harden()
    if not as_root:
        os.setuid(BYSTANDER)
    posix_killer._ANSWER_TIMEOUT = PATIENCE
    process.user_kill.killer = host.fork_killer()
    with capture_logs() as logs:
        asyncio.run(own_user(USER if as_root else None))
    return [dict(event) for event in logs]


def lower_score(mended: bool) -> dict[str, int]:
    """Let a job lower its score; return the agent's and what the job has reached."""
    assert host.protect_from_memory_kill()
    if not mended:
        posix_processes.usual_memory_score = nullcontext

    async def play() -> dict[str, int]:
        async with attacked(attacks.SCORER) as line:
            return {"job": int(line.split()[1])}

    result = asyncio.run(play())
    return result | {"agent": int(Path("/proc/self/oom_score_adj").read_text())}
