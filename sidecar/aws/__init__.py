"""Calls to AWS and to the ECS agent. Knows neither a runner nor a task's life."""
