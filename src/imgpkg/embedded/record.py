"""What the registry tells about each request that it saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.embedded.message import Pairs


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request as the registry saw it; `status` is 0 when nobody was left to answer.

    `error` is what went wrong inside the registry when it answered 500. `headers` may hold secrets.
    """

    method: str
    path: str
    query: Pairs
    status: int
    error: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def authorization(self) -> str:
        """The value of the Authorization header, empty without one: a secret."""
        return self.headers.get("authorization", "")


OnRequest: TypeAlias = "Callable[[RequestRecord], None]"


def ignore_request(record: RequestRecord) -> None:
    """Watch nothing."""
