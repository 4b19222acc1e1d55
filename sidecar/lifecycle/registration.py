"""Which way this life comes to its right to register, and what kind of runner that makes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sidecar import github, tokens
from sidecar.aws.secrets import SecretReader, resolved
from sidecar.errors import SettingsError
from sidecar.runner.configure import Registration
from sidecar.runner.just_in_time import JustInTime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.runner.configure import RegistrationRequest
    from sidecar.runner.folder import RunnerFolder
    from sidecar.settings.model import Configuration, Settings
    from sidecar.shutdown.cleanup import CleanupStack

Source = tokens.TokenParameter | tokens.GivenToken | tokens.MintedToken
Runner = Registration | JustInTime


def connection(config: Configuration, secret_reader: SecretReader) -> github.Connection | None:
    """Make the connection to GitHub's API, if there is a credential for it; not opened yet."""
    settings = config.settings
    if settings.github_app_id is None and settings.github_pat is None:
        return None
    made = github.Connection(partial(_credential, settings, secret_reader))
    made.url = settings.github_url
    return made


async def _credential(settings: Settings, secret_reader: SecretReader) -> github.Credential:
    if settings.github_pat is not None:
        reference = settings.github_pat.get_secret_value()
        return github.Pat(await resolved(reference, "SIDECAR_GITHUB_PAT", secret_reader))
    if settings.github_app_id is None or settings.github_app_key is None:
        raise SettingsError("SIDECAR_GITHUB_APP_KEY is missing")  # load() has refused that
    reference = settings.github_app_key.get_secret_value()
    key = await resolved(reference, "SIDECAR_GITHUB_APP_KEY", secret_reader)
    return github.App(settings.github_app_id, key.replace("\\n", "\n"))


def source(
    settings: Settings,
    store: tokens.Store,
    api: github.Connection | None,
    cleanup_stack: CleanupStack,
) -> Source:
    """Choose where the right comes from: what was named or given, else our own mint."""
    if settings.token_parameter is not None:
        return tokens.read_later(store, settings.token_parameter, cleanup_stack)
    if settings.token is not None:
        return tokens.GivenToken(settings.token.get_secret_value(), "SIDECAR_TOKEN")
    assert api is not None  # noqa: S101  load() has seen to it
    return tokens.MintedToken(api.runners, jit=settings.just_in_time)


def runner(
    root: RunnerFolder,
    registration_request: RegistrationRequest,
    env: Mapping[str, str],
    right: tokens.RegistrationToken,
    api: github.Connection | None,
    patience: float,
) -> Runner:
    """Make the runner that the right is for; nothing is registered yet.

    `patience`: seconds that GitHub may take to register just in time.
    """
    if api is not None and registration_request.url:
        api.url = registration_request.url
    if right.token is not None:
        return Registration(root, registration_request, env)
    return JustInTime(root, registration_request, right, api, patience)
