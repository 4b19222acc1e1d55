"""Ask each source of facts, and yield the entries that it tells.

Each file is one source: `read_…` asks it and raises what its client raises, `tell` yields entries.
"""
