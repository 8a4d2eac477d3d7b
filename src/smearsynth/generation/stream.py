"""SyntheticSmears: an endless stream of annotated smears, to iterate, to train on, or to write to disk."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import SupportsIndex, cast, get_args

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from smearsynth.errors import DataError, OptionError
from smearsynth.formats import Writer, open_writer
from smearsynth.formats.images import png_text
from smearsynth.formats.listing import IMAGE_FOLDER, image_files
from smearsynth.generation.recipe import LightName, Recipe, write_manifest
from smearsynth.generation.style_source import StyleSource
from smearsynth.layout.labels import LayoutName
from smearsynth.runs import StopRequest
from smearsynth.smear import Smear
from smearsynth.synthesis.acquisition.stain import Stain, StainName
from smearsynth.synthesis.model.folder import DEFAULT
from smearsynth.synthesis.model.synthesizer import Synthesizer

REDRAWS = 8
MAX_SIDE = 1 << 15
MAX_PIXELS = 1 << 27  # of a field: about 4 GB of memory, and what image readers still open


class _RefusedError(OptionError):
    """A smear that no drawing of was accepted."""


class SyntheticSmears(IterableDataset[Smear]):
    """Annotated synthetic smears, made when asked for.

    Smear number k depends on (model, options, seed, k) alone: the same by itself, in any order, in any worker
    of a DataLoader, on any machine.

    Parameters
    ----------
    model : Synthesizer or str or Path
        A model, its folder, or ``default``.
    size : tuple of int, optional
        (H, W) in px; that of the training smears when None.
    layout : {"contact", "ring", "uniform"}, optional
        As fitted to the model's smears where it knows a law of contact, else the paper's "ring", when None.
    style : str or int
        "joint": cells and background of a smear belong together; "independent": a cluster for every instance, as
        in the paper; a number: that joint cluster.
    style_of : Smear or sequence of Smear, optional
        Take the style of this smear instead; of two, styles anywhere between theirs. A photograph without
        annotation will do, see `smearsynth.annotation.threshold`. Classes are matched by name, see `StyleSource`.
    stain : {"original", "augmented"}
        "original": that of the style; "augmented": for each smear another that no training smear has, to teach by.
    light : {"original", "augmented"}, optional
        "original": lit as a training smear; "augmented": light that falls off as in none of them, and haze, to teach by.
        None is as the stain.
    density : float
        Factor on the number of cells that the training smears have on such an area.
    mix : dict of str to float, optional
        Probability of each class, those not named 0; as frequent as in the model's shapes when None.
    seed : int
    accept : callable, optional
        Called with each smear; one that it refuses is drawn anew, eight times at most.
    attempt : int
        Begin with this redraw, as a recipe says.
    device : str
        Where a model given by name computes.

    Examples
    --------
    >>> smears = SyntheticSmears("default", size=(64, 96), seed=7)
    >>> smear = smears[3]
    >>> smear.shape, bool((smears[3].image == smear.image).all())
    ((64, 96), True)
    """

    def __init__(
        self,
        model: Synthesizer | Path | str = DEFAULT,
        *,
        size: tuple[int, int] | None = None,
        layout: LayoutName | None = None,
        style: str | int = "joint",
        style_of: Smear | Sequence[Smear] | None = None,
        stain: StainName = "original",
        light: LightName | None = None,
        density: float = 1.0,
        mix: Mapping[str, float] | None = None,
        seed: int = 0,
        accept: Callable[[Smear], bool] | None = None,
        attempt: int = 0,
        device: str = "cpu",
    ) -> None:
        self.model = model if isinstance(model, Synthesizer) else Synthesizer.load(model, device)
        self.size = checked_size(size or self.model.statistics.field_size)
        layout = self.model.label_source.default_layout if layout is None else layout
        if layout not in get_args(LayoutName):
            raise OptionError(f"unknown layout {layout!r}; choose {', '.join(get_args(LayoutName))}")
        if not (math.isfinite(density) and 0 <= density <= 100):
            raise OptionError(f"density must be from 0 to 100 times the real one, not {density}")
        self.seed = _whole("seed", seed)
        if self.seed < 0:
            raise OptionError(f"the seed must not be negative, got {seed}")
        self.accept = accept
        self.attempt = attempt
        self.layout: LayoutName = layout
        given = (style_of,) if isinstance(style_of, Smear) else tuple(style_of or ())
        self.styles = StyleSource(self.model, str(style), given)
        if stain not in get_args(StainName):
            raise OptionError(f"unknown stain {stain!r}; choose {' or '.join(get_args(StainName))}")
        self.stain: StainName = stain
        self.light = self._lit(light)
        self.density = float(density)
        self.mix = None if mix is None else {name: float(share) for name, share in mix.items()}
        self._odds = None if mix is None else self.model.label_source.shapes.odds(mix)

    @classmethod
    def from_recipe(
        cls, recipe: Recipe, model: Synthesizer | Path | str = DEFAULT, *, device: str = "cpu"
    ) -> SyntheticSmears:
        """The stream that a recipe belongs to: its smear number ``recipe.index`` is the one it was made for.

        Raises
        ------
        OptionError
            When the model is another one, or the style was that of a given smear.

        Examples
        --------
        >>> smear, recipe = SyntheticSmears("default", size=(32, 48)).make(2)
        >>> again = SyntheticSmears.from_recipe(recipe)[recipe.index]
        >>> bool((again.image == smear.image).all())
        True
        """
        loaded = model if isinstance(model, Synthesizer) else Synthesizer.load(model, device)
        if loaded.hash != recipe.model:
            raise OptionError(f"the recipe is for model {recipe.model[:12]}, this is {loaded.hash[:12]}")
        if recipe.style.startswith("of "):
            raise OptionError(f"the style was that {recipe.style}; pass this smear as style_of instead")
        return cls(
            loaded,
            size=(recipe.height, recipe.width),
            layout=cast(LayoutName, recipe.layout),
            style=recipe.style,
            stain=recipe.stain,
            light=recipe.light,
            density=recipe.density,
            mix=recipe.mix,
            seed=recipe.seed,
            attempt=recipe.attempt,
        )

    def __getitem__(self, index: int) -> Smear:
        return self.make(index)[0]

    def __iter__(self) -> Iterator[Smear]:
        """Endless; the workers of a DataLoader share the numbers out."""
        worker = get_worker_info()
        index, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        while True:
            yield self[index]
            index += stride

    def make(self, index: int, timer: Callable[[str], object] | None = None) -> tuple[Smear, Recipe]:
        """Smear number `index` with its recipe.

        Parameters
        ----------
        index : int
            From 0 on.
        timer : callable, optional
            Called with "layout", "styles" and "image" when that stage is done, for benchmarks.
        """
        index = _whole("number of a smear", index)
        if index < 0:
            raise OptionError(f"smears are numbered from 0 on, got {index}")
        for attempt in range(self.attempt, self.attempt + REDRAWS):
            smear, recipe = self._attempt(index, attempt, timer or (lambda stage: None))
            if self.accept is None or self.accept(smear):
                return smear, recipe
        raise _RefusedError(
            f"smear {index} was refused {REDRAWS} times, for its labels do not fit its image: train the model for "
            "longer or, into another folder, give another --seed or leave out --verify"
        )

    def _attempt(self, index: int, attempt: int, tick: Callable[[str], object]) -> tuple[Smear, Recipe]:
        # one independent stream per smear and stage: a change of style leaves the layout as it is
        again = [attempt] if attempt else []
        place, look, grain, lens = (np.random.default_rng([self.seed, index, stage, *again]) for stage in range(4))
        like = self.model.label_source.reference_smear(index, self.seed, self.styles.among)
        mask = self.model.label_source.draw(
            self.size, layout=self.layout, density=self.density, mix=self._odds, like=like, rng=place
        )
        tick("layout")
        drawn = self.styles.draw(mask.classes, like, look)
        stain = Stain.draw(look) if self.stain == "augmented" else None
        tick("styles")
        law = self.model.acquisition
        taken = None if law is None else law.draw(mask.labels, lens, drawn.like, unlike=self.light == "augmented")
        image = self.model.paint(
            mask.labels, mask.classes, grain, styles=drawn.styles, stain=stain, acquisition=taken
        )
        tick("image")
        name = _name(index)
        pixel = self.model.statistics.um_per_px
        smear = Smear(image, mask.labels, mask.classes, self.model.class_names, pixel, name)
        counts = np.bincount(mask.classes, minlength=len(self.model.class_names)).tolist()
        recipe = self._stamp.model_copy(
            update={
                "name": name,
                "index": index,
                "attempt": attempt,
                "requested": mask.layout.requested,
                "placed": mask.layout.placed,
                "blend": drawn.blend,
                "stained": stain,
                "acquisition": taken,
                "classes": dict(zip(self.model.class_names, counts, strict=True)),
            }
        )
        return smear, recipe

    def write(
        self,
        folder: Path | str,
        n: int,
        *,
        format: str = "labels",
        on_smear: Callable[[int], object] | None = None,
    ) -> list[Recipe]:
        """Write smears 0 to n - 1 with a manifest; what an interrupted call left is continued.

        Parameters
        ----------
        folder : Path or str
            Gets ``images/``, the annotation in its format, and ``manifest.jsonl``, a recipe a line.
        n : int
        format : str
            One of `smearsynth.formats.FORMATS`.
        on_smear : callable, optional
            Called with the number of smears done, for a progress bar.

        Returns
        -------
        list of Recipe
            Shorter than `n` when Ctrl-C stopped it.

        Raises
        ------
        DataError
            When the folder holds smears of another stream, or cannot be written.
        OptionError
            When a smear is refused to the last; those before it stand in the folder, with their manifest.
        """
        if n < 1:
            raise OptionError(f"the number of smears must be at least 1, not {n}")
        folder = Path(folder)
        recipes: list[Recipe] = []
        refused: _RefusedError | None = None
        with StopRequest() as stop:
            writer = open_writer(folder, format=format, class_names=self.model.class_names)
            self._refuse_others(folder)
            for index in range(n):
                if stop.asked:
                    break
                recipe = self._written(writer, index)
                if recipe is None:
                    try:
                        smear, recipe = self.make(index)
                    except _RefusedError as error:
                        refused = error
                        break
                    writer.write(smear, recipe.tags)
                recipes.append(recipe)
                if on_smear:
                    on_smear(len(recipes))
            # what an earlier, longer run left in this folder belongs in the manifest too
            while (earlier := self._written(writer, len(recipes))) is not None:
                recipes.append(earlier)
            writer.finish()
            write_manifest(folder, recipes)
        if refused is not None:
            raise OptionError(f"{refused}; the {len(recipes)} smears before it are finished", folder) from refused
        return recipes[:n]

    def _written(self, writer: Writer, index: int) -> Recipe | None:
        """The recipe of a smear that is in the folder already; None when it is not, or cannot be read."""
        name = _name(index)
        there = Recipe.of_image(writer.folder / IMAGE_FOLDER / f"{name}.png") if writer.written(name) else None
        if there is not None and not there.same_stream(self._stamp):
            raise there.other_stream(self._stamp, writer.folder)
        return there

    def _refuse_others(self, folder: Path) -> None:
        """Synthetic smears never come among others: real ones would be taken for synthetic, or replaced."""
        images = image_files(folder / IMAGE_FOLDER) if (folder / IMAGE_FOLDER).is_dir() else []
        for image in images:
            if not _NAME.fullmatch(image.stem) or (image is images[0] and _foreign(image)):
                raise DataError("was not made by `smearsynth generate`; choose another folder", image)

    def _lit(self, light: LightName | None) -> LightName:
        if light not in (None, *get_args(LightName)):
            raise OptionError(f"unknown light {light!r}; choose {' or '.join(get_args(LightName))}")
        if light == "augmented" and self.model.acquisition is None:
            raise OptionError("light varied: the model knows nothing of light; train it again with this version")
        return light or ("original" if self.model.acquisition is None else self.stain)

    @cached_property
    def _stamp(self) -> Recipe:
        """What all recipes of this stream share."""
        return Recipe(
            name="",
            index=0,
            seed=self.seed,
            model=self.model.hash,
            smearsynth=version("smearsynth"),
            width=self.size[1],
            height=self.size[0],
            layout=self.layout,
            style=self.styles.name,
            stain=self.stain,
            light=self.light,
            density=self.density,
            mix=self.mix,
            verified=self.accept is not None,
            requested=0,
            placed=0,
            classes={},
        )


def checked_size(size: tuple[int, int]) -> tuple[int, int]:
    """A field's (H, W) in px, or `OptionError` when there is no such field.

    Examples
    --------
    >>> checked_size((48, 64))
    (48, 64)
    """
    height, width = _whole("height", size[0]), _whole("width", size[1])
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE) or height * width > MAX_PIXELS:
        raise OptionError(
            f"size {width}x{height}: give 1 to {MAX_SIDE} px a side, and {MAX_PIXELS >> 20} Mpx in all at most"
        )
    return height, width


def _name(index: int) -> str:
    return f"smear-{index:06d}"


_NAME = re.compile(r"smear-\d{6,}")


def _foreign(image: Path) -> bool:
    """Whether an image can be read and does not say that it is synthetic."""
    try:
        return png_text(image).get("synthetic") != "true"
    except DataError:
        return False


def _whole(what: str, value: SupportsIndex) -> int:
    """A whole number of any type as int."""
    try:
        return operator.index(value)
    except TypeError:
        raise OptionError(f"{what}: give a whole number, not {value!r}") from None
