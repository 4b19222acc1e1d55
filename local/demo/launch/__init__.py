"""`make demo LAUNCH=webhook`: queued jobs become tasks by themselves, among the stand-ins.

`endings` lists what may go wrong on the way. `scenario` runs one of them: it starts the stage
(`local.launches`), webhook and worker, and queues the jobs. `watching` shows what happens to one
job, `crowd` to many at once, `story` has the words, and `verdict` compares what is left with what
should be.
"""
