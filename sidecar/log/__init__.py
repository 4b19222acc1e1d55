"""What is logged: events, masked secrets, safe lines."""
