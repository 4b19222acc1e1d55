"""Stand-ins for what an agent meets: GitHub, the actions runner, AWS.

Each runs on its own (`python -m local.…`) and in a process; README.md says how. Nothing here
imports the agent, and the agent imports nothing of this.
"""
