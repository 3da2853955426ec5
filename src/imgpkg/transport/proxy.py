"""Which proxy a request goes through: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, by the rules of Go."""

from __future__ import annotations

from base64 import b64encode
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urlsplit

from imgpkg.dataclass import dataclass, field
from imgpkg.errors import InvalidSettings
from imgpkg.expression import expression
from imgpkg.transport.message import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping

Address: TypeAlias = "IPv4Address | IPv6Address"

_VARIABLES = {"http": ("HTTP_PROXY", "http_proxy"), "https": ("HTTPS_PROXY", "https_proxy")}
_HOST_AND_PORT = expression(r"(?:\[([^\[\]]*)\]|([^:\[\]]*)):([^:\[\]]*)")


def has_proxy(environ: Mapping[str, str]) -> bool:
    """Return whether `environ` names a proxy for any URL."""
    return any(environ.get(name) for names in _VARIABLES.values() for name in names)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; `authorization` is the value of Proxy-Authorization, empty for none.

    `variable` is the name of the environment variable that it is from.
    """

    scheme: str
    host: str
    port: int
    authorization: str = field(default="", repr=False)
    variable: str = ""

    @classmethod
    def parse(cls, url: str, variable: str = "") -> Proxy:
        """Parse the URL of a proxy; raise InvalidSettings, whose text has only the scheme of the URL."""
        try:
            origin, parts = Origin.of(url), urlsplit(url)
        except ValueError:
            # The URL may hold a password anywhere, and so may the text of the cause.
            raise InvalidSettings(
                "Reading the proxy's URL: invalid proxy address", hints=_correct(variable)
            ) from None
        if origin.scheme not in _VARIABLES:
            raise InvalidSettings(
                f"Reading the proxy's URL: unsupported scheme '{origin.scheme}'", hints=_correct(variable)
            )
        login = ""
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return cls(origin.scheme, origin.host, origin.port, _basic(login) if login else "", variable)


def _correct(variable: str) -> tuple[str, ...]:
    named = f"${variable}" if variable else "The variable"
    return (
        f"{named} has to be http://HOST:PORT or https://HOST:PORT: there is no other kind of proxy here.",
    )


def chosen_proxy(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for the absolute `url`, with the variable that names it; raise InvalidSettings."""
    proxy = proxy_for(url, environ)
    if proxy is None:
        return None
    names = _VARIABLES[Origin.of(url).scheme]
    return Proxy.parse(proxy, next(name for name in names if environ.get(name)))


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy for the absolute `url`, None for a direct connection.

    The rules are those of Go's httpproxy: the upper-case variable is preferred to the lower-case one, an
    empty one counts as absent, and a proxy without a scheme is an http one. In a CGI program (REQUEST_METHOD
    is set) HTTP_PROXY may come from a client's `Proxy` header and is ignored. Raises ValueError when `url`
    has no host.
    """
    origin = Origin.of(url)
    # CVE-2016-5385 ("httpoxy").
    if origin.scheme == "http" and environ.get("REQUEST_METHOD"):
        return None
    proxy = _first(environ, *_VARIABLES.get(origin.scheme, ()))
    if not proxy or is_bypassed(origin.host, origin.port, _first(environ, "NO_PROXY", "no_proxy")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def is_bypassed(host: str, port: int, no_proxy: str) -> bool:
    """Return True for a host that is reached without a proxy: loopback, and what NO_PROXY lists.

    Entries are separated by commas: `*`, an IP address, a CIDR range, or a domain. A domain matches its
    subdomains too, with a leading dot (or `*.`) only these. All but ranges may end in `:port`.
    """
    name, address = host.lower(), _address(host)
    # A proxy could not reach the loopback address of this machine.
    if name == "localhost" or name.endswith(".localhost") or (address is not None and address.is_loopback):
        return True
    entries = (entry.strip().lower() for entry in no_proxy.split(","))
    return any(_matches(entry, name, address, port) for entry in entries if entry)


def _matches(entry: str, name: str, address: Address | None, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return address is not None and _in_range(entry, address)
    wanted, wanted_port = _split_port(entry)
    if not wanted or (wanted_port and wanted_port != str(port)):
        return False
    # Two spellings of one IPv6 address are equal.
    wanted_address = _address(wanted)
    if wanted_address is not None:
        return wanted_address == address
    return _in_domain(name, wanted)


def _in_domain(name: str, wanted: str) -> bool:
    wanted = _ascii(wanted.removeprefix("*"))
    name = _ascii(name)
    if wanted.startswith("."):
        return name.endswith(wanted)
    return name == wanted or name.endswith(f".{wanted}")


def _in_range(entry: str, address: Address) -> bool:
    try:
        network = ip_network(entry, strict=False)
    except ValueError:
        return False
    return address in network


def _split_port(entry: str) -> tuple[str, str]:
    match = _HOST_AND_PORT.fullmatch(entry)
    if match is None:
        return entry, ""
    return match[1] or match[2] or "", match[3]


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _ascii(name: str) -> str:
    try:
        return name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        return name


def _first(environ: Mapping[str, str], *names: str) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")


def _basic(login: str) -> str:
    return "Basic " + b64encode(login.encode()).decode("ascii")
