"""The version of the runner's program, from the file that .NET has beside it."""

import json

import pytest

from sidecar.runner.version import read_version


def write(folder, text):
    """Write the file; return the runner's folder."""
    (folder / "bin").mkdir()
    (folder / "bin" / "Runner.Listener.deps.json").write_text(text)
    return folder


def test_the_version_is_the_program_s_own(tmp_path):
    """Not that of one of its libraries, which are in the same file."""
    libraries = {"Runner.Common/1.0.0": {}, "Runner.Listener/2.338.0": {}, "Newtonsoft/13.0.3": {}}
    text = json.dumps({"targets": {".NETCoreApp,Version=v8.0": {}}, "libraries": libraries})
    assert read_version(write(tmp_path, text)) == "2.338.0"


@pytest.mark.parametrize("text", ["", "{}", '"Runner.Listener/unknown"'])
def test_a_file_that_does_not_tell_it(tmp_path, text):
    """Whatever is there, nothing breaks."""
    assert read_version(write(tmp_path, text)) is None


def test_no_file_at_all(tmp_path):
    """As with a runner that was built otherwise."""
    assert read_version(tmp_path) is None
