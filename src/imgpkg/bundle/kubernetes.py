"""Image references in Kubernetes documents, Helm values and kustomizations, and edits that change them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from imgpkg.bundle.document import API_VERSION
from imgpkg.bundle.node_path import NodePath, PathState
from imgpkg.bundle.yaml_text import Edit, MappingNode, Position, ScalarNode, SequenceNode, scalar_text
from imgpkg.bundle.yaml_value import ValueKind, format_float32, resolve
from imgpkg.dataclass import dataclass
from imgpkg.errors import InvalidReference
from imgpkg.oci.reference import Reference, without_login

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imgpkg.bundle.yaml_text import MarkedText, TextNode

_IMAGE, _IMAGES, _STATUS = "image", "images", "status"
_NO_NEW_TAG = "has no newTag and no digest here: the tag is that of another document"
# A scalar may be as large as its file; no reference is as long as the second.
_MAX_SHOWN, _MAX_REFERENCE = 200, 1000
_GROUP = API_VERSION.partition("/")[0]
_SHA256 = "sha256:"
# What stands where a program fills in a value later: Helm and other templates, kubelet, shells and envsubst.
_TEMPLATE = ("{{", "}}")
_VARIABLE = ("$(", "${")


class ImageForm(Protocol):
    """How a document writes a reference."""

    @property
    def text(self) -> str:
        """The reference as a container runtime would get it."""
        ...

    @property
    def nodes(self) -> tuple[ScalarNode, ...]:
        """The scalars that the reference is read from; the first stands for its place."""
        ...

    def edits(self, text: MarkedText, target: Reference, *, keeps_name: bool) -> Iterator[Edit]:
        """Yield the edits after which it is `target`, a digest reference, or has its digest."""
        ...


@dataclass(frozen=True, slots=True)
class WholeForm:
    """One scalar with all of the reference, as in a container."""

    node: ScalarNode

    @property
    def nodes(self) -> tuple[ScalarNode, ...]:
        """The scalar."""
        return (self.node,)

    @property
    def text(self) -> str:
        """The text of the scalar."""
        return self.node.text

    def edits(self, text: MarkedText, target: Reference, *, keeps_name: bool) -> Iterator[Edit]:
        """Yield one edit, or none where the digest is there already."""
        if keeps_name and self.text.endswith(f"@{target.digest}"):
            return
        name = _without_tag(self.text) if keeps_name else str(target.repository)
        yield text.edit(self.node, f"{name}@{target.digest}")


@dataclass(frozen=True, slots=True)
class PartsForm:
    """Several scalars of a mapping, as in the values of a Helm chart."""

    repository: ScalarNode
    registry: ScalarNode | None = None
    tag: ScalarNode | None = None
    digest: ScalarNode | None = None
    has_prefix: bool = True

    @property
    def nodes(self) -> tuple[ScalarNode, ...]:
        """The repository, then the others that there are."""
        return (self.repository, *filter(None, (self.registry, self.tag, self.digest)))

    @property
    def text(self) -> str:
        """The parts, joined as charts join them."""
        registry, tag, digest = _text(self.registry), _text(self.tag), _text(self.digest)
        if digest and not self.has_prefix:
            digest = f"{_SHA256}{digest}"
        repository = _text(self.repository)
        name = f"{registry}/{repository}" if registry else repository
        return f"{name}{f':{tag}' if tag else ''}{f'@{digest}' if digest else ''}"

    def edits(self, text: MarkedText, target: Reference, *, keeps_name: bool) -> Iterator[Edit]:
        """Yield edits of the digest or, where there is none, of the tag, and of the repository."""
        if not keeps_name:
            yield from self._renamed(text, target)
        digest = str(target.digest)
        if self.digest is not None:
            new = digest if self.has_prefix else digest.removeprefix(_SHA256)
            if self.digest.text != new:
                yield text.edit(self.digest, new)
        elif self.tag is not None and _text(self.tag) and not self.tag.text.endswith(f"@{digest}"):
            # Container runtimes take a digest behind a tag, and use the digest.
            yield text.edit(self.tag, f"{self.tag.text.partition('@')[0]}@{digest}")

    def _renamed(self, text: MarkedText, target: Reference) -> Iterator[Edit]:
        if self.registry is not None and _text(self.registry):
            yield text.edit(self.registry, target.repository.registry)
            yield text.edit(self.repository, target.repository.path)
        else:
            yield text.edit(self.repository, str(target.repository))


@dataclass(frozen=True, slots=True)
class KustomizeForm:
    """An entry of `images` in a kustomization."""

    name: ScalarNode
    new_name: ScalarNode | None
    version: ScalarNode
    key: ScalarNode
    is_flow: bool

    @property
    def nodes(self) -> tuple[ScalarNode, ...]:
        """The tag or digest, then the name."""
        return self.version, self.new_name or self.name

    @property
    def text(self) -> str:
        """The new name, or the old one where it stays, with the tag or digest."""
        separator = "@" if self.key.text == "digest" else ":"
        return f"{(self.new_name or self.name).text}{separator}{_text(self.version)}"

    def edits(self, text: MarkedText, target: Reference, *, keeps_name: bool) -> Iterator[Edit]:
        """Yield edits that put `digest` in the place of `newTag`, and `newName` in front of it."""
        if not keeps_name and self.new_name is not None:
            yield text.edit(self.new_name, str(target.repository))
        key = text.edit(self.key, "digest")
        if not keeps_name and self.new_name is None:
            yield Edit(self.key.start, self.key.end, self._with_name(text, str(target.repository)))
        elif self.key.text != "digest":
            yield key
        if self.version.text != str(target.digest):
            yield text.edit(self.version, str(target.digest))

    def _with_name(self, text: MarkedText, name: str) -> str:
        # JSON needs quotes.
        quote = '"' if text.text[self.key.start] == '"' else ""
        written = f'"{name}"' if quote else scalar_text(name)
        column = text.place(self.key.start).column - 1
        newline = "\r\n" if "\r\n" in text.text else "\n"
        separator = ", " if self.is_flow else f"{newline}{' ' * column}"
        return f"{quote}newName{quote}: {written}{separator}{quote}digest{quote}"


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A reference in a document; `text` is what a container runtime would get."""

    place: Position
    text: str
    reference: Reference
    form: ImageForm


