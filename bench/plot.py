"""Draw a fleet as SVG: how many agents had started, and how many tokens were deleted, when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.fleet import Fleet

WIDTH, HEIGHT, GAP = 320, 240, 70
LEFT, TOP = 56, 52
AGENT, LIMIT, INK, GRID = "#1f6feb", "#d1242f", "#24292f", "#d8dee4"


@dataclass(frozen=True, slots=True)
class Panel:
    """One count over time, beside the fastest that a limit allows."""

    title: str
    moments: Sequence[float]
    rate: float
    seconds: float
    """Where the time axis ends."""
    step: float
    size: int
    left: float

    def x(self, seconds: float) -> float:
        """Return the x coordinate of a moment."""
        return self.left + WIDTH * min(seconds, self.seconds) / self.seconds

    def y(self, count: float) -> float:
        """Return the y coordinate of a count."""
        return TOP + HEIGHT * (1 - count / self.size)

    def draw(self) -> Iterator[str]:
        """Give its SVG elements, the frame first."""
        bottom, right = self.y(0), self.x(self.seconds)
        yield text(self.left, TOP - 14, self.title, "start", 14)
        for part in range(5):
            count = self.size * part // 4
            y = self.y(count)
            yield line(((self.left, y), (right, y)), GRID, 1)
            yield text(self.left - 8, y + 4, f"{count:,}", "end")
        moment = 0.0
        while moment <= self.seconds:
            yield text(self.x(moment), bottom + 18, f"{moment:g} s", "middle")
            moment += self.step
        through = [(self.x(at), self.y(n)) for n, at in enumerate(sorted(self.moments), 1)]
        ideal = [(self.x(0), bottom), (self.x(self.size / self.rate), self.y(self.size))]
        yield line(ideal, LIMIT, 1.5, "5 4")
        yield line([(self.x(min(self.moments)), bottom), *through], AGENT, 2)


def line(points: Sequence[tuple[float, float]], colour: str, width: float, dash: str = "") -> str:
    """Draw a line through `points`."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dashed}/>'
    )


def text(x: float, y: float, words: str, anchor: str, size: int = 11) -> str:
    """Write `words`."""
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{INK}">{words}</text>'
    )


def draw(fleet: Fleet) -> str:
    """Return the picture."""
    second = LEFT + WIDTH + GAP
    panels = (
        Panel("runners registered", fleet.started, limits.READS, 35, 5, fleet.size, LEFT),
        Panel("tokens deleted", fleet.deleted, limits.DELETES, 300, 50, fleet.size, second),
    )
    width, below = second + WIDTH + 24, TOP + HEIGHT + 50
    key = [
        line(((LEFT, below - 4), (LEFT + 26, below - 4)), AGENT, 2),
        text(LEFT + 32, below, f"{fleet.size:,} agents started in the same second", "start"),
        line(((second, below - 4), (second + 26, below - 4)), LIMIT, 1.5, "5 4"),
        text(
            second + 32,
            below,
            f"SSM's limits: {limits.READS:g} reads/s, {limits.DELETES:g} deletes/s",
            "start",
        ),
    ]
    parts = [part for panel in panels for part in panel.draw()] + key
    box = f'viewBox="0 0 {width} {below + 16}" font-family="Helvetica, Arial, sans-serif"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img">',
            f"<title>{fleet.size:,} agents against SSM's limits</title>",
            f'<rect width="{width}" height="{below + 16}" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )
