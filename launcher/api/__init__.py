"""Start, look at and stop runners for callers that prove who they are: `POST /start` and so on.

`api` is the whole of it, from a request to its answer. A caller proves itself by GitHub's OIDC
token (`oidc`, with GitHub's `keys`), or by GARO's contract (`garo`, with a `proof` that its token
may write). `orders` starts, looks and stops, by the same stages as a queued job's launch.
"""
