"""End a life in time: the stop signals, the stop budget, the cleanup steps."""
