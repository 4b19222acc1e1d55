"""The checks of the doctor: each file looks at one thing, and its `check` returns findings."""
