"""How a life ends in time: the stop signals, the stop budget, the cleanup steps."""
