"""A regular expression engine and texts that count the work done on them, so that no time need be measured.

`re` backtracks as `Pattern` here does: it tries what the pattern prefers, remembers every choice, and goes
back to the last one. Each instruction is one step. `CountedText` and `CountedBytes` charge each of their
methods for the characters that it looks at or copies. `counting` adds up both, and the calls that functions
of imgpkg make. Nothing depends on how fast the machine is, or on the version of Python.
"""

from __future__ import annotations

import importlib
import re
import sys
import types
from contextlib import contextmanager

try:
    from re import _constants as op
    from re import _parser as parser
except ImportError:  # Python 3.10
    import sre_constants as op
    import sre_parse as parser


MOST_STEPS = 200_000


class Work:
    """What has been done so far."""

    steps = 0


@contextmanager
def counting():
    """Yield a function that tells the steps since the block began; calls inside imgpkg count one each."""
    started, before = Work.steps, sys.getprofile()

    def called(frame, event, _argument):
        if event in ("call", "c_call") and "/imgpkg/" in frame.f_code.co_filename:
            Work.steps += 1

    sys.setprofile(called)
    try:
        yield lambda: Work.steps - started
    finally:
        sys.setprofile(before)


def growth(steps):
    """Tell by how many steps work grows faster than in a straight line from n to 2n to 3n; 0 if linear."""
    one, two, three = steps
    return (three - two) - (two - one)


class Endless(Exception):
    """A single try that takes as many steps as exponential time takes."""


class Pattern:
    """A pattern compiled for the counting engine, with the methods of `re.Pattern`."""

    def __init__(self, pattern, flags=0):
        tree = parser.parse(pattern, flags)
        self.pattern, self.flags = pattern, tree.state.flags
        self.groups, self.groupindex = tree.state.groups - 1, dict(tree.state.groupdict)
        self.code = _compile(tree, self.flags)

    def match(self, text, position=0):
        return self._at(text, position, whole=False)

    def fullmatch(self, text, position=0):
        return self._at(text, position, whole=True)

    def search(self, text, position=0):
        return next(self.finditer(text, position), None)

    def finditer(self, text, position=0):
        while position <= len(text):
            found = self.match(text, position)
            if found is not None:
                yield found
            position = position + 1 if found is None else max(found.end(), found.start() + 1)

    def findall(self, text):
        groups = (found.groups() or (found[0],) for found in self.finditer(text))
        return [group[0] if len(group) == 1 else group for group in groups]

    def sub(self, replacement, text):
        pieces, end = [], 0
        for found in self.finditer(text):
            value = replacement(found) if callable(replacement) else found.expand(replacement)
            pieces += [text[end : found.start()], value]
            end = found.end()
        return type(text)(text[:0].join([*pieces, text[end:]]))

    def split(self, text):
        cuts = [found.span() for found in self.finditer(text) if found.end()]
        edges = [0, *(edge for cut in cuts for edge in cut), len(text)]
        return [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]

    def _at(self, text, position, *, whole):
        saved = _run(self.code, text, position, whole=whole)
        return None if saved is None else Match(self, text, saved)


class Match:
    """What a pattern found, with the methods of `re.Match`."""

    def __init__(self, pattern, text, saved):
        self._pattern, self.string, self._saved = pattern, text, saved

    def __getitem__(self, group):
        start, end = self.span(group)
        return None if end < 0 else self.string[start:end]

    def span(self, group=0):
        number = self._pattern.groupindex.get(group, group)
        return self._saved.get(2 * number, -1), self._saved.get(2 * number + 1, -1)

    def start(self, group=0):
        return self.span(group)[0]

    def end(self, group=0):
        return self.span(group)[1]

    def group(self, *groups):
        values = [self[group] for group in groups or (0,)]
        return values[0] if len(values) == 1 else tuple(values)

    def groups(self):
        return tuple(self[number] for number in range(1, self._pattern.groups + 1))

    def groupdict(self):
        return {name: self[name] for name in self._pattern.groupindex}

    def expand(self, template):
        return re.sub(r"\\(\d)", lambda digit: self[int(digit[1])], template)


def engine():
    """Return a module that can stand in for `re`."""
    module = types.ModuleType("re")
    names = ("DOTALL", "IGNORECASE", "MULTILINE", "VERBOSE", "ASCII", "escape", "error")
    vars(module).update({name: getattr(re, name) for name in names})
    vars(module).update(Pattern=Pattern, Match=Match, compile=Pattern)
    return module


