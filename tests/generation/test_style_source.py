"""Styles of reference smears and photographs, and interpolation between two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smears import analytic_smear, random_smear
from smearsynth.annotation.threshold import smear_from_photograph
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.generation.style_source import StyleSource, load_reference, load_references
from smearsynth.synthesis.model.synthesizer import Synthesizer

NO_CELLS = np.zeros(0, np.int64)


def test_interpolated_styles_lie_between_those_of_two_smears(tiny: Synthesizer) -> None:
    references = [analytic_smear((64, 64), background=(level,) * 3, name=str(level)) for level in (190, 235)]
    source = StyleSource(tiny, "joint", references)
    low, high = (tiny.encode(smear)[0] for smear in references)
    rng = np.random.default_rng(0)
    for _ in range(8):
        draw = source.draw(NO_CELLS, 0, rng)
        assert draw.blend is not None
        assert draw.reference is None
        np.testing.assert_allclose(draw.styles[0], (1 - draw.blend) * low + draw.blend * high, atol=1e-5)
    assert source.name.startswith("of 190 ")
    assert " to 235 " in source.name


def test_the_recipe_records_the_position_between_two_smears(tiny: Synthesizer) -> None:
    stream = SyntheticSmears(tiny, size=(48, 64), style_of=[random_smear(2), random_smear(5)])
    blends = [stream.make(k)[1].blend for k in range(6)]
    assert len(set(blends)) == 6
    assert all(blend is not None and 0 <= blend <= 1 for blend in blends)
    first, again = stream.make(3)[0], stream.make(3)[0]
    assert (first.image == again.image).all()
    assert SyntheticSmears(tiny, size=(48, 64), style_of=random_smear(2)).make(0)[1].blend is None


def test_references_exclude_other_styles_and_more_than_two_are_refused(tiny: Synthesizer) -> None:
    with pytest.raises(OptionError, match="style_of: 3 smears; give one, or two to interpolate between"):
        SyntheticSmears(tiny, style_of=[random_smear(k) for k in range(3)])
    with pytest.raises(OptionError, match="style 'independent' and style_of exclude each other"):
        SyntheticSmears(tiny, style="independent", style_of=random_smear(1))


def test_a_cluster_restricts_the_training_smears(tiny: Synthesizer) -> None:
    members = StyleSource(tiny, "1").cluster_members
    assert members == tiny.styles.members(1)
    assert StyleSource(tiny, "joint").cluster_members is None
    draw = StyleSource(tiny, "joint").draw(NO_CELLS, 2, np.random.default_rng(0))
    assert (draw.reference, draw.blend) == (2, None)
    assert StyleSource(tiny, "independent").draw(NO_CELLS, 2, np.random.default_rng(0)).reference is None


def test_classes_of_a_reference_are_matched_by_name(two_class_folder: Path, tiny: Synthesizer) -> None:
    two = Synthesizer.load(two_class_folder)
    discs = [(16, 16, 9), (48, 16, 9), (16, 48, 9), (48, 48, 9)]

    def used_cells(model: Synthesizer, names: tuple[str, ...], kind: int) -> tuple[set[int], StyleSource]:
        """Cells of the reference, of classes 0, 1, 1, 2, whose styles new cells of a class take."""
        smear = analytic_smear((64, 64), discs, classes=[0, 1, 1, 2], class_names=names, noise=3)
        source = StyleSource(model, "joint", [smear])
        rows = source.draw(np.full(60, kind), 0, np.random.default_rng(0)).styles[1:]
        encoded = model.encode(smear)[1:]
        return {int((encoded == row).all(1).argmax()) for row in rows if (encoded == row).all(1).any()}, source

    swapped = ("white cell", "red cell", "platelet")
    assert used_cells(two, swapped, 0)[0] == {1, 2}
    cells, source = used_cells(two, swapped, 1)
    assert cells == {0}
    assert source.classes_without_style == {"analytic": ("platelet",)}
    # A class that the reference lacks takes the styles of its known classes, not those of the platelet.
    assert used_cells(two, ("schizont", "red cell", "platelet"), 1)[0] == {1, 2}
    # If no class is known by name, the styles of all cells are used.
    for model, kind in ((tiny, 0), (two, 1)):
        cells, source = used_cells(model, ("a", "b", "c"), kind)
        assert cells == {0, 1, 2, 3}
        assert source.classes_without_style == {}


def test_a_photograph_gives_about_the_style_of_its_annotated_smear(tiny: Synthesizer) -> None:
    smear = analytic_smear((120, 160), [(30, 30, 12), (80, 40, 14), (120, 80, 12), (50, 85, 13)], noise=2)
    photo = smear_from_photograph(smear.image)
    assert photo.count == 4
    assert ((photo.labels > 0) == (smear.labels > 0)).mean() > 0.98
    expected, styles = tiny.encode(smear), tiny.encode(photo)
    contrast = np.abs(expected[1:].mean(0) - expected[0]).max()
    assert np.abs(expected[0] - styles[0]).max() < 0.1 * contrast
    assert np.abs(expected[1:].mean(0) - styles[1:].mean(0)).max() < 0.2 * contrast


# Reading references.


def test_references_are_photographs_or_smears_of_a_folder(smear_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "slide.jpg"
    Image.fromarray(random_smear(4).image).save(path, quality=95)
    photo = load_reference(path, scale=0.5)
    assert (photo.name, photo.shape) == ("slide", (48, 48))
    annotated = load_reference(f"{smear_folder}:smear-02")
    assert (annotated.labels == open_smears(smear_folder)[2].labels).all()
    smear = random_smear(1)
    first, second = load_references([smear, path], 1.0)
    assert first is smear
    assert second.shape == (96, 96)
    assert load_references(smear, 1.0) == [smear]


def test_references_that_do_not_exist_are_named(smear_folder: Path, tmp_path: Path) -> None:
    for path, problem in ((tmp_path / "none.jpg", "does not exist"), (smear_folder, "is a folder")):
        with pytest.raises(DataError) as error:
            load_reference(path)
        assert str(error.value).startswith(f"{path}: {problem}; give the path of a photograph, or FOLDER:NAME")
    with pytest.raises(DataError, match=r"has no smear 'x'; it has smear-00, .*smear-04, \.\.\.$"):
        load_reference(f"{smear_folder}:x")


def test_paths_are_read_at_the_scale_of_the_model(tiny: Synthesizer, smear_folder: Path) -> None:
    by_path = SyntheticSmears(tiny, size=(48, 64), style_of=f"{smear_folder}:smear-02")
    by_smear = SyntheticSmears(tiny, size=(48, 64), style_of=open_smears(smear_folder)[2])
    assert by_path.make(0)[1] == by_smear.make(0)[1]
    assert (by_path[0].image == by_smear[0].image).all()
