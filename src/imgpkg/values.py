"""Building blocks of values: an immutable dict, fields that `asdict` leaves out, and RFC 3339 times."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn, TypeAlias, TypeVar

from imgpkg.dataclass import hide
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Callable

K = TypeVar("K")
V = TypeVar("V")
C = TypeVar("C", bound=type)

StrPath: TypeAlias = str | os.PathLike[str]
# Some clouds send nanoseconds, which datetime cannot hold, and Python 3.10 parses neither them nor the Z.
_TIME = expression(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?(?:[Zz]|([+-]\d\d:\d\d))")


class FrozenDict(dict[K, V]):
    """An immutable dict, hashable if its values are.

    It is a subclass of dict so that `json.dumps` and `dataclasses.asdict` accept it; a
    `types.MappingProxyType` has no hash, cannot be pickled and is no dict to either.
    """

    if not TYPE_CHECKING:
        # Fields are annotated as Mapping, which has no such methods; overriding those of dict with another
        # signature would be a type error.

        def __hash__(self) -> int:
            return hash(frozenset(self.items()))

        def _refuse(self, *_: object, **__: object) -> NoReturn:
            raise TypeError("a FrozenDict stays as it was made")

        __setitem__ = __delitem__ = __ior__ = _refuse
        clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[object, ...]:
        # By default pickle and copy create an empty dict and then set its items.
        return type(self), (dict(self),)


def hiding(*names: str) -> Callable[[C], C]:
    """Return a decorator that hides the fields `names` of a dataclass from `fields`, `asdict`, `astuple`.

    `==`, the hash, `replace`, pickles and copies include them.
    """

    def decorate(decorated: C) -> C:
        hide(decorated, names)
        return decorated

    return decorate


def parse_time(text: str) -> float:
    """Return the Unix time of an RFC 3339 text like `2030-01-02T03:04:05.6Z`; raise ValueError for others."""
    from datetime import datetime

    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no RFC 3339 time")
    date, clock, fraction, offset = match.groups()
    whole = datetime.fromisoformat(f"{date}T{clock}{offset or '+00:00'}")
    return whole.timestamp() + float(fraction or 0)


def format_time(seconds: float) -> str:
    """Return a Unix time as RFC 3339 in UTC, to the microsecond."""
    from datetime import datetime, timezone

    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")
