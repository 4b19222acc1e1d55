"""Boot machines: run their user data really, each with a metadata service of its own.

`MachineHost.boot` is a program for `serving`. As root, and for any user who may have namespaces of
its own, a machine has its own network, where its metadata answer at the real address. Elsewhere the
paths and that address in the user data are replaced by others in the machine's folder.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from local import agent, imds, leftovers
from local.agent import AgentProcess
from local.ec2.console import keep_console
from local.ec2.paths import FOLDERS, METADATA, UNITS, make_folders, redirect
from local.runner import install

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from local.ec2.machines import Machine

HERE = Path(__file__).parent
PYTHON = (sys.executable, "-I", "-S")
"""The start of the programs of this folder: they need the standard library alone, and soon."""
END_SECONDS = 30.0
"""Seconds that a machine has to shut down."""
CONSOLE_SECONDS = 15.0
"""Seconds for what a machine that is off has written last on its console."""
PROBE_SECONDS = 60.0
SYSTEMCTL = '#!/bin/sh\necho "$*" >>{calls}\n'
AGENT = '#!/bin/sh\nexec {command} "$@"\n'
PROGRAM_FAILED = "local: the machine's first program failed: "


@dataclass
class Booted:
    """A machine that has booted."""

    machine: Machine
    process: AgentProcess
    """Its first program, whose log is the console."""
    metadata: imds.Metadata


@dataclass
class MachineHost:
    """The place where machines boot."""

    folder: Path
    """A folder that every user may read and write."""
    moto: str
    """The URL of the STS that knows the machines' roles."""
    ssm: str
    """The URL of SSM."""
    reach: tuple[str, ...] = ()
    """More URLs that machines reach."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The variables that the image sets for the agent."""
    agents: list[str] = field(default_factory=list)
    """Scripts that the next machines have in place of the agent."""
    isolated: bool | None = None
    """True where machines have namespaces; None: where it is possible."""
    booted: dict[str, Booted] = field(default_factory=dict)
    """Machines, by their ids."""

    def __post_init__(self) -> None:
        self.new: asyncio.Queue[Booted] = asyncio.Queue()
        """Machines that nobody has looked at yet."""
        self._one_at_a_time = asyncio.Lock()

    async def prepare(self) -> None:
        """Make the image now, not with the first machine, and see what is possible."""
        async with self._one_at_a_time:
            if not (image := self.folder / ".machine-image").exists():
                made = await asyncio.to_thread(install, self.folder / ".making-machine")
                made.rename(image)
            if self.isolated is None:
                self.isolated = await self._may_isolate()

    async def boot(self, machine: Machine) -> None:
        """Run a machine until it is off. Cancelled, it is asked to shut down, and awaited."""
        await self.prepare()
        folder = self.folder / machine.id
        folder.mkdir(mode=0o777)
        folder.chmod(0o1777)  # whatever the umask is
        async with (
            imds.serving(self.moto, instance=_describe(machine)) as metadata,
            self._start(machine, folder, metadata) as process,
            asyncio.TaskGroup() as group,
        ):
            booted = self.booted[machine.id] = Booted(machine, process, metadata)
            self.new.put_nowait(booted)
            notices = [group.create_task(each) for each in _give_notices(machine, metadata)]
            console = group.create_task(keep_console(machine, process))
            try:
                await process.process.wait()
            except asyncio.CancelledError:
                await _shut_down(process)
                raise
            finally:
                for each in notices:
                    each.cancel()
                with suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(console), CONSOLE_SECONDS)
            if process.process.returncode:
                machine.say(f"{PROGRAM_FAILED}{process.errors[-1000:]}")

    # -- how it is started -------------------------------------------------------------------

    @asynccontextmanager
    async def _start(
        self, machine: Machine, folder: Path, metadata: imds.Metadata
    ) -> AsyncIterator[AgentProcess]:
        runner = folder / "runner"
        await asyncio.to_thread(shutil.copytree, self.folder / ".machine-image", runner)
        programs = self._write_programs(folder)
        environment = self._make_image(folder, runner, programs)
        text, units = machine.user_data, Path(UNITS)
        if self.isolated:
            argv = self._make_space(folder, metadata)
        else:
            units = make_folders(folder)
            text = redirect(text, folder, metadata.url)
            environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url
            environment["SIDECAR_RELAY"] = "local"  # no rules in a network that is not its own
            argv = _first_program(folder, units)
        _write_program(folder / "user-data", text or "#!/bin/sh\n")
        (folder / "image.json").write_text(json.dumps(environment))
        _make_console(folder)
        kept = {"PATH": environment["PATH"], leftovers.MARK: str(folder)}
        async with AgentProcess.start(argv, kept, folder) as process:
            yield process

    def _write_programs(self, folder: Path) -> Path:
        """Write what the machine's image has on PATH."""
        programs = folder / "programs"
        programs.mkdir()
        systemctl = SYSTEMCTL.format(calls=folder / "calls")
        for name in ("systemctl", "poweroff", "shutdown", "reboot"):
            # Under its own name alone systemctl notes its words; any other powers off.
            words = systemctl if name == "systemctl" else systemctl.replace("$*", "poweroff")
            _write_program(programs / name, words)
        own = AGENT.format(command=agent.COMMAND[0])
        _write_program(programs / "runner-sidecar", self.agents.pop(0) if self.agents else own)
        return programs

    def _make_image(self, folder: Path, runner: Path, programs: Path) -> dict[str, str]:
        """Make what the image sets: what stands in /etc/runner-sidecar.env elsewhere."""
        made = agent.environment(
            ssm=self.ssm,
            ecs={},
            github_url="",
            parameter="",
            runner_folder=runner,
            folder=folder,
        )
        machine_s = ("AWS_REGION", "AWS_EC2_METADATA_DISABLED")
        launcher_s = ("SIDECAR_TOKEN_PARAMETER", "SIDECAR_GITHUB_URL")
        for name in (*machine_s, *launcher_s):
            del made[name]
        path = f"{programs}{os.pathsep}{made['PATH']}"
        return {**made, **self.environment, "PATH": path}

    def _make_space(self, folder: Path, metadata: imds.Metadata | None) -> list[str]:
        """Describe the machine's namespaces; return the command that enters them."""
        urls = (self.ssm, *self.reach)
        doors = [(_address(url), _address(url)) for url in dict.fromkeys(urls)]
        if metadata is not None:
            doors.append(((METADATA, 80), _address(metadata.url)))
        command = _first_program(folder, Path(UNITS)) if metadata is not None else ["true"]
        given: dict[str, Any] = {
            "user": None if agent.IS_ROOT else _own_user(),
            "folders": FOLDERS,
            "addresses": [METADATA],
            "doors": doors,
            "command": command,
        }
        (folder / "space.json").write_text(json.dumps(given))
        return [*PYTHON, str(HERE / "space.py"), "enter", str(folder)]

    async def _may_isolate(self) -> bool:
        """Try whether a machine can have namespaces here."""
        hidden = [Path(sys.base_prefix), Path(sys.prefix), HERE, self.folder]
        if any(path.resolve().is_relative_to(each) for path in hidden for each in FOLDERS):
            return False  # a machine's own folders would hide the programs that it runs
        folder = self.folder / ".probe"
        folder.mkdir()
        _make_console(folder)
        argv = self._make_space(folder, None)
        env = {"PATH": os.environ.get("PATH", os.defpath), leftovers.MARK: str(folder)}
        try:
            async with AgentProcess.start(argv, env, folder) as tried:
                return await asyncio.wait_for(tried.process.wait(), PROBE_SECONDS) == 0
        except TimeoutError:
            return False


