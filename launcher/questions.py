"""Answer `explain` and `status` from their settings: open the clients, ask, write the answer."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from launcher import exits
from launcher.assembly import make_connections, open_source
from launcher.errors import Exit, LaunchError, SettingsError
from launcher.explain.gathering import Gathering, Sources
from launcher.explain.homes import Homes
from launcher.explain.judging import judge
from launcher.explain.showing import show_json, show_text
from launcher.explain.sources.jobs import ask
from launcher.explain.sources.logs import read_file
from launcher.explain.sources.queue import QueueCounts
from launcher.explain.target import parse_target
from launcher.interruption import InterruptedWork
from launcher.places.ec2 import Ec2
from launcher.pools.source import LivePools
from launcher.record.records import Records, make_client
from launcher.settings import LogSettings, QuestionSettings, StatusSettings
from launcher.settings.checks import parse_seconds
from launcher.status import live
from launcher.status.snapshot import Around
from launcher.tokens import TokenStore
from launcher.work import EcsClients
from sidecar import host
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from launcher.connections import Connections
    from launcher.interruption import Interruption
    from launcher.pools.pool import Pools

log = structlog.get_logger()

OPTIONS = {
    "explain": ("what", "repository", "log", "json"),
    "status": ("live", "every", "json"),
}
"""Options of each question that are no settings."""
EVERY = 5.0
"""Seconds between two looks of a live table."""
_REPOSITORY = re.compile(r"[A-Za-z0-9_-]{1,100}/[A-Za-z0-9._-]{1,100}")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a question."""

    what: str = ""
    repository: str | None = None
    log: str | None = None
    json: bool = False
    live: bool = False
    every: float | None = None


def read_options(given: Mapping[str, Any]) -> Options:
    """Read and check the options. Raises SettingsError with all mistakes."""
    problems = []
    options = dict(given)
    repository = options.get("repository")
    if repository is not None and not _REPOSITORY.fullmatch(repository):
        problems.append(f"--repository must be owner/name, not {repository!r}")
    if options.get("every") is not None:
        try:
            options["every"] = float(str(parse_seconds(options["every"])))
        except ValueError as error:
            problems.append(f"--every {error}")
        else:
            if not 1 <= options["every"] <= 86_400:
                problems.append("--every must be from 1 s to one day")
    if problems:
        raise SettingsError(*problems)
    return Options(**options)


def run(
    settings: LogSettings, asked: Options, region: str | None, interruption: Interruption
) -> Exit:
    """Answer; return the exit code. Raises SettingsError for a question that is none."""
    assert isinstance(settings, QuestionSettings)  # noqa: S101
    answer = _show_status if isinstance(settings, StatusSettings) else _explain
    try:
        with asyncio.Runner(loop_factory=host.loop_factory()) as runner:
            code = runner.run(_until_interrupted(answer(settings, asked, region), interruption))
            lasts = asked.live or asked.every is not None
            return Exit.DONE if code is Exit.INTERRUPTED and lasts else code
    except SettingsError:
        raise
    except (LaunchError, SidecarError) as error:
        code, reason = exits.explain(error)
    log.error("question.failed", reason=reason)
    return code


async def _until_interrupted(answer: Awaitable[Exit], interruption: Interruption) -> Exit:
    try:
        async with interruption.cuts():
            return await answer
    except InterruptedWork:
        return Exit.INTERRUPTED


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


# --- explain ------------------------------------------------------------------------------------


async def _explain(settings: QuestionSettings, asked: Options, region: str | None) -> Exit:
    target = parse_target(asked.what, settings.name_prefix, asked.repository)
    lines = read_file(asked.log) if asked.log is not None else None
    async with _open_sources(settings, lines, region) as sources:
        case = await Gathering(sources, target, time.time()).gather()
    story = judge(case)
    colors = sys.stdout.isatty() and host.may_color()
    _write(show_json(story) if asked.json else show_text(story, colors=colors))
    return Exit.DONE if story.is_known else Exit.REFUSED


@asynccontextmanager
async def _open_sources(
    settings: QuestionSettings, lines: list[str] | None, region: str | None
) -> AsyncIterator[Sources]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        homes = Homes(
            await enter(EcsClients(region)),
            await enter(Ec2(region)),
            await enter(TokenStore(settings.parameter_prefix, region)),
            settings.parameter_prefix,
            settings.cluster,
            settings.container,
            region,
            reads_logs=lines is None,
        )
        stack.push_async_callback(homes.aclose)
        yield Sources(
            homes,
            settings.deployment,
            await _open_connections(settings, region, stack),
            await _open_records(settings, region, stack),
            await _open_pools(settings, region, stack),
            await _open_queue(settings, region, stack),
            settings.maximum,
            settings.repository_maximum,
            _find_home(settings.github_url),
            lines,
        )


def _find_home(url: str) -> str | None:
    """Return the repository or owner that a URL names, if it is that of a scope."""
    path = urlsplit(url).path.strip("/")
    if not path or path.startswith("enterprises/"):
        return None
    return path if "/" in path else f"{path}/-"


# --- status -------------------------------------------------------------------------------------


async def _show_status(settings: QuestionSettings, asked: Options, region: str | None) -> Exit:
    async with AsyncExitStack() as stack:
        records = await _open_records(settings, region, stack)
        assert records is not None, "its setting is required"  # noqa: S101
        connections = await _open_connections(settings, region, stack)
        around = Around(
            records,
            time.time,
            await _open_pools(settings, region, stack),
            await _open_queue(settings, region, stack),
            settings.maximum,
            _make_limit(connections) if connections is not None else None,
        )
        every = asked.every or EVERY
        wants_more = asked.live or asked.every is not None
        if asked.json and wants_more:
            await live.show_json_lines(around, _write, every)
        elif wants_more and sys.stdout.isatty():
            await live.show_live(around, _write, every)
        else:
            await live.show_once(around, _write, as_json=asked.json)
    return Exit.DONE


def _make_limit(connections: Connections) -> Callable[[str], Awaitable[tuple[float, int]]]:
    async def ask_limit(repository: str) -> tuple[float, int]:
        api = await connections.connect(repository).api()
        await ask(api, "/rate_limit")  # it costs nothing of the limit
        return api.left, max(0, round(api.resets_at - time.time()))

    return ask_limit


# --- clients ------------------------------------------------------------------------------------


async def _open_connections(
    settings: QuestionSettings, region: str | None, stack: AsyncExitStack
) -> Connections | None:
    if not settings.asks_github:
        return None
    return await stack.enter_async_context(make_connections(settings, region))


async def _open_records(
    settings: QuestionSettings, region: str | None, stack: AsyncExitStack
) -> Records | None:
    if settings.table is None:
        return None
    client = await stack.enter_async_context(make_client(region))
    return Records(client, settings.table, "question", now=time.time)


async def _open_pools(
    settings: QuestionSettings, region: str | None, stack: AsyncExitStack
) -> Callable[[], Awaitable[Pools]] | None:
    if settings.pools is None:
        return None
    common = {"cluster": settings.cluster, "container": settings.container}
    pools = LivePools(await open_source(settings.pools, common, region, stack))
    loaded = False

    async def read() -> Pools:
        nonlocal loaded
        if loaded:
            await pools.refresh()
        else:
            await pools.load()
            loaded = True
        return pools()

    return read


async def _open_queue(
    settings: QuestionSettings, region: str | None, stack: AsyncExitStack
) -> QueueCounts | None:
    if settings.queue_url is None:
        return None
    return await stack.enter_async_context(QueueCounts(settings.queue_url, region))
