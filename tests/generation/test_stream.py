"""Streams of synthetic smears: reproducible on their own, and complete on disk after any interruption."""

from __future__ import annotations

import json
import os
import pickle
import signal
from collections.abc import Callable
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
from smearsynth.formats.pixels.images import read_png_text
from smearsynth.generation.recipe import Recipe
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.layout.labels import DrawnLabels, LabelSource
from smearsynth.smear import Smear
from smearsynth.synthesis.model.colours import TissueColours
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.styles.bank import StyleBank
from smearsynth.synthesis.styles.clusters import Styles

SIZE = (48, 64)


@pytest.fixture(scope="module")
def stream(tiny: Synthesizer) -> SyntheticSmears:
    return SyntheticSmears(tiny, size=SIZE, seed=3)


def equal(smear: Smear, other: Smear) -> bool:
    return bool(
        smear.name == other.name
        and smear.image.shape == other.image.shape
        and (smear.image == other.image).all()
        and (smear.labels == other.labels).all()
        and (smear.classes == other.classes).all()
    )


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def recipes_in(folder: Path) -> list[Recipe]:
    return [Recipe.model_validate_json(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


# A smear depends only on its number, the options and the model.


def test_a_smear_is_the_same_alone_in_any_order_and_in_another_process(
    stream: SyntheticSmears, tiny: Synthesizer
) -> None:
    in_order = list(islice(stream, 4))
    assert [smear.name for smear in in_order] == [f"smear-{k:06d}" for k in range(4)]
    assert len({smear.image.tobytes() for smear in in_order}) == 4
    for k in (3, 0, 2, 1):
        assert equal(stream[k], in_order[k])
    assert equal(SyntheticSmears(tiny, size=SIZE, seed=3)[2], in_order[2])
    assert equal(pickle.loads(pickle.dumps(stream))[1], in_order[1])
    assert equal(stream[np.int64(2)], in_order[2])  # type: ignore[index]


def test_workers_of_a_loader_divide_the_numbers(stream: SyntheticSmears) -> None:
    loader = DataLoader(stream, batch_size=None, num_workers=2)
    smears = list(islice(loader, 5))
    assert [smear.name for smear in smears] == [f"smear-{k:06d}" for k in range(5)]
    assert all(equal(smear, stream[k]) for k, smear in enumerate(smears))


def test_other_seeds_differ_in_layout_and_image(tiny: Synthesizer, stream: SyntheticSmears) -> None:
    other = SyntheticSmears(tiny, size=SIZE, seed=4)[0]
    assert (other.labels != stream[0].labels).any()
    assert (other.image != stream[0].image).any()


def test_global_generators_are_not_used(stream: SyntheticSmears) -> None:
    first = stream[1]
    np.random.seed(123)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]  # noqa: NPY002
    assert equal(stream[1], first)
    assert (np.random.get_state()[1] == state).all()  # type: ignore[index]  # noqa: NPY002


# Options.


def test_style_changes_colours_but_not_labels(tiny: Synthesizer, stream: SyntheticSmears) -> None:
    reference = random_smear(5)
    options: list[dict[str, Any]] = [
        {}, {"style": "independent"}, {"style": 0}, {"style": "1"}, {"style_of": reference}
    ]  # fmt: skip
    results = [SyntheticSmears(tiny, size=SIZE, seed=3, **option).make(0) for option in options]
    # A cluster changes the reference smear, and with it the layout.
    assert all((results[k][0].labels == stream[0].labels).all() for k in (0, 1, 4))
    # "joint" may draw from the same cluster; all others differ.
    assert len({smear.image.tobytes() for smear, _ in results[1:]}) == len(options) - 1
    styles = [recipe.style for _, recipe in results]
    assert styles[:4] == ["joint", "independent", "0", "1"]
    assert styles[4].startswith("of smear-05 ")


def test_augmented_light_changes_the_illumination_but_not_the_cells(tiny: Synthesizer, tmp_path: Path) -> None:
    original, augmented = (SyntheticSmears(tiny, size=(64, 64), light=light) for light in (None, "augmented"))
    illumination = []
    for k in range(8):
        (smear, recipe), (changed, changed_recipe) = original.make(k), augmented.make(k)
        assert (smear.labels == changed.labels).all()
        assert recipe.acquisition is not None
        assert changed_recipe.acquisition is not None
        assert (recipe.light, changed_recipe.light) == ("original", "augmented")
        assert recipe.acquisition.haze is None
        acquisitions = recipe.acquisition, changed_recipe.acquisition
        illumination.append([np.abs(acquisition.illumination).max() for acquisition in acquisitions])
    assert np.mean(illumination, axis=0)[1] > np.mean(illumination, axis=0)[0]
    again = SyntheticSmears.from_recipe(changed_recipe, tiny)
    assert (again[7].image == changed.image).all()
    original.write(tmp_path, 1)
    with pytest.raises(DataError, match=r"light original \(now augmented\)"):
        augmented.write(tmp_path, 1)


def test_layout_and_styles_have_the_same_reference_smear(
    tiny: Synthesizer, stream: SyntheticSmears, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_layouts: list[int | None] = []
    draw_labels = LabelSource.draw

    def record_layout(source: LabelSource, size: tuple[int, int], **options: Any) -> DrawnLabels:
        of_layouts.append(options["reference"])
        return draw_labels(source, size, **options)

    monkeypatch.setattr(LabelSource, "draw", record_layout)
    of_styles: list[int | None] = []
    draw_styles = StyleBank.draw

    def record_style(bank: StyleBank, *arguments: Any, reference: int | None = None) -> Styles:
        of_styles.append(reference)
        return draw_styles(bank, *arguments, reference=reference)

    monkeypatch.setattr(StyleBank, "draw", record_style)
    for index in range(5):
        stream.make(index)
    assert of_layouts == of_styles
    assert len(set(of_layouts)) > 1


def test_the_style_of_a_smear_includes_its_background(tiny: Synthesizer) -> None:
    dark, light = (
        analytic_smear(background=(level, level, level), name=str(level)) for level in (190, 235)
    )  # fmt: skip
    means = [SyntheticSmears(tiny, size=SIZE, style_of=smear, density=0)[0].image.mean() for smear in (dark, light)]
    encoded = [tiny.encode(smear)[0] for smear in (dark, light)]
    assert (encoded[0] != encoded[1]).any()
    assert means[0] != means[1]


def test_references_of_one_name_make_two_streams(tiny: Synthesizer) -> None:
    recipe, other = (
        SyntheticSmears(tiny, size=SIZE, style_of=analytic_smear(noise=2, seed=seed)).make(0)[1] for seed in (0, 1)
    )
    assert not recipe.same_stream(other)


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
def test_the_image_has_the_requested_size(tiny: Synthesizer, size: tuple[int, int]) -> None:
    smear, recipe = SyntheticSmears(tiny, size=size, seed=1).make(0)
    assert smear.shape == smear.image.shape[:2] == size == (recipe.height, recipe.width)
    assert smear.count == recipe.placed


def test_the_size_of_the_training_smears_is_the_default(tiny: Synthesizer) -> None:
    assert SyntheticSmears(tiny)[0].shape == (96, 96)


def test_a_mix_of_classes_is_stored_in_the_recipe(two_class_folder: Path) -> None:
    smear, recipe = SyntheticSmears(two_class_folder, size=(64, 96), mix={"white cell": 1}).make(1)
    assert recipe.mix == {"white cell": 1.0}
    assert smear.count > 0
    assert set(smear.classes.tolist()) == {1}
    again = SyntheticSmears.from_recipe(recipe, two_class_folder)[recipe.index]
    assert equal(smear, again)


def test_smears_are_numbered_from_zero(stream: SyntheticSmears, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="numbers start at 0"):
        stream[-1]
    with pytest.raises(OptionError, match="whole number"):
        stream[1.5]  # type: ignore[index]
    with pytest.raises(OptionError, match="at least 1"):
        stream.write(tmp_path / "out", 0)
    assert list(tmp_path.iterdir()) == []


# Stain and light.


def test_an_augmented_stain_changes_the_image_as_the_recipe_says(tiny: Synthesizer) -> None:
    original, augmented = (SyntheticSmears(tiny, size=SIZE, stain=stain) for stain in ("original", "augmented"))
    assert (original.light, augmented.light) == ("original", "augmented")
    assert SyntheticSmears(tiny, stain="augmented", light="original").light == "original"
    smear, recipe = augmented.make(2)
    assert (original[2].labels == smear.labels).all()
    assert original.make(2)[1].stained is None
    assert recipe.stained is not None
    assert recipe.stained != augmented.make(3)[1].stained
    # Without an acquisition model the image is the original one with the stain of the recipe applied.
    same_light = SyntheticSmears(tiny, size=SIZE, stain="augmented", light="original")
    bare = replace(tiny, acquisition=None)
    before, after = (SyntheticSmears(bare, size=SIZE, stain=stain).make(2) for stain in ("original", "augmented"))
    assert after[1].stained == recipe.stained == same_light.make(2)[1].stained
    assert (recipe.stained.apply(before[0].image) == after[0].image).all()
    assert (SyntheticSmears.from_recipe(recipe, tiny)[2].image == smear.image).all()
    assert recipe.same_stream(augmented.make(3)[1])
    assert not recipe.same_stream(original.make(2)[1])


# Verification.


def test_rejected_smears_are_generated_again_and_their_recipes_repeat_them(
    tiny: Synthesizer, tmp_path: Path
) -> None:
    attempts: list[Smear] = []

    def second_only(smear: Smear) -> bool:
        attempts.append(smear)
        return len(attempts) % 2 == 0

    stream = SyntheticSmears(tiny, size=SIZE, seed=4, accept=second_only)
    smear, recipe = stream.make(2)
    assert (recipe.attempt, recipe.verified) == (1, True)
    assert (attempts[0].image != smear.image).any()
    assert equal(SyntheticSmears.from_recipe(recipe, tiny)[2], smear)
    assert equal(SyntheticSmears(tiny, size=SIZE, seed=4)[2], attempts[0])
    with pytest.raises(OptionError, match="rejected 8 times"):
        SyntheticSmears(tiny, size=SIZE, accept=lambda smear: False).make(0)
    stream.write(tmp_path, 1)
    with pytest.raises(DataError, match="verified"):
        SyntheticSmears(tiny, size=SIZE, seed=4).write(tmp_path, 1)


# Colours.


def rejecting_colours(monkeypatch: pytest.MonkeyPatch, rejections: int) -> list[int]:
    """Find strange colours in the first fields; return the list of checks."""
    checks: list[int] = []

    def is_tissue(self: TissueColours, image: object, labels: object) -> bool:
        checks.append(len(checks))
        return len(checks) > rejections

    monkeypatch.setattr(TissueColours, "is_tissue", is_tissue)
    return checks


def test_fields_with_strange_colours_are_drawn_again_and_counted(
    tiny: Synthesizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = SyntheticSmears(tiny, size=SIZE, seed=4)
    assert tiny.colours is not None
    rejecting_colours(monkeypatch, 0)
    first, plain = stream.make(2)
    assert (plain.attempt, plain.redrawn) == (0, 0)
    rejecting_colours(monkeypatch, 2)
    smear, recipe = stream.make(2)
    assert (recipe.attempt, recipe.redrawn) == (2, 2)
    assert (smear.image != first.image).any()
    assert recipe.same_stream(plain)
    # The recipe repeats the accepted attempt, without checks.
    checks = rejecting_colours(monkeypatch, 100)
    again, again_recipe = SyntheticSmears.from_recipe(recipe, tiny).make(2)
    assert equal(again, smear)
    assert again_recipe == recipe
    assert checks == []


def test_the_last_attempt_is_accepted_with_any_colours(tiny: Synthesizer, monkeypatch: pytest.MonkeyPatch) -> None:
    rejecting_colours(monkeypatch, 100)
    _, recipe = SyntheticSmears(tiny, size=SIZE, seed=4).make(2)
    assert (recipe.attempt, recipe.redrawn) == (7, 7)
    # So is the last one of a verified stream, whose first smear was rejected for its labels.
    colours, labels = iter([True]), iter([False])
    monkeypatch.setattr(TissueColours, "is_tissue", lambda *arguments: next(colours, False))
    verified = SyntheticSmears(tiny, size=SIZE, seed=4, accept=lambda smear: next(labels, True))
    _, recipe = verified.make(2)
    assert (recipe.attempt, recipe.redrawn) == (7, 6)


def test_attempts_rejected_for_colours_and_for_labels_are_told_apart(
    tiny: Synthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejecting_colours(monkeypatch, 2)
    answers = iter([False, True])
    stream = SyntheticSmears(tiny, size=SIZE, seed=4, accept=lambda smear: next(answers))
    _, recipe = stream.make(2)
    assert (recipe.attempt, recipe.redrawn) == (3, 2)


def test_models_without_colours_and_reference_smears_are_not_redrawn(tiny: Synthesizer) -> None:
    recipe = SyntheticSmears(replace(tiny, colours=None), size=SIZE).make(0)[1]
    assert (recipe.attempt, recipe.redrawn) == (0, 0)
    assert tiny.colours is not None
    reference = random_smear(30)
    reference.image[:20, :20] = (20, 240, 30)
    stream = SyntheticSmears(tiny, size=SIZE, style_of=reference)
    assert stream._colours is not None
    assert stream._colours.tissue.sum() > tiny.colours.tissue.sum()


def test_the_manifest_counts_redrawn_fields_also_if_there_are_none(
    tiny: Synthesizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejecting_colours(monkeypatch, 1)
    SyntheticSmears(tiny, size=SIZE).write(tmp_path, 2)
    lines = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert [line["redrawn"] for line in lines] == [1, 0]


def test_smears_before_a_rejected_one_are_complete(tiny: Synthesizer, tmp_path: Path) -> None:
    def stream(accept: Callable[[Smear], bool]) -> SyntheticSmears:
        return SyntheticSmears(tiny, size=SIZE, accept=accept)

    message = r"smear 2: rejected 8 times.*--verify.*; the 2 smears before it are complete"
    with pytest.raises(OptionError, match=message) as error:
        stream(lambda smear: smear.name != "smear-000002").write(tmp_path, 4)
    assert error.value.path == tmp_path
    assert [recipe.index for recipe in recipes_in(tmp_path)] == [0, 1]
    assert open_smears(tmp_path).names == ("smear-000000", "smear-000001")
    assert [recipe.index for recipe in stream(lambda smear: True).write(tmp_path, 3)] == [0, 1, 2]
    assert len(open_smears(tmp_path)) == 3


# Recipes.


def test_the_tags_of_an_image_suffice_to_generate_it_again(
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


def test_a_recipe_needs_its_model_and_its_reference(tiny: Synthesizer, two_class_folder: Path) -> None:
    _, recipe = SyntheticSmears(tiny, size=SIZE).make(0)
    with pytest.raises(OptionError, match=f"for model {tiny.hash[:12]}"):
        SyntheticSmears.from_recipe(recipe, two_class_folder)
    _, with_reference = SyntheticSmears(tiny, size=SIZE, style_of=random_smear(2)).make(0)
    with pytest.raises(OptionError, match=r"of smear-02 .*create the stream with this smear as style_of"):
        SyntheticSmears.from_recipe(with_reference, tiny)


# Writing.


def test_splits_have_the_fractions_and_stay_when_more_smears_are_written(
    stream: SyntheticSmears, tmp_path: Path
) -> None:
    split = {"train": 0.6, "val": 0.4}
    stream.write(tmp_path, 3, format="yolo-segment", split=split)
    first = {entry.name: entry.split for entry in open_smears(tmp_path).entries}
    stream.write(tmp_path, 5, format="yolo-segment", split=split)
    folder = open_smears(tmp_path)
    assert folder.splits == {"train": 3, "val": 2}
    assert first.items() <= {entry.name: entry.split for entry in folder.entries}.items()
    with pytest.raises(OptionError, match="sum to 1"):
        stream.write(tmp_path / "other", 1, split={"train": 0.6})


@pytest.mark.parametrize("format", ["labels", "palette", "coco", "yolo-segment", "imagej", "stardist", "ome-tiff"])
def test_an_interrupted_call_continues_to_the_same_bytes(
    tiny: Synthesizer, stream: SyntheticSmears, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    complete, interrupted = tmp_path / "complete", tmp_path / "interrupted"
    stream.write(complete, 5, format=format)

    def failing(self: SyntheticSmears, index: int, timer: object = None) -> tuple[Smear, Recipe]:
        if index == 2:
            raise MemoryError("too much")
        return make(self, index)

    make = SyntheticSmears.make
    with monkeypatch.context() as patch:
        patch.setattr(SyntheticSmears, "make", failing)
        with pytest.raises(MemoryError):
            stream.write(interrupted, 5, format=format)
    # Ctrl-C during smear 3: it is completed and recorded.
    calls: list[int] = []

    def interrupt(done: int) -> None:
        calls.append(done)
        if done == 4:
            os.kill(os.getpid(), signal.SIGINT)

    assert len(stream.write(interrupted, 5, format=format, on_smear=interrupt)) == 4
    assert calls == [1, 2, 3, 4]
    assert [recipe.index for recipe in recipes_in(interrupted)] == [0, 1, 2, 3]
    assert len(open_smears(interrupted)) == 4

    indices: list[int] = []

    def record(self: SyntheticSmears, index: int, timer: object = None) -> tuple[Smear, Recipe]:
        indices.append(index)
        return make(self, index)

    monkeypatch.setattr(SyntheticSmears, "make", record)
    assert [recipe.index for recipe in stream.write(interrupted, 5, format=format)] == [0, 1, 2, 3, 4]
    assert indices == [4]
    assert files(interrupted) == files(complete)


def test_classes_survive_an_interruption(two_class_folder: Path, tmp_path: Path) -> None:
    stream = SyntheticSmears(two_class_folder, size=(64, 64))
    stream.write(tmp_path / "whole", 3)
    stream.write(tmp_path / "broken", 3, on_smear=lambda done: os.kill(os.getpid(), signal.SIGTERM))
    assert len(recipes_in(tmp_path / "broken")) == 1
    stream.write(tmp_path / "broken", 3)
    assert files(tmp_path / "broken") == files(tmp_path / "whole")


def test_the_manifest_agrees_with_the_files(tiny: Synthesizer, tmp_path: Path) -> None:
    stream = SyntheticSmears(tiny, size=(80, 80), density=6, seed=2)
    recipes = stream.write(tmp_path, 4)
    lines = (tmp_path / "manifest.jsonl").read_text().splitlines()
    assert [Recipe(**json.loads(line)) for line in lines] == recipes
    assert any(recipe.placed < recipe.requested for recipe in recipes)  # more cells than fit
    for recipe, smear in zip(recipes, open_smears(tmp_path), strict=True):
        labels = np.asarray(Image.open(tmp_path / "labels" / f"{recipe.name}.png"))
        assert len(np.unique(labels[labels > 0])) == recipe.placed == sum(recipe.classes.values())
        assert recipe.name == smear.name
        assert recipe.classes == {"cell": smear.count}
        assert recipe.placed <= recipe.requested


def test_a_shorter_call_keeps_the_smears_of_a_longer_one_in_the_manifest(
    stream: SyntheticSmears, tmp_path: Path
) -> None:
    stream.write(tmp_path, 4)
    before = files(tmp_path)
    assert len(stream.write(tmp_path, 2)) == 2
    assert files(tmp_path) == before
    # An immediate stop keeps all recipes.
    stopped = stream.write(tmp_path, 4, on_smear=lambda done: os.kill(os.getpid(), signal.SIGINT))
    assert len(stopped) == 4
    assert files(tmp_path) == before


def test_a_damaged_smear_is_generated_again(stream: SyntheticSmears, tmp_path: Path) -> None:
    stream.write(tmp_path, 3)
    before = files(tmp_path)
    (tmp_path / "images" / "smear-000001.png").write_bytes(b"no image")
    (tmp_path / "labels" / "smear-000002.png").unlink()
    stream.write(tmp_path, 3)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"seed": 4}, r"seed 3 \(now 4\)"), ({"size": (40, 64)}, r"height 48 \(now 40\)"),
        ({"style": 0}, r"style joint \(now 0\)"), ({"density": 2}, r"density 1.0 \(now 2.0\)"),
        ({"layout": "uniform"}, r"layout contact \(now uniform\)"),
    ],
)  # fmt: skip
def test_smears_of_other_options_are_refused(
    tiny: Synthesizer, stream: SyntheticSmears, tmp_path: Path, options: dict[str, Any], difference: str
) -> None:
    stream.write(tmp_path, 2)
    before = files(tmp_path)
    with pytest.raises(
        DataError, match=f"{tmp_path}: contains smears generated with {difference}; choose another folder"
    ):
        SyntheticSmears(tiny, **{"size": SIZE, "seed": 3, **options}).write(tmp_path, 3)
    assert files(tmp_path) == before


def test_smears_of_another_model_or_format_are_refused(
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
def test_real_smears_are_not_mixed_with_synthetic_ones(stream: SyntheticSmears, tmp_path: Path, name: str) -> None:
    write_folder(tmp_path, [analytic_smear(name=name)])
    before = files(tmp_path)
    with pytest.raises(DataError, match=f"{name}.png: was not made by `smearsynth generate`; choose another"):
        stream.write(tmp_path, 2)
    assert files(tmp_path) == before
