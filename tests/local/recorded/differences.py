"""Where the stand-ins differ from the record: one row each, with the reason.

What holds for every life stands here as well, as words: order between stdout and stderr, and
between a request for a message and other calls, is not compared; nor are times, request ids, and
how often in a row a call was repeated, for the seconds between repeats are random.
"""

from __future__ import annotations

from dataclasses import dataclass

UPDATES = "the stand-in never updates itself, and takes no new configuration"
TWO_LIVES = "two agents' lives on one disk; what matters of them is in tests/lives"
SCALED = "times are scaled and random: another number of tries fits into the trouble"


@dataclass(frozen=True)
class Difference:
    """Parts that are not compared: lines, calls, messages, conclusion."""

    parts: tuple[str, ...]
    reason: str


NOT_PLAYED = {
    "idle_at_once": "the stop races with the start: which of them wins is chance",
    "agent_refresh_message": UPDATES,
    "refresh_message": UPDATES,
    "refresh_config": UPDATES,
    "refresh_config_idle": UPDATES,
    "update_success_": UPDATES,
    "predecessor": TWO_LIVES,
    "predecessor_busy": TWO_LIVES,
}
LIVES = {
    "always_step_slow": Difference(("lines", "calls"), "the agent killed its last remove"),
    "results_closed": Difference(("calls",), "the agent's last remove had another home"),
    "trouble_add_lost_admin": Difference(("lines",), "other words of GitHub's for a taken name"),
    "acquire_slow_admin": Difference(("lines", "calls"), SCALED),
    "remove_admin_503": Difference(("lines", "calls"), SCALED),
    "message_401": Difference(("messages",), "here the first request was open before the trouble"),
    "session_invalid": Difference(
        ("lines", "calls", "messages", "conclusion"),
        "the GitHub of the record lost the job with the session; here the new session gets it",
    ),
}
BODIES = {"POST generate-jitconfig": "the agent's own call, judged by GitHub's OpenAPI description"}
