"""Run `python -m launcher.deploy`."""

import sys

from launcher.deploy.cli import main

sys.exit(main())
