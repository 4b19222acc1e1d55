"""Use docker's client in many ways, each a scene that can run with any engine.

A scene returns all that a user would see: output, exit codes, digests. So it must return the same
with the proxy and without.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import re
import secrets
import select
import shutil
import signal
import struct
import subprocess
import tarfile
import tempfile
import termios
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from tests.engines.engine import EMPTY, USERLAND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.engines.engine import Engine

PATIENCE = 120.0
"""Seconds for any one command."""
MIB = 1 << 20
INPUT = bytes(range(256)) * (8 * MIB // 256)
"""More bytes than all buffers between client and container hold."""
WAITING = ("sh", "-c", "trap exit TERM; sleep infinity & wait")


class CommandResult(NamedTuple):
    """The result of a command."""

    code: int
    out: bytes
    errors: bytes


def run(engine: Engine, *argv: str, text: bytes = b"") -> CommandResult:
    """Run `docker ARGV` with this input, which then ends; return the result."""
    done = subprocess.run(
        engine.command(*argv),
        check=False,
        input=text,
        capture_output=True,
        timeout=PATIENCE,
    )
    return CommandResult(done.returncode, done.stdout, done.stderr)


def read_first_line(engine: Engine, *argv: str) -> str:
    """Run `docker ARGV`, which may print for ever, and return its first line."""
    with subprocess.Popen(engine.command(*argv), stdout=subprocess.PIPE, text=True) as client:
        try:
            assert client.stdout is not None
            assert select.select([client.stdout], [], [], PATIENCE)[0], f"no line: {argv}"
            return client.stdout.readline()
        finally:
            client.kill()


@contextmanager
def container(engine: Engine, *options: str, argv: tuple[str, ...] = WAITING) -> Iterator[str]:
    """Run a container with a userland within the block; yield its name."""
    name = f"scene-{secrets.token_hex(4)}"
    engine.docker("run", "--detach", "--name", name, *USERLAND, *options, EMPTY, *argv)
    try:
        yield name
    finally:
        engine.docker("rm", "--force", "--volumes", name)


def digest(data: bytes) -> str:
    """Return a digest of these bytes."""
    return hashlib.sha256(data).hexdigest()


# -- streams ---------------------------------------------------------------------------------------


def run_with_half_close(engine: Engine) -> object:
    """`run -i`: the container sees the end of its input, and prints after it."""
    script = "cat; echo after; echo beside >&2; exit 7"
    code, out, errors = run(
        engine, "run", "-i", "--rm", *USERLAND, EMPTY, "sh", "-c", script, text=INPUT
    )
    assert (code, errors) == (7, b"beside\n")
    assert out == INPUT + b"after\n"
    return code, digest(out), errors


def attach(engine: Engine) -> object:
    """`attach` to a container that waits for input, until it ends."""
    script = 'read -r line; echo "got $line"; wc -c; echo beside >&2; exit 4'
    name = f"scene-{secrets.token_hex(4)}"
    # Created, not run detached: otherwise the client's end does not end the container's input.
    options = ("--interactive", "--name", name, *USERLAND, EMPTY, "sh", "-c", script)
    engine.docker("create", *options)
    try:
        engine.docker("start", name)
        result = run(engine, "attach", name, text=b"a line\n" + INPUT)
    finally:
        engine.docker("rm", "--force", name)
    assert result == (4, b"got a line\n%d\n" % len(INPUT), b"beside\n")
    return result


def exec_with_terminal(engine: Engine) -> object:
    """`exec -it`: a terminal, its size, and a change of its size."""
    sized = 'until [ "$(stty size)" = "{}" ]; do sleep 0.02; done; stty size'
    script = f"{sized.format('31 101')}; read -r word; {sized.format('47 123')}; "
    script += 'echo "read $word"; test -t 0 && test -t 1 && exit 5'
    with container(engine) as name, terminal(31, 101) as (person, program):
        argv = engine.command("exec", "-it", name, "sh", "-c", script)
        with subprocess.Popen(
            argv, stdin=program, stdout=program, stderr=program, start_new_session=True
        ) as process:
            try:
                output = read_until(person, b"31 101")
                os.write(person, b"hello\n")
                output += read_until(person, b"hello")
                resize(person, 47, 123)
                # Again and again: newer clients may not have their signal handler yet.
                winch = partial(process.send_signal, signal.SIGWINCH)
                output += read_until(person, b"read hello", winch)
                code = process.wait(PATIENCE)
            finally:
                process.kill()
    assert code == 5
    return code, output


@contextmanager
def terminal(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Make a terminal of that size; yield the user's end and the program's."""
    person, program = pty.openpty()
    try:
        resize(person, rows, columns)
        yield person, program
    finally:
        os.close(person)
        os.close(program)


