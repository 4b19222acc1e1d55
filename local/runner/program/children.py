"""Child processes of this system: start them, read them, ask them to end."""

import sys

if sys.platform == "win32":
    from .windows_children import (
        Reader,
        ask_to_end,
        open_channel,
        open_output,
        start_step,
        start_worker,
    )
else:
    from .posix_children import (
        Reader,
        ask_to_end,
        open_channel,
        open_output,
        start_step,
        start_worker,
    )

__all__ = ["Reader", "ask_to_end", "open_channel", "open_output", "start_step", "start_worker"]
