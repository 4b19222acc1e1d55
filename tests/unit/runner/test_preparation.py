"""The runner's folder is prepared in a thread, within a limit of time."""

import threading

import pytest

from sidecar.errors import RunnerError
from sidecar.runner import preparation
from tests.support.loops import run


def test_the_folder_is_prepared(root):
    """With the variables that are passed on."""
    (root.path / ".runner").mkdir()
    run("asyncio", preparation.prepare_folder(root, {}))
    assert not (root.path / ".runner").exists()


def test_what_takes_too_long_is_given_up(root, monkeypatch):
    """The error says that the next start goes on; the thread ends."""
    ended = threading.Event()

    def prepare(passed_on, stopped):
        assert passed_on == {}
        while not stopped():
            pass
        ended.set()

    monkeypatch.setattr(root, "prepare", prepare)
    monkeypatch.setattr(preparation, "TIMEOUT", 0.01)
    with pytest.raises(RunnerError, match=r"not removed after 0\.01 s"):
        run("asyncio", preparation.prepare_folder(root, {}))
    assert ended.wait(30)
