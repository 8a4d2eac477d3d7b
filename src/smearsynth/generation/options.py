"""The options of a stream of synthetic smears, and their validation."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import SupportsIndex, TypedDict, get_args

from smearsynth.errors import OptionError
from smearsynth.generation.recipe import LightName
from smearsynth.layout.labels import LayoutName
from smearsynth.smear import Smear
from smearsynth.synthesis.acquisition.stain import StainName
from smearsynth.synthesis.model.synthesizer import Synthesizer

MAX_SIDE = 1 << 15
MAX_PIXELS = 1 << 27  # needs about 4 GB of memory; image readers still open such an image
MAX_DENSITY = 100


class StreamOptions(TypedDict, total=False):
    """Keyword arguments of `SyntheticSmears` and `generate` that determine the content of the smears.

    Parameters
    ----------
    size : tuple of int, optional
        Height and width in px. Default: the size of the training smears.
    layout : {"contact", "ring", "uniform"}, optional
        Placement of the cells. Default: "contact" if the model has contact parameters, else "ring" as in the paper.
    style : str or int
        "joint" (default): styles of cells and background are drawn together. "independent": a random cluster per
        instance, as in the paper. A number: that cluster of joint styles.
    style_of : Smear, Path, str or a sequence of one or two of them, optional
        Take the style of this smear; with two, styles interpolated between them. A path is a photograph, or an
        annotated smear as "FOLDER:NAME", see `load_reference`. Classes are matched by name, see `StyleSource`.
    stain : {"original", "augmented"}
        "original" (default): the stain of the style. "augmented": a random change of stain per smear, for training
        data.
    light : {"original", "augmented"}, optional
        "original": the illumination of a training smear. "augmented": additional random illumination and haze, for
        training data. Default: as `stain`.
    density : float
        Factor on the number of cells per area of the training smears, 0 to 100. Default: 1.
    mix : dict of str to float, optional
        Probability of each class; a class that is not named has 0. Default: the frequencies of the model's shapes.
    seed : int
        Seed of the stream, not negative. Default: 0.

    Examples
    --------
    >>> options: StreamOptions = {"size": (120, 160), "density": 0.5}
    """

    size: tuple[int, int] | None
    layout: LayoutName | None
    style: str | int
    style_of: Smear | Path | str | Sequence[Smear | Path | str] | None
    stain: StainName
    light: LightName | None
    density: float
    mix: Mapping[str, float] | None
    seed: int


def check_names(options: Mapping[str, object]) -> None:
    """Raise `TypeError` for a key that is not in `StreamOptions`.

    Examples
    --------
    >>> check_names({"hue": 3})
    Traceback (most recent call last):
    TypeError: unexpected keyword argument 'hue'
    """
    for name in options:
        if name not in StreamOptions.__annotations__:
            raise TypeError(f"unexpected keyword argument {name!r}")


def checked_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) of a field in px as integers.

    Raises
    ------
    OptionError
        If a side is below 1 px or above `MAX_SIDE`, or the area is above `MAX_PIXELS`.

    Examples
    --------
    >>> checked_size((48, 64))
    (48, 64)
    """
    height, width = whole_number("height", size[0]), whole_number("width", size[1])
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE) or height * width > MAX_PIXELS:
        raise OptionError(
            f"size {width}x{height}: give 1 to {MAX_SIDE} px per side and at most {MAX_PIXELS >> 20} Mpx"
        )
    return height, width


def checked_layout(layout: LayoutName | None, model: Synthesizer) -> LayoutName:
    """Return the layout to use: the model's default for None."""
    if layout is None:
        return model.label_source.default_layout
    if layout not in get_args(LayoutName):
        raise OptionError(f"unknown layout {layout!r}; choose {', '.join(get_args(LayoutName))}")
    return layout


def checked_stain(stain: StainName) -> StainName:
    """Return the stain option if its value is known."""
    if stain not in get_args(StainName):
        raise OptionError(f"unknown stain {stain!r}; choose {' or '.join(get_args(StainName))}")
    return stain


def checked_light(light: LightName | None, stain: StainName, model: Synthesizer) -> LightName:
    """Return the light to use: for None that of the stain, if the model can change the light.

    Raises
    ------
    OptionError
        If the value is unknown, or is "augmented" and the model has no acquisition model.
    """
    if light not in (None, *get_args(LightName)):
        raise OptionError(f"unknown light {light!r}; choose {' or '.join(get_args(LightName))}")
    if light == "augmented" and model.acquisition is None:
        raise OptionError("light augmented: this model has no acquisition model; train it again with this version")
    return light or ("original" if model.acquisition is None else stain)


def checked_density(density: float) -> float:
    """Return the density factor if it is in 0 to `MAX_DENSITY`."""
    if not (math.isfinite(density) and 0 <= density <= MAX_DENSITY):
        raise OptionError(f"density {density}: give a factor from 0 to {MAX_DENSITY}")
    return float(density)


def checked_seed(seed: int) -> int:
    """Return the seed if it is a whole number that is not negative."""
    number = whole_number("seed", seed)
    if number < 0:
        raise OptionError(f"seed {seed}: give a number that is not negative")
    return number


def whole_number(name: str, value: SupportsIndex) -> int:
    """Return an integer of any type, such as a NumPy integer, as int.

    Examples
    --------
    >>> whole_number("seed", 1.5)
    Traceback (most recent call last):
    smearsynth.errors.OptionError: seed: give a whole number, not 1.5
    """
    try:
        return operator.index(value)
    except TypeError:
        raise OptionError(f"{name}: give a whole number, not {value!r}") from None
