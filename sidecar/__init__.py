"""A GitHub Actions runner that lives for one job inside an AWS ECS task."""

__version__ = "0.1.0"
