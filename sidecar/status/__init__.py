"""What the agent says about itself: health server, metrics, final event."""
