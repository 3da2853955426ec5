"""A client on real sockets."""

from __future__ import annotations

import pytest
from tests.registry.scripted import Source

from imgpkg.auth.keychain import Keychain
from imgpkg.registry.client import RegistryClient
from imgpkg.transport.pool import Pool


@pytest.fixture
def warnings():
    """What the client warns of."""
    return []


@pytest.fixture
def client(warnings):
    """An anonymous client that waits for nothing between its three tries."""
    with Pool() as pool:
        yield RegistryClient(
            pool, Keychain([Source(None)]), retry_count=3, sleep=lambda seconds: None, warn=warnings.append
        )
