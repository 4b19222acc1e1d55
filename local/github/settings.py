"""The settings of this GitHub: delays, lifetimes, faults. Times are in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


class WrongSettingError(ValueError):
    """A setting has no such name, or no such value."""


@dataclass
class Settings:
    """Everything that may change while it runs (`PATCH /_local/settings`)."""

    token_lifetime: float = 3600.0
    """Life of registration, remove and installation tokens."""
    utc_offset_minutes: int = 0
    """The offset `expires_at` is written with; GitHub does not always write `Z`."""
    visible_after: float = 0.0
    """A new runner shows in list and get only after this; its name is taken at once."""
    deregister_after: float = 0.0
    """From the end of an ephemeral runner's job to the end of its registration."""
    gone_after: float = 2.0
    """From there until an open request for a message is refused; 0 cancels good jobs' ends."""
    removal_told_after: float = 0.0
    """The same, where the registration was removed in any other way."""
    poll_seconds: float = 50.0
    """How long the runner's request for a message is held."""
    offline_after: float = 0.0
    """How long a listener that no longer asks for messages still counts as online."""
    session_timeout: float = 100.0
    """How long the session of a listener that died refuses a new one."""
    lost_after: float = 600.0
    """After this silence of a worker the job is given up as abandoned."""
    acquire_timeout: float = 60.0
    """A job that is handed out and not fetched goes back into the queue."""
    ghosts: int = 0
    """The next so many assignments get lost: deregistered, and its listener gets no answer."""
    ignore_name_filter: bool = False
    """Behave as an old GitHub Enterprise Server: list all, whatever `name` says."""
    runner_groups: list[str] = field(default_factory=lambda: ["Default"])
    group_repositories: dict[str, list[str]] = field(default_factory=dict)
    """The names of the repositories that may use a runner group; a group that is not named here is
    every repository's."""
    deprecated_versions: list[str] = field(default_factory=list)
    """Runners of these versions are refused at `deprecated_at`."""
    deprecated_at: list[str] = field(default_factory=lambda: ["message"])
    """Any of message, session, register."""
    admin_flow: bool = False
    """Runners register by REST alone (`use_v2_flow`), as on the newest GitHub."""
    locations_fresh: bool = True
    """Whether the addresses of services that a runner has cached are said to hold still."""
    rate_limit: int = 5000
    rate_remaining: int = 5000
    rate_reset_in: float = 3600.0

    def update(self, changes: Mapping[str, Any]) -> None:
        """Take over `changes`; all of them or, on the first wrong one, none."""
        kinds = {each.name: type(getattr(self, each.name)) for each in fields(self)}
        for name, value in changes.items():
            if name not in kinds:
                raise WrongSettingError(f"no setting {name!r} (there are: {', '.join(kinds)})")
            wanted: tuple[type, ...] = (int, float) if kinds[name] is float else (kinds[name],)
            if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
                raise WrongSettingError(f"{name} must be {kinds[name].__name__}, not {value!r}")
        for name, value in changes.items():
            setattr(self, name, value)
