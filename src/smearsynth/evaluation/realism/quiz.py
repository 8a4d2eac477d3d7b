"""Real smears among synthetic ones, unlabelled, in one HTML file: can you tell? The key is in another file."""

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
    each: int = 12,
    side: int = 320,
    rng: int | np.random.Generator = 0,
) -> Path:
    """Write equally many crops of real and of synthetic smears in random order, and the key beside them.

    Parameters
    ----------
    path : Path or str
        The HTML file; it needs no network and nothing beside it.
    real, synthetic : sequence of Smear
        At the same scale.
    each : int
        Crops of either kind, from as many smears at most.
    side : int
        Of a crop, px; smaller where a smear is.
    rng : int or numpy.random.Generator

    Returns
    -------
    Path
        The key: a CSV file with the number, kind and smear of each picture, named as the sheet with ``-key.csv``.

    Raises
    ------
    OptionError
        When there is nothing to show of one kind.
    DataError
        When a file cannot be written.

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
    n = min(each, len(real), len(synthetic))
    if n < 1 or side < 1:
        raise OptionError("nothing to show; give real and synthetic smears, and crops of 1 px at least")
    side = min(side, *(min(kind[0].shape) for kind in (real, synthetic)))
    shown = []
    for kind, smears in (("real", real), ("synthetic", synthetic)):
        for k in generator.choice(len(smears), n, replace=False).tolist():
            smear = smears[k]
            shown.append((kind, smear.name, _crop(smear.image, side, generator)))
    order = generator.permutation(len(shown)).tolist()
    pictures = [jpeg_uri(shown[k][2]) for k in order]
    write_text(path, template("quiz.html").render(pictures=pictures, side=side, each=n))
    key = path.with_name(f"{path.stem}-key.csv")
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    rows.writerow(("picture", "kind", "smear"))
    rows.writerows((number, shown[k][0], shown[k][1]) for number, k in enumerate(order, 1))
    write_text(key, buffer.getvalue())
    return key


def _crop(image: ImageArray, side: int, rng: np.random.Generator) -> ImageArray:
    """A random window; sides may differ where a smear is smaller."""
    top, left = (int(rng.integers(max(length - side, 0) + 1)) for length in image.shape[:2])
    return image[top : top + side, left : left + side]
