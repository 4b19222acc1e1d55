"""What an agent saves for the next one on the same disk."""

import os

import pytest
from structlog.testing import capture_logs

from sidecar.runner.state_file import MOST_RUNNERS, SavedFile, SavedRunner, StateFile


@pytest.fixture
def state_file(tmp_path):
    """Give a state file in an empty folder."""
    return StateFile(tmp_path / "state")


def test_a_saved_runner_is_read_by_the_next_agent(state_file, tmp_path):
    """First its name, then its files too, also which of them were missing."""
    state_file.save_runner("ecs-1", unique=True)
    assert StateFile(tmp_path / "state").read() == [SavedRunner("ecs-1", True, False)]
    state_file.save_files({".runner": SavedFile(b"\xef\xbb\xbf{}", 0o644), ".env": None})
    (read,) = StateFile(tmp_path / "state").read()
    assert read == SavedRunner(
        "ecs-1", True, False, {".runner": SavedFile(b"\xef\xbb\xbf{}", 0o644), ".env": None}
    )
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_the_file_is_readable_by_the_agent_alone(state_file, tmp_path):
    """It contains the runner's keys."""
    state_file.save_runner("ecs-1", unique=True)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600


def test_an_agent_deletes_only_the_record_that_it_wrote(state_file, tmp_path):
    """An agent that never registered a runner keeps the record of a killed agent."""
    state_file.save_runner("ecs-1", unique=False, jit=True)
    killed = SavedRunner("ecs-1", False, True)
    other = StateFile(tmp_path / "state")
    other.delete_own()
    assert other.read() == [killed]
    other.save_runner("ecs-2", unique=True)
    assert StateFile(tmp_path / "state").read() == [SavedRunner("ecs-2", True, False), killed]
    other.delete_own()
    assert StateFile(tmp_path / "state").read() == [killed]
    other.delete_earlier(killed)
    assert not (tmp_path / "state").exists()
    other.delete_earlier(killed)


def test_a_second_kill_loses_no_runner(tmp_path):
    """Each life's record stands beside the earlier ones, the newest first, up to a limit."""
    for number in range(MOST_RUNNERS + 3):
        state_file = StateFile(tmp_path / "state")
        state_file.save_runner(f"ecs-{number}", unique=True)
        state_file.save_files({".runner": SavedFile(b"{}", 0o644)})
    names = [runner.name for runner in StateFile(tmp_path / "state").read()]
    assert names == [f"ecs-{number}" for number in range(MOST_RUNNERS + 2, 1, -1)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "{}",
        '{"runners": 7}',
        '{"runners": [7, {}, {"name": "x", "unique": 1}, {"name": "x", "copies": 7}]}',
        "[" * 100_000,
    ],
)
def test_an_invalid_file_is_ignored(state_file, tmp_path, text):
    """No JSON, missing fields, wrong types."""
    (tmp_path / "state").write_text(text)
    assert state_file.read() == []


def test_a_link_is_ignored(state_file, tmp_path):
    """A job could point it at another file."""
    other = StateFile(tmp_path / "other")
    other.save_runner("ecs-1", unique=True)
    (tmp_path / "state").symlink_to(tmp_path / "other")
    assert state_file.read() == []


@pytest.mark.root
def test_a_file_of_another_user_is_ignored(state_file, tmp_path):
    """A job can write a file of that name where there is none."""
    state_file.save_runner("ecs-1", unique=True)
    os.chown(tmp_path / "state", 65534, 65534)
    assert state_file.read() == []


def test_a_disk_that_cannot_be_written_fails_no_life(tmp_path):
    """The file matters only after a kill: a warning is enough."""
    with capture_logs() as events:
        state_file = StateFile(tmp_path / "missing" / "state")
        state_file.save_runner("ecs-1", unique=True)
        state_file.delete_own()
    assert {event["event"] for event in events} == {"runner.state_write_failed"}
