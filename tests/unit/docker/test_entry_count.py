"""The entries of a body are counted while it comes, whatever its pieces are."""

from __future__ import annotations

import json
import random

import pytest

from sidecar.docker import entry_count
from sidecar.docker.entry_count import EntryCount, TooManyEntries

TEXTS = ["", "a", ",", "{[", "\\", '"', '\\"', '",{', "\\\\", "\u00e9,", "x\\", "\n,\t"]


def count(value: object) -> int:
    """Return how many objects, lists and commas a value has, by walking through it."""
    if isinstance(value, dict):
        return 1 + max(0, len(value) - 1) + sum(map(count, value.values()))
    if isinstance(value, list):
        return 1 + max(0, len(value) - 1) + sum(map(count, value))
    return 0


def make_value(rng: random.Random, depth: int) -> object:
    """Return a random value whose texts hold what a careless count would take for structure."""
    kind = rng.randrange(4) if depth else 3
    if kind == 0:
        return {rng.choice(TEXTS) + str(n): make_value(rng, depth - 1) for n in range(3)}
    if kind == 1:
        return [make_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return rng.choice([*TEXTS, 1, None, True])


def test_every_body_is_counted_as_a_walk_through_it_counts():
    """In one piece, byte by byte, and in pieces of any length; the seed is fixed."""
    rng = random.Random(1711)  # noqa: S311  the same bodies each time
    for _ in range(500):
        value = make_value(rng, 4)
        body = json.dumps(value, ensure_ascii=rng.random() < 0.5).encode()
        for size in (len(body) or 1, 1, rng.randint(1, 7)):
            counted = EntryCount()
            found = sum(counted.feed(body[at : at + size]) for at in range(0, len(body), size))
            assert found == counted.entries == count(value)


@pytest.mark.parametrize("body", [b"{},", b"1,", b"[", b'"",', b'"":0,', b'"'])
def test_too_many_entries_are_refused(body, monkeypatch):
    """Objects, lists, texts and numbers; also quotes, of which an entry has four at most."""
    monkeypatch.setattr(entry_count, "MAX_ENTRIES", 100)
    EntryCount().feed(body * 40)
    with pytest.raises(TooManyEntries):
        EntryCount().feed(body * 500)


def test_commas_in_a_text_are_no_entries():
    """A script of any length is one entry."""
    assert EntryCount().feed(json.dumps({"Cmd": ['a,b;{c}"[d],\\' * 100_000]}).encode()) == 2
