"""Examine a set-up without running anything in it: `runner-sidecar doctor`.

Each file of `checks/` looks at one thing and returns findings; `all_checks` runs them all side by
side. A check changes nothing, and no finding holds a secret.
"""
