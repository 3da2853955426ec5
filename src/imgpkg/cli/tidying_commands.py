"""The commands that delete: names, flags and help texts."""

from __future__ import annotations

from imgpkg.cli.arguments import Flag, ValueType, switch, text
from imgpkg.cli.command import CONCURRENCY, REGISTRY, Command

TAG_DELETE = Command(
    ("tag", "delete"),
    "Delete tags; the images stay",
    (
        Flag(
            "image",
            ValueType.STRINGS,
            "Tag to delete, such as registry.example.com/team/app:v1 (may be repeated)",
            short="i",
        ),
        switch(
            "with-image",
            "Where the registry cannot delete a tag alone, delete the image if it has no other tags",
        ),
        CONCURRENCY,
        *REGISTRY,
    ),
    "tidying.delete_tags",
    "  # Delete a tag, and leave the image and its other tags\n"
    "  imgpkg tag delete -i registry.example.com/team/config:v1",
    aliases=("rm",),
    words="[REFERENCE...]",
)
DELETE = Command(
    ("delete",),
    "Delete images and their tags",
    (
        Flag(
            "image",
            ValueType.STRINGS,
            "Image to delete, by tag or digest, such as registry.example.com/team/app:v1 (may be repeated)",
            short="i",
        ),
        switch("all-tags", "Delete the image although it has other tags, which go with it"),
        CONCURRENCY,
        *REGISTRY,
    ),
    "tidying.delete_images",
    "  # Delete an image with its only tag\n"
    "  imgpkg delete registry.inside.example/team/config:v1\n\n"
    "  # Delete an image with all its tags\n"
    "  imgpkg delete registry.example.com/team/bundle:v1 --all-tags",
    words="[REFERENCE...]",
)
PRUNE = Command(
    ("prune",),
    "Delete from a repository what nothing needs",
    (
        text("image", "Repository, such as registry.example.com/team/app", short="i"),
        Flag(
            "keep",
            ValueType.STRINGS,
            "Keep this tag, digest or pattern of tags such as 'v1.*', and all that belongs to it (may be "
            "repeated)",
        ),
        Flag(
            "keep-lock",
            ValueType.STRINGS,
            "Keep the images that this ImagesLock or BundleLock file names (may be repeated)",
        ),
        Flag("keep-newest", ValueType.INT, "Keep this number of images with the highest versions as tags"),
        text(
            "only-listed", "Delete no more than this file lists, which an earlier run has written with --json"
        ),
        CONCURRENCY,
        *REGISTRY,
    ),
    "tidying.prune",
    "  # List what would be deleted, and why; nothing is deleted\n"
    "  imgpkg prune registry.example.com/team/config --keep-newest 3\n\n"
    "  # Delete it\n"
    "  imgpkg prune registry.example.com/team/config --keep 'v*' --yes",
    words="[REPOSITORY]",
)
COMMANDS = (DELETE, PRUNE, TAG_DELETE)
