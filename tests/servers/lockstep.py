"""Registries that answer in rounds: how often a client waits for answers, without a clock.

Over a long link a command takes as many round trips as there are rounds, whatever the machine does meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter

# Seconds without a request after which no other one comes before the answers.
_QUIET = 0.1


class Lockstep:
    """Holds the requests of all its servers until no more can come, and then answers them together.

    No more come where as many are held as there are connections, `most`, nor after a while of silence.
    `rounds` is a list of what was answered together, each request as its method and path.
    """

    def __init__(self, most):
        self.rounds = []
        self._most = most
        self._changed = threading.Condition()
        self._held = {}
        self._since, self._quiet = 0.0, _QUIET
        self._is_on = False

    @property
    def count(self):
        """How many requests were answered."""
        return sum(map(len, self.rounds))

    @contextlib.contextmanager
    def counting(self, quiet=_QUIET):
        """Hold requests in this context, for `quiet` seconds after the last one, and count anew."""
        self.rounds, self._is_on, self._quiet = [], True, quiet
        try:
            yield
        finally:
            self._is_on = False

    def of(self, name):
        """Return the option `faults` of a server, which has connections of its own."""
        return lambda request: self._hold(name, f"{request.method} {request.path}") if self._is_on else None

    def _hold(self, name, what):
        with self._changed:
            number = len(self.rounds)
            self._held[threading.get_ident()] = name, what
            self._since = time.monotonic()
            while len(self.rounds) == number:
                left = self._since + self._quiet - time.monotonic()
                counts = Counter(server for server, _ in self._held.values())
                if left <= 0 or all(count >= self._most for count in counts.values()):
                    self._release()
                else:
                    self._changed.wait(left)

    def _release(self):
        self.rounds.append([what for _, what in self._held.values()])
        self._held = {}
        self._changed.notify_all()
