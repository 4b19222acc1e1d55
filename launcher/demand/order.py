"""The order of a caller of the API: one runner, for itself alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Order:
    """The facts of one order that stand in its launch's record."""

    caller: str
    """The caller's name in the document of pools."""
    maximum: int
    """Runners that this caller may have at a time."""
    subnet: str | None = None
    """Named by the caller, out of those that the document lists for it; so are the next two."""
    security_group: str | None = None
    role: str | None = None
    """A task role, or an instance profile."""
    image: str | None = None
    type: str | None = None
    """An instance type; type and image are for machines alone."""
    account: str | None = None
    """The account that the task is started in, where it is not the launcher's own."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as a part of a message."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Order:
        """Read it; keys that a newer version added are left out. Raises TypeError."""
        return cls(**{key: value for key, value in values.items() if key in _NAMES})


_NAMES = tuple(field.name for field in fields(Order))
