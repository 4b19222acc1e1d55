"""Define what the settings of agent and launcher have in common, so that it is said once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from sidecar import values

AppId = Annotated[str, AfterValidator(values.check_argument)]
LogFormat = Annotated[Literal["json", "console", "auto"], BeforeValidator(values.lower_case)]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], BeforeValidator(values.lower_case)
]


class GivenSettings(BaseSettings):
    """Settings that are checked and frozen; `load` alone reads options and the environment."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", validate_default=False, hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what `load` passes: it merges options and environment itself."""
        return (init_settings,)


def setting(default: Any, help_: str, example: str, **more: Any) -> Any:
    """Define one setting: its default, its line of help, and the example that its errors show."""
    return Field(default=default, description=help_, examples=[example], **more)


def app_id(app: str) -> Any:
    """Define the id of a GitHub App; `app` names the App and says what it does."""
    return setting(None, f"id or client id of {app}", "123456")


def app_key() -> Any:
    """Define the private key of the GitHub App."""
    return setting(
        None,
        "private key of the App (PEM, base64 of it, or JSON that holds it), or its place: file:, "
        "ssm: or secretsmanager: and a name, or an ARN",
        "file:/run/secrets/app.pem",
        repr=False,
    )


def pat(does: str) -> Any:
    """Define a personal access token; `does` says what the token does."""
    return setting(
        None,
        f"personal access token that {does}, or its place: file:, ssm: or secretsmanager: and a "
        "name, or an ARN",
        "secretsmanager:runner-pat",
        repr=False,
    )


def log_format() -> Any:
    """Define how the log is written."""
    return setting("auto", "json, console, or auto: console on a terminal", "json")


def log_level() -> Any:
    """Define what the log leaves out."""
    return setting("info", "debug, info, warning or error", "info")
