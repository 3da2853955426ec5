"""Dataclasses without generated code: the decorator of the standard library, a twentieth as long to load.

`dataclasses` compiles the methods of each class from text, which takes longer than all else that a command
does before its first request, and imports `inspect`. Here the methods are closures over the names of the
fields. What a program looks at is made by the standard library when it does so: a class is a dataclass for
`fields`, `asdict`, `replace`, `is_dataclass`, `inspect.signature` and decorated subclasses. A type checker
sees the standard library alone.

Limits: of the options of `dataclass` and `field` there are those that the package uses, and annotations are
texts, as with `from __future__ import annotations`. There is no `InitVar`, and no `...` for a value that
contains itself. What the standard library refuses in the body of a class (a mutable default, a field without
a default after one with a default, a frozen class of one that is not) is left to mypy and ruff. A single
field is compared itself, not in a tuple: NaN never equals itself.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import KW_ONLY, dataclass, field, replace

    # Not Any: a decorated class stays a class.
    _Decorator = Callable[[type], type]

__all__ = ["KW_ONLY", "dataclass", "field", "hide", "replace"]

_MISSING: Any = object()
_put = object.__setattr__


class _Spec:
    """What is known of a field: how it is set, shown and compared."""

    __slots__ = (
        "annotation",
        "compare",
        "default",
        "factory",
        "init",
        "is_hidden",
        "kw_only",
        "name",
        "repr",
    )

    def __init__(self, default: Any, factory: Any, *, init: bool, shown: bool, compare: bool) -> None:
        self.default, self.factory = default, factory
        self.init, self.repr, self.compare = init, shown, compare
        self.name, self.annotation, self.kw_only, self.is_hidden = "", "", False, False

    def standard(self) -> tuple[str, Any, Any]:
        """Return the field in the form of `dataclasses.make_dataclass`."""
        import dataclasses

        options: dict[str, Any] = {"init": self.init, "repr": self.repr, "compare": self.compare}
        if self.default is not _MISSING:
            options["default"] = self.default
        if self.factory is not _MISSING:
            options["default_factory"] = self.factory
        return self.name, self.annotation, dataclasses.field(kw_only=self.kw_only, **options)


class _Standard:
    """An attribute of a class that the standard library makes when it is looked at for the first time."""

    def __init__(self, name: str, of: type) -> None:
        self._name, self._of = name, of

    def __get__(self, instance: object, owner: type) -> object:
        like = _like(self._of)
        made = _signature(like) if self._name == "__signature__" else getattr(like, self._name)
        setattr(self._of, self._name, made)
        return made


def _like(of: type) -> type:
    """Return a class of the standard library with the same fields."""
    import dataclasses

    specs: tuple[_Spec, ...] = vars(of)["__specs__"]
    params = {name: value for name, value in vars(of)["__options__"].items() if name != "slots"}
    like = dataclasses.make_dataclass(of.__name__, [spec.standard() for spec in specs], **params)
    hidden = [
        (spec.name, dataclasses.InitVar, dataclasses.field(default=None)) for spec in specs if spec.is_hidden
    ]
    # `fields` skips an InitVar, and `replace` still passes it to `__init__`.
    others = dataclasses.make_dataclass("others", hidden)
    vars(like)["__dataclass_fields__"].update(vars(others)["__dataclass_fields__"])
    return like


def _signature(like: type) -> object:
    import inspect

    return inspect.signature(like)


def hide(decorated: type, names: tuple[str, ...]) -> None:
    """Leave these fields out of `fields`, `asdict` and `astuple`, and out of nothing else."""
    for spec in vars(decorated)["__specs__"]:
        spec.is_hidden = spec.is_hidden or spec.name in names


if not TYPE_CHECKING:

    class KW_ONLY:  # noqa: N801 - the name of the standard library
        """As an annotation: the fields that follow are given by name."""

    def field(
        *,
        default: Any = _MISSING,
        default_factory: Any = _MISSING,
        init: bool = True,
        repr: bool = True,  # noqa: A002 - the name of the standard library
        compare: bool = True,
    ) -> Any:
        """See `dataclasses.field`."""
        return _Spec(default, default_factory, init=init, shown=repr, compare=compare)

    def dataclass(decorated: Any = None, /, **options: bool) -> Any:
        """See `dataclasses.dataclass`; the options are frozen, slots, order and eq."""
        if decorated is None:
            return lambda cls: _processed(cls, **options)
        return _processed(decorated, **options)

    def replace(value: Any, /, **changes: Any) -> Any:
        """See `dataclasses.replace`."""
        for spec in type(value).__specs__:
            if spec.init:
                changes.setdefault(spec.name, getattr(value, spec.name))
        return type(value)(**changes)


def _processed(
    cls: Any, *, frozen: bool = False, slots: bool = False, order: bool = False, eq: bool = True
) -> Any:
    specs = _specs(cls)
    names = tuple(spec.name for spec in specs)
    if slots:
        cls = _with_slots(cls, names)
    compared = _getter([spec.name for spec in specs if spec.compare])
    _add(cls, {"__init__": _initializer(specs), "__repr__": _representer(specs)})
    if eq:
        # As in the standard library: what can change has no hash.
        _add(cls, {"__eq__": _comparer(compared), "__hash__": _hasher(compared) if frozen else None})
    if order:
        _add(cls, _orderers(compared))
    if frozen:
        _add(cls, _freezers(cls, names))
    if slots and frozen:
        _add(cls, _picklers(names))
    cls.__specs__, cls.__options__ = specs, {"frozen": frozen, "order": order, "eq": eq}
    for name, value in {"__match_args__": _ordered(specs), "__replace__": replace}.items():
        setattr(cls, name, value)
    for name in ("__dataclass_fields__", "__dataclass_params__", "__signature__"):
        setattr(cls, name, _Standard(name, cls))
    return cls


def _add(cls: type, methods: dict[str, Any]) -> None:
    """Add the methods that the class does not have itself."""
    for name, method in methods.items():
        # Python sets the hash to None where a class defines `__eq__`.
        if vars(cls).get(name) is None:
            if method is not None:
                method.__qualname__, method.__name__ = f"{cls.__qualname__}.{name}", name
            setattr(cls, name, method)


def _specs(cls: Any) -> tuple[_Spec, ...]:
    """Return the fields of the bases and of the class; the defaults of its own take their place in it."""
    found: dict[str, _Spec] = {}
    for base in reversed(cls.__mro__[1:]):
        found |= {spec.name: spec for spec in vars(base).get("__specs__", ())}
    is_named = False
    for name, annotation in cls.__annotations__.items():
        if annotation in ("KW_ONLY", KW_ONLY):
            is_named = True
        elif not str(annotation).startswith(("ClassVar", "typing.ClassVar")):
            default = vars(cls).get(name, _MISSING)
            spec = default if isinstance(default, _Spec) else field(default=default)
            spec.name, spec.annotation, spec.kw_only = name, annotation, is_named
            found[name] = spec
            if spec.default is not _MISSING:
                setattr(cls, name, spec.default)
            elif default is not _MISSING:
                delattr(cls, name)
    return tuple(found.values())


def _with_slots(cls: Any, names: tuple[str, ...]) -> Any:
    """Return the class again, with slots: they can only be given when a class is made."""
    inherited = {slot for base in cls.__mro__[1:-1] for slot in vars(base).get("__slots__", ())}
    members = {
        name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__", *names)
    }
    members["__slots__"] = tuple(name for name in names if name not in inherited)
    made = type(cls)(cls.__name__, cls.__bases__, members)
    made.__qualname__ = cls.__qualname__
    return made


def _ordered(specs: tuple[_Spec, ...]) -> tuple[str, ...]:
    return tuple(spec.name for spec in specs if spec.init and not spec.kw_only)


def _initializer(specs: tuple[_Spec, ...]) -> Any:
    ordered = _ordered(specs)
    accepted = frozenset(spec.name for spec in specs if spec.init)
    defaults = {spec.name: spec.default for spec in specs if spec.default is not _MISSING}
    factories = tuple((spec.name, spec.factory) for spec in specs if spec.factory is not _MISSING)
    count = len(specs)

    def initialize(self: Any, *given: object, **named: object) -> None:
        values = {**defaults, **named}
        is_right = not named or named.keys() <= accepted
        if given:
            is_right = (
                is_right and len(given) <= len(ordered) and named.keys().isdisjoint(ordered[: len(given)])
            )
            values.update(zip(ordered, given, strict=False))
        for name, factory in factories:
            if name not in values:
                values[name] = factory()
        if not is_right or len(values) != count:
            # The standard library says what is wrong.
            _like_of(self)(*given, **named)
        for name, value in values.items():
            _put(self, name, value)
        if hasattr(self, "__post_init__"):
            self.__post_init__()

    return initialize


def _like_of(value: object) -> type:
    return _like(next(cls for cls in type(value).__mro__ if "__specs__" in vars(cls)))


def _getter(names: list[str]) -> Callable[[Any], Any]:
    return attrgetter(*names) if names else lambda _: ()


def _representer(specs: tuple[_Spec, ...]) -> Any:
    shown = tuple(spec.name for spec in specs if spec.repr)

    def represent(self: Any) -> str:
        parts = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__qualname__}({parts})"

    return represent


def _comparer(compared: Callable[[Any], Any]) -> Any:
    def equals(self: Any, other: Any) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return bool(compared(self) == compared(other))

    return equals


def _hasher(compared: Callable[[Any], Any]) -> Any:
    def hash_value(self: Any) -> int:
        return hash(compared(self))

    return hash_value


def _orderers(compared: Callable[[Any], Any]) -> dict[str, Any]:
    def orderer(compare: Callable[[Any, Any], bool]) -> Any:
        def ordered(self: Any, other: Any) -> Any:
            if other.__class__ is not self.__class__:
                return NotImplemented
            return bool(compare(compared(self), compared(other)))

        return ordered

    return {
        "__lt__": orderer(lambda one, other: one < other),
        "__le__": orderer(lambda one, other: one <= other),
        "__gt__": orderer(lambda one, other: one > other),
        "__ge__": orderer(lambda one, other: one >= other),
    }


def _freezers(cls: Any, names: tuple[str, ...]) -> dict[str, Any]:
    def refuse(self: object, name: str, verb: str) -> None:
        if type(self) is cls or name in names:
            from dataclasses import FrozenInstanceError

            raise FrozenInstanceError(f"cannot {verb} field {name!r}")

    def assign(self: Any, name: str, value: object) -> None:
        refuse(self, name, "assign to")
        super(cls, self).__setattr__(name, value)

    def delete(self: Any, name: str) -> None:
        refuse(self, name, "delete")
        super(cls, self).__delattr__(name)

    return {"__setattr__": assign, "__delattr__": delete}


def _picklers(names: tuple[str, ...]) -> dict[str, Any]:
    """Return the methods of pickles and copies: by default they assign to the fields."""

    def get_state(self: Any) -> list[object]:
        return [getattr(self, name) for name in names]

    def set_state(self: Any, state: list[object]) -> None:
        for name, value in zip(names, state, strict=True):
            _put(self, name, value)

    return {"__getstate__": get_state, "__setstate__": set_state}
