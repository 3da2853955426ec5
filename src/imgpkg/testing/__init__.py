"""A registry for the tests of other programs, with faults on request, and the fixtures of a pytest plugin.

    from imgpkg.testing import faults, make_image, serve

    with serve(login=("ci", "secret")) as registry:
        registry.add("team/app:v1", make_image({"etc/os-release": b"ID=example"}))
        registry.fail(faults.too_many_requests(retry_after=1))

pytest loads this package in every run, so that names are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgpkg.embedded.access import Account as Account
    from imgpkg.embedded.message import Fault as Fault
    from imgpkg.embedded.message import ServerRequest as ServerRequest
    from imgpkg.embedded.routes import Features as Features
    from imgpkg.testing import faults as faults
    from imgpkg.testing.image import SampleImage as SampleImage
    from imgpkg.testing.image import make_image as make_image
    from imgpkg.testing.image import make_index as make_index
    from imgpkg.testing.registry import ReceivedRequest as ReceivedRequest
    from imgpkg.testing.registry import RegistryServer as RegistryServer
    from imgpkg.testing.registry import ServeRegistry as ServeRegistry
    from imgpkg.testing.registry import serve as serve

# The module of each name; those that are modules themselves have none.
_HOMES = {
    "Account": "imgpkg.embedded.access",
    "Fault": "imgpkg.embedded.message",
    "Features": "imgpkg.embedded.routes",
    "ReceivedRequest": "imgpkg.testing.registry",
    "RegistryServer": "imgpkg.testing.registry",
    "SampleImage": "imgpkg.testing.image",
    "ServeRegistry": "imgpkg.testing.registry",
    "ServerRequest": "imgpkg.embedded.message",
    "make_image": "imgpkg.testing.image",
    "make_index": "imgpkg.testing.image",
    "serve": "imgpkg.testing.registry",
}
_MODULES = {"faults"}
__all__ = [*sorted(_HOMES), *sorted(_MODULES)]  # noqa: PLE0604 - names loaded on first use


if not TYPE_CHECKING:
    # With a module `__getattr__`, type checkers would accept any name.

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return import_module(f"imgpkg.testing.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module 'imgpkg.testing' has no attribute {name!r}")
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
