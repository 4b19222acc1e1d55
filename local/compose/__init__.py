"""The stand-ins of compose.yaml: they also start the story there, and verify its end.

`python -m local.compose` runs in a container of a network of its own. It serves AWS, the ECS agent,
the instance's metadata and GitHub at the addresses where a task expects them, queues a job, puts
the token, and watches. It starts no container: the runner is a container beside it.
"""
