"""A stream of synthetic smears: to iterate over, to train on, or to write to disk."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Unpack, cast

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from smearsynth.errors import DataError, OptionError
from smearsynth.formats import Writer, open_writer
from smearsynth.formats.listing import image_files
from smearsynth.formats.pixels.tiff_files import read_image_text
from smearsynth.formats.splits import checked_fractions, split_by_index
from smearsynth.generation.options import (
    StreamOptions,
    check_names,
    checked_density,
    checked_layout,
    checked_light,
    checked_seed,
    checked_size,
    checked_stain,
    whole_number,
)
from smearsynth.generation.recipe import Recipe, write_manifest
from smearsynth.generation.style_source import StyleSource, load_references, reduce_variation
from smearsynth.layout.labels import LayoutName
from smearsynth.runs import StopRequest
from smearsynth.smear import Smear
from smearsynth.synthesis.acquisition.stain import Stain
from smearsynth.synthesis.model.folder import DEFAULT
from smearsynth.synthesis.model.synthesizer import Synthesizer

MAX_ATTEMPTS = 8
# Factor on the variation of the styles between cells, by attempt. Some training smears have outlying styles, which
# the generator paints in colours that no tissue has.
_STYLE_VARIATION = (1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0, 0.0)
_FILE_STEM = re.compile(r"smear-\d{6,}")


class _RejectedError(OptionError):
    """Every attempt at a smear was rejected."""


class SyntheticSmears(IterableDataset[Smear]):
    """An endless stream of annotated synthetic smears, generated on access.

    Smear number k depends only on (model, options, seed, k): it is the same on its own, in any order, in any worker
    of a DataLoader and on any machine.

    Parameters
    ----------
    model : Synthesizer or str or Path
        A model, its folder, or "default" for the shipped model.
    accept : callable, optional
        Test of each smear. A smear for which it returns False is generated again, up to 8 attempts in all.
    attempt : int
        Number of the first attempt, as stored in a recipe.
    device : str
        Device of a model that is given by name or folder.
    **options
        `size`, `layout`, `style`, `style_of`, `stain`, `light`, `density`, `mix` and `seed`, see `StreamOptions`.

    Raises
    ------
    OptionError
        If an option has an invalid value.
    TypeError
        If there is no such option.

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
        accept: Callable[[Smear], bool] | None = None,
        attempt: int = 0,
        device: str = "cpu",
        **options: Unpack[StreamOptions],
    ) -> None:
        check_names(options)
        self.model = model if isinstance(model, Synthesizer) else Synthesizer.load(model, device)
        self.accept = accept
        self.attempt = attempt
        self.size = checked_size(options.get("size") or self.model.statistics.field_size)
        self.layout = checked_layout(options.get("layout"), self.model)
        self.density = checked_density(options.get("density", 1.0))
        self.seed = checked_seed(options.get("seed", 0))
        references = load_references(options.get("style_of"), self.model.config.data.scale)
        self.styles = StyleSource(self.model, str(options.get("style", "joint")), references)
        self.stain = checked_stain(options.get("stain", "original"))
        self.light = checked_light(options.get("light"), self.stain, self.model)
        mix = options.get("mix")
        self.mix = None if mix is None else {name: float(fraction) for name, fraction in mix.items()}
        self._odds = None if mix is None else self.model.label_source.shapes.odds(mix)
        self._redrawn = 0
        self._colours = self.model.colours
        if self._colours is not None:
            self._colours = self._colours.with_smears(references)

    @classmethod
    def from_recipe(
        cls, recipe: Recipe, model: Synthesizer | Path | str = DEFAULT, *, device: str = "cpu"
    ) -> SyntheticSmears:
        """Return the stream of a recipe: its smear number ``recipe.index`` is the smear of the recipe.

        Raises
        ------
        OptionError
            If the recipe is for another model, or needs a reference smear for the style.

        Examples
        --------
        >>> smear, recipe = SyntheticSmears("default", size=(32, 48)).make(2)
        >>> again = SyntheticSmears.from_recipe(recipe)[recipe.index]
        >>> bool((again.image == smear.image).all())
        True
        """
        synthesizer = model if isinstance(model, Synthesizer) else Synthesizer.load(model, device)
        if synthesizer.hash != recipe.model:
            raise OptionError(f"the recipe is for model {recipe.model[:12]}, this model is {synthesizer.hash[:12]}")
        if recipe.style.startswith("of "):
            raise OptionError(
                f"the style of this recipe was taken from another smear ({recipe.style}); "
                "create the stream with this smear as style_of"
            )
        stream = cls(
            synthesizer,
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
        # The attempt of the recipe is repeated without checks.
        stream._redrawn, stream._colours = recipe.redrawn or 0, None
        return stream

    def __getitem__(self, index: int) -> Smear:
        return self.make(index)[0]

    def __iter__(self) -> Iterator[Smear]:
        """Iterate without end; the workers of a DataLoader take turns at the numbers."""
        worker = get_worker_info()
        index, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        while True:
            yield self[index]
            index += stride

    def make(self, index: int, timer: Callable[[str], object] | None = None) -> tuple[Smear, Recipe]:
        """Generate smear number `index` and its recipe.

        Parameters
        ----------
        index : int
            Not negative.
        timer : callable, optional
            Called with "layout", "styles" and "image" when that stage is done, for benchmarks.

        Raises
        ------
        OptionError
            If the index is negative, or `accept` rejected all attempts.
        """
        index = whole_number("number of a smear", index)
        if index < 0:
            raise OptionError(f"smear {index}: numbers start at 0")
        redrawn, last = self._redrawn, self.attempt + MAX_ATTEMPTS - 1
        for attempt in range(self.attempt, last + 1):
            smear, recipe, has_tissue_colours = self._attempt(index, attempt, timer or (lambda stage: None))
            # The last attempt is not checked: another lab may have other colours than the training smears.
            if not has_tissue_colours and attempt < last:
                redrawn += 1
            elif self.accept is None or self.accept(smear):
                return smear, recipe.model_copy(update={"redrawn": redrawn})
        raise _RejectedError(
            f"smear {index}: rejected {MAX_ATTEMPTS} times because its labels do not fit its image; train the "
            "model for longer, or write to another folder with another --seed or without --verify"
        )

    def _attempt(self, index: int, attempt: int, timer: Callable[[str], object]) -> tuple[Smear, Recipe, bool]:
        """Make an attempt at a smear; return also whether it has only colours of training smears."""
        # An independent generator per smear and stage: a change of style leaves the layout unchanged.
        suffix = [attempt] if attempt else []
        layout_rng, style_rng, noise_rng, acquisition_rng = (
            np.random.default_rng([self.seed, index, stage, *suffix]) for stage in range(4)
        )
        source = self.model.label_source
        reference = source.reference_smear(index, self.seed, self.styles.cluster_members)
        drawn = source.draw(
            self.size,
            layout=self.layout,
            density=self.density,
            mix=self._odds,
            reference=reference,
            rng=layout_rng,
        )
        labels, classes, layout = drawn.labels, drawn.classes, drawn.layout
        timer("layout")
        draw = self.styles.draw(classes, reference, style_rng)
        styles = (
            reduce_variation(draw.styles, classes, _STYLE_VARIATION[min(attempt, MAX_ATTEMPTS - 1)])
            if attempt
            else draw.styles
        )
        stain = Stain.draw(style_rng) if self.stain == "augmented" else None
        timer("styles")
        acquisition = None
        if self.model.acquisition is not None:
            acquisition = self.model.acquisition.draw(
                labels, acquisition_rng, draw.reference, augmented=self.light == "augmented"
            )
        painted = self.model.paint(
            labels,
            classes,
            noise_rng,
            styles=styles,
            layers=drawn.layers,
            debris=self.model.draw_debris(labels, acquisition),
            visibility=1.0 if acquisition is None else acquisition.visibility,
        )
        image = self.model.develop(painted, labels, stain=stain, acquisition=acquisition)
        timer("image")
        class_names = self.model.class_names
        smear = Smear(
            image,
            labels,
            classes,
            class_names,
            self.model.statistics.um_per_px,
            _file_stem(index),
            full_outlines=drawn.full_outlines,
        )
        counts = np.bincount(classes, minlength=len(class_names)).tolist()
        recipe = self._stream_recipe.model_copy(
            update={
                "name": smear.name,
                "index": index,
                "attempt": attempt,
                "requested": layout.requested,
                "placed": layout.placed,
                "blend": draw.blend,
                "stained": stain,
                "acquisition": acquisition,
                "classes": dict(zip(class_names, counts, strict=True)),
            }
        )
        return smear, recipe, self._colours is None or self._colours.is_tissue(painted, labels)

    def write(
        self,
        folder: Path | str,
        n: int,
        *,
        format: str = "labels",
        split: Mapping[str, float] | None = None,
        on_smear: Callable[[int], object] | None = None,
    ) -> list[Recipe]:
        """Write smears 0 to n - 1 and a manifest; smears that an interrupted call has written are kept.

        Parameters
        ----------
        folder : Path or str
            Receives ``images/``, the annotation in its format, and ``manifest.jsonl`` with one recipe per line.
        n : int
            Number of smears, at least 1.
        format : str
            One of `smearsynth.formats.WRITE_FORMATS`.
        split : mapping of str to float, optional
            Fraction of each split. Default: no splits.
        on_smear : callable, optional
            Called with the number of smears done.

        Returns
        -------
        list of Recipe
            Shorter than `n` after Ctrl-C.

        Raises
        ------
        DataError
            If the folder contains other images or smears of another stream, or cannot be written.
        OptionError
            If all attempts at a smear were rejected. The smears before it are complete, with their manifest.
        """
        if n < 1:
            raise OptionError(f"the number of smears must be at least 1, not {n}")
        folder = Path(folder)
        recipes: list[Recipe] = []
        rejection: _RejectedError | None = None
        with StopRequest() as stop:
            names = self.model.class_names
            writer = open_writer(folder, format=format, class_names=names, split_of=_split_function(split))
            writer.licence = self.model.config.licence
            _check_images(writer)
            for index in range(n):
                if stop.requested:
                    break
                try:
                    recipes.append(self._written(writer, index) or self._write_smear(writer, index))
                except _RejectedError as error:
                    rejection = error
                    break
                if on_smear:
                    on_smear(len(recipes))
            # An earlier, longer call may have written more smears; the manifest lists them as well.
            while (earlier := self._written(writer, len(recipes))) is not None:
                recipes.append(earlier)
            writer.finish()
            write_manifest(folder, recipes)
        if rejection is not None:
            raise OptionError(
                f"{rejection}; the {len(recipes)} smears before it are complete", folder
            ) from rejection
        return recipes[:n]

    def _write_smear(self, writer: Writer, index: int) -> Recipe:
        smear, recipe = self.make(index)
        writer.write(smear, recipe.tags)
        return recipe

    def _written(self, writer: Writer, index: int) -> Recipe | None:
        """Return the recipe of a smear that is in the folder; None if it is missing or cannot be read."""
        stem = _file_stem(index)
        if not writer.is_written(stem):
            return None
        recipe = Recipe.from_image(writer.image_path(stem))
        if recipe is not None and not recipe.same_stream(self._stream_recipe):
            raise recipe.stream_mismatch(self._stream_recipe, writer.folder)
        return recipe

    @cached_property
    def _stream_recipe(self) -> Recipe:
        """Recipe with the fields that all smears of this stream have in common."""
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


def _file_stem(index: int) -> str:
    return f"smear-{index:06d}"


def _split_function(split: Mapping[str, float] | None) -> Callable[[str], str | None] | None:
    """Return a function that gives the split of a smear by its name; None without splits."""
    if split is None:
        return None
    fractions = checked_fractions(split)
    return lambda name: split_by_index(int(name.rpartition("-")[2]), fractions)


def _check_images(writer: Writer) -> None:
    """Raise `DataError` if a folder contains images that are not synthetic.

    Real smears in the same folder could be overwritten, or be taken for synthetic ones.
    """
    folder = writer.image_path(_file_stem(0)).parent
    images = image_files(folder) if folder.is_dir() else []
    for image in images:
        if not _FILE_STEM.fullmatch(image.name.partition(".")[0]) or (image is images[0] and _is_real(image)):
            raise DataError("was not made by `smearsynth generate`; choose another folder", image)


def _is_real(image: Path) -> bool:
    """Test whether an image can be read and is not marked as synthetic."""
    try:
        return read_image_text(image).get("synthetic") != "true"
    except DataError:
        return False
