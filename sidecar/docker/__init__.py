"""The docker engine of a task: a client of its API, and the proxy that jobs use in its place."""
