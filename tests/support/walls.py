"""What tries to get past the network rules while a job ends, and an agent that lets it."""

import sys

PROBE = """
import sys, time, urllib.error, urllib.request
found, *urls = sys.argv[1:]
print("probing", flush=True)
while True:
    for url in urls:
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                said = answer.status
        except urllib.error.HTTPError as error:
            said = error.code
        except OSError as error:
            said = type(error).__name__
        with open(found, "a") as file:
            file.write(f"{said}\\n")
    time.sleep(0.01)
"""
"""Asks every URL without a pause, until it is killed; writes each answer into a file."""

_REMOVE_AT_ONCE = """
import sys
from sidecar.shutdown.cleanup import CleanupStack
register = CleanupStack.register_step
CleanupStack.register_step = lambda self, name, action, when=None: register(self, name, action)
from sidecar.__main__ import main
sys.exit(main(["run", *sys.argv[1:]]))
"""
UNMENDED = (sys.executable, "-c", _REMOVE_AT_ONCE)
"""An agent that removes the network rules at the interrupt, as all did once."""
