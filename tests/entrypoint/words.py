"""What the container's arguments mean, on every system."""

WORDS = [
    ([], ["run"]),
    (["--name-prefix", "a b"], ["run", "--name-prefix", "a b"]),
    (["sh", "-c", "exit  7"], ["run", "--", "sh", "-c", "exit  7"]),
    (["/bin/true", "--help"], ["run", "--", "/bin/true", "--help"]),
    (["runner-sidecar", "health"], ["health"]),
    (["runner-sidecar", "run", "--", "true"], ["run", "--", "true"]),
]
"""Each with the agent's own command line."""
