"""Give a machine namespaces of its own, as root or as any user; then run its first program there.

`python space.py enter FOLDER`: `FOLDER/space.json` says what. In the namespaces the metadata
address is the machine's own, and so are the folders of its units and state. What it may reach
outside has a door: an address in there, at which this program listens, and passes on.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

if sys.platform == "win32":
    raise NotImplementedError("cannot make namespaces: this needs Linux")

CONSOLE = Path("/dev/console")
KEYS = Path("/proc/sysrq-trigger")
"""By it a program powers the real machine off."""
MOST_WAITING = 128
PYTHON = (sys.executable, "-I", "-S")


def enter(folder: Path, given: dict[str, Any]) -> None:
    """Leave a keeper of the doors outside; become `prepare` inside."""
    own, other = socket.socketpair()
    number = str(other.fileno())
    subprocess.Popen(  # it ends with the machine, whose end of the pair it watches
        [*PYTHON, __file__, "keep", str(folder), number],
        pass_fds=[other.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    other.close()
    own.set_inheritable(True)
    user = ["--user", "--map-root-user"] if given["user"] is not None else []
    inside = [*PYTHON, __file__, "prepare", str(folder), str(own.detach())]
    _become("unshare", *user, "--mount", "--net", *inside)


def prepare(folder: Path, given: dict[str, Any], channel: int) -> None:
    """Make folders, console, address and doors; become the machine's first program."""
    for each in given["folders"]:
        _call("mount", "-t", "tmpfs", "own", each)
    if KEYS.exists():
        _call("mount", "--bind", os.devnull, str(KEYS))
    if CONSOLE.exists():
        _call("mount", "--bind", str(folder / "console"), str(CONSOLE))
    _call("ip", "link", "set", "lo", "up")
    for address in given["addresses"]:
        _call("ip", "addr", "add", f"{address}/32", "dev", "lo")
    doors = [
        socket.create_server((host, port), backlog=MOST_WAITING)
        for (host, port), _ in given["doors"]
    ]
    with socket.socket(fileno=os.dup(channel)) as pair:
        socket.send_fds(pair, [b"doors"], [door.fileno() for door in doors])
    if given["user"] is None:
        _become(*given["command"])
    # Its own user again, who has no more power in there than on a machine.
    user, group = given["user"]
    _become("unshare", "--user", f"--map-user={user}", f"--map-group={group}", *given["command"])


async def keep(given: dict[str, Any], channel: int) -> None:
    """Pass on what comes through the doors, until the machine has ended."""
    pair = socket.socket(fileno=channel)
    pair.setblocking(False)
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(pair, ready.set_result, None)
    ready.add_done_callback(lambda _: loop.remove_reader(pair))
    await ready
    _, numbers, _, _ = socket.recv_fds(pair, 16, len(given["doors"]))
    for number, (_, (host, port)) in zip(numbers, given["doors"], strict=False):
        door = socket.socket(fileno=number)
        await asyncio.start_server(_Door(host, port).open, sock=door)
    await loop.sock_recv(pair, 1)


class _Door:
    """Passes on to an address outside."""

    def __init__(self, host: str, port: int) -> None:
        self._outside = host, port

    async def open(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on, both ways."""
        try:
            there, back = await asyncio.open_connection(*self._outside)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, back), _pump(there, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.close()


def _call(*command: str) -> None:
    subprocess.run(command, check=True, timeout=30, stdin=subprocess.DEVNULL)


def _become(*command: str) -> None:
    os.execvp(command[0], command)  # noqa: S606  no shell is wanted


def main() -> None:
    """Do one of the three."""
    what, folder, *rest = sys.argv[1:]
    given = json.loads(Path(folder, "space.json").read_text())
    if what == "enter":
        enter(Path(folder), given)
    elif what == "prepare":
        prepare(Path(folder), given, int(rest[0]))
    else:
        asyncio.run(keep(given, int(rest[0])))


if __name__ == "__main__":
    main()
