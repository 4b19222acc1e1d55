"""`make demo LAUNCH=ec2` and `LAUNCH=api`: machines of EC2, started by a webhook or by the API.

`stage` opens the stand-ins. `scenario` shows the first, `api` the second. `watching` shows what
happens, `story` has the words, `endings` what may go wrong, and `verdict` compares what is left
with what should be.
"""
