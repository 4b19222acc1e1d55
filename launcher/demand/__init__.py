"""The ways to ask for a launch: one file for each kind of demand."""
