"""Judge which text STS takes as a session tag without a change."""

from __future__ import annotations

import unicodedata

LONGEST_KEY, LONGEST_VALUE = 128, 256
"""Characters of a tag (STS, `Tag`)."""
OWN_TAGS = ("repository", "ref", "workflow", "event", "actor", "run_id", "run_attempt")
"""The tags that say who the job is; no rule may set one of them."""
_MARKS = frozenset("_.:/=+-@ ")


def is_tag_text(text: str) -> bool:
    r"""Return whether STS takes all of these characters in a tag: `[\p{L}\p{Z}\p{N}_.:/=+\-@]*`.

    Of the spaces only the usual one, and none at either end, where a program may cut it off. Text
    that has another composed form is not taken, since a program may write it in that form.
    """
    return (
        text == text.strip()
        and unicodedata.is_normalized("NFC", text)
        and all(one in _MARKS or unicodedata.category(one)[0] in "LN" for one in text)
    )
