"""The runner's program, led through a life as the agent led the real one.

What the agent did stands in the recorded lines: which verbs ran in which order, when the listener
was interrupted, when it was killed. They are followed one by one.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.github import bodies, files
from local.github.runners import Runner
from local.github.scope import Scope
from local.runner import install
from local.runner.program import keys, locations
from tests.local.recorded import plot, record

if TYPE_CHECKING:
    from collections.abc import Callable

    from local import github
    from tests.local.recorded.record import Life

PATIENCE = 90.0
REPO = Scope.of_path("/repos/octo/repo")
VERSION = "2.336.0"


class Conductor:
    """One life: GitHub, a runner's folder, and the processes that ran there."""

    def __init__(self, life: Life, served: github.GitHub, folder: Path) -> None:
        self.life, self.github = life, served
        self._settings = plot.settings(life)
        self._root = install(folder / "runner", version=VERSION)
        self._home = folder / "home"
        self._home.mkdir()
        self._cache()
        self._hook = folder / "hook.sh"
        self._hook.write_text("exit 0\n")
        self._knobs()
        self.lines: list[str] = []
        self._kept: dict[str, bytes] = {}
        self._news = asyncio.Condition()
        self._listener: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []
        self.ended = asyncio.Event()
        self._plot = plot.Plot(life, self)
        wanted = self._settings.get("gh", {})
        self.tune({**({"admin": True} if life.admin else {}), **(wanted or {})})

    def _cache(self) -> None:
        """Let the cache of locations be as it was: none, one to be made, one that is there."""
        asked = [call for call in self.life.calls if "/connectionData" in call]
        if not any("lastChangeId=1&" in call or " x6" in call for call in asked):
            return
        config = self._home / ".config"
        config.mkdir()
        if "connectOptions=0" in asked[0]:
            os.environ["HOME"], old = str(self._home), os.environ.get("HOME", "")
            for scope in (REPO, Scope.of_path("/orgs/octo")):
                url = files.tenant(scope.key, self.github.url)
                locations.remember(url, url)
            os.environ["HOME"] = old

    def _knobs(self) -> None:
        eager = "look" in str(self._settings.get("gh"))
        knobs = {"time_scale": plot.SCALE, "slowness": 1.0 if eager else 0.0}
        (self._root / ".misbehave.json").write_text(json.dumps(knobs))

    def tune(self, wanted: dict[str, Any]) -> None:
        """Set GitHub as the record's was set."""
        settings = self.github.world.settings
        settings.locations_fresh = False
        settings.admin_flow = bool(wanted.get("admin", settings.admin_flow))
        seen = any("no longer exists" in line for line in self.life.lines)
        settings.removal_told_after = 0.0 if seen else 1.0
        if "look" in wanted:
            settings.gone_after = settings.removal_told_after = 0.0
        for name, where in (
            ("deprecated", "message"),
            ("old_session", "session"),
            ("old_register", "register"),
        ):
            if wanted.get(name):
                settings.deprecated_versions, settings.deprecated_at = [VERSION], [where]
        if wanted.get("conflict"):
            fault = {"call": "POST /broker/session", "status": 409, "count": -1}
            self.github.world.faults.add(fault)

    # Looking

    async def printed(self, text: str) -> None:
        """Wait until a line with that text has been printed by whatever verb."""
        async with self._news:
            found = self._news.wait_for(lambda: any(text in line for line in self.lines))
            await asyncio.wait_for(found, PATIENCE)

    async def world(self, look: Callable[[], bool]) -> None:
        """Wait for GitHub to see something; not every call rings its bell."""
        async with asyncio.timeout(PATIENCE):
            while not look():  # noqa: ASYNC110  it tells nobody of a call that has begun
                await asyncio.sleep(0.02)

    def processes(self, program: str) -> list[int]:
        """List the processes that run this program of the runner's."""
        wanted = str(self._root / program.partition(" ")[0]).encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    # Leading

    async def play(self) -> None:
        """Follow the recorded lines to their end."""
        playing = asyncio.create_task(self._plot.run())
        try:
            await self._follow()
            self.ended.set()
            await asyncio.wait_for(playing, PATIENCE)
        finally:
            playing.cancel()
            await self._stop()

    async def _follow(self) -> None:
        wanted = list(self.life.lines)
        if self.life.just_in_time and not any(line.startswith("run") for line in wanted):
            return
        for place, line in enumerate(wanted):
            if line == "configure stdout: # Authentication" or self._is_refused(line, place):
                await self._configure(place)
            elif line.startswith("run") and self._listener is None:
                await self._run()
            if line == "remove stdout: # Runner removal":
                await self._before_remove(wanted[:place])
                await self._verb("remove", "--unattended", ACTIONS_RUNNER_INPUT_TOKEN=self._token())
            elif line == "run stdout: Exiting...":
                await self._stop_is_due(wanted[:place])
                await self._interrupt()
            elif line == "run ends: -9":
                await self._killed()
        await self._finish()

    def _is_refused(self, line: str, place: int) -> bool:
        return line.startswith("configure stderr: Cannot configure") and place > 0

    def _token(self) -> str:
        if (wrong := self._settings.get("put")) and isinstance(wrong, str):
            return wrong
        return self.github.world.mint("registration", self._scope).value

    @property
    def _scope(self) -> Scope:
        url = self._settings.get("settings", {}).get("GITHUB_URL") or ""
        return Scope.of_path("/orgs/octo") if "/octo" in url else REPO

    async def _configure(self, place: int) -> None:
        path = "octo" if self._scope.kind == "orgs" else "octo/repo"
        words = ["--unattended", "--url", f"{self.github.url}/{path}", "--name", self._name(place)]
        words += ["--ephemeral", "--disableupdate", "--labels", "alpha,beta"]
        later = self.life.lines[place:]
        ends = [each for each in later[1:] if each == later[0]]
        block = later[: later.index(ends[0], 1)] if ends else later
        if any("replaced the runner" in each for each in block):
            words.append("--replace")
        if any("self-hosted runner group named" in each for each in block):
            words += ["--runnergroup", "nope"]
        if "prepare" in self._settings and not list(self.github.world.runners):
            self._other()
        token = self._token()
        await self._verb("configure", *words, ACTIONS_RUNNER_INPUT_TOKEN=token)
        self._kept = {
            name: (self._root / name).read_bytes()
            for name in (".runner", ".credentials", ".credentials_rsaparams")
            if (self._root / name).exists()
        }

    def _name(self, place: int) -> str:
        """Give the name: the second time another one, where the first was taken."""
        before = self.life.lines[:place]
        if any("A runner exists with the same name box" in line for line in before):
            return "box-0ccfbc"
        taken = "prepare" in self._settings or "name_taken" in self.life.name
        return "box" if taken else "RUNNER_NAME"

    def _other(self) -> None:
        """Register somebody else's runner under the name that will be asked for."""
        self.github.world.runners.add(Runner(0, "box", self._scope, [], True, 0.0, "AQAB"))

    async def _verb(self, verb: str, *words: str, **env: str) -> None:
        child = await self._start(verb, *words, **env)
        readers = self._readers[-2:]
        await asyncio.wait_for(child.wait(), PATIENCE)
        await asyncio.gather(*readers)

    async def _start(self, verb: str, *words: str, **env: str) -> asyncio.subprocess.Process:
        hook = {f"ACTIONS_RUNNER_HOOK_JOB_{each}": str(self._hook) for each in ("STARTED",)}
        if "badhook" in str(self._settings.get("env")):
            self._hook.write_text("exit 1\n")
        child = await asyncio.create_subprocess_exec(
            self._root / "bin" / "Runner.Listener",
            verb,
            *words,
            cwd=self._root,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self._home),
                "ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE": "1",
                **hook,
                **env,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for stream, name in ((child.stdout, "stdout"), (child.stderr, "stderr")):
            assert stream
            self._readers.append(asyncio.create_task(self._read(f"{verb} {name}", stream)))
        return child

    async def _read(self, start: str, stream: asyncio.StreamReader) -> None:
        async for raw in stream:
            async with self._news:
                self.lines.append(f"{start}: {raw.decode().rstrip()}")
                self._news.notify_all()

    async def _run(self) -> None:
        env = {"ACTIONS_RUNNER_INPUT_JITCONFIG": self._jit()} if self.life.just_in_time else {}
        self._listener = await self._start("run", **env)

    def _jit(self) -> str:
        key = keys.written(keys.fresh())
        runner = Runner(0, "RUNNER_NAME", REPO, [], True, 0.0, key["modulus"], jit=True)
        self.github.world.runners.add(runner)
        written = files.of_jit(runner, key, self.github.url, "_work")
        return str(bodies.jit_config({}, written)["encoded_jit_config"])

    async def _before_remove(self, before: list[str]) -> None:
        """Wait for what the agent waited for; put back what the listener has deleted, as it did."""
        await self._stop_is_due(before)
        for name, content in self._kept.items():
            if not (self._root / name).exists():
                (self._root / name).write_bytes(content)

    async def _stop_is_due(self, before: list[str]) -> None:
        if self._listener is None:
            return
        ended = any(line.startswith("run ends") for line in before)
        if ended:
            await self._await_end()
        else:
            await asyncio.wait_for(self._plot.ready.wait(), PATIENCE)
            for line in before:
                if line.startswith("run stdout:"):
                    await self.printed(record._plain(line.partition(": ")[2])[-20:])

    async def _await_end(self) -> None:
        assert self._listener
        await asyncio.wait_for(self._listener.wait(), PATIENCE)

    async def _interrupt(self) -> None:
        assert self._listener
        await asyncio.wait_for(self._plot.ready.wait(), PATIENCE)
        self._take_off()
        await asyncio.sleep(0.05)
        if self._listener.returncode is None:
            self._listener.send_signal(signal.SIGINT)

    def _take_off(self) -> None:
        """Remove the runner by REST, where the agent did."""
        if self.life.admin or any(line.startswith("remove") for line in self.life.lines):
            return
        if any(re.search(r"/actions/runners/\d+ -> 204", call) for call in self.life.calls):
            for runner in self.github.world.runners:
                self.github.world.runners.remove(runner, "rest")

    async def _killed(self) -> None:
        assert self._listener
        await asyncio.wait_for(self._plot.ready.wait(), PATIENCE)
        if any("/completejob" in call for call in self.life.calls):
            await self.world(lambda: self.github.world.calls["job-complete"] > 0)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._listener.wait(), 6 * plot.SCALE)
        if self._listener.returncode is None:
            self._listener.kill()

    async def _finish(self) -> None:
        if self._listener is None:
            return
        if any(line.startswith("run ends") for line in self.life.lines):
            await self._await_end()

    async def _stop(self) -> None:
        child = self._listener
        if child is not None:
            if child.returncode is None:
                child.kill()
            await child.wait()
        for program in ("bin/Runner.Worker", "bin/Runner.Listener"):
            for pid in self.processes(program):
                os.kill(pid, signal.SIGKILL)
        await asyncio.gather(*self._readers)
        if child is not None:
            self.lines.append(f"run ends: {child.returncode}")
