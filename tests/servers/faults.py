"""Faults of the embedded registry, one after the other or again and again."""

from __future__ import annotations

import re
import threading

from imgpkg.embedded.message import Fault, RequestRefused


def refusing(status, code="UNAVAILABLE", message="injected", headers=()):
    """Return the fault that answers with an error of the registry."""
    return Fault(answer=RequestRefused(status, code, message, headers=tuple(headers)).response())


def insufficient_scope(scope, realm="http://127.0.0.1:1/token"):
    """Return the fault that asks for one more scope."""
    challenge = f'Bearer realm="{realm}",service="test",scope="{scope}",error="insufficient_scope"'
    return refusing(401, "UNAUTHORIZED", "authentication required", [("WWW-Authenticate", challenge)])


def always(fault, *, method=None, path=""):
    """Do it to every request with this method whose path has this pattern somewhere."""
    return first(float("inf"), fault, method=method, path=path)


def first(count, fault, *, method=None, path=""):
    """Do it to the first `count` requests that match."""
    lock, left = threading.Lock(), [count]
    pattern = re.compile(path)

    def faults(request):
        if method not in (None, request.method) or not pattern.search(request.path):
            return None
        with lock:
            if left[0] <= 0:
                return None
            left[0] -= 1
        return fault

    return faults


def any_of(*choices):
    """Ask each in turn; the first that wants a fault decides."""

    def faults(request):
        return next((fault for choice in choices if (fault := choice(request)) is not None), None)

    return faults
