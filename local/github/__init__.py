"""A GitHub that is only its self-hosted runners: REST, the runner's own calls, a queue of jobs.

`python -m local.github` runs it alone; `serving()` runs it inside a test. local/README.md has
the control plane under `/_local/`.
"""

from local.github.serving import GitHub, serving
from local.github.settings import Settings

__all__ = ["GitHub", "Settings", "serving"]
