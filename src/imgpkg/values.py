"""What values are made of: a mapping that never changes, and fields that are kept and not shown."""

from __future__ import annotations

import os
from dataclasses import InitVar, field, make_dataclass
from typing import TYPE_CHECKING, NoReturn, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

K = TypeVar("K")
V = TypeVar("V")
C = TypeVar("C", bound=type)

StrPath: TypeAlias = str | os.PathLike[str]


class FrozenDict(dict[K, V]):
    """A dict that stays as it was made, and has a hash when its values have one.

    It is a dict, so that JSON and `dataclasses.asdict` show it as one.
    """

    if not TYPE_CHECKING:
        # For type checkers, nobody may change a Mapping anyway, and a dict has no hash.

        def __hash__(self) -> int:
            return hash(frozenset(self.items()))

        def _refuse(self, *_: object, **__: object) -> NoReturn:
            raise TypeError("a FrozenDict stays as it was made")

        __setitem__ = __delitem__ = __ior__ = _refuse
        clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[object, ...]:
        # A dict is unpickled, and copied, by setting its items.
        return type(self), (dict(self),)


def hiding(*names: str) -> Callable[[C], C]:
    """Decorate a dataclass without slots: leave `names` out of `fields`, and so of `asdict` and `astuple`.

    They count for all the rest: `==`, the hash, `replace`, pickles and copies. For the dataclasses module
    they are like the InitVar parameters of a class that keeps them.
    """

    def hide(decorated: C) -> C:
        like = make_dataclass("like", [(name, InitVar, field(default=None)) for name in names])
        vars(decorated)["__dataclass_fields__"].update(vars(like)["__dataclass_fields__"])
        return decorated

    return hide
