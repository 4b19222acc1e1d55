"""Each promise of docs/security.md names the test that holds it, and that test is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()
ATTACKS = ROOT / "tests" / "adversary"
NOT_SHOWN = "[not shown](#what-was-not-shown-with-the-real-program)"
NO_ATTACKS = {
    "test_a_life_has_its_killer",
    "test_ends_with_little",
    "test_nobody_elses_process_is_killed",
}
"""Tests without the word: what holds in a usual life, and with few resources."""
NOTHING_PROMISED = {"a job with docker, strict mode off", "a job with sudo, or as root"}
"""The attackers against whom nothing is promised that a test could hold; the row says so."""


def list_rows() -> list[tuple[str, str, str]]:
    """Return heading, first cell and last cell of each row whose table names tests."""
    rows, heading, in_table = [], "", False
    for line in PAGE.splitlines():
        if line.startswith("#"):
            heading = line.strip("# ")
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            in_table = False
        elif in_table and not line.startswith("|---"):
            rows.append((heading, cells[0], cells[-1] if not line.endswith("| |") else ""))
        elif re.fullmatch(r"held by.*|test", cells[-1].strip(" |")):
            in_table = True
    return rows


def find_test(name: str) -> Path:
    """Return the file or the folder that a name in the page means."""
    if "/" in name:
        return ROOT / name
    return ATTACKS / (name if name.endswith(".py") else f"{name}.py")


ROWS = list_rows()


def test_every_table_of_promises_is_read() -> None:
    """The five tables that name tests, and nothing else."""
    assert list(dict.fromkeys(heading for heading, _, _ in ROWS)) == [
        "The threat model",
        "What a task definition changes",
        "What a job leaves on the disk",
        "What a job floods",
        "The end of a job's processes",
    ]


@pytest.mark.parametrize(("heading", "who", "tests"), ROWS)
def test_a_promise_names_its_test(heading: str, who: str, tests: str) -> None:
    """A file with tests in it, the row above, or the reason why there is none."""
    names = re.findall(r"`([^`]+)`", tests)
    if not names:
        assert tests == NOT_SHOWN or tests == "the same" or who in NOTHING_PROMISED, heading
    for name in names:
        path = find_test(name)
        files = [path] if path.is_file() else list(path.glob("test_*.py"))
        assert files, f"{name} is not there"
        assert all(re.search(r"(?m)^ *def test_", file.read_text()) for file in files), name


@pytest.mark.parametrize("path", sorted(ATTACKS.glob("test_*.py")), ids=lambda path: path.stem)
def test_every_attack_is_in_the_page(path: Path) -> None:
    """Whoever reads what is promised finds each attack that is played."""
    assert re.search(rf"`{path.stem}(\.py)?`", PAGE)


@pytest.mark.parametrize("path", sorted(ATTACKS.glob("test_*.py")), ids=lambda path: path.stem)
def test_every_attack_is_shown_without_the_mend(path: Path) -> None:
    """Else its test asserts nothing. Where nothing is attacked there is no mend to take away."""
    text = path.read_text()
    shown = "unmended" in text or "the attack does nothing" in text or "each of them works" in text
    assert shown or path.stem in NO_ATTACKS


def test_each_setting_of_a_task_definition_has_its_row() -> None:
    """All that still holds with each of them is said, and played."""
    rows = [who for heading, who, _ in ROWS if heading == "What a task definition changes"]
    for setting in ("user", "readonlyRootFilesystem", "no-new-privileges", "initProcessEnabled"):
        assert any(f"`{setting}`" in row for row in rows), setting
    assert any("`pidMode`" in row for row in rows)
    assert "aws:TokenIssueTime" in PAGE
    assert "aws:SourceVpc" in PAGE
