"""The one seam between the agent and the operating system: two files of the same names."""

import sys

if sys.platform == "win32":
    from sidecar.host.windows import *  # noqa: F403
else:
    from sidecar.host.posix import *  # noqa: F403
