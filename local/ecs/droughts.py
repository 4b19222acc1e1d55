"""Say when and where RunTask finds no capacity."""

from __future__ import annotations

from dataclasses import dataclass

from local.ecs.tasks import NO_CAPACITY


@dataclass
class Drought:
    """RunTask finds no capacity: in one provider or launch type, or in any; so many times."""

    where: str | None = None
    reason: str = NO_CAPACITY
    times: int | None = None
    skip: int = 0
    """The number of tasks that find room before."""

    def concerns(self, where: str) -> bool:
        """Whether it is there now for this provider or launch type; counts what it refuses."""
        if self.where not in (None, where) or self.times == 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True
