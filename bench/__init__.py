"""What the agent costs, each figure beside its floor or its peer in the same run.

`python -m bench` (or `make bench`) plays real lives against the stand-ins in `local/`, prints a
table and writes `results/latest.json`. docs/performance.md says how each figure is read.
"""
