"""Say what a job used of its task, and which smaller task would have done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sidecar.aws.fargate import find_smallest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.aws.task_stats import Sample, Size

ROOM = 1.25
"""Factor of the memory peak that a smaller task must have: peaks differ from run to run."""
UNITS = 1024
"""CPU units of one vCPU."""
LEAST = 1.0
"""Seconds between two samples that say how busy the processors were.

A sample is dated when its answer comes. Of two that follow each other at once, as at a job's end,
one that comes some milliseconds late would make any number of vCPUs.
"""


@dataclass(slots=True)
class JobUsage:
    """The use of one job, from samples in the order in which they were taken."""

    size: Size | None = None
    seconds: float = 0.0
    """Between the first sample and the last one."""
    cpu_peak: float = 0.0
    """vCPUs, in the busiest time of at least LEAST seconds; of a shorter job, in all of it."""
    memory_peak: float = 0.0
    """MiB."""
    first: Sample | None = field(default=None, repr=False)
    last: Sample | None = field(default=None, repr=False)
    _began: float = 0.0
    _at: float = 0.0
    _compared: Sample | None = field(default=None, repr=False)
    """The sample that the next ones are compared with."""
    _compared_at: float = 0.0
    _lasted: bool = False
    """True once two samples were so far apart that they say how busy the processors were."""

    def add(self, sample: Sample, at: float) -> None:
        """Add a sample that was taken at this moment, in seconds of any clock."""
        if self.first is None:
            self.first, self._began, self._at = sample, at, at
        self._compare(sample, at)
        # The kernel's own peak holds what came before the job, so it counts if it grew since.
        grown = sample.memory_peak if sample.memory_peak > self.first.memory_peak else 0.0
        self.memory_peak = max(self.memory_peak, sample.memory, grown)
        self.last, self._at, self.seconds = sample, at, at - self._began

    def _compare(self, sample: Sample, at: float) -> None:
        """Take the processors' use since the sample before."""
        if self._compared is None:
            self._compared, self._compared_at = sample, at
        elif (seconds := at - self._compared_at) > 0:
            used = (sample.cpu_seconds - self._compared.cpu_seconds) / seconds
            if seconds >= LEAST:
                self.cpu_peak = max(self.cpu_peak, used) if self._lasted else used
                self._compared, self._compared_at, self._lasted = sample, at, True
            elif not self._lasted:
                self.cpu_peak = used

    def collect_facts(self, served: Mapping[str, int]) -> dict[str, Any]:
        """Return it as facts for the final event. `served`: answers with credentials, by rule."""
        if self.first is None or self.last is None:
            return {}
        first, last = self.first, self.last
        facts: dict[str, Any] = {
            "job_cpu_seconds": round(last.cpu_seconds - first.cpu_seconds, 2),
            "job_cpu_peak": round(self.cpu_peak, 2),
            "job_memory_peak_mib": round(self.memory_peak),
            "job_network_bytes": last.received - first.received + last.sent - first.sent,
            "job_disk_bytes": last.read - first.read + last.written - first.written,
            "credentials_served": {rule or "task": count for rule, count in served.items()},
        }
        if self.size is not None:
            facts |= {"task_cpu": self.size.cpu, "task_memory_mib": self.size.memory}
            if self.size.disk_used is not None:
                facts["task_disk_used_mib"] = self.size.disk_used
        if (smaller := self.find_smaller()) is not None:
            facts["smaller_task"] = {"cpu": smaller[0], "memory": smaller[1]}
        return facts

    def find_smaller(self) -> tuple[int, int] | None:
        """Return the smallest size of Fargate that would have done; None if this one is it."""
        size = self.size
        if not self.seconds:  # one sample says nothing of the processors
            return None
        if size is None or size.launch_type != "FARGATE" or not size.cpu or not size.memory:
            return None
        found = find_smallest(self.cpu_peak * UNITS, self.memory_peak * ROOM)
        have = size.cpu * UNITS, size.memory
        if found is None or found[0] > have[0] or found[1] > have[1] or found == have:
            return None
        return found

    def write_summary(self, served: Mapping[str, int]) -> str:
        """Return it in Markdown, for the run's summary; nothing without a sample."""
        if self.first is None or self.last is None:
            return ""
        first, last, size = self.first, self.last, self.size
        lines = ["### What this job used", "", "| | used | task |", "|---|---|---|"]
        has_cpu = f"{size.cpu:g} vCPU" if size and size.cpu else "-"
        has_memory = f"{size.memory:,.0f} MiB" if size and size.memory else "-"
        cpu = last.cpu_seconds - first.cpu_seconds
        lines += [
            f"| CPU | {cpu:,.1f} s, {self.cpu_peak:.2f} vCPU at most | {has_cpu} |",
            f"| memory | {self.memory_peak:,.0f} MiB at most | {has_memory} |",
            (
                f"| disk | {_show_bytes(last.read - first.read)} read, "
                f"{_show_bytes(last.written - first.written)} written | {_show_disk(size)} |"
            ),
            (
                f"| network | {_show_bytes(last.received - first.received)} received, "
                f"{_show_bytes(last.sent - first.sent)} sent | |"
            ),
        ]
        credentials = ", ".join(f"{rule or 'task'}: {count}" for rule, count in served.items())
        lines.append(f"| credentials | {credentials or 'none'} | |")
        if (smaller := self.find_smaller()) is not None:
            lines += [
                "",
                f"{smaller[0] / UNITS:g} vCPU and {smaller[1]:,} MiB would have done.",
            ]
        return "\n".join(lines) + "\n"


def _show_bytes(count: int) -> str:
    value, unit = float(max(0, count)), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:,.1f} {unit}" if unit != "B" else f"{count} B"


def _show_disk(size: Size | None) -> str:
    if size is None or size.disk_used is None or size.disk is None:
        return "-"
    return f"{size.disk_used:,.0f} of {size.disk:,.0f} MiB in use"
