"""Choose the pool that serves a job by its labels, by GitHub's own rule.

A runner takes a job if it has every label that the job asks for, whatever their case. Runners
register with `--no-default-labels` and exactly the labels that were asked for, so the system's own
labels (`self-hosted`, operating system, architecture) are compared with what the pool really is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sidecar.values import LABEL_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SELF_HOSTED = "self-hosted"
SYSTEMS = ("linux", "windows", "macos")
ARCHITECTURES = ("x64", "arm64", "arm")
SYSTEM_LABELS = frozenset({SELF_HOSTED, *SYSTEMS, *ARCHITECTURES})
"""The labels that GitHub's runner gives itself, in lower case."""
SHORTEST_PATTERN = 3
"""Characters of a pattern beside its `*`: a shorter one would match labels of others."""
_IN_PATTERN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")
"""What a pattern's `*` stands for. A comma would become a second label when it is registered."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A label with one `*`, such as `run-*`, in lower case."""

    before: str
    after: str

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read a pattern. Raises ValueError that says what is wrong."""
        before, star, after = text.lower().partition("*")
        if not star or "*" in after:
            message = "must have exactly one '*'"
            raise ValueError(message)
        if not set(before + after) <= _IN_PATTERN:
            message = "must be letters, digits, '.', '_', '-' and one '*'"
            raise ValueError(message)
        if len(before + after) < SHORTEST_PATTERN:
            message = f"must have {SHORTEST_PATTERN} characters or more beside its '*'"
            raise ValueError(message)
        if before.startswith("-"):
            message = "must not begin with '-', which the runner drops"
            raise ValueError(message)
        return cls(before, after)

    def matches(self, label: str) -> bool:
        """Say whether `label`, in lower case, is one that this pattern stands for."""
        middle = len(label) - len(self.before) - len(self.after)
        return (
            middle > 0
            and len(label) <= LABEL_LENGTH
            and label.startswith(self.before)
            and label.endswith(self.after)
            and set(label[len(self.before) :][:middle]) <= _IN_PATTERN
        )

    def __str__(self) -> str:
        """Return it as it is written, in lower case."""
        return f"{self.before}*{self.after}"


@dataclass(frozen=True, slots=True)
class Offer:
    """The system, architecture and labels of a pool's runners."""

    system: str
    """`linux` or `windows`."""
    architecture: str
    """`x64` or `arm64`."""
    labels: frozenset[str] = frozenset()
    """The pool's own labels, in lower case, without the system's."""
    patterns: tuple[Pattern, ...] = ()
    exact: bool = False
    """Whether the job must ask for all of `labels`."""

    def system_labels(self) -> frozenset[str]:
        """Return the labels that GitHub's runner would give itself there."""
        return frozenset({SELF_HOSTED, self.system, self.architecture})

    def missing(self, asked: Iterable[str]) -> tuple[str, ...]:
        """Return which of the asked labels, in lower case, its runners do not have."""
        return tuple(label for label in asked if not self._has(label))

    def surplus(self, asked: Iterable[str]) -> frozenset[str]:
        """Return the pool's own labels that were not asked for."""
        return self.labels.difference(asked)

    def _has(self, label: str) -> bool:
        if label in SYSTEM_LABELS:  # no pattern may stand for a system that the pool is not
            return label in self.system_labels()
        return label in self.labels or any(pattern.matches(label) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Match:
    """A pool that can serve the job."""

    pool: str
    labels: tuple[str, ...]
    """What its runner registers: the labels as they were asked for, each once."""


@dataclass(frozen=True, slots=True)
class NotOurs:
    """The job asks for nothing that is ours: another launcher's, or GitHub's own runners."""


@dataclass(frozen=True, slots=True)
class Unserved:
    """The job is ours, and no pool can serve it."""

    reason: str
    nearest: str | None
    """The pool that lacks least; None where there is no pool."""


def choose(asked: Iterable[str], offers: Mapping[str, Offer]) -> Match | NotOurs | Unserved:
    """Choose the pool for a job that asks for these labels; `offers` holds pools by name."""
    asked = tuple(asked)
    if best := next(rank(asked, offers), None):
        return best
    wanted = _lower(asked)
    if not is_ours(wanted, offers):
        return NotOurs()
    return _unserved(wanted, offers)


def rank(asked: Iterable[str], offers: Mapping[str, Offer]) -> Iterator[Match]:
    """Yield the pools that match, the one with the fewest surplus labels first.

    Of equals the one that stands first in `offers` comes first. The caller takes the next where
    a pool's policy does not admit the job.
    """
    asked = tuple(asked)
    wanted = _lower(asked)
    if not is_ours(wanted, offers):
        return
    fitting = [name for name, offer in offers.items() if _fits(offer, wanted)]
    for name in sorted(fitting, key=lambda name: len(offers[name].surplus(wanted))):
        yield Match(name, _once(asked))


def is_ours(asked: Iterable[str], offers: Mapping[str, Offer]) -> bool:
    """Say whether a job asks for `self-hosted` or for a label of some pool.

    Patterns choose nothing: a job that asks only for labels that they match gets its runner from
    whoever made that label up (the action does), and a second one here would be one too many.
    """
    ours = {SELF_HOSTED}
    for offer in offers.values():
        ours |= offer.labels | offer.system_labels()
    return not ours.isdisjoint(_lower(asked))


def own_labels(labels: Iterable[str]) -> frozenset[str]:
    """Return the labels in lower case, without the system's own."""
    return frozenset(_lower(labels)) - SYSTEM_LABELS


def _fits(offer: Offer, wanted: tuple[str, ...]) -> bool:
    return not offer.missing(wanted) and not (offer.exact and offer.surplus(wanted))


def _unserved(wanted: tuple[str, ...], offers: Mapping[str, Offer]) -> Unserved:
    """Say which pool is nearest, and what keeps it from serving the job."""
    if not offers:
        return Unserved("there is no pool", None)

    def distance(name: str) -> tuple[int, int, int]:
        missing = offers[name].missing(wanted)
        # A pool of another system is farther away than one that lacks a label.
        foreign = len(SYSTEM_LABELS.intersection(missing))
        return len(missing), foreign, len(offers[name].surplus(wanted))

    nearest = min(offers, key=distance)
    offer = offers[nearest]
    if missing := offer.missing(wanted):
        reason = f"it is not {_listed(missing)}" if _all_system(missing) else ""
        reason = reason or f"it does not have {_listed(missing)}"
    else:
        reason = f"it is exact, and the job does not ask for {_listed(offer.surplus(wanted))}"
    return Unserved(
        f"no pool has all of {_listed(wanted)}; nearest is {nearest}: {reason}", nearest
    )


def _all_system(labels: Iterable[str]) -> bool:
    return SYSTEM_LABELS.issuperset(labels)


def _listed(labels: Iterable[str]) -> str:
    return ", ".join(sorted(label[:LABEL_LENGTH] for label in labels))


def _lower(labels: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label.lower() for label in labels))


def _once(labels: Iterable[str]) -> tuple[str, ...]:
    """Keep the first of labels that differ in case only."""
    kept: dict[str, str] = {}
    for label in labels:
        kept.setdefault(label.lower(), label)
    return tuple(kept.values())
