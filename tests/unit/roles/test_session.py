"""What a session says of its job: tags as STS takes them, a name that finds the run."""

import random
import re
import unicodedata
from dataclasses import dataclass, replace

import pytest

from sidecar.roles import session
from sidecar.roles.session import find_source_identity, find_unsent, make_name, make_tags


@dataclass(frozen=True)
class Run:
    """A run as a session sees it."""

    repository: str | None = "octo-org/app"
    repository_id: str | None = "42"
    ref: str | None = "refs/heads/main"
    workflow_file: str | None = "octo-org/app/.github/workflows/ci.yml"
    event: str | None = "push"
    actor: str | None = "mona"
    run_id: str | None = "12345678901"
    run_attempt: str | None = "2"


ALPHABET = (
    "aAzZ09_.:/=+-@ \u00e9\u0301\u0065\u2028\u00a0\t\n#%'\"\\[]"
    "\u6f22\U0001f680\u0130\u0131\ufb01\u212b"
)
"""Letters that programs change: composed forms, cases, ligatures, spaces, marks."""
STS = re.compile(r"[_.:/=+\-@]")


def takes(text: str) -> bool:
    """Say whether STS's own pattern takes a tag's value."""
    return len(text) <= 256 and all(
        STS.fullmatch(one) or unicodedata.category(one)[0] in "LZN" for one in text
    )


def test_all_facts_are_tags_beside_those_of_the_rule():
    """A trust policy reads them as aws:RequestTag."""
    assert make_tags(Run(), {"team": "web"}) == {
        "repository": "octo-org/app",
        "ref": "refs/heads/main",
        "workflow": "octo-org/app/.github/workflows/ci.yml",
        "event": "push",
        "actor": "mona",
        "run_id": "12345678901",
        "run_attempt": "2",
        "team": "web",
    }
    assert find_unsent(Run()) == []


def test_no_two_refs_give_the_same_tag():
    """A tag is the ref itself or it is absent: 20,000 pairs, each of them odd."""
    chance = random.Random(20)  # noqa: S311
    sent = 0
    for _ in range(20_000):
        length = chance.choice((1, 3, 8, 245, 246, 255))
        text = "refs/heads/" + "".join(chance.choices(ALPHABET, k=length))
        for ref in (text, unicodedata.normalize("NFC", text), text.strip(), text.lower()):
            run = replace(Run(), ref=ref)
            tags = make_tags(run, {})
            assert tags.get("ref", ref) == ref
            assert ("ref" in tags) is (find_unsent(run) == [])
            if "ref" in tags:
                sent += 1
                assert takes(ref)
                assert ref == ref.strip() == unicodedata.normalize("NFC", ref)
    assert 500 < sent < 60_000


@pytest.mark.parametrize(
    ("ref", "sent"),
    [
        ("refs/heads/" + "x" * 245, True),
        ("refs/heads/" + "x" * 246, False),
        ("refs/heads/" + "\U00010400" * 122, True),
        ("refs/heads/" + "\U00010400" * 123, False),
        ("refs/heads/b\u00fccher", True),
        ("refs/heads/a#b", False),
        ("refs/heads/a,b", False),
    ],
)
def test_a_tag_has_256_characters_of_the_kinds_that_sts_takes(ref, sent):
    """Those that are two in UTF-16 count twice: nobody says how STS counts them."""
    assert ("ref" in make_tags(replace(Run(), ref=ref), {})) is sent


def test_what_is_not_known_is_no_tag():
    """Nor is it told as left out."""
    run = replace(Run(), actor=None, ref="", workflow_file=None)
    assert make_tags(run, {}).keys() == {"repository", "event", "run_id", "run_attempt"}
    assert find_unsent(run) == []
    assert find_unsent(replace(run, actor="dependabot[bot]")) == ["actor"]


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (Run(), "12345678901-2-octo-org-app"),
        (replace(Run(), repository="o/" + "x" * 100), "12345678901-2-o-" + "x" * 48),
        (replace(Run(), repository="o/\u00fc b"), "12345678901-2-o---b"),
        (replace(Run(), run_id=None), "task"),
        (replace(Run(), run_attempt=None, repository=None), "12345678901"),
    ],
)
def test_the_name_of_a_session_finds_the_run(run, name):
    """STS takes 2 to 64 characters, and only some."""
    assert make_name(run, "task") == name
    assert re.fullmatch(r"[\w+=,.@-]{2,64}", name, re.ASCII)
    assert make_name(replace(run, run_id=None), "x") == "job-x"


@pytest.mark.parametrize(
    ("field", "run", "found"),
    [
        (None, Run(), None),
        ("actor", Run(), "mona"),
        ("repository_id", Run(), "42"),
        ("actor", replace(Run(), actor="dependabot[bot]"), None),
        ("actor", replace(Run(), actor="x"), None),
        ("actor", replace(Run(), actor="x" * 65), None),
        ("actor", replace(Run(), actor=None), None),
    ],
)
def test_a_source_identity_is_a_fact_or_absent(field, run, found):
    """It has no slash; what STS would not take is not sent."""
    assert find_source_identity(run, field) == found
    assert session.NAME_LENGTH == 64
