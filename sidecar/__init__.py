"""An agent that runs one ephemeral GitHub Actions runner in an AWS ECS task, for one job."""

__version__ = "0.1.0"
