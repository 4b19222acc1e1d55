"""Report on the agent itself: health server, metrics, final event."""
