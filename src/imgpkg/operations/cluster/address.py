"""The address of a Dask cluster: that of its scheduler, or processes of this machine."""

from __future__ import annotations

from urllib.parse import urlsplit

from imgpkg.dataclass import dataclass
from imgpkg.errors import UsageError, printable
from imgpkg.expression import expression

_FORMS = (
    "Write tls://HOST:PORT or tcp://HOST:PORT, the address of a scheduler, or local:N for N processes here."
)
# That of `dask scheduler`.
_PORT = 8786
_LOCAL = "local:"
_NUMBER = expression(r"[1-9][0-9]{0,3}")
# More would be a mistyped port.
_MOST_PROCESSES = 1000


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """Where the workers are: `url` is that of a scheduler, else there are `processes` of this machine."""

    url: str = ""
    processes: int = 0

    @classmethod
    def parse(cls, text: str) -> ClusterAddress:
        """Parse `tls://HOST[:PORT]`, `tcp://HOST[:PORT]` or `local:N`; raise UsageError."""
        if text.startswith(_LOCAL):
            return cls(processes=_processes(text))
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise _wrong(text, str(error)) from error
        if parts.scheme not in ("tls", "tcp"):
            raise _wrong(text, "expected tls://, tcp:// or local:")
        is_alone = not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
        if not parts.hostname or not is_alone or port == 0:
            raise _wrong(text, "expected a host and a port")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(f"{parts.scheme}://{host}:{port or _PORT}")

    @property
    def is_encrypted(self) -> bool:
        """True if nobody else can read what is sent; local processes get certificates of their own."""
        return not self.url.startswith("tcp:")

    def __str__(self) -> str:
        return self.url or f"{_LOCAL}{self.processes}"


def is_encrypted(address: str) -> bool:
    """Return whether nobody else can read what is sent to the scheduler of a client at `address`."""
    return address.startswith(("tls:", "wss:", "inproc:"))


def _processes(text: str) -> int:
    number = text.removeprefix(_LOCAL)
    if not _NUMBER.fullmatch(number) or int(number) > _MOST_PROCESSES:
        raise _wrong(text, f"expected a number of processes from 1 to {_MOST_PROCESSES}")
    return int(number)


def _wrong(text: str, reason: str) -> UsageError:
    shown = printable(text.rpartition("@")[2])
    return UsageError(f"'{shown}' is no address of a Dask cluster: {reason}", hints=(_FORMS,))
