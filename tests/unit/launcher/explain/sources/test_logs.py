"""Events are found in whatever a log driver or a tool has made of them."""

import io

import pytest

from launcher.errors import LaunchError
from launcher.explain.sources import logs

LINE = (
    '{"reason": "r", "event": "life.failed", "level": "error", "timestamp": "2026-01-02T03:04:05Z"}'
)


@pytest.mark.parametrize("before", ["", "runner-1  | ", "2026-01-02T03:04:06 agent/runner/1 "])
def test_what_stands_before_an_event_does_not_matter(before):
    """The time is the event's own."""
    ((event,), others) = logs.parse([before + LINE])
    assert (event.name, event.level, event.facts) == ("life.failed", "error", {"reason": "r"})
    assert event.at == 1767323045.0
    assert others == []


def test_what_is_no_event_is_kept_apart_and_noise_is_left_out():
    """The last lines only: a job may print for hours."""
    noise = '{"event": "listener.printed", "line": "x"}'
    lines = ["SIDECAR_X is wrong", "", "{", '{"a": 1}', "[1]", noise, *map(str, range(20))]
    events, others = logs.parse(lines)
    assert events == []
    assert others == [str(number) for number in range(20 - logs.LINES_KEPT, 20)]
    assert logs.parse(lines[:4])[1] == ["SIDECAR_X is wrong", "{", '{"a": 1}']


def test_a_file_or_standard_input_is_read(tmp_path, monkeypatch):
    """A file that is not there is a mistake of who asks."""
    file = tmp_path / "log"
    file.write_bytes(b"a\xff\nb\n")
    assert logs.read_file(str(file)) == ["a�", "b"]
    monkeypatch.setattr("sys.stdin", io.StringIO("c\n"))
    assert logs.read_file("-") == ["c"]
    with pytest.raises(LaunchError, match=r"cannot read the log .*none.* \(--log\): No such file"):
        logs.read_file(str(tmp_path / "none"))
