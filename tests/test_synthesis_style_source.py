"""Given smears, photographs and what lies between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Run
from smears import analytic_smear, random_smear
from smearsynth.datasets import open_smears
from smearsynth.errors import OptionError
from smearsynth.stream import SyntheticSmears
from smearsynth.synthesis.model import Synthesizer
from smearsynth.synthesis.photograph import photograph, rough_labels
from smearsynth.synthesis.style_source import StyleSource

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


# Photographs.


def test_a_photograph_gives_the_style_that_its_annotation_gives(tiny: Synthesizer) -> None:
    smear = analytic_smear((120, 160), [(30, 30, 12), (80, 40, 14), (120, 80, 12), (50, 85, 13)], noise=2)
    rough = photograph(smear.image)
    assert rough.count == 4
    assert ((rough.labels > 0) == (smear.labels > 0)).mean() > 0.98
    known, found = tiny.encode(smear), tiny.encode(rough)
    spread = np.abs(known[1:].mean(0) - known[0]).max()
    assert np.abs(known[0] - found[0]).max() < 0.1 * spread
    assert np.abs(known[1:].mean(0) - found[1:].mean(0)).max() < 0.2 * spread


@pytest.mark.parametrize("noise", [0, 3])
def test_bare_ground_has_no_cells(noise: float) -> None:
    bare = analytic_smear((64, 64), [], noise=noise)
    assert not rough_labels(bare.image).any()


def test_dirt_is_no_cell() -> None:
    smear = analytic_smear((120, 160), [(30, 30, 12), (80, 40, 14), (120, 80, 12)])
    image = smear.image.copy()
    image[100:106, 20:26] = 60
    assert rough_labels(image).max() == 3


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
    wrong = run("generate", "-o", tmp_path / "c", *options[:-1], tmp_path / "none.jpg")
    assert wrong.code == 2
    assert "give FOLDER:NAME" in wrong.err
