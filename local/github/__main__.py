"""`python -m local.github`: prints `ready URL` and `control URL`; ends on SIGTERM or SIGINT."""

import argparse
import asyncio
import signal
import sys

from local.github.serving import serving
from local.github.settings import Settings


async def _serve(
    host: str, port: int, pats: list[str], settings: Settings, control_path: str
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    if sys.platform == "win32":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGBREAK):
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    else:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
    served = serving(host, port, settings=settings, pats=pats, control_path=control_path)
    async with served as github:
        sys.stdout.write(f"ready {github.url}\ncontrol {github.control}\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="local.github", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:0", help="HOST:PORT; port 0 takes any")
    parser.add_argument(
        "--pat", action="append", default=[], help="a personal access token to accept"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=JSON", help="a setting (README.md)"
    )
    parser.add_argument(
        "--control-path", default="", metavar="PATH", help="the control plane's; else a secret one"
    )
    asked = parser.parse_args()
    import json

    settings = Settings()
    pairs = (each.partition("=") for each in asked.set)
    settings.update({name: json.loads(value) for name, _, value in pairs})
    host, _, port = asked.address.rpartition(":")
    asyncio.run(_serve(host, int(port), asked.pat or ["ghp_local"], settings, asked.control_path))


if __name__ == "__main__":
    main()