def resize(terminal: int, rows: int, columns: int) -> None:
    """Set a terminal's size."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def read_until(source: int, word: bytes, nudge: Callable[[], None] = lambda: None) -> bytes:
    """Read up to the end of the line that holds `word`; call `nudge` each second until then."""
    output, deadline = b"", time.monotonic() + PATIENCE
    while not re.search(re.escape(word) + rb"[^\n]*\n", output):
        assert time.monotonic() < deadline, f"no {word!r} in {output!r}"
        nudge()
        if select.select([source], [], [], 1.0)[0]:
            some = os.read(source, 65536)
            assert some, f"the end, and no {word!r} in {output[-1000:]!r}"
            output += some
    return output


# -- logs and events ------------------------------------------------------------------------------


@contextmanager
def follow(engine: Engine, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command that goes on, within the block."""
    with subprocess.Popen(
        engine.command(*argv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def follow_log(engines: list[Engine]) -> list[bytes]:
    """Follow one container's log (`logs -f`) through several engines at once, with timestamps.

    The container ends when all lines have come: docker 20.10 may lose the last ones at its end.
    """
    script = "trap go=on USR1; trap over=on USR2; seq 1 3000; until [ $go ]; do sleep 0.02; done; "
    script += "seq 3001 6000 >&2; echo end; until [ $over ]; do sleep 0.02; done"
    engine = engines[0]
    with container(engine, argv=("sh", "-c", script)) as name:
        argv = ("logs", "--follow", "--timestamps", name)
        followers = [
            subprocess.Popen(
                engine.command(*argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
            )
            for engine in engines
        ]
        try:
            outs = [read_until(_pipe(follower.stdout), b" 3000") for follower in followers]
            engine.docker("kill", "--signal", "USR1", name)
            errors = [read_until(_pipe(follower.stderr), b" 6000") for follower in followers]
            ends = [read_until(_pipe(follower.stdout), b" end") for follower in followers]
            engine.docker("kill", "--signal", "USR2", name)
            rests = [follower.communicate(timeout=PATIENCE) for follower in followers]
        finally:
            for follower in followers:
                follower.kill()
    assert rests == [(b"", b"")] * len(engines)
    for lines in errors:
        assert len(lines.splitlines()) == 3000
    return [
        digest(out + end) + digest(lines)
        for out, end, lines in zip(outs, ends, errors, strict=True)
    ]


def _pipe(stream: IO[bytes] | None) -> int:
    assert stream is not None
    return stream.fileno()


def follow_events(engines: list[Engine]) -> list[list[bytes]]:
    """Follow the engine's `events` through several engines at once."""
    engine, label = engines[0], f"scene={secrets.token_hex(4)}"
    argv = ("events", "--format", "{{json .}}", "--filter", f"label={label}")
    since = ("--since", f"{time.time() - 1:.3f}")
    verbs, results = ("create", "attach", "start", "die", "destroy"), []
    followers = [
        subprocess.Popen(engine.command(*argv, *since), stdout=subprocess.PIPE)
        for engine in engines
    ]
    try:
        engine.docker("run", "--rm", "--label", label, *USERLAND, EMPTY, "true")
        for follower in followers:
            assert follower.stdout
            lines: list[bytes] = []
            while not lines or b'"destroy"' not in lines[-1]:
                lines.append(follower.stdout.readline())
                assert lines[-1], lines
            results.append(lines)
    finally:
        for follower in followers:
            follower.kill()
            follower.communicate()
    for lines in results:
        assert [verb for verb in verbs for line in lines if f'"{verb}"'.encode() in line]
    return results


# -- files and images ------------------------------------------------------------------------------


@dataclass(frozen=True)
class SceneFiles:
    """Files that scenes copy."""

    folder: Path

    @property
    def tree(self) -> Path:
        """A folder with files of all sorts."""
        return self.folder / "tree"

    @property
    def there(self) -> str:
        """The folder as the engine's side sees it."""
        return f"/host{self.folder}"


@contextmanager
def create_files(large: int, more: int) -> Iterator[SceneFiles]:
    """Make the files within the block, a `large` one and one with `more` bytes among them."""
    folder = Path(tempfile.mkdtemp(prefix="luggage-"))
    try:
        tree = folder / "tree"
        (tree / "deep" / "er").mkdir(parents=True)
        (tree / "deep" / "er" / "empty").touch()
        (tree / "bytes").write_bytes(INPUT)
        (tree / "program").write_text("#!/bin/sh\n")
        (tree / "program").chmod(0o751)
        (tree / "link").symlink_to("deep/er")
        (tree / "ünïcode name").write_text("grüße")
        for name, size in {"large": large, "more": more}.items():
            with (folder / name).open("wb") as file:
                for _ in range(size // MIB):
                    file.write(os.urandom(MIB))
        yield SceneFiles(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_LISTED = "cd /into/tree && find . -printf '%p %m %U %s %T@ %l\\n' | sort && sha256sum bytes"


def copy_files(engines: list[Engine], files: SceneFiles) -> list[object]:
    """`cp` a folder into a container and back; return what the container had, for each engine."""
    results: list[object] = []
    with container(engines[0], "--volume", "/into") as name:
        for engine in engines:
            engine.docker("cp", f"{files.there}/tree", f"{name}:/into")
            listed = engine.docker("exec", name, "sh", "-c", _LISTED)
            back = run(engine, "cp", f"{name}:/into/tree", "-")
            assert back.code == 0, back.errors
            assert len(back.out) > len(INPUT)
            results.append((listed, digest(back.out)))
            engine.docker("exec", name, "rm", "-r", "/into/tree")
    return results


CLASSIC = {"DOCKER_BUILDKIT": "0"}
BUILDKIT = {"DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"}


def build(engine: Engine, files: SceneFiles, builder: Mapping[str, str]) -> object:
    """`build` with a large context; the layers' digests show that all of it arrived."""
    # A new folder each time: BuildKit requests only the changes of a folder that it knows.
    context = files.folder / f"context-{secrets.token_hex(4)}"
    context.mkdir()
    try:
        os.link(files.folder / "large", context / "large")
        (context / "Dockerfile").write_text("FROM scratch\nCOPY large /large\n")
        tag = context.name
        argv = ("build", "--no-cache", "--tag", tag, f"/host{context}")
        engine.docker(*argv, env=builder, timeout=PATIENCE)
        layers = engine.docker("inspect", "--format", "{{json .RootFS.Layers}} {{.Size}}", tag)
        engine.docker("rmi", "--no-prune", tag)
    finally:
        shutil.rmtree(context)
    return layers


def import_image(engine: Engine, files: SceneFiles) -> str:
    """Make an image of both large files; return its name."""
    name = f"large-{secrets.token_hex(4)}"
    tar = f"tar -C {files.there} -c large more | docker import - {name}"
    engine.run_command("sh", "-ec", tar, timeout=PATIENCE)
    return name


def save(engine: Engine, image: str) -> str:
    """`save` an image; return a digest of all its files."""
    with (
        subprocess.Popen(engine.command("save", image), stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        files = digest(repr([_member(archive, member) for member in archive]).encode())
        assert process.stdout
        assert process.stdout.read().strip(b"\0") == b""
    assert process.returncode == 0
    return files


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> object:
    """Return all of a member except its time, which the newer engine takes from the clock."""
    file = archive.extractfile(member)
    content = hashlib.file_digest(file, "sha256").hexdigest() if file else ""
    return member.name, member.type, member.mode, member.size, member.linkname, content


def save_and_load(engine: Engine, image: str) -> str:
    """`save` an image, remove it, and `load` it; return the output of load."""
    before = engine.docker("inspect", "--format", "{{.Id}} {{json .RootFS}}", image)
    with tempfile.TemporaryFile() as archive:
        subprocess.run(engine.command("save", image), check=True, stdout=archive, timeout=PATIENCE)
        engine.docker("rmi", image)
        archive.seek(0)
        loaded = subprocess.run(
            engine.command("load", "--quiet"),
            check=True,
            stdin=archive,
            capture_output=True,
            timeout=PATIENCE,
        )
    assert engine.docker("inspect", "--format", "{{.Id}} {{json .RootFS}}", image) == before
    return loaded.stdout.decode()


# -- refusals --------------------------------------------------------------------------------------

_OWN_LOG = re.compile(rb'^time="[^\n]* level=error [^\n]*\n', re.MULTILINE)


def refusals(engine: Engine) -> object:
    """Return what the engine answers to mistakes.

    Lines are removed that the older client sometimes adds itself.
    """
    return [
        tuple(_OWN_LOG.sub(b"", part) if isinstance(part, bytes) else part for part in result)
        for argv in (
            ("run", "--rm", "--pull", "never", "no-such-image:ever"),
            ("inspect", "nobody"),
            ("create", "--name", "not a name", EMPTY, "true"),
            ("run", "--rm", "--network", "nowhere", EMPTY, "true"),
            ("run", "--rm", EMPTY, "no-such-program"),
            ("exec", "nobody", "true"),
            ("cp", "nobody:/etc", "-"),
        )
        for result in [run(engine, *argv)]
    ]


def describe(engine: Engine) -> object:
    """Return what the engine says of itself, except values that change on their own."""
    results: dict[str, Any] = {}
    for argv in (
        ("version", "--format", "{{json .Server}}"),
        ("network", "ls", "--no-trunc"),
        ("inspect", EMPTY),
        ("history", "--no-trunc", "--quiet", EMPTY),
        ("info", "--format", "{{json .SecurityOptions}} {{.Driver}} {{.CgroupVersion}} {{.Name}}"),
    ):
        results[" ".join(argv)] = engine.docker(*argv)
    # The engine lists images by their time; those of one second have no order of their own.
    results["images"] = sorted(engine.docker("images", "--all", "--no-trunc", "--quiet").split())
    return results


STREAMS: dict[str, Callable[[Engine], object]] = {
    "run -i with half-close": run_with_half_close,
    "exec -it with resize": exec_with_terminal,
    "attach": attach,
    "refusals": refusals,
    "what it says of itself": describe,
}
