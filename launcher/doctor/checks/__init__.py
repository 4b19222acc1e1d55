"""The checks of the launcher's doctor, one in each file."""
