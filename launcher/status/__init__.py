"""Tell how the pools are: demand, starting, idle, running, failing, limits used.

`snapshot` reads the table, the queue and the pools once; `table` shows it; `live` shows it again
and again on a terminal.
"""
