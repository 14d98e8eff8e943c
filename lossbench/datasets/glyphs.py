"""Letters rendered from the typefaces that matplotlib ships: a letter is a class, a typeface a sample.

A group is a family of four faces, such as DejaVu Serif: its regular, bold and slanted faces are alike, as pictures of
one camera are, and a query-gallery task asks for a letter in the other families.

A letter counts if at least 12 of the 16 text faces have it. Upper and lower case are different letters.
Letters that render alike are one class: a letter is left out if any face draws it exactly as it draws a letter
that came before. Letters come script by script, Greek last, so a Greek test letter is never one that was
learnt under another name: A, Cyrillic A and Greek Alpha are one class, and it is Latin.

Latin is learnt and Cyrillic, Armenian and Georgian validate in every deal: a deal never mixes their letters.

Every letter is drawn at the same type size (72 pixels to the em), so that C and c differ, its ink centred in a
square of 112 pixels, then averaged over areas down to 28. At that size hinting has no visible effect left.
"""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from lossbench.datasets.cache import cached
from lossbench.datasets.dataset import TEST, TRAIN, VAL, DataError, Dataset, Images, Request
from lossbench.datasets.images import shrunk

FACES = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
)
STYLES = 4  # faces of a family, which lie together
MIN_FACES = 12
SCRIPTS = {"LATIN": TRAIN, "CYRILLIC": VAL, "ARMENIAN": VAL, "GEORGIAN": VAL, "GREEK": TEST}  # in this order
LETTERS = {"Lu", "Ll", "Lt", "Lo"}  # Unicode categories: upper, lower, title case, without case
SIZE, CANVAS, EM = 28, 112, 72  # pixels


def load(request: Request) -> Dataset:
    """About 1,200 letters x 12 to 16 typefaces, 28 x 28 grey, split by script."""
    return cached("glyphs", request, font_files(), decode, extra=f"freetype {features.version('freetype2')}")


def font_files() -> list[Path]:
    """The 16 text faces, found without importing matplotlib.

    Raises:
        DataError: matplotlib or a face of it is missing.
    """
    spec = importlib.util.find_spec("matplotlib")
    origin = Path(spec.origin) if spec and spec.origin else Path()
    files = [origin.parent / "mpl-data" / "fonts" / "ttf" / f"{face}.ttf" for face in FACES]
    if missing := [file.name for file in files if not file.exists()]:
        raise DataError(f"glyphs: {', '.join(missing)} not found; `pip install matplotlib` brings the typefaces")
    return files


def decode(request: Request) -> Dataset:
    """Draw every letter in every face, and leave out those that look like an earlier one."""
    files = font_files()
    maps = [_letters_of(file) for file in files]
    fonts = [ImageFont.truetype(str(file), EM, layout_engine=ImageFont.Layout.BASIC) for file in files]
    seen: set[tuple[int, bytes]] = set()
    images: list[Images] = []
    labels: list[int] = []
    families: list[int] = []
    names: list[str] = []
    for letter in _candidates(maps):
        drawn = {face: _draw(fonts[face], letter) for face in range(len(FACES)) if letter in maps[face]}
        looks = {(face, canvas.reduce(CANVAS // SIZE).tobytes()) for face, canvas in drawn.items()}
        if looks & seen:
            continue
        seen |= looks
        labels += [len(names)] * len(drawn)
        families += [face // STYLES for face in drawn]
        names.append(unicodedata.name(letter))
        images += [np.asarray(shrunk(canvas, request.size or SIZE)) for canvas in drawn.values()]
    return Dataset(
        images=np.stack(images),
        labels=np.array(labels, dtype=np.int64),
        class_names=tuple(names),
        groups=np.array(families, dtype=np.int64),
        class_split=np.array([SCRIPTS[_script(name)] for name in names], dtype=np.int64),
    )


def _script(name: str) -> str:
    """The first word of a letter's Unicode name.

    >>> _script("GREEK SMALL LETTER ALPHA")
    'GREEK'
    """
    return name.partition(" ")[0]


def _letters_of(file: Path) -> set[str]:
    """The letters of our scripts that a face has by its own character map; glyph 0 is the missing-glyph box."""
    from matplotlib.ft2font import FT2Font

    characters = (chr(code) for code, glyph in FT2Font(str(file)).get_charmap().items() if glyph != 0)
    return {
        character
        for character in characters
        if unicodedata.category(character) in LETTERS and _script(unicodedata.name(character)) in SCRIPTS
    }


def _candidates(maps: list[set[str]]) -> Iterator[str]:
    """Letters of at least MIN_FACES faces, script by script, then by code point."""
    order = list(SCRIPTS)
    letters = sorted(set().union(*maps), key=lambda c: (order.index(_script(unicodedata.name(c))), c))
    return (letter for letter in letters if sum(letter in face for face in maps) >= MIN_FACES)


def _draw(font: ImageFont.FreeTypeFont, letter: str) -> Image.Image:
    """White ink on black, its bounding box centered in the canvas."""
    left, top, right, bottom = font.getbbox(letter)  # of the letter and the space it takes
    drawn = Image.new("L", (CANVAS, CANVAS))
    corner = ((CANVAS - right + left) // 2 - left, (CANVAS - bottom + top) // 2 - top)
    ImageDraw.Draw(drawn).text(corner, letter, fill=255, font=font)
    left, top, right, bottom = drawn.getbbox() or (0, 0, CANVAS, CANVAS)  # of its ink
    x, y = left - (CANVAS - right + left) // 2, top - (CANVAS - bottom + top) // 2
    return drawn.crop((x, y, x + CANVAS, y + CANVAS))
