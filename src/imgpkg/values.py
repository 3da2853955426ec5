"""Building blocks of values: an immutable dict, and fields that `asdict` leaves out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn, TypeAlias, TypeVar

from imgpkg.dataclass import hide

if TYPE_CHECKING:
    from collections.abc import Callable

K = TypeVar("K")
V = TypeVar("V")
C = TypeVar("C", bound=type)

StrPath: TypeAlias = str | os.PathLike[str]


class FrozenDict(dict[K, V]):
    """An immutable dict, hashable if its values are.

    It is a subclass of dict so that `json.dumps` and `dataclasses.asdict` accept it; a
    `types.MappingProxyType` has no hash, cannot be pickled and is no dict to either.
    """

    __slots__ = ()

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
