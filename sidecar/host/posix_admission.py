"""Ask the agent whether a job may run, on POSIX: two FIFOs, and shell lines that use them.

FIFOs, because a shell reads and writes them without any client. Only the job's user may write the
request, and only the agent the answer, where they are two users; both stand in a folder that no job
can change.
"""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from sidecar.host.admission_request import (
    ADMITTED,
    END_PATIENCE,
    LONG_NAMES,
    LONGEST_LONG,
    LONGEST_REQUEST,
    LONGEST_VALUE,
    NO_ANSWER,
    NO_CREDENTIALS,
    NOTICE,
    NOTICE_TITLE,
    PATIENCE,
    SUMMARY_PATIENCE,
    is_whole,
    parse_request,
    write_answer,
)
from sidecar.host.posix import paths

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

    if sys.platform != "win32":  # the type checker reads this for both systems
        from sidecar.host.posix_users import User

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is


class AdmissionChannel(NamedTuple):
    """The paths of the two FIFOs."""

    request: Path
    answer: Path


@asynccontextmanager
async def open_admission_channel(
    folder: Path,
    user: User | None,
    decide: Callable[[dict[str, str] | None], Awaitable[str]],
    name: str = "",
) -> AsyncIterator[AdmissionChannel]:
    """Open a channel on which one hook asks once; `decide` gets its variables.

    `name` tells one channel from another.

    `decide` returns the answer: ADMITTED, NOTICE with a text, or the reason of a refusal. It gets
    None for a request that is too long. Whatever comes after the first request is never read.
    """
    import asyncio  # late: signals are handled before its 50 ms of imports

    channel = AdmissionChannel(folder / f"{name}ask", folder / f"{name}answer")
    request = answer = -1
    loop = asyncio.get_running_loop()
    received = bytearray()
    deciding: asyncio.Task[None] | None = None

    async def reply() -> None:
        line = await decide(parse_request(received))
        with suppress(BlockingIOError):  # the FIFO is empty: it has room for one line
            os.write(answer, write_answer(line))

    def read() -> None:
        nonlocal deciding
        with suppress(BlockingIOError):
            received.extend(os.read(request, LONGEST_REQUEST))
        if is_whole(received):
            loop.remove_reader(request)
            deciding = asyncio.create_task(reply())

    try:
        request = _make_fifo(channel.request, user, 0o600, owner=user)
        answer = _make_fifo(channel.answer, user, 0o640, owner=None)
        loop.add_reader(request, read)
        yield channel
    finally:
        if request >= 0:
            loop.remove_reader(request)
        if deciding is not None:
            deciding.cancel()
            await asyncio.wait([deciding])
        for descriptor in filter(lambda one: one >= 0, (request, answer)):
            os.close(descriptor)
        for path in (channel.request, channel.answer):
            with suppress(OSError):
                path.unlink()


def _make_fifo(path: Path, user: User | None, mode: int, *, owner: User | None) -> int:
    """Make a FIFO and open it; opening for both never blocks. The group is that of `user`."""
    uid = -1 if owner is None else owner.uid
    return paths.make_fifo(path, uid, -1 if user is None else user.gid, mode)


def build_admission_script(
    channel: AdmissionChannel, names: Iterable[str], *, needs_answer: bool = True
) -> str:
    """Return shell lines that ask, and go on only if the answer is ADMITTED, or begins as NOTICE.

    Else the runner's worker, which has started this script, is asked to shut down: it then runs no
    further step of the job, not even one with `if: always()`, and GitHub shows the job as failed.
    A hook that only fails would let those steps run. Without `needs_answer`, a job goes on where
    nobody answers, and its log says that it has no credentials.
    """
    request, answer = _quote(str(channel.request)), _quote(str(channel.answer))
    why = "else none may run" if needs_answer else "else it has no credentials"
    return (
        f"# The agent says whether this job may run, and that its role is there; {why}.\n"
        f"answer=$(timeout {PATIENCE} sh -c '\n"
        "  request=$1 answer=$2; line=\n"
        f'  {{ {_print_variables(names)}; }} 1<>"$request" && IFS= read -r line <"$answer"\n'
        '  printf %s "$line"\n'
        f"' - {request} {answer} 2>/dev/null) || :\n"
        'case "$answer" in\n'
        f"{ADMITTED}) ;;\n"
        f"'{NOTICE}'*) {_print_notice(f'${{answer#{ADMITTED}: }}')} ;;\n"
        + ("" if needs_answer else f"'') {_print_notice(NO_CREDENTIALS)} ;;\n")
        + "*)\n"
        f'  reason=${{answer:-"{NO_ANSWER}"}}\n'
        "  printf '::error title=Job not admitted::%s\\n' \"$reason\" || :\n"
        "  trap 'exit 1' INT TERM\n"
        '  kill -TERM "$PPID" || :\n'
        "  tries=0\n"
        f'  while [ "$tries" -lt {END_PATIENCE * 5} ]; do\n'
        '    kill -0 "$PPID" 2>/dev/null || exit 1\n'
        "    sleep 0.2 || :; tries=$((tries + 1))\n"
        "  done\n"
        '  kill -KILL "$PPID" || :\n'
        "  exit 1 ;;\n"
        "esac\n"
    )


def build_summary_script(channel: AdmissionChannel, path: Path) -> str:
    """Return shell lines that ask for the job's summary, and add it to the run's.

    Without an answer the job ends as it would: within a few seconds, whatever becomes of it.
    """
    request, answer = _quote(str(channel.request)), _quote(str(channel.answer))
    return (
        "# The agent writes what the job used; it is added to the run's summary.\n"
        'if [ -w "${GITHUB_STEP_SUMMARY:-/dev/null/none}" ]; then\n'
        f"  timeout {SUMMARY_PATIENCE} sh -c '\n"
        '    printf "\\0\\0" 1<>"$1" && IFS= read -r line <"$2" &&\n'
        f'    [ "$line" = {ADMITTED} ] && cat "$3" >>"$GITHUB_STEP_SUMMARY"\n'
        f"  ' - {request} {answer} {_quote(str(path))} 2>/dev/null || :\n"
        "fi\n"
    )


def _print_variables(names: Iterable[str]) -> str:
    """Return the commands that print a request, for a script in single quotation marks.

    They read the environment themselves: everybody may see the arguments of a program.
    """
    long: list[str] = []
    short: list[str] = []
    for name in names:
        (long if name.startswith(LONG_NAMES) else short).append(f'"{name}=${{{name}-}}"')
    prints = [f'printf "%.{LONGEST_LONG}s\\0" {" ".join(long)}'] if long else []
    return "; ".join([*prints, f'printf "%.{LONGEST_VALUE}s\\0" {" ".join(short)} ""'])


def _print_notice(text: str) -> str:
    """Return the command that prints a warning for the job's log."""
    return f"printf '::warning title={NOTICE_TITLE}::%s\\n' \"{text}\" || :"


def _quote(text: str) -> str:
    import shlex

    return shlex.quote(text)
