"""What the stand-in of the runner's program needs on Windows beside the program itself."""
