"""What errors carry: the entries of a registry's answer, and what became of a credential."""

from __future__ import annotations

from enum import Enum

from imgpkg.dataclass import dataclass


class RefusalKind(Enum):
    """Why the credential of a request was not sufficient."""

    REFUSED = "refused"
    NOT_ENOUGH = "not enough"
    ANONYMOUS = "anonymous"
    ENDED = "ended"
    UNUSABLE = "cannot be used here"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was not allowed, in one `sentence`, and a `remedy`; both are safe to print.

    The credential was refused, is valid for less than was asked for, is missing (`ANONYMOUS`: none was sent),
    has ended, or is of a kind that the registry has no use for.
    """

    kind: RefusalKind
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class SourceAnswer:
    """What one credential source answered: `outcome` is matched, no match, not applicable or failed.

    `detail` names the variable, file or program; no secret is in it.
    """

    source: str
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """An entry of the `errors` list in a response (distribution-spec, "Error Codes").

    `detail` is the JSON detail as text, empty if there is none.
    """

    code: str
    message: str
    detail: str = ""

    def __str__(self) -> str:
        text = f"{self.code}: {self.message}"
        return f"{text}; {self.detail}" if self.detail else text
