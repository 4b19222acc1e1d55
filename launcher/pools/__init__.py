"""Keep the pools: the tasks that can be started, for which labels, for whom, and how many.

`pool` says what a pool is. `document` reads a document of pools, from one of the places in `source`
or out of task definitions (`families`); `labels` and `access` decide which pool serves a job.
"""
