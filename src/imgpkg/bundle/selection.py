"""Which images of bundles and locks a copy takes along, by patterns over references and annotations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from imgpkg.bundle.lock import ID_ANNOTATION, LockedImage
from imgpkg.dataclass import dataclass
from imgpkg.errors import UsageError
from imgpkg.oci.reference import DOCKER_HUB, listed

if TYPE_CHECKING:
    from collections.abc import Iterator

# As users write the registry that canonical references call index.docker.io.
_HUB = "docker.io"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which images to choose: those that an `include` matches, or all without one, and no `exclude`.

    Patterns have the wildcards `*`, which matches slashes too, `?` and `[…]`, and are for the whole text.
    `include` and `exclude` are compared with the repository of an image, with its digest reference, and with
    the reference of which it was found, where its lock has that. The others are `KEY=PATTERN` for an
    annotation of the lock, or `KEY` for any value of it. Raises UsageError for an empty pattern or key.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    include_annotations: Sequence[str] = ()
    exclude_annotations: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("include", "exclude", "include_annotations", "exclude_annotations"):
            object.__setattr__(self, name, _patterns(name.replace("_", " "), getattr(self, name)))

    @property
    def is_everything(self) -> bool:
        """True without any pattern."""
        return not any(self._patterns())

    def chooses(self, image: LockedImage) -> bool:
        """Return whether an image of a lock is chosen."""
        wanted = (*self.include, *self.include_annotations)
        is_wanted = not wanted or self._matches(image, self.include, self.include_annotations)
        return is_wanted and not self._matches(image, self.exclude, self.exclude_annotations)

    def without_effect(self, images: Iterable[LockedImage]) -> tuple[str, ...]:
        """Return the patterns that match none of `images`, which may be mistyped."""
        seen = list(images)
        references = (
            pattern
            for pattern in (*self.include, *self.exclude)
            if not any(self._matches(image, (pattern,), ()) for image in seen)
        )
        annotations = (
            pattern
            for pattern in (*self.include_annotations, *self.exclude_annotations)
            if not any(self._matches(image, (), (pattern,)) for image in seen)
        )
        return tuple(dict.fromkeys((*references, *annotations)))

    def _patterns(self) -> Iterator[Sequence[str]]:
        yield from (self.include, self.exclude, self.include_annotations, self.exclude_annotations)

    @staticmethod
    def _matches(image: LockedImage, patterns: Sequence[str], annotations: Sequence[str]) -> bool:
        names = tuple(_names(image)) if patterns else ()
        return any(fnmatchcase(name, pattern) for pattern in patterns for name in names) or any(
            _has(image, pattern) for pattern in annotations
        )


def _names(image: LockedImage) -> Iterator[str]:
    for text in (str(image.reference.repository), str(image.reference)):
        yield text
        if image.reference.repository.registry == DOCKER_HUB:
            yield f"{_HUB}/{text.partition('/')[2]}"
    found_of = image.annotations.get(ID_ANNOTATION, "")
    if found_of:
        yield found_of


def _has(image: LockedImage, pattern: str) -> bool:
    key, equals, value = pattern.partition("=")
    return key in image.annotations and (not equals or fnmatchcase(image.annotations[key], value))


def _patterns(what: str, given: Sequence[str]) -> tuple[str, ...]:
    patterns = listed(f"patterns to {what}", given)
    # An empty variable in a script must not change the choice.
    if any(not pattern.partition("=")[0] for pattern in patterns):
        raise UsageError(f"Expected a pattern to {what}; one is empty")
    return patterns
