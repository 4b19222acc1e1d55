"""The only place that calls the operating system: `host.x` is this system's `x`.

Each file exists twice, as `posix_*.py` and `windows_*.py`, with the same public names.
"""

import sys

from sidecar.host.admission_request import *  # noqa: F403

if sys.platform == "win32":
    from sidecar.host.windows_admission import *  # noqa: F403
    from sidecar.host.windows_agent import *  # noqa: F403
    from sidecar.host.windows_claims import *  # noqa: F403
    from sidecar.host.windows_files import *  # noqa: F403
    from sidecar.host.windows_folders import *  # noqa: F403
    from sidecar.host.windows_hooks import *  # noqa: F403
    from sidecar.host.windows_killer import *  # noqa: F403
    from sidecar.host.windows_memory import *  # noqa: F403
    from sidecar.host.windows_network import *  # noqa: F403
    from sidecar.host.windows_open_files import *  # noqa: F403
    from sidecar.host.windows_private import *  # noqa: F403
    from sidecar.host.windows_processes import *  # noqa: F403
    from sidecar.host.windows_program import *  # noqa: F403
    from sidecar.host.windows_registry_helper import *  # noqa: F403
    from sidecar.host.windows_secrets import *  # noqa: F403
    from sidecar.host.windows_sockets import *  # noqa: F403
    from sidecar.host.windows_trust import *  # noqa: F403
    from sidecar.host.windows_user_processes import *  # noqa: F403
    from sidecar.host.windows_users import *  # noqa: F403
else:
    from sidecar.host.posix_admission import *  # noqa: F403
    from sidecar.host.posix_agent import *  # noqa: F403
    from sidecar.host.posix_claims import *  # noqa: F403
    from sidecar.host.posix_files import *  # noqa: F403
    from sidecar.host.posix_folders import *  # noqa: F403
    from sidecar.host.posix_hooks import *  # noqa: F403
    from sidecar.host.posix_killer import *  # noqa: F403
    from sidecar.host.posix_memory import *  # noqa: F403
    from sidecar.host.posix_network import *  # noqa: F403
    from sidecar.host.posix_open_files import *  # noqa: F403
    from sidecar.host.posix_private import *  # noqa: F403
    from sidecar.host.posix_processes import *  # noqa: F403
    from sidecar.host.posix_program import *  # noqa: F403
    from sidecar.host.posix_registry_helper import *  # noqa: F403
    from sidecar.host.posix_secrets import *  # noqa: F403
    from sidecar.host.posix_sockets import *  # noqa: F403
    from sidecar.host.posix_trust import *  # noqa: F403
    from sidecar.host.posix_user_processes import *  # noqa: F403
    from sidecar.host.posix_users import *  # noqa: F403
