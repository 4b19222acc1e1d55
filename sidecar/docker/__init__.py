"""The docker daemon, as the agent meets it: where it is, and what it tells of itself."""
