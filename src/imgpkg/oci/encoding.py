"""Manifests, indexes and descriptors as JSON: the fields, their order and the bytes of programs in Go.

The order is that of the structs in the image-spec (specs-go/v1), and for Docker's media types that of Docker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from imgpkg.errors import InvalidManifest
from imgpkg.expression import expression
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest

if TYPE_CHECKING:
    from collections.abc import Iterable

# Surrogates that do not stand for a byte (PEP 383); Go has U+FFFD for them.
_NO_BYTE = expression("[\ud800-\udc7f\udd00-\udfff]")
# Go escapes characters that are special in HTML and JavaScript, and replaces bytes that are not UTF-8.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
_ESCAPES |= dict.fromkeys(range(0xD800, 0xE000), "\\ufffd")
_LONGEST_PLATFORM = 3
# RFC 6838 §4.2; the image-spec, descriptor.md, `mediaType`, refers to it.
_TYPE = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = expression(rf"{_TYPE}/{_TYPE}")

# What stands for a configuration or a content that an artifact does not have (image-spec, manifest.md,
# "Guidance for an Empty Descriptor"); the content is in the descriptor, too, as other programs write it.
EMPTY_BLOB = Descriptor(
    media.OCI_EMPTY,
    Digest("sha256", "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
    2,
    data=b"{}",
)


def check_media_type(text: str) -> None:
    """Raise InvalidManifest unless `text` is a media type by RFC 6838, which has no parameters."""
    if not _MEDIA_TYPE.fullmatch(text):
        raise InvalidManifest(
            f"expected a media type such as application/json, but was '{text}'",
            hints=("See RFC 6838, section 4.2: a type, a slash, a subtype, without parameters.",),
        )


def encode_json(value: object, *, indent: int | None = None) -> bytes:
    """Return the JSON that Go writes for dicts, lists, strings and numbers; keep the order of keys.

    Without `indent` there are no spaces; with it each entry is on its own line, indented by so many spaces.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=False)
    return text.translate(_ESCAPES).encode()


def sorted_strings(strings: Mapping[str, str]) -> dict[str, str]:
    """Return a map in the order of Go: by the bytes of the keys, even if they are not UTF-8."""
    return dict(sorted(strings.items(), key=_in_bytes))


def _in_bytes(item: tuple[str, str]) -> bytes:
    return _NO_BYTE.sub("\ufffd", item[0]).encode("utf-8", "surrogateescape")


def image_bytes(
    media_type: str,
    config: Descriptor | None,
    layers: Iterable[Descriptor],
    *,
    artifact_type: str,
    subject: Descriptor | None,
    annotations: Mapping[str, str],
) -> bytes:
    """Return the bytes of an image manifest; see `Manifest.build`."""
    if media_type not in media.IMAGES:
        raise InvalidManifest(f"not the media type of an image manifest: {media_type}")
    # Without this nobody could say what the manifest is (image-spec, manifest.md, `artifactType`).
    if (config is None or config.media_type == media.OCI_EMPTY) and not artifact_type:
        raise InvalidManifest(
            "an artifact with an empty configuration needs an artifact type",
            hints=("A media type of your own says what it is, such as application/vnd.example.report.",),
        )
    is_docker = media_type == media.DOCKER_MANIFEST
    content: dict[str, object] = {
        "config": _entry(config or EMPTY_BLOB, is_docker=is_docker),
        "layers": [_entry(layer, is_docker=is_docker) for layer in layers],
    }
    if config is None and not content["layers"]:
        content["layers"] = [_entry(EMPTY_BLOB)]
    return _bytes(media_type, content, artifact_type, subject, annotations)


def index_bytes(
    media_type: str,
    manifests: Iterable[Descriptor],
    *,
    artifact_type: str,
    subject: Descriptor | None,
    annotations: Mapping[str, str],
) -> bytes:
    """Return the bytes of an index; see `Manifest.build_index`."""
    if media_type not in media.INDEXES:
        raise InvalidManifest(f"not the media type of an index: {media_type}")
    is_docker = media_type == media.DOCKER_LIST
    content = {"manifests": [_entry(entry, is_docker=is_docker) for entry in manifests]}
    return _bytes(media_type, content, artifact_type, subject, annotations)


def _bytes(
    media_type: str,
    content: Mapping[str, object],
    artifact_type: str,
    subject: Descriptor | None,
    annotations: Mapping[str, str],
) -> bytes:
    if media_type.startswith("application/vnd.docker.") and (artifact_type or subject or annotations):
        raise InvalidManifest(f"{media_type} has no artifact type, no subject and no annotations")
    document: dict[str, object] = {"schemaVersion": 2, "mediaType": media_type}
    if artifact_type:
        check_media_type(artifact_type)
        document["artifactType"] = artifact_type
    document |= content
    if subject is not None:
        document["subject"] = _entry(subject)
    if annotations:
        document["annotations"] = _checked(annotations)
    return encode_json(document)


def _entry(blob: Descriptor, *, is_docker: bool = False) -> dict[str, object]:
    """Return a descriptor as an object, without what is empty."""
    check_media_type(blob.media_type)
    names = ("size", "digest") if is_docker else ("digest", "size")
    values = {"digest": str(blob.digest), "size": blob.size}
    document = {"mediaType": blob.media_type, **{name: values[name] for name in names}}
    optional: dict[str, object] = {
        "urls": blob.urls,
        "annotations": _checked(blob.annotations),
        "data": _base64(blob.data),
        "platform": _platform(blob),
        "artifactType": blob.artifact_type,
    }
    return {**document, **{name: value for name, value in optional.items() if value}}


def _checked(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return annotations in Go's order; programs in Go cannot read a manifest with other values than text."""
    for item in annotations.items():
        texts: tuple[object, object] = item
        if not all(isinstance(text, str) for text in texts):
            raise InvalidManifest(f"expected texts as annotation and its value, but were {item}")
    return sorted_strings(annotations)


def _base64(data: bytes | None) -> str:
    if not data:
        return ""
    import base64

    return base64.b64encode(data).decode()


def _platform(blob: Descriptor) -> dict[str, object]:
    text = blob.platform
    if not text:
        return {}
    parts = text.split("/")
    if not 1 < len(parts) <= _LONGEST_PLATFORM:
        raise InvalidManifest(f"expected a platform such as linux/amd64 or linux/arm64/v8, but was '{text}'")
    optional: dict[str, object] = {
        "os.version": blob.os_version,
        "os.features": blob.os_features,
        "variant": "".join(parts[2:]),
    }
    document: dict[str, object] = {"architecture": parts[1], "os": parts[0]}
    return document | {name: value for name, value in optional.items() if value}
