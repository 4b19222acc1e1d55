"""`make demo`: one life of the agent among the stand-ins, watched and judged from outside.

`endings` says how it may end, `stage` starts the stand-ins, `agent` the agent, `nested` is the
container beside it, `story` and `watching` tell what they see, `timeline` draws it, `verdict`
judges it, `play` is all of that in its order.
"""
