"""The token of a machine or task whose launcher writes it after the launch, by the machine's id.

Both sources register one cleanup step before the first read, so nothing is left in SSM even if a
stop comes early: then the launcher's parameters are deleted unread.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from sidecar import values
from sidecar.errors import TokenError
from sidecar.tokens import ssm
from sidecar.tokens.launch_config import SETTING, read_launch_config
from sidecar.tokens.parameter import TokenParameter

if TYPE_CHECKING:
    from datetime import datetime

    from sidecar.shutdown.cleanup import CleanupStack
    from sidecar.tokens.value import RegistrationToken

log = structlog.get_logger()

CONFIG_TIMEOUT = 20.0
"""Seconds to find out, after an early stop, which parameter has to be deleted."""
LEAST = 5.0
"""Seconds for the parameters that exist already when the token does."""
TOKEN, URL, LABEL = "AgentToken", "RepositoryUrl", "UniqueRunId"
"""What aws-ec2-self-hosted-runner writes for a machine, each into a parameter."""


def name_parameter(launch_id: str, what: str) -> str:
    """Return the name of the parameter that aws-ec2-self-hosted-runner writes for a machine."""
    return f"{launch_id}_{what}"


@dataclass(frozen=True, slots=True)
class Overrides:
    """The user's own settings; the launcher's values do not take their place."""

    name: str | None
    """None: the launcher's name is used."""
    name_prefix: str
    """Before the id, where the launcher's name is used."""
    url: str | None
    runner_user: str
    """The user that runs the jobs."""


class ConfiguredToken:
    """The token of terraform-aws-github-runner: a configuration in SSM says where it is."""

    def __init__(
        self,
        store: ssm.ParameterStore,
        config: str,
        launch_id: str,
        overrides: Overrides,
        cleanup_stack: CleanupStack,
    ) -> None:
        self._store = store
        self._config = config
        self._id = launch_id
        self._overrides = overrides
        self._parameter: TokenParameter | None = None
        self._step = cleanup_stack.register_step("token", self.delete)

    async def wait(self, timeout: float) -> RegistrationToken:
        """Wait up to `timeout` seconds for the token. Raises TokenError."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        config = await read_launch_config(self._store, self._config, timeout)
        self._parameter = self._claim(config.token_path)
        log.info(
            "launcher.configured",
            path=self._config,
            parameter=self._parameter.name,
            just_in_time=config.just_in_time,
            unheeded=config.list_unheeded(self._overrides.runner_user),
        )
        token = await self._parameter.wait(max(end - loop.time(), LEAST))
        # The launcher ends machines whose runner's name does not end with their id.
        name = self._overrides.name or self._overrides.name_prefix + self._id
        return replace(
            token,
            name=token.name or name,
            no_default_labels=token.no_default_labels or config.no_default_labels,
        )

    async def delete(self) -> str:
        """Delete the parameter if it is still the one that was read; return the result."""
        if self._parameter is None:
            config = await read_launch_config(self._store, self._config, CONFIG_TIMEOUT)
            self._parameter = self._claim(config.token_path)
        return await self._parameter.delete()

    def delete_soon(self) -> None:
        """Begin to delete the parameter; the job does not wait for it."""
        if self._parameter is not None:
            self._parameter.delete_soon()

    def is_usable(self, now: datetime | None = None) -> bool:
        """Whether GitHub still accepts the token."""
        return self._parameter is not None and self._parameter.is_usable(now)

    def _claim(self, token_path: str) -> TokenParameter:
        """Make the parameter; the launcher's policy allows it only once it exists with its tag."""
        name = f"{token_path}/{self._id}"
        parameter = TokenParameter(ssm.Parameter(self._store, name, for_task=True, setting=SETTING))
        parameter.cleanup_step = self._step
        return parameter


class MachineToken(TokenParameter):
    """The token of aws-ec2-self-hosted-runner, in three parameters named after the machine.

    The launcher writes the token last. All three are deleted together.
    """

    def __init__(
        self,
        store: ssm.ParameterStore,
        launch_id: str,
        overrides: Overrides,
        cleanup_stack: CleanupStack,
    ) -> None:
        def make(what: str) -> ssm.Parameter:
            name = name_parameter(launch_id, what)
            return ssm.Parameter(store, name, setting="SIDECAR_LAUNCH_ID")

        super().__init__(make(TOKEN))
        self._id = launch_id
        self._overrides = overrides
        self._url, self._label = make(URL), make(LABEL)
        self._read: dict[ssm.Parameter, ssm.ParameterVersion] = {}
        self.cleanup_step = cleanup_stack.register_step("token", self.delete)

    async def wait(self, timeout: float) -> RegistrationToken:
        """Wait up to `timeout` seconds for the token, then read the others. Raises TokenError."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        token = await super().wait(timeout)
        url = token.url or self._overrides.url
        try:
            if url is None:
                url = values.check_github_url(await self._read_other(self._url, end - loop.time()))
            text = await self._read_other(self._label, end - loop.time())
            labels = values.parse_labels(text)
        except ValueError as error:
            raise TokenError(f"cannot use the parameters of {self._id}: a value {error}") from None
        name = self._overrides.name or self._overrides.name_prefix + self._id
        return replace(token, url=url, labels=(*token.labels, *labels), name=token.name or name)

    async def delete(self) -> str:
        """Delete the three parameters if they are still what was read; return the result."""
        results = await asyncio.gather(
            super().delete(),
            *(
                ssm.delete_if_unchanged(other, self._read.get(other))
                for other in (self._url, self._label)
            ),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return str(results[0])

    async def _read_other(self, parameter: ssm.Parameter, timeout: float) -> str:
        text, self._read[parameter] = await ssm.wait_for_value(parameter, max(timeout, LEAST))
        return text.strip()
