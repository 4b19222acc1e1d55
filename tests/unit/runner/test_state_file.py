"""What an agent leaves for the next one on the same disk."""

import os

import pytest
from structlog.testing import capture_logs

from sidecar.runner.state_file import SavedFile, SavedRunner, StateFile


@pytest.fixture
def memory(tmp_path):
    """Give a memory on an empty disk."""
    return StateFile(tmp_path / "memory")


def test_what_is_written_down_is_read_by_the_next(memory, tmp_path):
    """First the name, then the files too, and that there were none of some."""
    memory.begin("ecs-1", unique=True)
    assert StateFile(tmp_path / "memory").read() == SavedRunner("ecs-1", True, False)
    memory.keep({".runner": SavedFile(b"\xef\xbb\xbf{}", 0o644), ".env": None})
    read = StateFile(tmp_path / "memory").read()
    assert read == SavedRunner(
        "ecs-1", True, False, {".runner": SavedFile(b"\xef\xbb\xbf{}", 0o644), ".env": None}
    )
    assert [path.name for path in tmp_path.iterdir()] == ["memory"]


def test_it_holds_keys_and_is_for_the_agent_alone(memory, tmp_path):
    """Nobody else may read it."""
    memory.begin("ecs-1", unique=True)
    assert (tmp_path / "memory").stat().st_mode & 0o777 == 0o600


def test_only_what_was_written_here_is_erased_with_one_s_own_runner(memory, tmp_path):
    """A life that never registered anything does not forget its predecessor's runner."""
    memory.begin("ecs-1", unique=False, jit=True)
    other = StateFile(tmp_path / "memory")
    other.erase_own()
    assert other.read() == SavedRunner("ecs-1", False, True)
    other.begin("ecs-2", unique=True)
    other.erase_own()
    assert other.read() is None
    other.erase()


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[]", "{}", '{"name": "x", "unique": 1}', '{"name": "x", "copies": 7}'],
)
def test_nonsense_is_no_memory(memory, tmp_path, text):
    """A note that makes no sense is none."""
    (tmp_path / "memory").write_text(text)
    assert memory.read() is None


def test_a_link_is_no_memory(memory, tmp_path):
    """What stands elsewhere was not written here."""
    other = StateFile(tmp_path / "other")
    other.begin("ecs-1", unique=True)
    (tmp_path / "memory").symlink_to(tmp_path / "other")
    assert memory.read() is None


@pytest.mark.root
def test_as_root_nobody_else_s_note_is_believed(memory, tmp_path):
    """A job can write a file of that name where none is, and is not believed."""
    memory.begin("ecs-1", unique=True)
    os.chown(tmp_path / "memory", 65534, 65534)
    assert memory.read() is None


def test_a_disk_that_cannot_be_written_fails_no_life(tmp_path):
    """The note is for the case of a kill only: a warning says that there is none."""
    with capture_logs() as events:
        memory = StateFile(tmp_path / "missing" / "memory")
        memory.begin("ecs-1", unique=True)
        memory.erase()
    assert [event["event"] for event in events] == ["runner.state_write_failed"]
