"""The documents, and what writes the part of them that the code knows best."""
