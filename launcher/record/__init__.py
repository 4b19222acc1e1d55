"""Keep one record for each launch in DynamoDB, and what the workers share beside it.

`records` reads and writes them; the other files say what stands in the table: `launch` and `items`
(a record), `counters` (how many a pool has), `pool_state` (a pool's faults, and who waits first),
`rerun_state` (which runs were run again).
"""
