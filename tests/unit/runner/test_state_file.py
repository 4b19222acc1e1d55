"""What an agent saves for the next one on the same disk."""

import os

import pytest
from structlog.testing import capture_logs

from sidecar.runner.state_file import SavedFile, SavedRunner, StateFile


@pytest.fixture
def state_file(tmp_path):
    """Give a state file in an empty folder."""
    return StateFile(tmp_path / "state")


def test_a_saved_runner_is_read_by_the_next_agent(state_file, tmp_path):
    """First its name, then its files too, also which of them were missing."""
    state_file.save_runner("ecs-1", unique=True)
    assert StateFile(tmp_path / "state").read() == SavedRunner("ecs-1", True, False)
    state_file.save_files({".runner": SavedFile(b"\xef\xbb\xbf{}", 0o644), ".env": None})
    read = StateFile(tmp_path / "state").read()
    assert read == SavedRunner(
        "ecs-1", True, False, {".runner": SavedFile(b"\xef\xbb\xbf{}", 0o644), ".env": None}
    )
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_the_file_is_readable_by_the_agent_alone(state_file, tmp_path):
    """It contains the runner's keys."""
    state_file.save_runner("ecs-1", unique=True)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600


def test_an_agent_deletes_only_the_file_that_it_wrote(state_file, tmp_path):
    """An agent that never registered a runner keeps the file of a killed agent."""
    state_file.save_runner("ecs-1", unique=False, jit=True)
    other = StateFile(tmp_path / "state")
    other.delete_own()
    assert other.read() == SavedRunner("ecs-1", False, True)
    other.save_runner("ecs-2", unique=True)
    other.delete_own()
    assert other.read() is None
    other.delete()


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[]", "{}", '{"name": "x", "unique": 1}', '{"name": "x", "copies": 7}'],
)
def test_an_invalid_file_is_ignored(state_file, tmp_path, text):
    """No JSON, missing fields, wrong types."""
    (tmp_path / "state").write_text(text)
    assert state_file.read() is None


def test_a_link_is_ignored(state_file, tmp_path):
    """A job could point it at another file."""
    other = StateFile(tmp_path / "other")
    other.save_runner("ecs-1", unique=True)
    (tmp_path / "state").symlink_to(tmp_path / "other")
    assert state_file.read() is None


@pytest.mark.root
def test_a_file_of_another_user_is_ignored(state_file, tmp_path):
    """A job can write a file of that name where there is none."""
    state_file.save_runner("ecs-1", unique=True)
    os.chown(tmp_path / "state", 65534, 65534)
    assert state_file.read() is None


def test_a_disk_that_cannot_be_written_fails_no_life(tmp_path):
    """The file matters only after a kill: a warning is enough."""
    with capture_logs() as events:
        state_file = StateFile(tmp_path / "missing" / "state")
        state_file.save_runner("ecs-1", unique=True)
        state_file.delete()
    assert [event["event"] for event in events] == ["runner.state_write_failed"]
