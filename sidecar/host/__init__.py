"""The one seam between the agent and the operating system: two files of the same names.

And two more, for what stands before docker.
"""

import sys

if sys.platform == "win32":
    from sidecar.host.windows import *  # noqa: F403
    from sidecar.host.windows_sockets import *  # noqa: F403
else:
    from sidecar.host.posix import *  # noqa: F403
    from sidecar.host.posix_sockets import *  # noqa: F403
