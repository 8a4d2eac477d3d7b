from __future__ import annotations

import json
import os
import pickle
import signal
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from smears import analytic_smear, random_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.formats.images import read_png_text
from smearsynth.generation.recipe import Recipe
from smearsynth.generation.stream import MAX_PIXELS, MAX_SIDE, SyntheticSmears
from smearsynth.layout.labels import DrawnLabels, LabelSource
from smearsynth.smear import Smear
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.styles import StyleBank, Styles

SIZE = (48, 64)


@pytest.fixture(scope="module")
def stream(tiny: Synthesizer) -> SyntheticSmears:
    return SyntheticSmears(tiny, size=SIZE, seed=3)


def same(one: Smear, other: Smear) -> bool:
    return bool(
        one.name == other.name
        and one.image.shape == other.image.shape
        and (one.image == other.image).all()
        and (one.labels == other.labels).all()
        and (one.classes == other.classes).all()
    )


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def recipes_in(folder: Path) -> list[Recipe]:
    return [Recipe.model_validate_json(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


# Which smear it is, and nothing else, decides how it looks.


def test_a_smear_is_the_same_alone_in_any_order_and_in_another_process(
    stream: SyntheticSmears, tiny: Synthesizer
) -> None:
    in_order = list(islice(stream, 4))
    assert [smear.name for smear in in_order] == [f"smear-{k:06d}" for k in range(4)]
    assert len({smear.image.tobytes() for smear in in_order}) == 4
    for k in (3, 0, 2, 1):
        assert same(stream[k], in_order[k])
    assert same(SyntheticSmears(tiny, size=SIZE, seed=3)[2], in_order[2])
    assert same(pickle.loads(pickle.dumps(stream))[1], in_order[1])
    assert same(stream[np.int64(2)], in_order[2])  # type: ignore[index]


def test_workers_of_a_loader_share_the_numbers_out(stream: SyntheticSmears) -> None:
    loader = DataLoader(stream, batch_size=None, num_workers=2)
    given = list(islice(loader, 5))
    assert [smear.name for smear in given] == [f"smear-{k:06d}" for k in range(5)]
    assert all(same(smear, stream[k]) for k, smear in enumerate(given))


def test_other_seeds_differ_in_layout_and_look(tiny: Synthesizer, stream: SyntheticSmears) -> None:
    other = SyntheticSmears(tiny, size=SIZE, seed=4)[0]
    assert (other.labels != stream[0].labels).any()
    assert (other.image != stream[0].image).any()


def test_global_generators_are_neither_read_nor_moved(stream: SyntheticSmears) -> None:
    first = stream[1]
    np.random.seed(123)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]  # noqa: NPY002
    assert same(stream[1], first)
    assert (np.random.get_state()[1] == state).all()  # type: ignore[index]  # noqa: NPY002


# Options.


def test_style_changes_colours_and_leaves_labels(tiny: Synthesizer, stream: SyntheticSmears) -> None:
    given = random_smear(5)
    looks: list[dict[str, Any]] = [
        {}, {"style": "independent"}, {"style": 0}, {"style": "1"}, {"style_of": given}
    ]  # fmt: skip
    drawn = [SyntheticSmears(tiny, size=SIZE, seed=3, **look).make(0) for look in looks]
    # all but the clusters, whose smears have a layout of their own
    assert all((drawn[k][0].labels == stream[0].labels).all() for k in (0, 1, 4))
    # joint may fall on the very draw of its cluster; all that is asked for by name differs
    assert len({smear.image.tobytes() for smear, _ in drawn[1:]}) == len(looks) - 1
    styles = [recipe.style for _, recipe in drawn]
    assert styles[:4] == ["joint", "independent", "0", "1"]
    assert styles[4].startswith("of smear-05 ")


def test_varied_light_is_of_no_training_smear_and_leaves_the_cells(tiny: Synthesizer, tmp_path: Path) -> None:
    own, varied = (SyntheticSmears(tiny, size=(64, 64), light=light) for light in (None, "augmented"))
    tilts = []
    for k in range(8):
        (plain, lit), (other, unlike) = own.make(k), varied.make(k)
        assert (plain.labels == other.labels).all()
        assert lit.acquisition is not None
        assert unlike.acquisition is not None
        assert (lit.light, unlike.light) == ("original", "augmented")
        assert lit.acquisition.haze is None
        tilts.append([np.abs(taken.illumination).max() for taken in (lit.acquisition, unlike.acquisition)])
    assert np.mean(tilts, axis=0)[1] > np.mean(tilts, axis=0)[0]
    again = SyntheticSmears.from_recipe(unlike, tiny)
    assert (again[7].image == other.image).all()
    own.write(tmp_path, 1)
    with pytest.raises(DataError, match=r"light original \(now augmented\)"):
        varied.write(tmp_path, 1)


def test_a_model_that_knows_nothing_of_light_does_not_vary_it(tiny: Synthesizer) -> None:
    older = replace(tiny, acquisition=None)
    assert SyntheticSmears(older, size=(32, 32)).make(0)[1].acquisition is None
    with pytest.raises(OptionError, match="knows nothing of light"):
        SyntheticSmears(older, light="augmented")


def test_layout_and_styles_are_those_of_one_training_smear(
    tiny: Synthesizer, stream: SyntheticSmears, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid: list[int | None] = []
    draw = LabelSource.draw

    def drawn(source: LabelSource, size: tuple[int, int], **options: Any) -> DrawnLabels:
        laid.append(options["like"])
        return draw(source, size, **options)

    monkeypatch.setattr(LabelSource, "draw", drawn)
    stained: list[int | None] = []
    stain = StyleBank.draw

    def stains(bank: StyleBank, *arguments: Any, smear: int | None = None) -> Styles:
        stained.append(smear)
        return stain(bank, *arguments, smear=smear)

    monkeypatch.setattr(StyleBank, "draw", stains)
    for index in range(5):
        stream.make(index)
    assert laid == stained
    assert len(set(laid)) > 1


def test_the_style_of_a_smear_goes_with_its_background(tiny: Synthesizer) -> None:
    dark, light = (
        analytic_smear(ground=(level, level, level), name=str(level)) for level in (190, 235)
    )  # fmt: skip
    painted = [
        SyntheticSmears(tiny, size=SIZE, style_of=smear, density=0)[0].image.mean() for smear in (dark, light)
    ]
    encoded = [tiny.encode(smear)[0] for smear in (dark, light)]
    assert (encoded[0] != encoded[1]).any()
    assert painted[0] != painted[1]


def test_two_given_smears_of_one_name_make_two_streams(tiny: Synthesizer) -> None:
    one, other = (
        SyntheticSmears(tiny, size=SIZE, style_of=analytic_smear(noise=2, seed=seed)).make(0)[1] for seed in (0, 1)
    )
    assert not one.same_stream(other)


def test_density_scales_the_number_of_cells(tiny: Synthesizer) -> None:
    def mean(density: float) -> float:
        stream = SyntheticSmears(tiny, size=(64, 96), density=density)
        return float(np.mean([stream.make(k)[1].requested for k in range(20)]))

    assert mean(0) == 0
    assert mean(2) == pytest.approx(2 * mean(1), rel=0.1)
    empty = SyntheticSmears(tiny, size=SIZE, density=0)[0]
    assert empty.count == 0
    assert empty.image.shape == (*SIZE, 3)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (10, 200), (31, 47), (64, 64), (97, 61)])
