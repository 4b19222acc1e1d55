"""Examine a set-up without changing it: what the agent's doctor and the launcher's share.

Checks look at one thing each and return findings. Here are the findings, the running of checks side
by side, how both are told, and the checks of the network, which is the same for all.
"""
