"""What the agent logs: events, with secrets masked and lines made safe."""
