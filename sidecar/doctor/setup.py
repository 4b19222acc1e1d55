"""Hold what the checks look at: the settings, the clients, and the answers that several need."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp

from sidecar import host
from sidecar.aws.identity import Identity, read_identity
from sidecar.aws.instance_metadata import MetadataError, read_machine
from sidecar.doctor import stored_token
from sidecar.doctor.once import Once
from sidecar.lifecycle.facts import read_facts
from sidecar.lifecycle.job_credentials import Access
from sidecar.settings.load import find_question, read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from sidecar.aws.instance_facts import Facts
    from sidecar.doctor.stored_token import StoredToken
    from sidecar.settings.model import Configuration, Settings

METADATA_PATIENCE = 5.0
"""Seconds to wait for the metadata of a machine that must have some."""
AWS_CALL = 6.0
"""Seconds for one call of AWS, its credentials included."""


class Setup:
    """The set-up that is examined. Nothing in it is changed."""

    def __init__(
        self, config: Configuration, problems: Sequence[str], http: aiohttp.ClientSession
    ) -> None:
        self.config = config
        """The settings, with a default in the place of what is wrong."""
        self.problems = problems
        """What is wrong with the settings, one line each."""
        self.http = http
        """A session for requests without a credential."""
        self.access = Access(config)
        self.facts = Once(self._read_facts)
        """Who and where this is: the task or the machine; empty elsewhere."""
        self.identity = Once(self._read_identity)
        """Whom AWS takes the agent for. Raises AwsError."""
        self.token = Once(self._read_token)
        """The token that a launcher stored for this life. Raises SidecarError."""

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.config.settings

    async def find_github_url(self) -> str | None:
        """Return where the runner is to be registered; None if nothing says it."""
        if self.settings.github_url is not None:
            return self.settings.github_url
        try:
            found = await self.token()
        except Exception:  # noqa: BLE001  the check of the token tells it
            return None
        return found.token.url if found is not None else None

    async def _read_facts(self) -> Facts:
        return await read_facts(self.config, so_mark=self.access.so_mark)

    async def _read_identity(self) -> Identity:
        return await read_identity(self.config.task.region, self.access.session, AWS_CALL)

    async def _read_token(self) -> StoredToken | None:
        return await stored_token.read_token(
            self.config, self.access, self.facts, timeout=AWS_CALL
        )


@asynccontextmanager
async def open_setup(options: Sequence[str], environ: Mapping[str, str]) -> AsyncIterator[Setup]:
    """Read the settings as a life would, and open what the checks ask with.

    Raises SettingsError only for options that are none.
    """
    machine, reason = await _read_machine(options, environ)
    config, problems = read(options, environ, machine, reason)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield Setup(config, problems, http)


async def _read_machine(
    options: Sequence[str], environ: Mapping[str, str]
) -> tuple[Mapping[str, str], str]:
    """Read what machine this is, where it may be one; return that, or why it is unknown."""
    question = find_question(options, environ)
    if question is None:
        return {}, ""
    end = time.monotonic() + METADATA_PATIENCE
    try:
        machine = await read_machine(
            question.url,
            expected=question.expected,
            so_mark=host.may_filter(),
            is_stopped=lambda: time.monotonic() > end,
        )
    except MetadataError as error:
        return {}, str(error)
    return machine, ""