@dataclass(frozen=True, slots=True)
class SkippedImage:
    """Text in the place of an image reference, and the `reason` why it is none, as `is a template`."""

    place: Position
    text: str
    reason: str

    def __str__(self) -> str:
        cut = "…" if len(self.text) > _MAX_SHOWN else ""
        return f"{self.place}: '{self.text[:_MAX_SHOWN]}{cut}' {self.reason}"


def find_references(
    text: MarkedText, paths: Iterable[NodePath] = (), *, locks: bool = True
) -> tuple[Occurrence | SkippedImage, ...]:
    """Find the references of all documents of `text`, in the order in which they are written.

    These are the values of each key `image`, the entries of `images` of a kustomization, and what `paths`
    select. The status of an object is left out. Of a lock file of imgpkg only tags are found, without `locks`
    nothing. Raises InvalidDocument.
    """
    search, start = _ReferenceSearch(text), PathState.start(paths)
    for document in text.documents():
        if not _is_lock(document):
            search.visit_top(document, start)
        elif locks:
            search.visit_lock(document)
    return tuple(search.found[at] for at in sorted(search.found))


def _is_lock(document: TextNode) -> bool:
    version = document.scalar("apiVersion") if isinstance(document, MappingNode) else None
    return version is not None and version.text.partition("/")[0] == _GROUP


class _ReferenceSearch:
    """Visits each node once for each state of the paths, however many aliases lead to it."""

    def __init__(self, text: MarkedText) -> None:
        self.found: dict[tuple[int, ...], Occurrence | SkippedImage] = {}
        self._text = text
        self._taken: set[int] = set()
        self._seen: set[tuple[int, PathState]] = set()

    def visit_top(self, node: TextNode, state: PathState) -> None:
        """Search a document."""
        # Nodes of another document may have had the same identities.
        self._seen.clear()
        self.visit(node, state)

    def visit(self, node: TextNode, state: PathState) -> None:
        """Search a node and all below it."""
        if isinstance(node, ScalarNode) or (id(node), state) in self._seen:
            return
        self._seen.add((id(node), state))
        if isinstance(node, SequenceNode):
            for item in node.items:
                self.visit(item, state)
            return
        state = state.at(node)
        is_object = node.key("apiVersion") is not None and node.key("kind") is not None
        for key, value in node.entries:
            if not isinstance(key, ScalarNode):
                continue
            # A status tells what was, and nobody applies it.
            if is_object and key.text == _STATUS:
                continue
            self._enter(node, key, value, state.into(key.text))

    def visit_lock(self, node: TextNode) -> None:
        """Find the images of a lock file that have no digest yet."""
        images = node.get(_IMAGES) if isinstance(node, MappingNode) else None
        for item in images.items if isinstance(images, SequenceNode) else ():
            image = item.scalar(_IMAGE) if isinstance(item, MappingNode) else None
            if image is not None and "@" not in image.text:
                self._add(WholeForm(image))

    def _enter(self, mapping: MappingNode, key: ScalarNode, value: TextNode, state: PathState) -> None:
        if key.text == _IMAGE:
            self._take(value, mapping)
        elif key.text == _IMAGES and isinstance(value, SequenceNode):
            for item in value.items:
                self._take_kustomized(item)
        if state.is_selected:
            self._select(value, state)
        self.visit(value, state)

    def _select(self, value: TextNode, state: PathState) -> None:
        for item in value.items if isinstance(value, SequenceNode) else (value,):
            if state.at(item).is_selected:
                self._take(item, None)

    def _take(self, value: TextNode, siblings: MappingNode | None) -> None:
        if isinstance(value, ScalarNode):
            parts = _parts(siblings, value) if siblings is not None else None
            # A path may select a part of what the key `image` is the whole of.
            if parts is not None or (value.kind is not ValueKind.BOOL and value.start not in self._taken):
                self._add(parts or WholeForm(value))
        elif isinstance(value, MappingNode):
            self._take_mapping(value)

    def _take_mapping(self, value: MappingNode) -> None:
        if self._text.text.startswith(_TEMPLATE[0], value.start):
            # Without quotes, a template is a mapping to a parser of YAML.
            end = self._text.text.find(_TEMPLATE[1], value.start)
            written = self._text.text[value.start : end + len(_TEMPLATE[1]) if end > 0 else None]
            place = self._text.place(value.start)
            self.found[value.start,] = SkippedImage(place, written, "is a template")
        elif (reference := value.scalar("reference")) is not None:
            self._add(WholeForm(reference))
        elif (repository := value.scalar("repository")) is not None:
            self._add(_parts_of(value, repository))
        elif (name := value.scalar("name")) is not None and value.scalar("tag") is not None:
            self._add(_parts_of(value, name))

    def _take_kustomized(self, item: TextNode) -> None:
        if not isinstance(item, MappingNode) or (name := item.scalar("name")) is None:
            return
        new_name = item.scalar("newName")
        # Of both, kustomize takes the digest.
        for field in ("digest", "newTag"):
            key, version = item.key(field), item.scalar(field)
            if key is not None and version is not None:
                self._add(KustomizeForm(name, new_name, version, key, item.is_flow))
                return
        if new_name is not None:
            place = self._text.place_of(new_name)
            self.found[new_name.start,] = SkippedImage(place, without_login(new_name.text), _NO_NEW_TAG)

    def _add(self, form: ImageForm) -> None:
        self._taken.update(node.start for node in form.nodes)
        place = self._text.place_of(form.nodes[0])
        # Merged mappings share scalars, so that one alone does not tell two references apart.
        key = tuple(node.start for node in form.nodes)
        self.found.setdefault(key, _judged(form, place))


