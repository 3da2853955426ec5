"""Sessions against real registries, closed when the test ends."""

from __future__ import annotations

import pytest
from tests.servers.docker import RunningRegistry

from imgpkg.embedded.server import serve
from imgpkg.session import Session
from imgpkg.settings import Login, Settings


@pytest.fixture
def open_session():
    """Open a session with these settings; `username` and `password` become flags."""
    sessions = []

    def opened(*, username=None, password=None, on_event=None, **options):
        settings = Settings(login=Login(username, password), **options)
        session = Session(settings, on_event=on_event) if on_event else Session(settings)
        sessions.append(session)
        return session

    yield opened
    for session in sessions:
        session.close()


@pytest.fixture
def session(open_session):
    """An anonymous session."""
    return open_session()


@pytest.fixture
def write_tree(tmp_path):
    """Write {path: text or bytes} below a new folder and return the folder."""
    numbers = iter(range(1000))

    def written(files):
        root = tmp_path / f"tree{next(numbers)}"
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            path.chmod(0o644)
        return root

    return written


def read_tree(root):
    """Return {path: bytes} of every file below `root`."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="session")
def another_registry():
    """A second embedded registry."""
    with serve() as server:
        yield RunningRegistry(server.address, server=server)
