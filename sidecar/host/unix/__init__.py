"""What the POSIX side of the seam is made of: file work that no job can lead elsewhere."""
