"""`make demo`: one life of the agent among the stand-ins, shown and verified from outside.

`endings` lists how a life may end. `scenario` runs one of them: it starts the stage and the agent
(`agent`), and the container beside it (`nested`). `story` and `watching` put into words what
happens, `timeline` prints it, and `verdict` compares what is left with what should be.
"""
