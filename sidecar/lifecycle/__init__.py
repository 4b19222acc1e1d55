"""The life of a runner, as a story in `runner_life`, and the parts that it calls."""
