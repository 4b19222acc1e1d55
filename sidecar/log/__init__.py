"""Log events, with secrets masked and lines made safe."""
