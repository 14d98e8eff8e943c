"""A matplotlib figure as SVG that a page can hold: small, the same bytes each time, readable on light and dark.

Colors that stand for the page's own (ink, faint, grid) are drawn in marker colors and become CSS variables;
style attributes become presentation attributes, so that a strict content security policy lets them through.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import wraps
from html import escape
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, FAINT, GRID, CARD = "#010203", "#020304", "#030405", "#040506"
_VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)", GRID: "var(--grid)", CARD: "var(--card)"}
_THEME = (
    "<style>svg{--ink:#1f2328;--faint:#656d76;--grid:#d8dee4;--card:#ffffff}"
    "@media(prefers-color-scheme:dark){svg{--ink:#e6edf3;--faint:#9198a1;--grid:#30363d;--card:#0d1117}}</style>"
)
_FAMILY = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
_TIP = "tip:"
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text: small, selectable, in the reader's own font
    "svg.hashsalt": "lossbench",
    "font.family": "DejaVu Sans",  # wider than the fonts of most readers: what fits here fits there
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 8,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": GRID,
    "axes.titlecolor": INK,
    "xtick.color": FAINT,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "image.interpolation": "none",
    "path.simplify": True,
}


def tip(artist: Any, text: str) -> None:
    """Give an artist a text that shows when the pointer rests on it."""
    artist.set_gid(_TIP + text)


def styled(draw: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Draw under the report's style, whatever the process has set."""

    @wraps(draw)
    def inside(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return inside


def render(figure: Figure, *, name: str, alt: str) -> str:
    """The figure as an `<svg>` element, with `name` before every id and `alt` as its accessible name."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _tidy(buffer.getvalue(), name, alt)


def standalone(svg: str) -> str:
    """The same picture as a file of its own, which follows the reader's light or dark setting by itself."""
    head, bracket, rest = svg.partition(">")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{head}{bracket}{_THEME}{rest}\n'


def _tidy(text: str, name: str, alt: str) -> str:
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="tip:([^"]*)">', r"<g><title>\1</title>", body)
    body = re.sub(r' style="([^"]*)"', _as_attributes, body)
    body = _own_ids(body, name)
    for marker, variable in _VARIABLES.items():
        body = body.replace(marker, variable)
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d+\.\d{2})\d+", r"\1", tag.group()), body)  # never in text
    body = re.sub(r">\s+<", "><", body)
    view = re.search(r'viewBox="([^"]*)"', body)
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        f'aria-label="{escape(alt, quote=True)}" viewBox="{view.group(1) if view else "0 0 1 1"}" '
        f'font-family="{_FAMILY}" stroke-linejoin="round">'
    )
    return opening + body[body.index(">") + 1 :].strip()


def _as_attributes(found: re.Match[str]) -> str:
    attributes = []
    for declaration in found.group(1).replace("&quot;", "'").split(";"):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key == "font":
            attributes += _font(value)
        elif key and key != "font-family":
            attributes.append(f'{key}="{value}"')
    return " " + " ".join(attributes)


def _font(shorthand: str) -> list[str]:
    """`bold 8px 'DejaVu Sans'` as attributes; the family is the page's."""
    size = re.search(r"([\d.]+)px", shorthand)
    weight = re.match(r"(?:\w+ )*?(bold|[5-9]00)\b", shorthand)
    return ([f'font-size="{size.group(1)}"'] if size else []) + (['font-weight="600"'] if weight else [])


def _own_ids(body: str, name: str) -> str:
    """Ids that are referred to get the figure's name in front; all others go."""
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', body))
    body = re.sub(
        r' id="([^"]*)"', lambda found: f' id="{name}-{found.group(1)}"' if found.group(1) in used else "", body
    )
    return re.sub(r'(xlink:href="#|url\(#)([^")]+)', rf"\g<1>{name}-\g<2>", body)
