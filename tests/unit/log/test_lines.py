"""Bytes cut into lines that are safe to log."""

import pytest

from sidecar.log.lines import LIMIT, Lines, printable


def heard(*chunks, limit=LIMIT):
    """Feed the chunks and end; give the lines."""
    said = []
    lines = Lines(said.append, limit)
    for chunk in chunks:
        lines.feed(chunk)
    lines.end()
    return said


def test_lines_arrive_whole_however_they_were_sent():
    """Neither a cut in a line nor in a character of several bytes shows."""
    sent = "first\nzwölf √ Läufe\n\nlast\r\n".encode()
    whole = ["first", "zwölf √ Läufe", "last"]
    assert heard(sent) == whole
    assert heard(*(sent[at : at + 1] for at in range(len(sent)))) == whole


def test_a_line_is_heard_as_soon_as_it_ends():
    """Nothing waits for the next chunk."""
    said = []
    lines = Lines(said.append)
    lines.feed(b"a\nb")
    assert said == ["a"]
    lines.feed(b"c\n")
    assert said == ["a", "bc"]


def test_what_came_without_a_line_end_is_heard_at_the_end():
    """The last words of a program that crashed are kept, and heard once."""
    said = []
    lines = Lines(said.append)
    lines.feed(b"Segmentation f")
    assert said == []
    lines.end()
    lines.end()
    assert said == ["Segmentation f"]


def test_a_long_line_is_cut_and_says_by_how_much():
    """A megabyte without an end costs no more memory than the limit."""
    chunks = [b"x" * 65536] * 16
    said = []
    lines = Lines(said.append)
    for chunk in chunks:
        lines.feed(chunk)
        assert len(lines._held) <= LIMIT
    lines.feed(b"\nnext\n")
    assert said == ["x" * LIMIT + f" [{16 * 65536 - LIMIT} bytes cut]", "next"]


def test_a_line_of_exactly_the_limit_is_whole():
    """The limit itself still fits."""
    assert heard(b"12345678\n", limit=8) == ["12345678"]
    assert heard(b"123456789\n", limit=8) == ["12345678 [1 bytes cut]"]
    assert heard(b"12345678", b"9", limit=8) == ["12345678 [1 bytes cut]"]


def test_a_line_that_is_cut_to_nothing_still_tells():
    """What is left of a line is told even if nothing of it was kept."""
    assert heard(b"\r" * 8 + b"rest", limit=8) == [" [4 bytes cut]"]


def test_bytes_that_are_no_text_are_heard_all_the_same():
    """Undecodable bytes are replaced, never raised."""
    assert heard(b"\xff\xfe ok\n") == ["\ufffd\ufffd ok"]


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("plain √ text", "plain √ text"),
        ("a\tb", "a\tb"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("over\rwritten", "over\\rwritten"),
        ("bell\x07 nul\x00", "bell\\x07 nul\\x00"),
        ("right-to-left \u202e", "right-to-left \\u202e"),
        ("line\u2028separator\x85", "line\\u2028separator\\x85"),
    ],
)
def test_what_moves_a_cursor_or_forges_a_line_is_escaped(raw, safe):
    """A job's output can neither repaint a terminal nor look like a line of the agent."""
    assert printable(raw) == safe
