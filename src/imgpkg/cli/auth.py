"""`imgpkg auth explain`, and what it shares with `imgpkg auth check`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from imgpkg.cli.rendering import error_json
from imgpkg.errors import ImgpkgError, Several, UsageError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imgpkg.auth.diagnosis.fingerprint import FingerprintKey
    from imgpkg.auth.keychain import Decision, NearMiss
    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.context import Context
    from imgpkg.cli.output import Document, Output
    from imgpkg.session import Session


def explain(context: Context) -> None:
    """Print which credentials the references get and why, without a request to their registries."""
    with failing_as_json(context.output):
        given = references(context.flags)
        with context.session() as session:
            # A reference that fails does not hide the answers for the others.
            explanations = [_explanation(reference, session) for reference in given]
    _write(explanations, context)


def references(flags: Parsed) -> tuple[str, ...]:
    """Return the references that are given as words, with --image and with --bundle; at least one."""
    given = (*flags.words, *filter(None, (flags.text("image"), flags.text("bundle"))))
    if not given:
        raise UsageError("requires at least 1 arg(s), only received 0: a reference or registry")
    return given


@contextmanager
def failing_as_json(output: Output) -> Iterator[None]:
    """Return a context whose error is also the document for programs."""
    try:
        yield
    except ImgpkgError as error:
        output.failure(error_json(error))
        raise


class _Explanation:
    """What is printed for one reference: a decision with what goes with it, or an error.

    `make` returns the fields for programs.
    """

    def __init__(
        self,
        reference: str,
        text: str = "",
        make: Callable[[], dict[str, object]] = dict,
        error: ImgpkgError | None = None,
    ) -> None:
        self.text = text
        self.error = error
        self._reference = reference
        self._make = make

    def value(self) -> dict[str, object]:
        """Return the document of `--json`."""
        failed = {"reference": self._reference, **error_json(self.error)} if self.error is not None else {}
        return {**failed, **self._make()}

    def form(self) -> dict[str, object]:
        """Return an entry of the document of `--format json`."""
        from imgpkg.operations.jsonform.form import as_json

        error = as_json(self.error) if self.error is not None else None
        return {"reference": self._reference, "readFrom": [], **self._make(), "error": error}


def _explanation(reference: str, session: Session) -> _Explanation:
    from imgpkg.auth.diagnosis.fingerprint import FingerprintKey
    from imgpkg.auth.diagnosis.remedies import remedies_for
    from imgpkg.oci.reference import without_login
    from imgpkg.session import explain

    try:
        decision = explain(reference, session=session)
    except ImgpkgError as error:
        return _Explanation(without_login(reference), error=error)
    misses = session.keychain.near_misses(decision)
    told = tuple(miss.remedy for miss in misses if miss.remedy)
    helpful = remedies_for(decision) if decision.winner is None else ()
    # A remedy that a near miss has already named is not repeated.
    remedies = [remedy for remedy in helpful if not remedy.endswith(told)]
    shown = (decision.credential, *(miss.credential for miss in misses if miss.credential))
    # The file of the key is made for a secret only.
    has_secret = any(not credential.is_anonymous for credential in shown)
    key = FingerprintKey.of_machine(session.settings.environ) if has_secret else FingerprintKey()
    places = _places(reference, decision, session)
    lines = (*_lines(decision, misses, remedies, key), *_lines_of_places(places))
    text = "".join(f"{printable(line)}\n" for line in lines)

    def make() -> dict[str, object]:
        document = _document(decision, misses, remedies, key)
        return {**document, "readFrom": list(places)} if places else document

    return _Explanation(without_login(reference), text, make)


def _places(reference: str, decision: Decision, session: Session) -> tuple[str, ...]:
    """Return where the reference is read from, in order; empty where no mirror or other location counts."""
    from imgpkg.oci.reference import parse_any

    is_whole = str(decision.repository) == decision.repository.registry
    if is_whole or not session.has_mirrors:
        return ()
    asked = parse_any(reference)
    try:
        found = tuple(map(str, session.client.sources(asked)))
    except UsageError as error:
        return (f"nowhere: {error}",)
    return () if found == (str(asked),) else found


def _lines_of_places(places: Sequence[str]) -> Iterator[str]:
    if places:
        yield "read from the first of these that has it, each with the credential of its own host:"
    yield from (f"  {place}" for place in places)


def _write(explanations: Sequence[_Explanation], context: Context) -> None:
    output = context.output
    document: Document = {}
    if context.is_for_programs:
        output.result({"explanations": [one.form() for one in explanations]})
        values = [one.value() for one in explanations]
        # With one reference the document is an object and no list, as before several could be given.
        document = values[0] if len(values) == 1 else values
    errors = [one.error for one in explanations if one.error is not None]
    texts = [one.text for one in explanations if one.text]
    if texts:
        output.document("\n".join(texts), document)
    if errors:
        output.failure(document)
        raise _joined(errors, len(explanations))


def _joined(errors: Sequence[ImgpkgError], asked: int) -> ImgpkgError:
    # The one error as it is, with its type, which decides how it is printed.
    if len(errors) == 1:
        return errors[0]
    hints = tuple(hint for error in errors for hint in error.hints)
    lines = tuple(f"- {error}" for error in errors)
    several = Several(f"No answer for {len(errors)} of {asked} references", lines=lines, hints=hints)
    several.errors = tuple(errors)
    return several


def _lines(
    decision: Decision, misses: Sequence[NearMiss], remedies: Sequence[str], key: FingerprintKey
) -> Iterator[str]:
    first, *trail = decision.explain().split("\n")
    yield first
    # Before the trail: a near miss explains why another credential was chosen than the expected one.
    yield from (f"  near miss: {miss.source}: {miss}{_in_brackets(miss, key)}" for miss in misses)
    if fingerprint := key.fingerprint(decision.credential):
        yield f"  fingerprint: {fingerprint}" + (f" ({key.note})" if key.note else "")
    yield from trail
    if str(decision.repository) == decision.repository.registry:
        yield "  this is for the registry as a whole: sets and entries with a path were left out"
    if remedies:
        yield "what would help:"
    yield from (f"  {remedy}" for remedy in remedies)


def _in_brackets(miss: NearMiss, key: FingerprintKey) -> str:
    fingerprint = key.fingerprint(miss.credential) if miss.credential else ""
    return f" (fingerprint {fingerprint})" if fingerprint else ""


def _miss_json(miss: NearMiss, key: FingerprintKey) -> dict[str, object]:
    fingerprint = key.fingerprint(miss.credential) if miss.credential else ""
    return {
        "source": miss.source,
        "text": miss.text,
        "remedy": miss.remedy or None,
        "fingerprint": fingerprint or None,
    }


def _document(
    decision: Decision, misses: Sequence[NearMiss], remedies: Sequence[str], key: FingerprintKey
) -> dict[str, object]:
    from imgpkg.operations.jsonform.credentials import decided

    fingerprint = key.fingerprint(decision.credential)
    return {
        **decided(decision),
        "fingerprint": fingerprint or None,
        "fingerprintNote": key.note or None,
        "nearMisses": [_miss_json(miss, key) for miss in misses],
        "remedies": list(remedies),
    }