def on_the_engine(*names):
    """Import modules of imgpkg anew, with the counting engine in the place of `re`; return the copies.

    They are attributes by their last name, and by their last two, as `bundle_image`.
    """
    for name in names:
        # What they import besides is loaded by this, and keeps its own `re`.
        importlib.import_module(name)
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ("re", "imgpkg")}
    for name in kept:
        del sys.modules[name]
    sys.modules["re"] = engine()
    try:
        modules = {name: importlib.import_module(name) for name in names}
        return types.SimpleNamespace(
            **{name.rpartition(".")[2]: module for name, module in modules.items()},
            **{"_".join(name.split(".")[-2:]): module for name, module in modules.items()},
        )
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "imgpkg"]:
            del sys.modules[name]
        sys.modules.update(kept)


# An instruction takes (text, position, saved, at, stack) and returns what follows, (position, saved, at), or
# None when this way leads nowhere. What else could have been tried goes onto the stack.


def _compile(tree, flags):
    code = []
    _emit(tree, flags, code)
    return code


def _emit(tree, flags, code):
    for kind, value in tree:
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            _emit_repeat(value, flags, code, greedy=kind is op.MAX_REPEAT)
        elif kind is op.BRANCH:
            _emit_branch(value[1], flags, code)
        elif kind is op.SUBPATTERN:
            _emit_group(value, flags, code)
        elif kind in (op.ASSERT, op.ASSERT_NOT):
            code.append(_look(*value, flags, wanted=kind is op.ASSERT))
        elif kind is op.AT:
            code.append(_at(value))
        else:
            code.append(_character(meant(kind, value, flags)))


def _emit_group(value, flags, code):
    group, added, removed, inner = value
    if group is not None:
        code.append(_save(2 * group))
    _emit(inner, (flags | added) & ~removed, code)
    if group is not None:
        code.append(_save(2 * group + 1))


def _emit_repeat(value, flags, code, *, greedy):
    least, most, inner = value
    for _ in range(least):
        _emit(inner, flags, code)
    is_endless = most is op.MAXREPEAT
    # Repeating nothing for ever would need a rule of its own, and is a riddle to readers as well.
    assert inner.getwidth()[0] or not is_endless, "a repeated part of a pattern may be empty"
    splits = []
    for _ in range(1 if is_endless else most - least):
        splits.append(len(code))
        code.append(None)
        _emit(inner, flags, code)
    if is_endless:
        code.append(_jump(splits[0]))
    for split in splits:
        ways = (split + 1, len(code))
        code[split] = _split(*ways) if greedy else _split(*reversed(ways))


def _emit_branch(branches, flags, code):
    jumps = []
    for branch in branches[:-1]:
        split = len(code)
        code.append(None)
        _emit(branch, flags, code)
        jumps.append(len(code))
        code.append(None)
        code[split] = _split(split + 1, len(code))
    _emit(branches[-1], flags, code)
    for jump in jumps:
        code[jump] = _jump(len(code))


def _character(is_meant):
    def run(text, position, saved, at, _stack):
        if position >= len(text):
            return None
        number = text[position] if isinstance(text, bytes) else ord(str.__getitem__(text, position))
        return (position + 1, saved, at + 1) if is_meant(number) else None

    return run


def _split(first, second):
    def run(_text, position, saved, _at, stack):
        stack.append((position, saved, second))
        return position, saved, first

    return run


def _jump(target):
    return lambda _text, position, saved, _at, _stack: (position, saved, target)


def _save(slot):
    return lambda _text, position, saved, at, _stack: (position, {**saved, slot: position}, at + 1)


def _at(place):
    def run(text, position, saved, at, _stack):
        return (position, saved, at + 1) if _is_at(place, text, position) else None

    return run


def _look(direction, inner, flags, *, wanted):
    code, width = _compile(inner, flags), inner.getwidth()[0] if direction < 0 else 0

    def run(text, position, saved, at, _stack):
        found = position >= width and _run(code, text, position - width) is not None
        return (position, saved, at + 1) if found is wanted else None

    return run


