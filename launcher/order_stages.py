"""Open the stages of an order, which the command line and the action share, from its settings."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from launcher.launch import Stages
from launcher.places.ecs import Ecs
from launcher.places.request import Destination
from launcher.tokens import TokenMaker, TokenStore
from sidecar import github, values
from sidecar.aws.secrets import SecretReader, read_secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Any

    from launcher.journal import Journal
    from launcher.settings import Settings


@asynccontextmanager
async def open_stages(
    settings: Settings,
    labels: tuple[str, ...],
    journal: Journal,
    region: str | None,
    *,
    hide: Callable[[str], None] = lambda _: None,
    **more: Any,
) -> AsyncIterator[Stages]:
    """Open the stages; their clients are closed with the block.

    `hide` is given each secret that is read. `more` is what the `Destination` has beside the
    settings.
    """

    async def read() -> github.Credential:
        return await read_credential(settings, region, hide)

    connection = github.Connection(read)
    connection.url = settings.github_url
    async with (
        Ecs(settings.cluster, settings.container, region) as ecs,
        TokenStore(settings.parameter_prefix, region) as store,
        connection,
    ):
        maker = TokenMaker(
            connection, labels, group=settings.runner_group, just_in_time=settings.just_in_time
        )
        yield Stages(
            ecs,
            replace(make_destination(settings), **more),
            store,
            maker,
            connection,
            settings.name_prefix,
            settings.deployment,
            journal,
        )


def make_destination(settings: Settings) -> Destination:
    """Choose where tasks are started; the agent finds its parameter by its own task's id."""
    parameter = f"{settings.parameter_prefix}/{values.TASK}"
    return Destination(
        settings.cluster,
        settings.task_definition,
        settings.container,
        settings.capacity_providers,
        settings.launch_type,
        settings.subnets,
        settings.security_groups,
        settings.public_ip,
        (("SIDECAR_TOKEN_PARAMETER", parameter),),
    )


async def read_credential(
    settings: Settings, region: str | None, hide: Callable[[str], None]
) -> github.Credential:
    """Read the credential for GitHub from where the settings say. Raises SidecarError."""
    reader = SecretReader(region, shared=False)
    if settings.github_pat is not None:
        reference = settings.github_pat.get_secret_value()
        pat = await read_secret(reference, "LAUNCHER_GITHUB_PAT", reader)
        hide(pat)
        return github.Pat(pat)
    app_id, app_key = settings.github_app_id, settings.github_app_key
    assert app_id is not None  # noqa: S101  settings.load has checked both
    assert app_key is not None  # noqa: S101
    key = await read_secret(app_key.get_secret_value(), "LAUNCHER_GITHUB_APP_KEY", reader)
    hide(key)
    return github.App(app_id, key.replace("\\n", "\n"))