def _judged(form: ImageForm, place: Position) -> Occurrence | SkippedImage:
    reason = _reason(form)
    if not reason:
        try:
            return Occurrence(place, form.text, Reference.parse(form.text), form)
        except InvalidReference as error:
            reason = f"is no image reference ({error})"
    return SkippedImage(place, without_login(form.text), reason)


def _parts(mapping: MappingNode, image: ScalarNode) -> PartsForm | None:
    """Return the form of an `image` beside which its registry, tag or digest stand, as in some charts."""
    is_complete = "@" in image.text or ":" in image.text.rpartition("/")[2]
    parts = _parts_of(mapping, image)
    is_alone = not any(map(_text, (parts.registry, parts.tag, parts.digest)))
    return None if is_complete or is_alone or mapping.scalar(_IMAGE) != image else parts


def _parts_of(mapping: MappingNode, repository: ScalarNode) -> PartsForm:
    digest, has_prefix = mapping.scalar("digest"), True
    if digest is None and (bare := mapping.scalar("sha")) is not None:
        digest, has_prefix = bare, False
    return PartsForm(repository, mapping.scalar("registry"), mapping.scalar("tag"), digest, has_prefix)


def _reason(form: ImageForm) -> str:
    """Return why a form is no reference that can be read, empty if nothing is against it."""
    text = form.text
    if later := _filled_later(text):
        return later
    if not _text(form.nodes[0]).strip():
        return "is empty"
    if len(text) > _MAX_REFERENCE:
        return f"is no image reference (it has {len(text)} characters)"
    if isinstance(form, WholeForm) and form.node.kind is ValueKind.NUMBER:
        return "is a number"
    if isinstance(form, PartsForm) and not _text(form.tag) and not _text(form.digest):
        return "has no tag and no digest here: the chart has a default of its own"
    numbers = (_number(node) for node in form.nodes if node.kind is not ValueKind.STRING)
    return next(filter(None, numbers), "")


def _filled_later(text: str) -> str:
    if any(mark in text for mark in _TEMPLATE):
        return "is a template"
    return "has a variable in it" if any(mark in text for mark in _VARIABLE) or text.startswith("$") else ""


def _number(node: ScalarNode) -> str:
    """Return what is wrong with a scalar that is no string: templates print numbers as Go does."""
    if node.kind is ValueKind.NUMBER:
        value = float(resolve(node.text)[1])
        read = "NaN" if math.isnan(value) else format_float32(value)
        return (
            ""
            if read == node.text and math.isfinite(value)
            else f"has {node.text}, which is the number {read}: put it in quotes"
        )
    return "" if node.kind is ValueKind.NULL else f"has {node.text}, which is no text: put it in quotes"


def _text(node: ScalarNode | None) -> str:
    return "" if node is None or node.kind is ValueKind.NULL else node.text


def _without_tag(text: str) -> str:
    """Return the name of the repository as it is written in a reference."""
    name = text.partition("@")[0]
    base, colon, tag = name.rpartition(":")
    return base if colon and "/" not in tag else name