def meant(kind, value, flags):
    """Return what tells whether one character, as a number, is meant."""
    if kind is op.ANY:
        return lambda code: flags & re.DOTALL or code != ord("\n")
    if kind is op.NOT_LITERAL:
        return lambda code: code != value
    parts = value if kind is op.IN else [(kind, value)]
    is_negated = parts[0][0] is op.NEGATE
    tests = [_part(part, flags) for part in parts if part[0] is not op.NEGATE]
    if not flags & re.IGNORECASE:
        return lambda code: is_negated != any(test(code) for test in tests)
    return lambda code: is_negated != any(test(ord(form)) for form in _cases(code) for test in tests)


def _cases(code):
    character = chr(code)
    return {form for form in (character, character.lower(), character.upper()) if len(form) == 1}


def _part(part, flags):
    kind, value = part
    if kind is op.LITERAL:
        return lambda code: code == value
    if kind is op.RANGE:
        return lambda code: value[0] <= code <= value[1]
    assert kind is op.CATEGORY, kind
    letters = {"digit": r"\d", "space": r"\s", "word": r"\w"}
    name = str(value).lower().rpartition("_")[2]
    known = re.compile(letters[name], flags & re.ASCII)
    return lambda code: ("_not_" in str(value).lower()) != bool(known.match(chr(code)))


def _run(code, text, position, *, whole=False):
    """Return what was saved, group by group, on the first way through that leads to the end, or None."""
    stack = [(position, {0: position}, 0)]
    most = Work.steps + MOST_STEPS
    while stack:
        state = stack.pop()
        while state is not None:
            Work.steps += 1
            position, saved, at = state
            if at == len(code):
                if whole and position != len(text):
                    break
                return {**saved, 1: position}
            state = code[at](text, position, saved, at, stack)
        if Work.steps > most:
            raise Endless
    return None


def _is_at(place, text, position):
    if place in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
        return position == 0
    if place is op.AT_END_STRING:
        return position == len(text)
    if place is op.AT_END:
        return position == len(text) or (position == len(text) - 1 and text[position:] in ("\n", b"\n"))
    assert place is op.AT_BOUNDARY, place
    before, after = (
        str.__getitem__(text, slice(max(0, position - 1), position)),
        text[position : position + 1],
    )
    return bool(re.match(r"\w", before)) != bool(re.match(r"\w", after))


class _Counted:
    """Charges for characters that are looked at or copied; what comes out of it counts as well."""

    def __getitem__(self, key):
        value = super().__getitem__(key)
        if isinstance(key, slice):
            Work.steps += len(value)
            return type(self)(value)
        Work.steps += 1
        return value

    def __iter__(self):
        for value in super().__iter__():
            Work.steps += 1
            yield value

    def __contains__(self, other):
        Work.steps += len(self)
        return super().__contains__(other)

    def __add__(self, other):
        Work.steps += len(self) + len(other)
        return type(self)(super().__add__(other))

    def find(self, wanted, start=0, end=None):
        end = len(self) if end is None else end
        found = super().find(wanted, start, end)
        Work.steps += (end if found < 0 else found) - start
        return found

    def rfind(self, wanted, start=0, end=None):
        end = len(self) if end is None else end
        found = super().rfind(wanted, start, end)
        Work.steps += end - max(found, start)
        return found

    def count(self, wanted, start=0, end=None):
        end = len(self) if end is None else end
        Work.steps += end - start
        return super().count(wanted, start, end)

    def decode(self, *arguments):
        Work.steps += len(self)
        return CountedText(super().decode(*arguments))

    def encode(self, *arguments):
        Work.steps += len(self)
        return CountedBytes(super().encode(*arguments))


_WHOLE = (
    *("capitalize", "casefold", "isascii", "isprintable", "lower", "lstrip", "partition", "removeprefix"),
    *("removesuffix", "replace", "rpartition", "rsplit", "rstrip", "split", "splitlines", "strip", "title"),
    *("translate", "upper"),
)


def _charged(name):
    def method(self, *arguments, **options):
        Work.steps += len(self)
        return _counted(self, getattr(super(_Counted, self), name)(*arguments, **options))

    return method


def _counted(source, value):
    if isinstance(value, (str, bytes)):
        return type(source)(value)
    return (
        type(value)(_counted(source, item) for item in value) if isinstance(value, (list, tuple)) else value
    )


for _name in _WHOLE:
    setattr(_Counted, _name, _charged(_name))


class CountedText(_Counted, str):
    """Text that charges for its use."""

    __slots__ = ()


class CountedBytes(_Counted, bytes):
    """Bytes that charge for their use."""