def test_any_size_in_the_same_size_out(tiny: Synthesizer, size: tuple[int, int]) -> None:
    smear, recipe = SyntheticSmears(tiny, size=size, seed=1).make(0)
    assert smear.shape == smear.image.shape[:2] == size == (recipe.height, recipe.width)
    assert smear.count == recipe.placed


def test_the_field_of_the_training_smears_is_the_default(tiny: Synthesizer) -> None:
    assert SyntheticSmears(tiny)[0].shape == (96, 96)


@pytest.mark.parametrize(
    "options",
    [
        {"size": (0, 10)}, {"size": (10, -1)}, {"size": (10, MAX_SIDE + 1)}, {"size": (MAX_SIDE, MAX_SIDE)},
        {"size": (10.5, 20)}, {"layout": "spiral"}, {"style": "pretty"}, {"style": "-1"}, {"style": 10_000},
        {"light": "dim"}, {"density": -0.1}, {"density": float("nan")}, {"density": float("inf")},
        {"seed": -1}, {"seed": 1.5},
    ],
)  # fmt: skip
def test_absurd_options_are_refused_with_their_name(tiny: Synthesizer, options: dict[str, Any]) -> None:
    assert MAX_SIDE * MAX_SIDE > MAX_PIXELS
    name = next(iter(options))
    words = {"size": "size|height|width"}.get(name, name)
    with pytest.raises(OptionError, match=words):
        SyntheticSmears(tiny, **options)


def test_a_mix_of_classes_is_checked_at_once_and_kept_in_the_recipe(two_class_folder: Path) -> None:
    for mix in ({"blue": 1.0}, {"red cell": 0.5}, {"red cell": 1.5, "white cell": -0.5}, {}):
        with pytest.raises(OptionError, match="mix"):
            SyntheticSmears(two_class_folder, mix=mix)
    smear, recipe = SyntheticSmears(two_class_folder, size=(64, 96), mix={"white cell": 1}).make(1)
    assert recipe.mix == {"white cell": 1.0}
    assert smear.count > 0
    assert set(smear.classes.tolist()) == {1}
    again = SyntheticSmears.from_recipe(recipe, two_class_folder)[recipe.index]
    assert same(smear, again)


