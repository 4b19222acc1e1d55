"""Deploy the launcher to AWS: its zip, its stacks, its secrets. Needs neither docker nor SAM."""
