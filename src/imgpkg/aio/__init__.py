"""The library for asyncio: the verbs of `imgpkg` as coroutines.

    import imgpkg.aio

    async with imgpkg.aio.Session(imgpkg.Settings.from_environment()) as session:
        async with asyncio.timeout(60):
            found = await imgpkg.aio.resolve("registry.example.com/team/app:v1", session=session)

They have the names, the parameters, the results and the errors of the blocking functions, with a `Session` of
this module. The values are those of `imgpkg`. Hooks are called in the event loop; iterators are asynchronous
ones. See `Session` for what a cancellation does.

Made by tools/coroutines.py.
"""

from __future__ import annotations

from imgpkg.aio.client import RegistryClient as RegistryClient
from imgpkg.aio.contents import break_down as break_down
from imgpkg.aio.contents import describe as describe
from imgpkg.aio.contents import read_bundle as read_bundle
from imgpkg.aio.contents import verify as verify
from imgpkg.aio.contents import verify_signatures as verify_signatures
from imgpkg.aio.copies import copy as copy
from imgpkg.aio.copies import copy_from_stream as copy_from_stream
from imgpkg.aio.copies import copy_to_layout as copy_to_layout
from imgpkg.aio.copies import copy_to_repository as copy_to_repository
from imgpkg.aio.copies import copy_to_stream as copy_to_stream
from imgpkg.aio.copies import copy_to_tar as copy_to_tar
from imgpkg.aio.copies import preview_copy as preview_copy
from imgpkg.aio.copies import read_plan as read_plan
from imgpkg.aio.copies import run_plan as run_plan
from imgpkg.aio.credentials import check_access as check_access
from imgpkg.aio.credentials import check_copy as check_copy
from imgpkg.aio.credentials import explain as explain
from imgpkg.aio.credentials import get_token as get_token
from imgpkg.aio.credentials import login as login
from imgpkg.aio.credentials import logout as logout
from imgpkg.aio.documents import lock_images as lock_images
from imgpkg.aio.documents import read_lock as read_lock
from imgpkg.aio.documents import read_placement as read_placement
from imgpkg.aio.documents import read_policy as read_policy
from imgpkg.aio.documents import rewrite_images as rewrite_images
from imgpkg.aio.files import ImageFiles as ImageFiles
from imgpkg.aio.images import iter_files as iter_files
from imgpkg.aio.images import open_files as open_files
from imgpkg.aio.images import read_file as read_file
from imgpkg.aio.images import read_image as read_image
from imgpkg.aio.progress import Running as Running
from imgpkg.aio.progress import progress as progress
from imgpkg.aio.repositories import attach as attach
from imgpkg.aio.repositories import catalog as catalog
from imgpkg.aio.repositories import delete_blob as delete_blob
from imgpkg.aio.repositories import delete_image as delete_image
from imgpkg.aio.repositories import delete_manifest as delete_manifest
from imgpkg.aio.repositories import delete_tag as delete_tag
from imgpkg.aio.repositories import inventory as inventory
from imgpkg.aio.repositories import list_tags as list_tags
from imgpkg.aio.repositories import prune as prune
from imgpkg.aio.repositories import prune_plan as prune_plan
from imgpkg.aio.repositories import referrers as referrers
from imgpkg.aio.repositories import resolve as resolve
from imgpkg.aio.repositories import retag as retag
from imgpkg.aio.session import Session as Session
from imgpkg.aio.streams import AsyncReadable as AsyncReadable
from imgpkg.aio.streams import AsyncWritable as AsyncWritable
from imgpkg.aio.streams import Readable as Readable
from imgpkg.aio.transfers import pull as pull
from imgpkg.aio.transfers import pull_artifact as pull_artifact
from imgpkg.aio.transfers import push as push
from imgpkg.aio.transfers import push_artifact as push_artifact

__all__ = [
    "AsyncReadable",
    "AsyncWritable",
    "ImageFiles",
    "Readable",
    "RegistryClient",
    "Running",
    "Session",
    "attach",
    "break_down",
    "catalog",
    "check_access",
    "check_copy",
    "copy",
    "copy_from_stream",
    "copy_to_layout",
    "copy_to_repository",
    "copy_to_stream",
    "copy_to_tar",
    "delete_blob",
    "delete_image",
    "delete_manifest",
    "delete_tag",
    "describe",
    "explain",
    "get_token",
    "inventory",
    "iter_files",
    "list_tags",
    "lock_images",
    "login",
    "logout",
    "open_files",
    "preview_copy",
    "progress",
    "prune",
    "prune_plan",
    "pull",
    "pull_artifact",
    "push",
    "push_artifact",
    "read_bundle",
    "read_file",
    "read_image",
    "read_lock",
    "read_placement",
    "read_plan",
    "read_policy",
    "referrers",
    "resolve",
    "retag",
    "rewrite_images",
    "run_plan",
    "verify",
    "verify_signatures",
]
