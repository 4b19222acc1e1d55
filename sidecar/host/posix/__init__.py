"""Parts of the POSIX side that several of its files need."""
