"""Serve the embedded registry with a delay before each answer; print its address.

python benchmarks/distant_registry.py MILLISECONDS
"""

from __future__ import annotations

import signal
import sys

from imgpkg.embedded.message import Fault
from imgpkg.embedded.server import serve


def main() -> None:
    delay = Fault(delay=float(sys.argv[1]) / 1000)
    with serve(faults=lambda request: None if request.path == "/quick" else delay, keep_requests=0) as server:
        # Told to stop, it removes its folder.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        print(server.address, flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
