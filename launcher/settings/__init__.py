"""The launcher's settings: `model` says what there is, `load` reads it, `checks` has the rules."""

from launcher.settings.load import load
from launcher.settings.model import (
    MODELS,
    SECRETS,
    ApiSettings,
    DoctorSettings,
    LogSettings,
    RecordSettings,
    ServedSettings,
    ServeSettings,
    ServiceSettings,
    Settings,
    SweepSettings,
    WebhookSettings,
    WorkSettings,
    example,
    line,
    option,
    variable,
)

__all__ = [
    "MODELS",
    "SECRETS",
    "ApiSettings",
    "DoctorSettings",
    "LogSettings",
    "RecordSettings",
    "ServeSettings",
    "ServedSettings",
    "ServiceSettings",
    "Settings",
    "SweepSettings",
    "WebhookSettings",
    "WorkSettings",
    "example",
    "line",
    "load",
    "option",
    "variable",
]
