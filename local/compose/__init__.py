"""The stand-ins of compose.yaml, who starts the task there, and who judges its end.

`python -m local.compose`, in a container of a network of its own: it serves AWS, the ECS agent,
the instance's metadata and GitHub at the addresses that a task knows them by, queues a job, puts
the token, and looks on. It starts nothing: the runner is a container beside it.
"""
