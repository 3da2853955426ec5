"""Test a program that uses a registry: the fixtures come with imgpkg-py, and pytest finds them.

python -m pytest test_fixture.py
"""

import pytest

import imgpkg
from imgpkg.testing import RegistryServer, faults, make_image


def test_a_file_of_a_private_image_is_read(registry_with_login: RegistryServer) -> None:
    registry_with_login.add("team/app:v1", make_image({"etc/motd": b"hello"}))
    with registry_with_login.session() as session:
        image = f"{registry_with_login.address}/team/app:v1"
        assert imgpkg.read_file(image, "etc/motd", session=session) == b"hello"


def test_a_registry_that_is_busy_is_asked_again(registry: RegistryServer) -> None:
    registry.add("team/app:v1", make_image({"etc/motd": b"hello"}))
    registry.fail(faults.too_many_requests(retry_after=0), path="/manifests/v1")
    with registry.session() as session:
        imgpkg.resolve(f"{registry.address}/team/app:v1", session=session)
        with pytest.raises(imgpkg.errors.NotFound):
            imgpkg.resolve(f"{registry.address}/team/app:v2", session=session)
    assert [request.status for request in registry.requests[:2]] == [429, 200]
