"""The life of a runner, told as a story, and what each of its steps does."""
