"""The steps of a job, as they are sent to the results service and the run service."""

from typing import Any, Optional

from .identities import uuid
from .results import Results, moment


class Step:
    """One step, its log and its conclusion."""

    def __init__(self, results: Results, number: int, name: str, kind: dict[str, str]) -> None:
        self._results = results
        self._lines = 0
        self.id = kind.get("id") or uuid()
        self.facts: dict[str, Any] = {
            "external_id": self.id,
            "number": number,
            "name": name,
            "action_name": kind.get("action", "script"),
            "type": kind.get("type", "run"),
            "status": "completed",
            "conclusion": "",
            "started_at": moment(),
            "completed_at": "",
            "annotations": [],
        }
        self._results.step(dict(self.facts))

    def log(self, text: str) -> None:
        """Add to its log."""
        if text:
            self._lines += text.count("\n")
            self._results.log(self.id, text)

    def end(self, conclusion: str) -> None:
        """End the step: succeeded, failed, canceled or skipped."""
        self.facts.update(conclusion=conclusion, completed_at=moment())
        if self._lines:
            self._results.end_log(self.id, self._lines)
        self._results.step(dict(self.facts))


class Steps:
    """All steps, numbered in the order in which they begin."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._all: list[Step] = []

    def begin(self, name: str, kind: Optional[dict[str, str]] = None) -> Step:
        """Begin one; `kind` has `id`, `action` and `type` where they are not a script's."""
        step = Step(self._results, len(self._all) + 1, name, kind or {})
        self._all.append(step)
        return step

    def list_facts(self) -> list[dict[str, Any]]:
        """Return the steps as the run service gets them at the job's end."""
        return [step.facts for step in self._all]
