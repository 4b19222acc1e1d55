"""What asks for a launch: one file for each kind of demand."""
