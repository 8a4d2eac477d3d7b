"""A quiz in one HTML file: crops of real and of synthetic smears in random order, with the key in another file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from smearsynth.errors import OptionError
from smearsynth.files import write_text
from smearsynth.report.html import jpeg_uri, template
from smearsynth.smear import ImageArray, Smear


def write_quiz(
    path: Path | str,
    real: Sequence[Smear],
    synthetic: Sequence[Smear],
    *,
    crops: int = 12,
    side: int = 320,
    rng: int | np.random.Generator = 0,
) -> Path:
    """Write a page with equally many crops of real and of synthetic smears in random order, and its key.

    Parameters
    ----------
    path : Path or str
        HTML file; it needs no network and no other file.
    real, synthetic : sequence of Smear
        At the same scale.
    crops : int
        Largest number of crops of either kind; one per smear.
    side : int
        Of a crop, px; smaller if a smear is smaller.
    rng : int or numpy.random.Generator

    Returns
    -------
    Path
        The key: a CSV file with number, kind and smear of each picture. Its name ends in ``-key.csv``.

    Raises
    ------
    OptionError
        If there are no smears of one kind, or `side` is less than 1.
    DataError
        If a file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> empty = np.zeros((40, 40), np.int32)
    >>> smear = Smear(np.full((40, 40, 3), 200, np.uint8), empty, np.array([], int), name="a")
    >>> key = write_quiz(Path(tempfile.mkdtemp()) / "quiz.html", [smear], [smear], rng=1)
    >>> key.name, sorted(line.split(",")[1] for line in key.read_text().split()[1:])
    ('quiz-key.csv', ['real', 'synthetic'])
    """
    path = Path(path)
    generator = np.random.default_rng(rng)
    n = min(crops, len(real), len(synthetic))
    if n < 1 or side < 1:
        raise OptionError("a quiz needs real smears, synthetic smears and crops of at least 1 px")
    side = min(side, *(min(smears[0].shape) for smears in (real, synthetic)))
    pictures = []
    for kind, smears in (("real", real), ("synthetic", synthetic)):
        for k in generator.choice(len(smears), n, replace=False).tolist():
            smear = smears[k]
            pictures.append((kind, smear.name, _random_crop(smear.image, side, generator)))
    order = generator.permutation(len(pictures)).tolist()
    uris = [jpeg_uri(pictures[k][2]) for k in order]
    write_text(path, template("quiz.html").render(pictures=uris, side=side, each=n))
    key = path.with_name(f"{path.stem}-key.csv")
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    rows.writerow(("picture", "kind", "smear"))
    rows.writerows((number, pictures[k][0], pictures[k][1]) for number, k in enumerate(order, 1))
    write_text(key, buffer.getvalue())
    return key


def _random_crop(image: ImageArray, side: int, rng: np.random.Generator) -> ImageArray:
    """Cut a random square; it is smaller than `side` where the image is."""
    top, left = (int(rng.integers(max(length - side, 0) + 1)) for length in image.shape[:2])
    return image[top : top + side, left : left + side]
