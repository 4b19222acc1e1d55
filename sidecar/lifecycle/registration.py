"""Choose, from the settings, where the registration token comes from and what it registers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sidecar import github, tokens, values
from sidecar.aws.references import find_region
from sidecar.aws.secrets import SecretReader, read_secret
from sidecar.errors import SettingsError, TokenError
from sidecar.runner.configure import Registration
from sidecar.runner.just_in_time import JustInTimeRegistration
from sidecar.runner.runner_service import RunnerService
from sidecar.runner.saved_identity import SavedIdentity

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiobotocore.session import AioSession

    from sidecar.runner.folder import RunnerFolder
    from sidecar.runner.registration_request import RegistrationRequest
    from sidecar.settings.model import Settings
    from sidecar.shutdown.cleanup import CleanupStack

TASK_ID_TRIES = 3
"""Each takes 1.5 s at most (`sidecar.aws.task_metadata`)."""

Source = tokens.TokenParameter | tokens.ConfiguredToken | tokens.GivenToken | tokens.MintedToken
Runner = Registration | JustInTimeRegistration


def make_connection(settings: Settings, secret_reader: SecretReader) -> github.Connection | None:
    """Make the connection to GitHub's API; None without a credential. It is not opened here."""
    if settings.github_app_id is None and settings.github_pat is None:
        return None
    connection = github.Connection(partial(read_credential, settings, secret_reader))
    connection.url = settings.github_url
    return connection


async def read_credential(settings: Settings, secret_reader: SecretReader) -> github.Credential:
    """Read the agent's credential for GitHub. Raises TokenError."""
    if settings.github_pat is not None:
        reference = settings.github_pat.get_secret_value()
        pat = await read_secret(reference, "SIDECAR_GITHUB_PAT", secret_reader)
        return github.Pat(github.check_pat(pat, "SIDECAR_GITHUB_PAT"))
    if settings.github_app_id is None or settings.github_app_key is None:
        raise SettingsError("SIDECAR_GITHUB_APP_KEY is missing")  # settings.load has refused that
    reference = settings.github_app_key.get_secret_value()
    setting = "SIDECAR_GITHUB_APP_KEY"
    key = await read_secret(reference, setting, secret_reader, github.is_app_key)
    return github.App(settings.github_app_id, key)


def make_store(
    settings: Settings, region: str | None, make_session: Callable[[], AioSession]
) -> tokens.ParameterStore:
    """Make the store of the token parameter, in the region that its ARN names, else in `region`."""
    name = settings.token_parameter or settings.launch_config or ""
    return tokens.ParameterStore(find_region(name) or region, make_session)


async def choose_source(
    settings: Settings,
    store: tokens.ParameterStore,
    api: github.Connection | None,
    cleanup_stack: CleanupStack,
    read_own_id: Callable[[], Awaitable[str]],
    machine_id: str = "",
) -> Source:
    """Choose the source of the token: the SSM parameter, the setting, or GitHub's API.

    `read_own_id` is called only where the parameter's name needs the id of the task or machine.
    `machine_id`: that of the machine, if this is one. Raises TokenError if the id is not known.
    """
    if (name := settings.token_parameter) is not None:
        name, is_own = await name_parameter(name, read_own_id, machine_id)
        key = settings.token_key.get_secret_value() if settings.token_key is not None else None
        return tokens.claim_parameter(store, name, cleanup_stack, for_task=is_own, key=key)
    if (config := settings.launch_config) is not None:
        launch_id = settings.launch_id or await read_known_id(read_own_id)
        overrides = _list_overrides(settings)
        return tokens.ConfiguredToken(store, config, launch_id, overrides, cleanup_stack)
    if settings.launch_id is not None:
        return tokens.MachineToken(
            store, settings.launch_id, _list_overrides(settings), cleanup_stack
        )
    if settings.token is not None:
        return tokens.GivenToken(settings.token.get_secret_value(), "SIDECAR_TOKEN")
    assert api is not None  # noqa: S101  settings.load has checked it
    return tokens.MintedToken(api.runners, jit=settings.just_in_time)


async def name_parameter(
    name: str, read_own_id: Callable[[], Awaitable[str]], machine_id: str = ""
) -> tuple[str, bool]:
    """Return the token parameter's whole name, and whether it is the task's or machine's own.

    `name` is SIDECAR_TOKEN_PARAMETER. Raises TokenError if the id in it is not known.
    """
    if is_own := values.TASK in name or values.INSTANCE in name:
        name = values.put_id(name, await read_known_id(read_own_id))
    # A launcher may write the whole name into a tag.
    return name, is_own or (bool(machine_id) and name.rpartition("/")[2] == machine_id)


def _list_overrides(settings: Settings) -> tokens.Overrides:
    """List what the user set and a launcher's parameters say too."""
    prefix = settings.name_prefix if "name_prefix" in settings.model_fields_set else ""
    user = settings.runner_user or "runner"
    return tokens.Overrides(settings.name, prefix, settings.github_url, user)


async def read_known_id(read_own_id: Callable[[], Awaitable[str]]) -> str:
    """Read the task's id: the endpoint is near, and may be late or limit the rate for a moment."""
    for _ in range(TASK_ID_TRIES):
        if own_id := await read_own_id():
            return own_id
    raise TokenError(
        "cannot name the token parameter: ECS's task metadata does not say the task's id "
        f"(SIDECAR_TOKEN_PARAMETER has {values.TASK} or {values.INSTANCE}, or SIDECAR_LAUNCH_ID "
        "is missing)"
    )


def make_runner(
    folder: RunnerFolder,
    request: RegistrationRequest,
    env: Mapping[str, str],
    token: tokens.RegistrationToken,
    api: github.Connection | None,
    timeout: float,
) -> Runner:
    """Make the runner that this token registers: by configure, or just in time.

    Nothing is registered here. `timeout`: seconds that GitHub may take to register just in time.
    """
    if api is not None and request.url:
        api.url = request.url
    if token.token is not None:
        return Registration(folder, request, env)
    return JustInTimeRegistration(folder, request, token, api, timeout)


def make_runner_service(
    folder: RunnerFolder, request: RegistrationRequest, token_usable: Callable[[], bool]
) -> RunnerService:
    """Make what asks GitHub about the runner with its registration token or its own key."""
    return RunnerService(
        request.url, request.token, token_usable, lambda: SavedIdentity(folder.copies)
    )
