"""How numbers are written: three decimals for scores, a true minus sign, a dash where there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence

NONE = "–"
MINUS = "−"
ELLIPSIS = "…"
MOST_DECIMALS = 6
LONGEST_NAME = 24  # characters of a name in a figure


def score(value: float, digits: int = 3) -> str:
    """A score with a fixed number of decimals.

    >>> score(0.98765), score(-0.5), score(float("nan"))
    ('0.988', '−0.500', '–')
    """
    if not _present(value):
        return NONE
    return f"{_no_minus_zero(value, digits):.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int = 3) -> str:
    """A difference, with its sign.

    >>> signed(0.0123), signed(-0.0004)
    ('+0.012', '0.000')
    """
    if not _present(value):
        return NONE
    value = _no_minus_zero(value, digits)
    return (f"{value:+.{digits}f}" if value else f"{0:.{digits}f}").replace("-", MINUS)


def interval(low: float, high: float, digits: int = 3) -> str:
    """A closed interval, with more decimals where fewer would hide that it excludes zero; a dash where there is none.

    >>> interval(-0.01, 0.02), interval(-0.0471, -0.0003)
    ('[−0.010, 0.020]', '[−0.0471, −0.0003]')
    """
    if not (_present(low) and _present(high)):
        return NONE
    while digits < MOST_DECIMALS and low * high > 0 and round(min(abs(low), abs(high)), digits) == 0:
        digits += 1
    return f"[{score(low, digits)}, {score(high, digits)}]"


def p_value(p: float) -> str:
    """A p value to three decimals, to four where three would hide on which side of 5 % it is.

    >>> p_value(0.0312), p_value(1e-7), p_value(0.0499)
    ('0.031', '<0.001', '0.0499')
    """
    if not _present(p):
        return NONE
    if p < 0.0005:
        return "<0.001"
    return f"{p:.4f}" if f"{p:.3f}" == "0.050" else f"{p:.3f}"


def p_text(p: float) -> str:
    """A p value in a sentence.

    >>> p_text(0.0312), p_text(1e-7)
    ('p = 0.031', 'p < 0.001')
    """
    text = p_value(p)
    return f"p < {text[1:]}" if text.startswith("<") else f"p = {text}"


def significant(value: float, digits: int = 3) -> str:
    """A figure of unknown size to a few significant digits, without an exponent where it is readable.

    >>> significant(0.0123456), significant(1234.5), significant(2e-05), significant(3.0), significant(-0.0)
    ('0.0123', '1,234', '2.00e−05', '3.00', '0.00')
    """
    if not _present(value):
        return NONE
    value = value + 0.0  # minus zero is zero
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    if magnitude >= digits:
        return f"{value:,.0f}".replace("-", MINUS)
    if magnitude < -4:
        return f"{value:.{digits - 1}e}".replace("-", MINUS)
    return f"{value:.{max(digits - 1 - magnitude, 0)}f}".replace("-", MINUS)


def signed_significant(value: float) -> str:
    """A difference of unknown size, with its sign.

    >>> signed_significant(0.0123456), signed_significant(-12.0)
    ('+0.0123', '−12.0')
    """
    text = significant(value)
    return f"+{text}" if _present(value) and value > 0 else text


def interval_significant(low: float, high: float) -> str:
    """An interval of unknown size, both ends with the digits that the larger one needs.

    >>> interval_significant(-0.01234, 0.5)
    '[−0.012, 0.500]'
    """
    if not (_present(low) and _present(high)):
        return NONE
    largest = max(abs(low), abs(high))
    digits = min(6, max(0, 2 - math.floor(math.log10(largest)))) if largest else 3
    return interval(low, high, digits)


def share(value: float) -> str:
    """A share in per cent.

    >>> share(0.125), share(-0.0)
    ('12.5 %', '0.0 %')
    """
    if not _present(value):
        return NONE
    return f"{_no_minus_zero(100 * value, 1):.1f} %".replace("-", MINUS)


def count(value: float) -> str:
    """A whole number with thousands separated.

    >>> count(12345.0), count(-0.2)
    ('12,345', '0')
    """
    return f"{_no_minus_zero(value, 0):,.0f}".replace("-", MINUS) if _present(value) else NONE


def counted(number: int, noun: str) -> str:
    """A number and what it counts.

    >>> counted(1, "study"), counted(7, "study"), counted(1200, "run")
    ('1 study', '7 studies', '1,200 runs')
    """
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count(number)} {noun if number == 1 else plural}"


def shortened(name: str, most: int = LONGEST_NAME) -> str:
    """A long name without its middle: names of one family differ at their ends, and families at their beginnings.

    >>> shortened("softmax+center with lambda 0.003 and alpha 0.5")
    'softmax+c… and alpha 0.5'
    """
    if len(name) <= most:
        return name
    first = (most - 1) * 2 // 5
    return name[:first] + ELLIPSIS + name[first + 1 - most :]


def short_names(names: Sequence[str], most: int = LONGEST_NAME) -> list[str]:
    """Every name shortened; of names that would then read alike, the part in which they differ.

    >>> short_names(["softmax", "center with lambda 0.003 and alpha 0.5", "center with lambda 0.03 and alpha 0.5"])
    ['softmax', '…h lambda 0.003 and alp…', '…h lambda 0.03 and alph…']
    """
    found = [shortened(name, most) for name in names]
    for short in {short for short in found if found.count(short) > 1}:
        alike = [name for name, own in zip(names, found, strict=True) if own == short]
        same = next((at for at, letters in enumerate(zip(*alike, strict=False)) if len(set(letters)) > 1), most)
        start = max(0, same - most // 2)
        found = [
            f"{ELLIPSIS}{name[start : start + most - 2]}{ELLIPSIS}" if own == short else own
            for name, own in zip(names, found, strict=True)
        ]
    return found


def differing(first: str, second: str) -> tuple[str, str]:
    """Two names without the words that both begin or end with; an ellipsis stands for those.

    >>> differing("SMALL ALPHA WITH PSILI", "SMALL ALPHA WITH DASIA"), differing("5", "9")
    (('… PSILI', '… DASIA'), ('5', '9'))
    >>> differing("IOTA WITH PSILI AND VARIA", "IOTA WITH DASIA AND VARIA"), differing("IOTA", "IOTA WITH VARIA")
    (('… PSILI …', '… DASIA …'), ('IOTA', 'IOTA WITH VARIA'))
    """
    names = first.split(), second.split()
    room = min(map(len, names)) - 1  # a word of the shorter one stays
    before = min(_alike(*names), room)
    after = min(_alike(*(name[::-1] for name in names)), room - before)
    parts = [name[before : len(name) - after] for name in names]
    marks = ELLIPSIS if before else "", ELLIPSIS if after else ""
    one, other = (" ".join(filter(None, (marks[0], *part, marks[1]))) for part in parts)
    return one, other


def class_names(names: Sequence[str], most: int) -> list[str]:
    """Names of classes for a legend: without the words that all begin with, and without their middle where long.

    >>> class_names(["GREEK SMALL ALPHA", "GREEK SMALL BETA", "GREEK XI"], 24)
    ['SMALL ALPHA', 'SMALL BETA', 'XI']
    """
    words = [name.split() for name in names]
    same = min(min((_alike(words[0], other) for other in words), default=0), min(map(len, words), default=1) - 1)
    return short_names([" ".join(each[max(0, same) :]) for each in words], most)


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words both begin with."""
    return next(
        (at for at, pair in enumerate(zip(one, other, strict=False)) if len(set(pair)) > 1), min(len(one), len(other))
    )


def parameter(value: object) -> str:
    """A hyper-parameter's value."""
    if isinstance(value, float) and not math.isnan(value):
        return significant(value)
    return NONE if value is None or value != value else str(value)


def _present(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _no_minus_zero(value: float, digits: int) -> float:
    return 0.0 if round(value, digits) == 0 else value
