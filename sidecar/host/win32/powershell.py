"""Write PowerShell: text that it takes literally, and a script file that it decodes rightly."""

from __future__ import annotations

import re
import sys

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

_QUOTES = re.compile("['\u2018\u2019\u201a\u201b]")
"""Every character that PowerShell takes for a single quote."""
_BYTE_ORDER_MARK = "\ufeff"


def quote(text: str) -> str:
    """Return `text` as a literal: in it a quote is written twice, and nothing else is special."""
    return f"'{_QUOTES.sub(lambda match: match[0] * 2, text)}'"


def encode_script(script: str) -> str:
    """Return a script as its file must begin: Windows PowerShell believes only a BOM."""
    return script if script.isascii() else _BYTE_ORDER_MARK + script
