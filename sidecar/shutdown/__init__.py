"""How a life ends in time: signals, the stop budget, the cleanup steps."""
