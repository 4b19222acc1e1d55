"""The commands of `runner-sidecar`, one file each."""
