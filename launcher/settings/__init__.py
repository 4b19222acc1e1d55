"""The launcher's settings: `model` says what there is, `load` reads it, `checks` has the rules."""

from launcher.settings.load import load
from launcher.settings.model import (
    MODELS,
    SECRETS,
    LogSettings,
    ServeSettings,
    Settings,
    WebhookSettings,
    WorkSettings,
    example,
    option,
    variable,
)

__all__ = [
    "MODELS",
    "SECRETS",
    "LogSettings",
    "ServeSettings",
    "Settings",
    "WebhookSettings",
    "WorkSettings",
    "example",
    "load",
    "option",
    "variable",
]
