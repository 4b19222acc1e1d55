"""Keep one record for each launch in DynamoDB, and what the workers share beside it.

`records` reads and writes them; the other files say what stands in the table: `launch` and `items`
(a record), `counters` (how many a pool has), `pool_state` (a pool's faults, and who waits first),
`rerun_state` (which runs were run again), `runs` (what was asked about them), `paces` (lines in
which calls take turns), `used_tokens` (which are to be deleted), `shown_tokens` (what callers of
the API have started by theirs), `sweep_state` (what a first look has found). `ledger` reads all of
them at once.
"""
