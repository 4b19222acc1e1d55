"""Examine a launcher and its account without starting anything: `runner-launcher doctor`.

Each file of `checks/` looks at one thing and returns findings; `all_checks` lists them. A check
changes nothing, and no finding holds a secret.
"""
