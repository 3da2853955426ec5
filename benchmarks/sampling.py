"""Run a command of ours and sample what its threads do, for rows that missed their aim.

    python -m benchmarks.sampling FILE imgpkg.cli.main tag resolve -i registry.example.com/team/app:v1

writes to FILE the nanoseconds of the processor by function, and the nanoseconds in which no, one, two and
more connections were at work or waited for by a thread. Each sample gives what a thread has used since the
last one to the function that it is in, or that waits in `threading` after it; what C code needs counts for
the Python function that called it. What runs while modules are imported counts for the package whose module
asked for them.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_INTERVAL = 0.001
START = "start of the interpreter"
_UNSEEN = "between samples"
# A thread that sends, receives or opens a connection has a function of this module on its stack.
_CONNECTION = "imgpkg.transport.connection"


class Sampler(threading.Thread):
    """Samples all other threads until `end`."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.spent: Counter[str] = Counter()
        self.in_use: Counter[int] = Counter()
        self._stop_asked = threading.Event()
        self._before: dict[int, int] = {}
        self._own = 0

    def run(self) -> None:
        last = time.monotonic_ns()
        while not self._stop_asked.wait(_INTERVAL):
            frames = sys._current_frames()  # noqa: SLF001 - the only way to see the frames of other threads
            now = time.monotonic_ns()
            self.in_use[sum(map(_uses_a_connection, frames.values()))] += now - last
            last = now
            for thread in threading.enumerate():
                if thread is not self and thread.native_id and thread.ident in frames:
                    self._add(thread.native_id, frames[thread.ident])
        self._own = time.thread_time_ns()

    def _add(self, native: int, frame: FrameType) -> None:
        try:
            # Nanoseconds on a processor, waiting for one, and time slices.
            running = int(Path(f"/proc/self/task/{native}/schedstat").read_text().split()[0])
        except OSError:
            return
        if native in self._before:
            self.spent[_label(frame)] += running - self._before[native]
        elif native != threading.main_thread().native_id:
            self.spent[_label(frame)] += running
        self._before[native] = running

    def end(self) -> dict[str, int]:
        """Stop; return what was spent, with what no sample has seen."""
        self._stop_asked.set()
        self.join()
        seen = sum(self.spent.values()) + self._own
        return {**self.spent, _UNSEEN: max(0, time.process_time_ns() - seen)}


def _uses_a_connection(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__") == _CONNECTION:
            return True
        frame = frame.f_back
    return False


def _label(inner: FrameType) -> str:
    """Return the function of a frame with its module, or the package that is importing."""
    frame: FrameType | None = inner
    is_import = False
    while frame is not None:
        name = frame.f_globals.get("__name__", "?")
        is_import |= name.startswith("importlib._bootstrap")
        if is_import and not name.startswith("importlib"):
            return f"imports of {name.partition('.')[0]}"
        frame = frame.f_back
    while inner.f_back is not None and inner.f_globals.get("__name__") == "threading":
        inner = inner.f_back
    code = inner.f_code
    return f"{inner.f_globals.get('__name__', '?')}.{getattr(code, 'co_qualname', code.co_name)}"


def main() -> None:
    """Run the command, which may end by itself or with SystemExit."""
    file, module, *words = sys.argv[1:]
    # As when it was started by its own name: it sets up what is for a process of its own.
    sys.argv = [module, *words]
    bare = time.process_time_ns()
    sampler = Sampler()
    sampler.start()
    code: object = 1
    try:
        code = importlib.import_module(module).main()
    except SystemExit as ended:
        code = ended.code
    finally:
        spent = sampler.end()
        spent[_UNSEEN] = max(0, spent[_UNSEEN] - bare)
        found = {"cpu": {START: bare, **spent}, "in use": sampler.in_use}
        Path(file).write_text(json.dumps(found))
    sys.exit(code)


if __name__ == "__main__":
    main()
