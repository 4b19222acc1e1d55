"""Read documents of rules: their tables, and the patterns by which they name jobs of GitHub's.

Agent and launcher share it: a pool and a role mean the same by `octo-org/*`.
"""
