"""The version of actions/runner; `local.runner.install(version=…)` writes another."""

VERSION = "2.336.0"
