"""What the agent reports about itself: health server, metrics, final event."""
