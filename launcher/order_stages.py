"""Open the stages of an order, which the command line and the action share, from its settings."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import SettingsError
from launcher.launch import Stages
from launcher.places import boot
from launcher.places.ec2 import Ec2
from launcher.places.ec2_request import ON_DEMAND, Machine
from launcher.places.ecs import Ecs
from launcher.places.request import Destination
from launcher.settings import line
from launcher.tokens import TokenMaker, TokenStore
from sidecar import github, values
from sidecar.aws.secrets import SecretReader, read_secret
from sidecar.log import masks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Any

    from launcher.journal import Journal
    from launcher.settings import Settings

MOST_READ = 1 << 20
"""Bytes of a file that are read to say how much too long it is."""
TOKEN_PARAMETER = "SIDECAR_TOKEN_PARAMETER"  # noqa: S105  the name of a variable and of a tag


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

    `hide` is given each secret that is read. `more` is what the `Destination` or the `Machine` has
    beside the settings.
    """

    async def read() -> github.Credential:
        return await read_credential(settings, region, hide)

    connection = github.Connection(read)
    connection.url = settings.github_url
    async with (
        _make_place(settings, region) as place,
        TokenStore(settings.parameter_prefix, region) as store,
        connection,
    ):
        maker = TokenMaker(
            connection, labels, group=settings.runner_group, just_in_time=settings.just_in_time
        )
        yield Stages(
            place,
            replace(make_destination(settings), **more),
            store,
            maker,
            connection,
            settings.name_prefix,
            settings.deployment,
            journal,
        )


def _make_place(settings: Settings, region: str | None) -> Ec2 | Ecs:
    if settings.launch_template is not None:
        return Ec2(region)
    assert settings.cluster is not None  # noqa: S101  settings.load has checked it
    return Ecs(settings.cluster, settings.container, region)


def make_destination(settings: Settings) -> Destination | Machine:
    """Choose what is started, and where.

    The agent finds its parameter by the id of its own task or machine.
    """
    if settings.launch_template is not None:
        return _make_machine(settings, settings.launch_template)
    assert settings.cluster is not None  # noqa: S101  settings.load has checked both
    assert settings.task_definition is not None  # noqa: S101
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
        ((TOKEN_PARAMETER, parameter),),
    )


def _make_machine(settings: Settings, template: str) -> Machine:
    """Make the machine of an order: its agent reads in a tag where its token will be."""
    tags = {TOKEN_PARAMETER: f"{settings.parameter_prefix}/{values.INSTANCE}"}
    if settings.instance_name is not None:
        tags["Name"] = settings.instance_name
    return Machine(
        template,
        settings.launch_template_version,
        settings.capacity_providers or (ON_DEMAND,),
        settings.instance_types,
        settings.subnets,
        settings.security_groups,
        settings.image,
        settings.instance_profile,
        tags=tuple(sorted(tags.items())),
    )


def read_user_data(settings: Settings) -> str | None:
    """Read the file of user data. Raises SettingsError if it cannot be the user data of a machine.

    It holds no secret: every process on the machine can read user data, and whoever may describe
    machines.
    """
    if settings.user_data is None:
        return None
    path = Path(settings.user_data)
    try:
        if not path.is_file():  # which also keeps off a pipe, that never ends
            raise ValueError("is no file that is there")  # noqa: TRY301
        with path.open("rb") as file:
            text = boot.check_size(file.read(MOST_READ).decode("utf-8"))
        _check_text(text, settings)
    except UnicodeDecodeError:
        reason = "is no text in UTF-8"
    except boot.TooLong as error:
        reason = f"is too long: {error}"
    except ValueError as error:
        reason = str(error)
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    else:
        return text
    raise SettingsError(line("user_data", f"{reason}: {settings.user_data}"))


def _check_text(text: str, settings: Settings) -> None:
    """Check that a text is one, and holds nothing that looks like a secret. Raises ValueError."""
    given = [settings.github_pat, settings.github_app_key]
    secrets = [each.get_secret_value() for each in given if each is not None]
    for number, each in enumerate(text.split("\n"), 1):
        if any(sign < " " and sign not in "\t\r" for sign in each):
            raise ValueError(f"is no text: a control character is in line {number}")
        known = any(secret in each for secret in secrets if len(secret) >= masks.SHORTEST)
        if known or masks.has_secret_format(each):
            what = f"holds what looks like a secret in line {number}: a token, or a key"
            raise ValueError(f"{what}; everything on a machine can read its user data")


async def read_credential(
    settings: Settings, region: str | None, hide: Callable[[str], None]
) -> github.Credential:
    """Read the credential for GitHub from where the settings say. Raises SidecarError."""
    reader = SecretReader(region, shared=False)
    if settings.github_pat is not None:
        reference = settings.github_pat.get_secret_value()
        pat = await read_secret(reference, "LAUNCHER_GITHUB_PAT", reader)
        hide(pat)
        return github.Pat(github.check_pat(pat, "LAUNCHER_GITHUB_PAT"))
    app_id, app_key = settings.github_app_id, settings.github_app_key
    assert app_id is not None  # noqa: S101  settings.load has checked both
    assert app_key is not None  # noqa: S101
    setting = "LAUNCHER_GITHUB_APP_KEY"
    key = await read_secret(app_key.get_secret_value(), setting, reader, github.is_app_key)
    hide(key)
    return github.App(app_id, key)
