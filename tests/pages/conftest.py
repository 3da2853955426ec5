"""Registries under the names that pages print, on an internet of their own."""

from __future__ import annotations

import pytest
from tests.auth.cloud.commands import Stocking
from tests.auth.cloud.conftest import (  # noqa: F401 - fixtures are used by their names
    certificates,
    here,
    internet,
    registry,
)

import imgpkg


@pytest.fixture
def stocked(registry, tmp_path):  # noqa: F811 - the fixture of that name
    """Put a registry with these bundles on the internet: `stocked(host, OpenAccess(), "team/bundle:v1")`."""
    folder = tmp_path / "content"
    (folder / ".imgpkg").mkdir(parents=True)
    (folder / ".imgpkg/images.yml").write_text(
        "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages: []\n"
    )

    def stock(host, access, *bundles):
        stocking = Stocking(access)
        server = registry(host, access=stocking)
        # The test puts its bundles in under the number of the host, not under its name.
        with imgpkg.Session(imgpkg.Settings(verify_certs=False)) as session:
            for name in bundles:
                imgpkg.push([folder], bundle=f"{server.address}/{name}", session=session)
        stocking.is_open = False
        return server

    return stock
