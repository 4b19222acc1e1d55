"""The launch side: start a task for each job that needs one, and leave nothing behind."""
