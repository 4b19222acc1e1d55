"""`warmup`: what every start would do again, done once, while an image is built."""

import compileall
import os
import py_compile

from . import codes


def warm() -> int:
    """Compile this program, for users who may not write beside it; return the exit code."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH  # good in copies of the folder, too
    here = os.path.dirname(os.path.abspath(__file__))
    compiled = compileall.compile_dir(here, quiet=2, force=True, invalidation_mode=mode)
    return codes.SUCCESS if compiled else codes.TERMINATED
