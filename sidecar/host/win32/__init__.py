"""Use Windows' own libraries, for `sidecar/host/windows_*.py`; each file is one topic."""
