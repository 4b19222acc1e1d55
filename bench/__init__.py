"""Measure what the agent costs, each figure beside a comparable program in the same run.

`python -m bench` (or `make bench`) runs real lives against the stand-ins in `local/`, prints a
table and writes `results/latest.json`. docs/performance.md explains each figure.
"""
