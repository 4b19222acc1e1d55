"""Check what lies between this process and the servers that it calls."""