def test_smears_are_numbered_from_zero(stream: SyntheticSmears, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="numbered from 0"):
        stream[-1]
    with pytest.raises(OptionError, match="whole number"):
        stream[1.5]  # type: ignore[index]
    with pytest.raises(OptionError, match="at least 1"):
        stream.write(tmp_path / "out", 0)
    assert list(tmp_path.iterdir()) == []


# Stain and light.


def test_smears_are_drawn_in_stains_that_no_training_smear_has(tiny: Synthesizer) -> None:
    plain, anew = (SyntheticSmears(tiny, size=SIZE, stain=stain) for stain in ("original", "augmented"))
    assert (plain.light, anew.light) == ("original", "augmented")
    assert SyntheticSmears(tiny, stain="augmented", light="original").light == "original"
    smear, recipe = anew.make(2)
    assert (plain[2].labels == smear.labels).all()
    assert plain.make(2)[1].stained is None
    assert recipe.stained is not None
    assert recipe.stained != anew.make(3)[1].stained
    # the painted field is under the stain that the recipe says
    alike = SyntheticSmears(tiny, size=SIZE, stain="augmented", light="original")
    bare = replace(tiny, acquisition=None)
    own, other = (SyntheticSmears(bare, size=SIZE, stain=stain).make(2) for stain in ("original", "augmented"))
    assert other[1].stained == recipe.stained == alike.make(2)[1].stained
    assert (recipe.stained.applied(own[0].image) == other[0].image).all()
    assert (SyntheticSmears.from_recipe(recipe, tiny)[2].image == smear.image).all()
    assert recipe.same_stream(anew.make(3)[1])
    assert not recipe.same_stream(plain.make(2)[1])
    with pytest.raises(OptionError, match="unknown stain 'blue'; choose original or augmented"):
        SyntheticSmears(tiny, stain="blue")  # type: ignore[arg-type]


# Recipes.


def test_the_tags_of_an_image_suffice_to_make_it_again(
    stream: SyntheticSmears, tiny: Synthesizer, tmp_path: Path
) -> None:
    SyntheticSmears(tiny, size=SIZE, seed=9, style=1, density=1.5, layout="uniform").write(tmp_path, 2)
    image = tmp_path / "images" / "smear-000001.png"
    tags = read_png_text(image)
    assert tags["synthetic"] == "true"
    recipe = Recipe.model_validate_json(tags["recipe"])
    assert recipe.model == tiny.hash
    assert (recipe.seed, recipe.index, recipe.style, recipe.layout) == (9, 1, "1", "uniform")
    again = SyntheticSmears.from_recipe(recipe, tiny)[recipe.index]
    assert (again.image == np.asarray(Image.open(image))).all()
    assert (again.labels == np.asarray(Image.open(tmp_path / "labels" / image.name))).all()


def test_a_recipe_refuses_another_model_and_says_what_it_lacks(tiny: Synthesizer, two_class_folder: Path) -> None:
    _, recipe = SyntheticSmears(tiny, size=SIZE).make(0)
    with pytest.raises(OptionError, match=f"for model {tiny.hash[:12]}"):
        SyntheticSmears.from_recipe(recipe, two_class_folder)
    _, borrowed = SyntheticSmears(tiny, size=SIZE, style_of=random_smear(2)).make(0)
    with pytest.raises(OptionError, match=r"of smear-02 .*pass this smear as style_of"):
        SyntheticSmears.from_recipe(borrowed, tiny)


# Writing.


@pytest.mark.parametrize("format", ["labels", "palette", "coco"])
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    tiny: Synthesizer, stream: SyntheticSmears, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    stream.write(whole, 5, format=format)

    def failing(self: SyntheticSmears, index: int, timer: object = None) -> tuple[Smear, Recipe]:
        if index == 2:
            raise MemoryError("too much")
        return make(self, index)

    make = SyntheticSmears.make
    with monkeypatch.context() as patch:
        patch.setattr(SyntheticSmears, "make", failing)
        with pytest.raises(MemoryError):
            stream.write(broken, 5, format=format)
    # Ctrl-C while smear 3 is being made: it is finished, and written down
    calls: list[int] = []

    def interrupt(done: int) -> None:
        calls.append(done)
        if done == 4:
            os.kill(os.getpid(), signal.SIGINT)

    assert len(stream.write(broken, 5, format=format, on_smear=interrupt)) == 4
    assert calls == [1, 2, 3, 4]
    assert [recipe.index for recipe in recipes_in(broken)] == [0, 1, 2, 3]
    assert len(open_smears(broken)) == 4

    made: list[int] = []

    def counted(self: SyntheticSmears, index: int, timer: object = None) -> tuple[Smear, Recipe]:
        made.append(index)
        return make(self, index)

    monkeypatch.setattr(SyntheticSmears, "make", counted)
    assert [recipe.index for recipe in stream.write(broken, 5, format=format)] == [0, 1, 2, 3, 4]
    assert made == [4]
    assert files(broken) == files(whole)


