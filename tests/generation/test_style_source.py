"""Given smears, photographs and what lies between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Run
from smears import analytic_smear, random_smear, write_folder
from smearsynth.annotation.threshold import smear_from_photograph, threshold_labels
from smearsynth.datasets import open_smears
from smearsynth.errors import OptionError
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.generation.style_source import StyleSource
from smearsynth.synthesis.model.synthesizer import Synthesizer

NO_CELLS = np.zeros(0, np.int64)


def test_styles_between_two_smears_lie_between_theirs(tiny: Synthesizer) -> None:
    ends = [analytic_smear((64, 64), ground=(level,) * 3, name=str(level)) for level in (190, 235)]
    source = StyleSource(tiny, "joint", ends)
    low, high = (tiny.encode(smear)[0] for smear in ends)
    rng = np.random.default_rng(0)
    for _ in range(8):
        drawn = source.draw(NO_CELLS, 0, rng)
        assert drawn.blend is not None
        np.testing.assert_allclose(drawn.styles[0], (1 - drawn.blend) * low + drawn.blend * high, atol=1e-5)
    assert source.name.startswith("of 190 ")
    assert " to 235 " in source.name


def test_the_recipe_says_how_far_between(tiny: Synthesizer) -> None:
    stream = SyntheticSmears(tiny, size=(48, 64), style_of=[random_smear(2), random_smear(5)])
    blends = [stream.make(k)[1].blend for k in range(6)]
    assert len(set(blends)) == 6
    assert all(blend is not None and 0 <= blend <= 1 for blend in blends)
    one, again = stream.make(3)[0], stream.make(3)[0]
    assert (one.image == again.image).all()
    assert SyntheticSmears(tiny, size=(48, 64), style_of=random_smear(2)).make(0)[1].blend is None


def test_three_smears_are_refused(tiny: Synthesizer) -> None:
    with pytest.raises(OptionError, match="3 smears to take the style of; give one, or two to go between"):
        SyntheticSmears(tiny, style_of=[random_smear(k) for k in range(3)])


def test_classes_of_a_given_smear_are_matched_by_name(two_class_folder: Path, tiny: Synthesizer) -> None:
    two = Synthesizer.load(two_class_folder)
    discs = [(16, 16, 9), (48, 16, 9), (16, 48, 9), (48, 48, 9)]

    def drawn(model: Synthesizer, names: tuple[str, ...], wanted: int) -> tuple[set[int], StyleSource]:
        """Which cells of the given smear, of classes 0, 1, 1, 2, the new ones of a class are like."""
        smear = analytic_smear((64, 64), discs, classes=[0, 1, 1, 2], class_names=names, noise=3)
        source = StyleSource(model, "joint", [smear])
        rows = source.draw(np.full(60, wanted), 0, np.random.default_rng(0)).styles[1:]
        given = model.encode(smear)[1:]
        return {int((given == row).all(1).argmax()) for row in rows if (given == row).all(1).any()}, source

    swapped = ("white cell", "red cell", "platelet")
    assert drawn(two, swapped, 0)[0] == {1, 2}
    found, source = drawn(two, swapped, 1)
    assert found == {0}
    assert source.passed_over == {"analytic": ("platelet",)}
    # the platelet has no part in a class that the smear lacks either
    assert drawn(two, ("schizont", "red cell", "platelet"), 1)[0] == {1, 2}
    # where no class is known by that name, any cell will do
    for model, kind in ((tiny, 0), (two, 1)):
        found, source = drawn(model, ("a", "b", "c"), kind)
        assert found == {0, 1, 2, 3}
        assert source.passed_over == {}


# Photographs.


def test_a_photograph_gives_the_style_that_its_annotation_gives(tiny: Synthesizer) -> None:
    smear = analytic_smear((120, 160), [(30, 30, 12), (80, 40, 14), (120, 80, 12), (50, 85, 13)], noise=2)
    rough = smear_from_photograph(smear.image)
    assert rough.count == 4
    assert ((rough.labels > 0) == (smear.labels > 0)).mean() > 0.98
    known, found = tiny.encode(smear), tiny.encode(rough)
    spread = np.abs(known[1:].mean(0) - known[0]).max()
    assert np.abs(known[0] - found[0]).max() < 0.1 * spread
    assert np.abs(known[1:].mean(0) - found[1:].mean(0)).max() < 0.2 * spread


@pytest.mark.parametrize("noise", [0, 3])
def test_bare_ground_has_no_cells(noise: float) -> None:
    bare = analytic_smear((64, 64), [], noise=noise)
    assert not threshold_labels(bare.image).any()


def test_dirt_is_no_cell() -> None:
    smear = analytic_smear((120, 160), [(30, 30, 12), (80, 40, 14), (120, 80, 12)])
    image = smear.image.copy()
    image[100:106, 20:26] = 60
    assert threshold_labels(image).max() == 3


def test_generate_takes_the_style_of_a_photograph_and_goes_between_two(
    run: Run, tiny_folder: Path, smear_folder: Path, tmp_path: Path
) -> None:
    photo = tmp_path / "slide.jpg"
    Image.fromarray(random_smear(4).image).save(photo, quality=95)
    options = ("-m", tiny_folder, "-n", 2, "--no-sheet", "--size", "64x64", "--style-of", photo)
    assert run("generate", "-o", tmp_path / "a", *options).code == 0
    between = run("generate", "-o", tmp_path / "b", *options, "--style-of", f"{smear_folder}:smear-02")
    assert between.code == 0, between.err
    like, mixed = (open_smears(tmp_path / name)[0] for name in ("a", "b"))
    assert (like.labels == mixed.labels).all()
    assert (like.image != mixed.image).any()
    manifest = (tmp_path / "b" / "manifest.jsonl").read_text()
    assert '"style":"of slide ' in manifest
    assert " to smear-02 " in manifest
    for path, what in ((tmp_path / "none.jpg", "does not exist"), (smear_folder, "is a folder")):
        wrong = run("generate", "-o", tmp_path / "c", *options[:-1], path)
        assert wrong.code == 2
        assert wrong.err.startswith(
            f"error: {path}: {what}; give --style-of the file of a photograph, or FOLDER:NAME"
        )


def test_generate_says_which_classes_have_no_part(run: Run, two_class_folder: Path, tmp_path: Path) -> None:
    given = write_folder(tmp_path / "given", [random_smear(3, class_names=("red cell", "platelet"))])
    options = ("-m", two_class_folder, "-n", 1, "--no-sheet", "--size", "48x48", "--style-of", f"{given}:smear-03")
    ran = run("generate", "-o", tmp_path / "out", *options)
    assert ran.code == 0, ran.err
    assert "smear-03: no style is taken of its platelet; the model has no such class" in ran.err
