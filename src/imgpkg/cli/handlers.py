"""The handlers of the commands, from flags to output; the table in `commands` names them."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Literal, cast

from imgpkg.cli import rendering
from imgpkg.cli.output import Table
from imgpkg.errors import ImgpkgError
from imgpkg.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from imgpkg.bundle.inventory import Inventory
    from imgpkg.bundle.placement import Placement
    from imgpkg.bundle.selection import Selection
    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.context import Context
    from imgpkg.oci.platform import Platform
    from imgpkg.operations.check import AccessReport
    from imgpkg.operations.copy.values import CopyOptions, CopySource
    from imgpkg.operations.transfer.dispatch import BlobExecutor
    from imgpkg.session import Session
    from imgpkg.trust.key import SigningKey
    from imgpkg.trust.policy import Policy


def push(context: Context) -> None:
    """Push the files and print the digest reference of the image."""
    from imgpkg.operations.push import push

    flags = context.flags
    key, form = _signing(flags)
    with context.session() as session:
        pushed = push(
            flags.texts("file"),
            session=session,
            image=flags.text("image"),
            bundle=flags.text("bundle"),
            exclusions=flags.texts("file-exclusion"),
            preserve_permissions=flags.is_on("preserve-permissions"),
            labels=cast("dict[str, str]", flags.values["labels"]),
            lock_output=flags.text("lock-output"),
            strict=flags.is_on("strict"),
            sign_key=key,
            sign_format=form,
            to_tar=flags.text("to-tar"),
            to_layout=flags.text("to-oci-layout"),
            on_event=context.reporter,
        )
    context.result(pushed, references=(pushed.reference,), counts_blobs=True)
    file = flags.text("to-tar") or flags.text("to-oci-layout")
    context.output.text(f"Wrote '{pushed.reference}' to {file}" if file else f"Pushed '{pushed.reference}'")
    if pushed.signature is not None:
        context.output.line(f"Signed with '{flags.text('sign-key')}': '{pushed.signature}'")


def _signing(flags: Parsed) -> tuple[SigningKey | None, Literal["tag", "bundle"]]:
    if not any(name.startswith("sign-") for name in flags.given):
        return None, "tag"
    from imgpkg.cli.trust import signing

    return signing(flags)


def _policy(flags: Parsed) -> Policy | None:
    if not any(name.startswith("verify-") or name == "trusted-root" for name in flags.given):
        return None
    from imgpkg.cli.trust import policy

    return policy(flags)


def pull(context: Context) -> None:
    """Pull into the output folder."""
    from imgpkg.operations.pull import pull

    flags = context.flags
    policy = _policy(flags)
    with context.session() as session:
        pulled = pull(
            flags.text("output"),
            session=session,
            image=flags.text("image"),
            bundle=flags.text("bundle"),
            lock=flags.text("lock"),
            recursive=flags.is_on("recursive"),
            image_is_bundle_check=flags.is_on("image-is-bundle-check"),
            policy=policy,
            tar=flags.text("tar"),
            layout=flags.text("from-oci-layout"),
            on_event=context.reporter,
        )
    context.result(pulled, references=(pulled.reference,), counts_blobs=True)


def copy(context: Context) -> None:
    """Copy, or print what would be copied."""
    from imgpkg.cli.sides import open_sides

    flags = context.flags
    if "plan" in flags.given or "shard" in flags.given:
        from imgpkg.cli.plans import copy_by_plan

        with _resumable(context):
            copy_by_plan(context)
        return
    source, options = _copy_source(flags), _copy_options(flags)
    # Before the sessions are opened: a wrong combination must not wait for a password.
    _check_copy(flags, source, options)
    with open_sides(context) as (session, source_session):
        # Also without --dry-run: the check ends the command before anything is written.
        reports = _checked(context, session, source_session, source, options) if flags.is_on("check") else ()
        if flags.is_on("dry-run"):
            _preview(context, session, source_session, source, options, reports=reports)
        elif _is_streamed(flags):
            from imgpkg.cli.streams import copy_streamed

            copy_streamed(context, session, source_session, source, options)
        else:
            _copy(context, session, source_session, source, options)


def _is_streamed(flags: Parsed) -> bool:
    return "-" in (flags.text("to-tar"), flags.text("tar"))


def _copy_source(flags: Parsed) -> CopySource:
    from imgpkg.operations.copy.values import CopySource

    # Which of them exclude each other is checked by the source itself, with the texts of the original.
    return CopySource(
        images=_given(flags, "image"),
        bundles=_given(flags, "bundle"),
        locks=_given(flags, "lock"),
        tar=flags.text("tar"),
        layout=flags.text("from-oci-layout"),
    )


def _given(flags: Parsed, name: str) -> tuple[str, ...]:
    texts = flags.texts(name)
    # A flag that is given once, and empty, counts as not given, as in the original.
    return () if texts == ("",) else texts


def _copy_options(flags: Parsed) -> CopyOptions:
    from imgpkg.cli.context import size_of
    from imgpkg.operations.copy.values import CopyOptions

    return CopyOptions(
        include_non_distributable_layers=flags.is_on("include-non-distributable-layers"),
        repo_based_tags=flags.is_on("repo-based-tags"),
        cosign_signatures=flags.is_on("cosign-signatures"),
        referrers=flags.is_on("referrers"),
        attachments=flags.is_on("attachments"),
        policy=_policy(flags),
        mount_from=flags.texts("mount-from"),
        to_tags=tuple(flags.texts("to-tag")),
        split=size_of(flags.text("split"), "split"),
        placement=_placement(flags),
        selection=_selection(flags),
        platforms=_platforms(flags),
        send_credentials=flags.is_on("dask-send-credentials"),
        stream_plan=flags.is_on("stream-plan") if "stream-plan" in flags.given else None,
    )


def _platforms(flags: Parsed) -> tuple[Platform, ...]:
    texts = flags.texts("platform")
    if not texts:
        return ()
    from imgpkg.oci.platform import parse_platforms

    return parse_platforms(texts)


def _placement(flags: Parsed) -> Placement | None:
    rules, keeps_hosts, file = flags.texts("map"), flags.is_on("keep-hosts"), flags.text("map-file")
    if not (rules or keeps_hosts or file or flags.is_on("keep-names")):
        return None
    from imgpkg.bundle.placement import KeptNames, MapRule, Placement

    placement = Placement()
    if file:
        from imgpkg.bundle.placement_file import read_placement

        placement = read_placement(file)
    kept = KeptNames.PATHS if flags.is_on("keep-names") else KeptNames.NONE
    return placement.overridden_by(map(MapRule.parse, rules), KeptNames.HOSTS if keeps_hosts else kept)


def _selection(flags: Parsed) -> Selection | None:
    names = ("include", "exclude", "include-annotation", "exclude-annotation")
    if not any(flags.texts(name) for name in names):
        return None
    from imgpkg.bundle.selection import Selection

    return Selection(*(flags.texts(name) for name in names))


def _check_copy(flags: Parsed, source: CopySource, options: CopyOptions) -> None:
    """Refuse a wrong combination of flags before a password is read from standard input."""
    from imgpkg.cli.sides import check_sides
    from imgpkg.operations.copy.copy import check_destination

    check_destination(
        source,
        to_repo=flags.text("to-repo"),
        to_tar=flags.text("to-tar"),
        to_layout=flags.text("to-oci-layout"),
        options=options,
        lock_output=flags.text("lock-output"),
        resume=flags.is_on("resume"),
        is_delta=bool(flags.texts("since") or flags.texts("since-inventory")),
    )
    if {"plan-output", "stream-plan"} & flags.given:
        from imgpkg.cli.plans import check_plan_flags

        check_plan_flags(flags)
    if _is_streamed(flags):
        from imgpkg.cli.streams import check_streams

        check_streams(flags)
    if any(name.startswith("dask") for name in flags.given):
        from imgpkg.cli.cluster import check_cluster

        check_cluster(flags)
    check_sides(flags)


def _since(flags: Parsed) -> tuple[str | Inventory, ...]:
    if not flags.texts("since-inventory"):
        return flags.texts("since")
    from imgpkg.bundle.inventory import Inventory

    return (*flags.texts("since"), *map(Inventory.from_path, flags.texts("since-inventory")))


def _checked(
    context: Context,
    session: Session,
    source_session: Session | None,
    source: CopySource,
    options: CopyOptions,
) -> tuple[AccessReport, ...]:
    """Check both ends; print the steps and raise an ImgpkgError when a check has failed."""
    from imgpkg.cli.access import raise_failed
    from imgpkg.operations.copy.access import check_copy

    to_repo = context.flags.text("to-repo")
    reports = check_copy(source, to_repo, session=session, source_session=source_session, options=options)
    raise_failed(context, reports)
    return reports


def _copy(
    context: Context,
    session: Session,
    source_session: Session | None,
    source: CopySource,
    options: CopyOptions,
) -> None:
    from imgpkg.operations.copy.copy import copy

    flags = context.flags
    with _resumable(context), _executor(context) as executor:
        copied = copy(
            source,
            session=session,
            source_session=source_session,
            to_repo=flags.text("to-repo"),
            to_tar=flags.text("to-tar"),
            to_layout=flags.text("to-oci-layout"),
            options=options,
            lock_output=flags.text("lock-output"),
            resume=flags.is_on("resume"),
            since=_since(flags),
            executor=executor,
            on_event=context.reporter,
        )
    context.result(copied, {"dryRun": False}, references=copied.asked, counts_blobs=True)
    if copied.workers:
        from imgpkg.cli.cluster import print_shares

        print_shares(context.output, copied.workers)


def _executor(context: Context) -> AbstractContextManager[BlobExecutor | None]:
    if not context.flags.text("dask"):
        return nullcontext()
    from imgpkg.cli.cluster import open_cluster

    return open_cluster(context)


@contextmanager
def _resumable(context: Context) -> Iterator[None]:
    try:
        yield
    except (ImgpkgError, KeyboardInterrupt) as ended:
        from imgpkg.cli.resumption import add_hints

        add_hints(context, ended)
        raise


def _preview(
    context: Context,
    session: Session,
    source_session: Session | None,
    source: CopySource,
    options: CopyOptions,
    *,
    reports: Sequence[AccessReport],
) -> None:
    from imgpkg.cli.progress import warnings_for
    from imgpkg.operations.copy.preview import preview_copy
    from imgpkg.operations.jsonform.form import as_json

    flags = context.flags
    preview = preview_copy(
        source,
        flags.text("to-repo"),
        session=session,
        source_session=source_session,
        options=options,
        since=_since(flags),
        plan_output=flags.text("plan-output"),
        on_event=warnings_for(context.reporter),
    )
    # The preview of a copy to a file does not read that file: everything counts as missing.
    destination = flags.text("to-repo") or flags.text("to-tar") or flags.text("to-oci-layout")
    text, value = "".join(rendering.preview_text(preview, destination)), as_json(preview)
    context.output.result({"dryRun": True, "preview": value})
    # One document has both, since `--json` writes one value.
    if reports:
        from imgpkg.cli.access import report_json, report_text

        text = f"{text}\nAccess:\n\n{''.join(report_text(reports))}"
        value = {**value, **report_json(reports)}
    context.output.document(text, value)


def tag_list(context: Context) -> None:
    """Print a table of the tags, sorted by name."""
    from imgpkg.operations.tag import list_tags

    flags = context.flags
    digests = flags.is_on("digests")
    with context.session() as session:
        listed = list_tags(
            flags.text("image"),
            session=session,
            digests=digests,
            imgpkg_internal_tags=flags.is_on("imgpkg-internal-tags"),
            tar=flags.text("tar"),
            layout=flags.text("from-oci-layout"),
            on_event=context.reporter,
        )
    context.output.result(listed)
    # Code points sort as the bytes of UTF-8 do, which is the order of Go, and so of the original.
    rows = sorted((tag.name, str(tag.digest) if tag.digest else "") for tag in listed.tags)
    columns = ("Name", "Digest") if digests else ("Name",)
    context.output.table(Table("tags", ("Name", "Digest"), tuple(rows), columns))


def tag_resolve(context: Context) -> None:
    """Print the digest reference, without a line end after it."""
    from imgpkg.operations.tag import resolve

    with context.session() as session:
        reference = resolve(context.flags.text("image"), session=session)
    context.result(reference, references=(reference,))
    if not context.is_quiet:
        # Scripts read the reference with `$(…)`, also where there is no terminal.
        context.output.block(str(reference))


def version(context: Context) -> None:
    """Print the version; with `--verbose` also the version of Python and the deflate encoder."""
    text = f"imgpkg version {VERSION}\n"
    if context.flags.is_on("verbose") or context.is_document:
        import platform

        from imgpkg.content.deflate.gzip import encoder_name

        python, encoder = platform.python_version(), encoder_name()
        context.output.result({"version": VERSION, "python": python, "encoder": encoder})
        text += f"python {python}\ndeflate encoder: {encoder}\n"
    context.output.block(text)
