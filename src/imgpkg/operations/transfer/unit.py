"""A unit of work: one blob to put into one repository, as a value that any process can act on."""

from __future__ import annotations

from imgpkg.auth.keychain import Credential
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.events import BlobOutcome
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.reference import Repository
from imgpkg.settings import Login, Settings
from imgpkg.values import FrozenDict, hiding
from imgpkg.version import VERSION


@hiding("credential", "source_credential")
@dataclass(frozen=True)
class TransferUnit:
    """Put the blob of `descriptor` into `destination`, from `source` or mounted from `mount_from`.

    It is safe to do it again, and in two processes at once: a blob has its digest for a name.

    `run` names the copy that it belongs to. `settings` are those of the side that writes, and
    `source_settings` those of the side that reads, without passwords, tokens and environment: a worker finds
    credentials with its own environment and files. `credential` and `source_credential`, if they are there,
    come before those. They are part of a pickle, and in no `repr` and no `dataclasses.asdict`. With
    `is_asked` the destination is asked for the blob before it is sent; with `use_urls` it may come from the
    URLs of its descriptor. `version` is that of the package; a worker that has another one refuses the unit.
    """

    run: str
    descriptor: Descriptor
    source: Repository
    destination: Repository
    settings: Settings
    source_settings: Settings
    mount_from: Repository | None = None
    is_asked: bool = True
    use_urls: bool = False
    credential: Credential | None = field(default=None, repr=False)
    source_credential: Credential | None = field(default=None, repr=False)
    version: str = VERSION


@dataclass(frozen=True, slots=True)
class Transferred:
    """The result of a TransferUnit: what became of the blob.

    `size` is that of the blob in bytes, whatever the `outcome`, `seconds` the time that it took. `warnings`
    are those of the `worker`, each once for a worker; both are empty in the process of the copy, which has
    reported them. `is_reported` is true if its events have reached the hook of the copy already.
    """

    destination: Repository
    digest: Digest
    outcome: BlobOutcome
    size: int
    seconds: float
    worker: str = ""
    warnings: tuple[str, ...] = ()
    is_reported: bool = False


def public_settings(settings: Settings) -> Settings:
    """Return `settings` without passwords and tokens, and without the environment, which may have some.

    The paths of files with secrets stay, and so does the wish for anonymous access.
    """
    return replace(
        settings,
        login=_public(settings.login),
        side_login=_public(settings.side_login),
        environ=FrozenDict(),
    )


def _public(login: Login) -> Login:
    # Half a login is a mistake of a user, which it would be at a worker too.
    username = login.username if login.password_file else None
    return replace(login, username=username, password=None, token=None, password_origin="")
