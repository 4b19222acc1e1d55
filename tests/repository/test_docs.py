"""The documents tell what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import doctor_page
from docs.__main__ import PAGE, SOURCES, page
from docs.events import EVENTS
from docs.tables import events_in_code
from sidecar.errors import Exit
from sidecar.settings.model import Settings, variable

TROUBLES = (Path(__file__).parents[2] / "docs/troubleshooting.md").read_text()
ROOT = Path(__file__).parents[2]
PAGES = sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md"))


def test_reference_is_what_the_code_says() -> None:
    """`make docs` was run after the last change of a setting, an exit code or an event."""
    assert PAGE.read_text() == page(), "run: make docs"


def test_the_doctors_pages_are_what_the_code_says() -> None:
    """`make docs` was run after the last change of a check, or of a set-up that it finds."""
    for path, text in doctor_page.pages().items():
        assert path.read_text() == text, "run: make docs"


def test_every_event_has_its_meaning() -> None:
    """An event that is logged is explained, and none is explained that is not logged."""
    assert set(EVENTS) == set(events_in_code(SOURCES))


def test_every_page_has_one_kind() -> None:
    """The map lists each page of docs/ once, as tutorial, how-to, reference or explanation."""
    text = (ROOT / "docs/README.md").read_text()
    assert re.findall(r"(?m)^## (.*)", text) == ["Tutorial", "How-to", "Reference", "Explanation"]
    listed = re.findall(r"(?m)^\| \[[^]]+\]\(([a-z-]+\.md)\)", text)
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    heads = {name for name in pages if name.endswith(".head.md")}
    assert sorted(listed) == sorted(pages - heads - {"README.md"})


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """A link to a file of the repository names a file that is there."""
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


def test_decisions_are_numbered() -> None:
    """Each has a number of its own, without a gap, which its heading repeats."""
    paths = sorted((ROOT / "docs/adr").glob("*.md"))
    assert [int(path.name[:4]) for path in paths] == list(range(1, len(paths) + 1))
    for number, path in enumerate(paths, 1):
        assert path.read_text().startswith(f"# {number}. "), path.name


@pytest.mark.parametrize("path", sorted((ROOT / "docs/adr").glob("*.md")), ids=lambda p: p.name)
def test_decisions_have_their_four_parts(path: Path) -> None:
    """A decision tells its status, its context, what was decided, and what follows."""
    text = path.read_text()
    for part in ("Status: ", "## Context", "## Decision", "## Consequences"):
        assert part in text


def test_every_exit_code_has_its_section() -> None:
    """Whoever has a code finds what it means, where to look and what to change; in order."""
    sections = dict(re.findall(r"(?ms)^## (\d+ · \S+)\n(.*?)(?=^## )", TROUBLES))
    names = [f"{int(code)} · {code.name.lower().replace('_', '-')}" for code in Exit]
    assert list(sections) == names
    for name, section in sections.items():
        leads = re.findall(r"(?m)^\*\*(.*?):\*\* \S", section)
        assert leads == ["It means", "Look for", "Change"], name


def test_troubleshooting_names_only_what_there_is() -> None:
    """The events to look for are logged, and the settings to change can be set."""
    events = set(re.findall(r"`([a-z]+\.[a-z_]+)`", TROUBLES))
    assert events <= set(events_in_code(SOURCES))
    settings = set(re.findall(r"SIDECAR_[A-Z_]+", TROUBLES))
    assert settings - {"SIDECAR_LOG_LEVEL=debug"} <= {
        variable(name) for name in Settings.model_fields
    }


def test_an_interrupted_job_is_told_as_failed() -> None:
    """That is what GitHub shows, recorded with the real runner; only its own line says Canceled."""
    section = TROUBLES.partition("## 22 ")[2].partition("\n## ")[0]
    for text in (section, Exit.CANCELLED.meaning):
        assert "failed" in text
    for event in ("job.reported", "runner.interrupted", "stop.job_awaited"):
        assert "failed" in EVENTS[event]
    for word in ("if: failure()", "if: cancelled()", "Re-run failed jobs", "mail"):
        assert word in section
    for path in PAGES:
        assert not re.search(r"(?i)GitHub shows (it|the job) as cancell?ed", path.read_text()), path


@pytest.mark.parametrize("page", ["containers.md", "job-docker.md"])
def test_what_surprises_in_containers_is_said(page: str) -> None:
    """A user without a group has no docker; builds on an instance's daemon get its role."""
    text = (ROOT / "docs" / page).read_text()
    assert "--user N:GROUP" in text or "--user 1001:GROUP" in text
    assert re.search(
        r"`RUN` steps .*instance's role.*hop limit is 1", text.replace("**", ""), re.DOTALL
    )
