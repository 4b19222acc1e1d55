"""Stand-ins for the services that an agent uses: GitHub, the actions runner, AWS.

Each runs as a program (`python -m local.…`) and inside another one; README.md shows how. `stage`
starts them all, `agent` starts an agent beside them. Nothing here imports the agent's package, and
that imports nothing of this.
"""
