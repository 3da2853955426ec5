"""How the original prints what it found in JSON: Go's `%v`, which scripts look for (spec 1.9)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

_SMALLEST, _LARGEST = -4, 6


def go_text(value: Any) -> str:
    """Print decoded JSON: `map[k1:v1 k2:v2]` with sorted keys, `[a b]`, `<nil>`, numbers like `1e+06`.

    Raises RecursionError for a value nested too deeply.
    """
    match value:
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
        case int() | float():
            return _number(value)
        case dict():
            return f"map[{' '.join(f'{key}:{go_text(value[key])}' for key in sorted(value))}]"
        case list():
            return f"[{' '.join(map(go_text, value))}]"
        case _:
            return str(value)


def _number(value: float) -> str:
    """Print as `%g` does: shortest digits, an exponent from a million on and below one ten-thousandth."""
    try:
        number = Decimal(repr(float(value)))
    except OverflowError:
        return "+Inf" if value > 0 else "-Inf"
    if not number.is_finite():
        return "NaN" if number.is_nan() else f"{'-' if number < 0 else '+'}Inf"
    if not number:
        return "-0" if number.is_signed() else "0"
    exponent = number.adjusted()
    if _SMALLEST <= exponent < _LARGEST:
        return f"{number.normalize():f}"
    mantissa = number.normalize().scaleb(-exponent)
    return f"{mantissa:f}e{exponent:+03d}"
