"""Which actions/runner this stands in for; `local.runner.install(version=…)` writes another."""

VERSION = "2.336.0"
