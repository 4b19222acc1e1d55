"""A stream of bytes is cut into lines that are safe to log."""

import pytest

from sidecar.log.lines import LIMIT, Lines, escape


def cut(*chunks, limit=LIMIT):
    """Feed the chunks and end; return the lines."""
    taken = []
    lines = Lines(taken.append, limit)
    for chunk in chunks:
        lines.feed(chunk)
    lines.end()
    return taken


def test_lines_are_whole_however_they_were_sent():
    """A chunk may end within a line, or within a character of several bytes."""
    sent = "first\nzwölf √ Läufe\n\nlast\r\n".encode()
    whole = ["first", "zwölf √ Läufe", "last"]
    assert cut(sent) == whole
    assert cut(*(sent[at : at + 1] for at in range(len(sent)))) == whole


def test_a_line_is_taken_as_soon_as_it_ends():
    """It does not wait for the next chunk."""
    taken = []
    lines = Lines(taken.append)
    lines.feed(b"a\nb")
    assert taken == ["a"]
    lines.feed(b"c\n")
    assert taken == ["a", "bc"]


def test_a_last_line_without_an_end_is_taken_at_the_end():
    """The last words of a program that crashed are kept, and taken once."""
    taken = []
    lines = Lines(taken.append)
    lines.feed(b"Segmentation f")
    assert taken == []
    lines.end()
    lines.end()
    assert taken == ["Segmentation f"]


def test_a_long_line_is_cut_and_says_by_how_much():
    """A megabyte without an end costs no more memory than the limit."""
    chunks = [b"x" * 65536] * 16
    taken = []
    lines = Lines(taken.append)
    for chunk in chunks:
        lines.feed(chunk)
        assert len(lines._kept) <= LIMIT
    lines.feed(b"\nnext\n")
    assert taken == ["x" * LIMIT + f" [{16 * 65536 - LIMIT} bytes cut]", "next"]


def test_a_line_of_exactly_the_limit_is_whole():
    """The limit itself still fits."""
    assert cut(b"12345678\n", limit=8) == ["12345678"]
    assert cut(b"123456789\n", limit=8) == ["12345678 [1 bytes cut]"]
    assert cut(b"12345678", b"9", limit=8) == ["12345678 [1 bytes cut]"]


def test_a_line_of_which_nothing_is_kept_is_counted():
    """The number of cut bytes is there even if no text is."""
    assert cut(b"\r" * 8 + b"rest", limit=8) == [" [4 bytes cut]"]


def test_bytes_that_are_not_text_are_replaced():
    """They raise nothing."""
    assert cut(b"\xff\xfe ok\n") == ["\ufffd\ufffd ok"]


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
    assert escape(raw) == safe
