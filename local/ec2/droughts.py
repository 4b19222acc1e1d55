"""Say when and where EC2 refuses a machine, and in which words."""

from __future__ import annotations

from dataclasses import dataclass

TEXTS = {
    "InsufficientInstanceCapacity": "We currently do not have sufficient capacity in the "
    "Availability Zone you requested.",
    "MaxSpotInstanceCountExceeded": "Max spot instance count exceeded",
    "VcpuLimitExceeded": "You have requested more vCPU capacity than your current vCPU limit "
    "allows for the instance bucket that the specified instance type belongs to.",
    "RequestLimitExceeded": "Request limit exceeded.",
    "Unsupported": "Your requested instance type is not supported in your requested Availability "
    "Zone.",
    "UnfulfillableCapacity": "Unable to fulfill capacity due to your request configuration.",
}


@dataclass
class Drought:
    """EC2 refuses with `code`: of one capacity, type or zone, or of any; so many times."""

    code: str = "InsufficientInstanceCapacity"
    capacity: str | None = None
    """spot or on-demand."""
    kind: str | None = None
    zone: str | None = None
    times: int | None = None

    @property
    def text(self) -> str:
        """Return EC2's words for it."""
        return TEXTS.get(self.code, self.code)

    def concerns(self, capacity: str, kind: str, zone: str) -> bool:
        """Whether it is there now for this capacity, type and zone; counts what it refuses."""
        is_here = (
            self.capacity in (None, capacity)
            and self.kind in (None, kind)
            and self.zone in (None, zone)
        )
        if not is_here or self.times == 0:
            return False
        if self.times is not None:
            self.times -= 1
        return True
