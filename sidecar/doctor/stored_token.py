"""Read the token that a launcher stored for this life, as the life would, and leave it there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sidecar import tokens, values
from sidecar.examination.patient_calls import call_aws
from sidecar.lifecycle import registration
from sidecar.runner.runner_settings import read_settings
from sidecar.settings.contracts.contract import INSTANCE_ID
from sidecar.tokens import launched, ssm
from sidecar.tokens.launch_config import SETTING, read_launch_config
from sidecar.tokens.parameter import open_token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from aiobotocore.session import AioSession

    from sidecar.aws.instance_facts import Facts
    from sidecar.settings.model import Configuration
    from sidecar.tokens.value import RegistrationToken


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token, and where it was found."""

    where: str
    token: RegistrationToken
    modified: datetime | None = None
    """When its parameter was written."""

    @property
    def url(self) -> str | None:
        """Where it registers, or has registered just in time; None if it does not say."""
        if self.token.jit is None:
            return self.token.url
        try:
            found = read_settings(self.token.jit[".runner"]).get("githuburl")
            return values.check_github_url(str(found))
        except ValueError:
            return None


async def read_token(
    config: Configuration,
    make_session: Callable[[], AioSession],
    read_facts: Callable[[], Awaitable[Facts]],
    *,
    timeout: float,
) -> StoredToken | None:
    """Read the token within `timeout` seconds; None where GitHub is asked for one.

    Raises SidecarError.
    """
    settings = config.settings
    if settings.token is not None:
        given = tokens.GivenToken(settings.token.get_secret_value(), "SIDECAR_TOKEN")
        return StoredToken("SIDECAR_TOKEN", await given.wait(timeout))
    async with registration.make_store(settings, config.task.region, make_session) as store:
        parameter = await _find_parameter(config, store, partial(_read_id, read_facts), timeout)
        if parameter is None:
            return None
        text, version = await call_aws(lambda seconds: parameter.read(timeout=seconds), timeout)
    key = settings.token_key.get_secret_value() if settings.token_key is not None else None
    token = open_token(text, parameter.name, key)
    return StoredToken(f"the parameter {parameter.name}", token, version.modified)


async def _find_parameter(
    config: Configuration,
    store: tokens.ParameterStore,
    read_own_id: Callable[[], Awaitable[str]],
    timeout: float,
) -> ssm.Parameter | None:
    """Find the parameter that holds the token, by the same settings as a life."""
    settings = config.settings
    if settings.token_parameter is not None:
        name, is_own = await registration.name_parameter(
            settings.token_parameter, read_own_id, config.machine.get(INSTANCE_ID, "")
        )
        return ssm.Parameter(store, name, for_task=is_own)
    if settings.launch_config is not None:
        launch_id = settings.launch_id or await registration.read_known_id(read_own_id)
        found = await read_launch_config(store, settings.launch_config, timeout)
        name = f"{found.token_path}/{launch_id}"
        return ssm.Parameter(store, name, for_task=True, setting=SETTING)
    if settings.launch_id is not None:
        name = launched.name_parameter(settings.launch_id, launched.TOKEN)
        return ssm.Parameter(store, name, setting="SIDECAR_LAUNCH_ID")
    return None


async def _read_id(read_facts: Callable[[], Awaitable[Facts]]) -> str:
    return (await read_facts()).id
