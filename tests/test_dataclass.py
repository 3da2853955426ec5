"""Each class behaves as the standard library's dataclass with the same fields does, and loads none of it."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from functools import partial

import pytest

from imgpkg import dataclass as ours
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.values import hiding


class _Standard:
    dataclass = staticmethod(dataclasses.dataclass)
    field = staticmethod(dataclasses.field)
    replace = staticmethod(dataclasses.replace)


def make(library):
    """Define the same classes with one library or the other."""

    class Plain:
        a: int
        b: str = "b"
        c: list[int] = library.field(default_factory=list, compare=False)
        d: int = library.field(default=4, repr=False)

    class Inner:
        x: int

        def __hash__(self):
            return 7

        def __repr__(self):
            return "inner"

    class Late:
        a: int
        made: list[int] = library.field(init=False, default_factory=list)

        def __post_init__(self):
            self.made.append(self.a)

    class Empty:
        pass

    class ByName:
        a: int
        _: dataclasses.KW_ONLY if library is _Standard else ours.KW_ONLY
        b: int = 2

    # As if written without the future import, which a class in a function cannot do.
    ByName.__annotations__["_"] = dataclasses.KW_ONLY if library is _Standard else ours.KW_ONLY
    frozen = library.dataclass(frozen=True)(copy_of(Plain))
    slots = library.dataclass(frozen=True, slots=True)(copy_of(Plain))

    class Sub(slots):
        e: int = 5

    return {
        "mutable": library.dataclass(copy_of(Plain)),
        "frozen": frozen,
        "slots": slots,
        "mutable slots": library.dataclass(slots=True)(copy_of(Plain)),
        "ordered": library.dataclass(frozen=True, slots=True, order=True)(copy_of(Plain)),
        "identity": library.dataclass(frozen=True, eq=False)(copy_of(Plain)),
        "own": library.dataclass(frozen=True)(Inner),
        "late": library.dataclass(frozen=True, slots=True)(Late),
        "empty": library.dataclass(frozen=True, slots=True)(Empty),
        "by name": library.dataclass(frozen=True)(ByName),
        "sub": library.dataclass(frozen=True, slots=True)(Sub),
    }


def copy_of(cls):
    members = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    members["__annotations__"] = dict(members["__annotations__"])
    made = type(cls.__name__, (), members)
    made.__qualname__ = cls.__qualname__
    return made


STANDARD, OURS = make(_Standard), make(ours)
ARGUMENTS = [
    ((), {}),
    ((1,), {}),
    ((1, "x"), {}),
    ((1, "x", [3], 5), {}),
    ((1, "x", [3], 5, 6), {}),
    ((1, "x", [3], 5, 6, 7), {}),
    ((), {"a": 1, "d": 3}),
    ((1,), {"a": 1}),
    ((1,), {"nosuch": 1}),
    ((), {"b": 1}),
    ((), {"x": 1}),
    ((1,), {"made": []}),
    ((1,), {"_": 1}),
    ((1,), {"b": 3}),
]


def outcome(act):
    """Return the text of what comes out, or of the error; only names of the library differ."""
    try:
        return repr(act())
    except (TypeError, AttributeError, ValueError) as error:
        return f"{type(error).__name__}: {error}".replace("make.<locals>.", "")


def is_refused(act):
    """With slots, the standard library fails at refusing: it raises a TypeError."""
    try:
        act()
    except (TypeError, AttributeError):
        return True
    return False


def shown(text):
    return text.replace("make.<locals>.", "")


@pytest.mark.parametrize("name", [name for name in OURS if name != "identity"])
def test_a_value_is_made_and_shown_alike(name):
    for given, named in ARGUMENTS:
        expected, made = (outcome(partial(lib[name], *given, **named)) for lib in (STANDARD, OURS))
        assert shown(made) == shown(expected), (given, named)


@pytest.mark.parametrize("name", OURS)
def test_it_is_compared_hashed_changed_and_copied_alike(name):
    results = []
    for library, classes in ((_Standard, STANDARD), (ours, OURS)):
        cls = classes[name]
        given = () if name == "empty" else (1,)
        one, other = cls(*given), cls(*given)
        changed = outcome(lambda one=one, change=library.replace: change(one, a=2))
        results.append(
            [
                one == other,
                one != other,
                one == 1,
                outcome(lambda one=one, other=other: hash(one) == hash(other)),
                outcome(lambda one=one, other=other: (one < other, one <= other, one > other, one >= other)),
                outcome(lambda one=one: one < 1),
                shown(changed) if name != "identity" else "",
                is_refused(lambda one=one: setattr(one, "a", 9)),
                is_refused(lambda one=one: setattr(one, "nosuch", 9)),
                is_refused(lambda one=one: delattr(copy.copy(one), "a")),
                copy.copy(one) == one,
                copy.deepcopy(one) == one,
                hasattr(one, "__dict__"),
                cls.__match_args__,
                [each.name for each in dataclasses.fields(cls)],
                dataclasses.is_dataclass(cls),
                str(inspect.signature(cls)),
                cls.__name__,
                shown(cls.__qualname__),
            ]
        )
    expected, made = results
    assert made == expected


@pytest.mark.parametrize("name", ["mutable", "frozen", "slots", "late", "sub", "own"])
def test_the_functions_of_the_standard_library_take_it(name):
    value, expected = OURS[name](1), STANDARD[name](1)
    assert dataclasses.asdict(value) == dataclasses.asdict(expected)
    assert dataclasses.astuple(value) == dataclasses.astuple(expected)
    assert dataclasses.replace(value) == value
    assert (value.__dataclass_params__.frozen, value.__dataclass_params__.eq) == (name != "mutable", True)


def test_a_class_of_the_standard_library_may_follow_on_ours():
    @dataclasses.dataclass(frozen=True)
    class Following(OURS["frozen"]):
        e: int = 5

    assert (Following(1).b, Following(1, e=6).e, len(dataclasses.fields(Following))) == ("b", 6, 5)


def test_a_class_that_follows_without_a_decorator_may_have_more():
    class Following(OURS["frozen"]):
        pass

    value = Following(1)
    value.more = 1
    del value.more
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.a = 2
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        Following()
    assert value != OURS["frozen"](1)
    assert dataclasses.fields(Following)[0].name == "a"


@dataclass(frozen=True, slots=True)
class Pickled:
    a: int
    b: tuple[int, ...] = ()


@dataclass(frozen=True)
class PickledDict:
    a: int
    b: tuple[int, ...] = ()


@dataclass(slots=True)
class PickledMutable:
    a: int
    b: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PickledSub(Pickled):
    c: int = field(init=False, default=3)


@hiding("secret")
@dataclass(frozen=True, slots=True)
class Hiding:
    name: str
    secret: str = field(repr=False)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("cls", [Pickled, PickledDict, PickledMutable, PickledSub])
def test_a_pickle_has_the_fields_and_calls_nothing(cls, protocol):
    value = cls(1, (2,))
    found = pickle.loads(pickle.dumps(value, protocol))
    assert (found, type(found), repr(found)) == (value, cls, repr(value))


@pytest.mark.parametrize("library", [_Standard, ours], ids=["standard", "ours"])
def test_a_class_may_change_what_it_inherits(library):
    @library.dataclass(frozen=True, slots=True)
    class First:
        a: int
        b: str = "b"

        def __post_init__(self):
            assert self.a

    @library.dataclass(frozen=True, slots=True, order=True)
    class Second(First):
        b: str = "c"
        c: int = 4

        def __repr__(self):
            return f"second {self.a}{self.b}{self.c}"

    assert [repr(Second(1)), repr(Second(1, "x", 5))] == ["second 1c4", "second 1x5"]
    assert (Second(1) < Second(2), Second(1) == First(1, "c"), First(1) == First(1, "b")) == (
        True,
        False,
        True,
    )
    assert [each.name for each in dataclasses.fields(Second)] == ["a", "b", "c"]
    with pytest.raises(AssertionError):
        Second(0)


@pytest.mark.parametrize("library", [_Standard, ours], ids=["standard", "ours"])
def test_a_value_is_matched_by_position_and_by_name(library):
    @library.dataclass(frozen=True)
    class Point:
        x: int
        y: int = library.field(default=2, init=False)
        z: int = 3

    match Point(1):
        case Point(x, z, y=y):
            assert (x, y, z) == (1, 2, 3)


@pytest.mark.parametrize("name", OURS)
def test_its_fields_are_described_alike(name):
    told = ("name", "type", "default", "default_factory", "init", "repr", "compare", "kw_only")
    made, expected = (
        [[getattr(each, one) for one in told] for each in dataclasses.fields(classes[name])]
        for classes in (OURS, STANDARD)
    )
    assert made == expected


def test_copy_replace_of_newer_releases_takes_it():
    assert OURS["slots"](1).__replace__(a=2) == OURS["slots"](2)


def test_what_is_hidden_is_left_out_of_lists_and_of_nothing_else():
    value = Hiding("a", "s")
    assert dataclasses.asdict(value) == {"name": "a"}
    assert dataclasses.replace(value, name="b") == replace(value, name="b") == Hiding("b", "s")
    assert value != Hiding("a", "t")
    assert copy.deepcopy(value).secret == "s"
    assert str(inspect.signature(Hiding)) == "(name: 'str', secret: 'str') -> None"


def test_making_and_using_classes_loads_nothing_of_the_standard_library():
    program = (
        "import sys; bare = set(sys.modules); from imgpkg.dataclass import dataclass, replace\n"
        "class C:\n    a: int\n    b: int = 2\n"
        "C = dataclass(frozen=True, slots=True, order=True)(C)\n"
        "assert (C(1) < C(2), replace(C(1), b=3) == C(1, 3), repr(C(1))) == (True, True, 'C(a=1, b=2)')\n"
        "sys.exit(bool({'dataclasses', 'inspect'} & (set(sys.modules) - bare)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
