"""The pools that the documents show can be used as they are."""

import re
from pathlib import Path

import pytest

from launcher.pools.document import parse_pools
from launcher.pools.pool import Pools

DOCS = Path(__file__).parents[4] / "docs"
SHOWN = [
    (page.name, text)
    for page in sorted(DOCS.glob("*.md"))
    for text in re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    if "[[pool]]" in text
]


def test_there_is_an_example():
    """The reference of pools shows a document."""
    assert "pools.md" in dict(SHOWN)


@pytest.mark.parametrize(("page", "text"), SHOWN)
def test_each_document_has_no_mistake(page, text):
    """What somebody copies from a page is read without a mistake."""
    assert isinstance(parse_pools(text), Pools), parse_pools(text)
