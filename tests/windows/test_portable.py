"""The tests of single parts, played by a Windows Python on the repository's own tree."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
OPTIONS = ("-q", "-n0", "-p", "no:cacheprovider", "--no-header")


def test_portable_tests_pass_on_windows(wine, version, record_property):
    """What holds on Linux for one part at a time holds on Windows too."""
    # Its own cached bytecode would stand beside that of Linux, with other names of files in it.
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    argv = (wine.python(version), "-m", "pytest", *OPTIONS, "tests/unit/test_errors.py")
    done = wine.run(argv, env=env, cwd=ROOT, timeout=300)
    record_property(f"Windows, Python {version}", done.output.rpartition("\n")[2])
    assert done.code == 0, done.output[-20000:]
