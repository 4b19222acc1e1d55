"""The actions runner's program, as far as a supervisor can tell it from GitHub's own."""

from local.runner.installing import install, pack

__all__ = ["install", "pack"]
