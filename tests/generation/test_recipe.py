"""Recipes: what they store, the names of format 1 in JSON, and the test for one stream."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from smearsynth.formats.pixels.images import read_png_text
from smearsynth.generation.recipe import Recipe, write_manifest
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.synthesis.acquisition.imaging import Acquisition
from smearsynth.synthesis.model.synthesizer import Synthesizer


@pytest.fixture(scope="module")
def recipe(tiny: Synthesizer) -> Recipe:
    return SyntheticSmears(tiny, size=(48, 64), stain="augmented", seed=3).make(1)[1]


def test_json_has_the_names_of_format_1(recipe: Recipe) -> None:
    record = json.loads(recipe.to_json())
    assert (record["stain"], record["light"]) == ("varied", "varied")
    assert "mottle" in record["acquisition"]
    assert Recipe.model_validate_json(recipe.to_json()) == recipe
    assert "\n" not in recipe.to_json()


def test_one_stream_differs_in_the_fields_of_each_smear_only(recipe: Recipe) -> None:
    other = recipe.model_copy(update={"name": "smear-000009", "index": 9, "placed": 0, "stained": None})
    assert recipe.same_stream(other)
    for change in ({"seed": 4}, {"model": "0"}, {"verified": True}, {"density": 2.0}):
        assert not recipe.same_stream(recipe.model_copy(update=change))


def test_a_mismatch_names_the_fields_and_the_folder(recipe: Recipe) -> None:
    other = recipe.model_copy(update={"seed": 4, "index": 9, "model": "0" * 64})
    error = recipe.stream_mismatch(other, Path("out"))
    assert str(error) == (
        f"out: contains smears generated with seed 3 (now 4), model {recipe.model[:12]} (now 000000000000); "
        "choose another folder or the same options"
    )


def test_a_recipe_is_read_from_its_image(recipe: Recipe, tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    for key, value in recipe.tags.items():
        text.add_text(key, value)
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path, pnginfo=text)
    assert read_png_text(path)["synthetic"] == "true"
    assert Recipe.from_image(path) == recipe
    Image.new("RGB", (4, 4)).save(path)
    assert Recipe.from_image(path) is None
    path.write_bytes(b"no image")
    assert Recipe.from_image(path) is None


def test_the_manifest_has_one_recipe_per_line(recipe: Recipe, tmp_path: Path) -> None:
    recipes = [recipe, recipe.model_copy(update={"index": 2})]
    write_manifest(tmp_path, recipes)
    lines = (tmp_path / "manifest.jsonl").read_text().splitlines()
    assert [Recipe.model_validate_json(line) for line in lines] == recipes


def test_later_fields_without_effect_are_left_out(recipe: Recipe) -> None:
    """A recipe of format 1 keeps its bytes."""
    assert recipe.acquisition is not None
    later = {"visibility", "particles", "shift", "texture", "compression"}
    former = recipe.model_copy(
        update={
            "redrawn": None,
            "acquisition": Acquisition(**recipe.acquisition.model_dump(exclude=later)),
        }
    )
    record = json.loads(former.to_json())
    assert "redrawn" not in record
    assert not later & record["acquisition"].keys()
    assert Recipe.model_validate_json(former.to_json()) == former
    changed = former.acquisition.model_copy(update={"compression": (80, 2)})  # type: ignore[union-attr]
    record = json.loads(former.model_copy(update={"acquisition": changed, "redrawn": 0}).to_json())
    assert record["redrawn"] == 0
    assert later & record["acquisition"].keys() == {"compression"}
    assert json.loads(recipe.model_copy(update={"acquisition": None}).to_json())["acquisition"] is None