async def _shut_down(process: AgentProcess) -> None:
    """Ask a machine to shut down, and wait for its end; then it is cut off."""
    if process.process.returncode is None:
        with suppress(ProcessLookupError):
            process.process.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.process.wait(), END_SECONDS)


def _give_notices(machine: Machine, metadata: imds.Metadata) -> tuple[Any, ...]:
    """Tell by the metadata what EC2 tells by its events."""

    async def interrupt() -> None:
        await machine.is_taken_soon.wait()
        metadata.instance.interrupt()

    async def recommend() -> None:
        await machine.is_at_risk.wait()
        metadata.instance.recommend_rebalance()

    return interrupt(), recommend()


def _describe(machine: Machine) -> imds.Instance:
    """Say of a machine what its metadata say."""
    options = machine.wanted.get("MetadataOptions", {})
    return imds.Instance(
        id=machine.id,
        zone=machine.zone,
        type=machine.kind,
        image=str(machine.wanted["ImageId"]),
        life_cycle="spot" if machine.capacity == "spot" else "on-demand",
        tags=machine.tags if options.get("InstanceMetadataTags") == "enabled" else None,
        has_role="IamInstanceProfile" in machine.wanted,
        token_required=options.get("HttpTokens") == "required",
        account=machine.account,
    )


def _first_program(folder: Path, units: Path) -> list[str]:
    return [*PYTHON, str(HERE / "init.py"), str(folder), str(units)]


def _write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return str(parts.hostname), int(parts.port or 80)


def _make_console(folder: Path) -> None:
    if sys.platform == "win32":
        raise NotImplementedError("cannot make a console: this needs POSIX")
    os.mkfifo(folder / "console")


def _own_user() -> tuple[int, int]:
    if sys.platform == "win32":
        raise NotImplementedError("cannot make namespaces: this needs Linux")
    return os.geteuid(), os.getegid()
