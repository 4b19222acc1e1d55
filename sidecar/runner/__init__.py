"""The actions runner: its folder, registration, listener, job hooks and outcomes."""