def test_classes_survive_an_interruption(two_class_folder: Path, tmp_path: Path) -> None:
    stream = SyntheticSmears(two_class_folder, size=(64, 64))
    stream.write(tmp_path / "whole", 3)
    stream.write(tmp_path / "broken", 3, on_smear=lambda done: os.kill(os.getpid(), signal.SIGTERM))
    assert len(recipes_in(tmp_path / "broken")) == 1
    stream.write(tmp_path / "broken", 3)
    assert files(tmp_path / "broken") == files(tmp_path / "whole")


def test_the_manifest_says_what_is_on_disk(tiny: Synthesizer, tmp_path: Path) -> None:
    stream = SyntheticSmears(tiny, size=(80, 80), density=6, seed=2)
    written = stream.write(tmp_path, 4)
    lines = (tmp_path / "manifest.jsonl").read_text().splitlines()
    assert [Recipe(**json.loads(line)) for line in lines] == written
    assert any(recipe.placed < recipe.requested for recipe in written)  # too many to find room
    for recipe, smear in zip(written, open_smears(tmp_path), strict=True):
        labels = np.asarray(Image.open(tmp_path / "labels" / f"{recipe.name}.png"))
        assert len(np.unique(labels[labels > 0])) == recipe.placed == sum(recipe.classes.values())
        assert recipe.name == smear.name
        assert recipe.classes == {"cell": smear.count}
        assert recipe.placed <= recipe.requested


def test_a_shorter_run_keeps_what_a_longer_one_left_in_the_manifest(
    stream: SyntheticSmears, tmp_path: Path
) -> None:
    stream.write(tmp_path, 4)
    before = files(tmp_path)
    assert len(stream.write(tmp_path, 2)) == 2
    assert files(tmp_path) == before
    # stopped at once, nothing that is there is forgotten
    stopped = stream.write(tmp_path, 4, on_smear=lambda done: os.kill(os.getpid(), signal.SIGINT))
    assert len(stopped) == 4
    assert files(tmp_path) == before


def test_a_damaged_smear_is_made_again(stream: SyntheticSmears, tmp_path: Path) -> None:
    stream.write(tmp_path, 3)
    whole = files(tmp_path)
    (tmp_path / "images" / "smear-000001.png").write_bytes(b"no image")
    (tmp_path / "labels" / "smear-000002.png").unlink()
    stream.write(tmp_path, 3)
    assert files(tmp_path) == whole


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seed": 4}, r"seed 3 \(now 4\)"), ({"size": (40, 64)}, r"height 48 \(now 40\)"),
        ({"style": 0}, r"style joint \(now 0\)"), ({"density": 2}, r"density 1.0 \(now 2.0\)"),
        ({"layout": "uniform"}, r"layout contact \(now uniform\)"),
    ],
)  # fmt: skip
def test_smears_of_other_options_do_not_come_into_one_folder(
    tiny: Synthesizer, stream: SyntheticSmears, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    stream.write(tmp_path, 2)
    before = files(tmp_path)
    with pytest.raises(DataError, match=f"{tmp_path}: holds smears made with {said}; choose another folder"):
        SyntheticSmears(tiny, **{"size": SIZE, "seed": 3, **options}).write(tmp_path, 3)
    assert files(tmp_path) == before


def test_neither_do_those_of_another_model_or_format(
    stream: SyntheticSmears, tiny: Synthesizer, tmp_path: Path, two_class_folder: Path
) -> None:
    stream.write(tmp_path, 1)
    before = files(tmp_path)
    with pytest.raises(DataError, match="format 'labels'"):
        stream.write(tmp_path, 2, format="palette")
    with pytest.raises(DataError, match="classes cell"):
        SyntheticSmears(two_class_folder, size=SIZE, seed=3).write(tmp_path, 2)
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["slide", "smear-000000"])
def test_real_smears_are_never_mixed_with_synthetic_ones(
    stream: SyntheticSmears, tmp_path: Path, name: str
) -> None:
    write_folder(tmp_path, [analytic_smear(name=name)])
    before = files(tmp_path)
    with pytest.raises(DataError, match=f"{name}.png: was not made by `smearsynth generate`; choose another"):
        stream.write(tmp_path, 2)
    assert files(tmp_path) == before
