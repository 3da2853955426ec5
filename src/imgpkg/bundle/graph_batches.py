"""Read a bundle and those nested in it, and hand their images over in batches, so that few are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.bundle.graph import Choice, Member, Traversal, is_anywhere
from imgpkg.bundle.image import Image
from imgpkg.errors import NotABundle

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from imgpkg.bundle.graph import Bundle, Chooses, Expect, FetchedRoot, Wanted
    from imgpkg.bundle.image import Reader, Starter
    from imgpkg.bundle.lock import LockedImage
    from imgpkg.oci.cut import Cut
    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.reference import Reference

# Takes members as they are read, each with its image, and without the bundle that it may be.
Take: TypeAlias = Callable[[Sequence[Member]], None]


def walk_in_batches(
    client: Reader,
    root: FetchedRoot,
    workers: Starter,
    take: Take,
    *,
    approach: Callable[[Reference], None],
    expect: Expect,
    chooses: Chooses,
    size: int,
) -> Bundle:
    """Read the bundle `root` as `walk` does, and call `take` with its members as they are read.

    At most `size` of them come at a time, level by level, each once for every bundle that names it. What is
    returned has no images but those of bundles. Raises what `walk` raises, and what `take` raises.
    """
    if not root.image.is_bundle:
        raise NotABundle("Not a Bundle")
    choice = Choice(is_anywhere, chooses, may_lack=False, elsewhere=None)
    return _BatchTraversal(client, workers, approach, expect, choice, take=take, size=size).bundle(root)


class _BatchTraversal(Traversal):
    """The state of one walk, without the images that were handed over."""

    def __init__(
        self,
        client: Reader,
        workers: Starter,
        approach: Callable[[Reference], None],
        expect: Expect,
        choice: Choice,
        *,
        take: Take,
        size: int,
    ) -> None:
        super().__init__(client, workers, approach, expect, choice)
        self._take = take
        self._size = size

    def _fetch_members(self, level: Iterable[Image], wanted: dict[Reference, Wanted]) -> None:
        for bundle in level:
            read = self._read[bundle.reference]
            places, record = self._places(read), self._record(read)
            cuts = record.cuts() if record is not None else {}
            for start in range(0, len(places), self._size):
                self._hand_over(places[start : start + self._size], wanted, cuts)

    def _hand_over(
        self,
        places: Sequence[tuple[Reference, LockedImage]],
        wanted: dict[Reference, Wanted],
        cuts: Mapping[Digest, Cut],
    ) -> None:
        # Two bundles of a level may name one image: it is fetched for the first of them.
        new = self._fetch({here: wanted.pop(here) for here, _ in places if here in wanted})
        self._found.update(new)
        members = [self._member(here, locked, None, cuts.get(locked.digest)) for here, locked in places]
        for here, image in new.items():
            if image is not None and not image.is_bundle:
                self._found[here] = image.reference
        self._take(members)
