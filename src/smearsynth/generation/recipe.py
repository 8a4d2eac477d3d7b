"""Recipes: everything that is needed to generate a synthetic smear again, stored in its image and in a manifest."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from smearsynth.errors import DataError
from smearsynth.files import atomic_write
from smearsynth.formats.pixels.tiff_files import read_image_text
from smearsynth.migrations import text_to_format_1, to_current
from smearsynth.synthesis.acquisition.imaging import Acquisition
from smearsynth.synthesis.acquisition.stain import Stain, StainName

MANIFEST = "manifest.jsonl"

LightName = Literal["original", "augmented"]

# Fields that differ between the smears of one stream.
_PER_SMEAR = {
    "name",
    "index",
    "attempt",
    "redrawn",
    "requested",
    "placed",
    "classes",
    "blend",
    "stained",
    "acquisition",
}
_VALUE_LENGTH = 12  # characters of a value in an error message: enough of a hash


class Recipe(BaseModel):
    """Everything that is needed to generate one synthetic smear again, and its number of cells.

    Parameters
    ----------
    name : str
        File name without suffix.
    index, seed : int
        The smear is number `index` of the stream with this seed.
    model : str
        SHA-256 of the model (``Synthesizer.hash``).
    smearsynth : str
        Version.
    width, height : int
        Size in px.
    layout : str
        "contact", "ring" or "uniform".
    style : str
        "joint", "independent", the number of a joint cluster, or "of NAME HASH" for the style of a reference smear
        (HASH of its image and labels). That smear is needed to generate this one again.
    blend : float, optional
        Position of the styles between two reference smears: 0 at the first, 1 at the second.
    stain, light : {"original", "augmented"}
        As in `StreamOptions`.
    density : float
        Factor on the number of cells.
    mix : dict of str to float, optional
        Probability of each class, if it was an option.
    verified : bool
        Whether the labels were compared with the image, and the smear regenerated if they disagreed.
    attempt : int
        Number of rejected attempts before this one.
    redrawn : int, optional
        Number of these attempts that were rejected because of colours that no training smear has. None in recipes
        of earlier versions.
    requested, placed : int
        Number of cells requested from the layout, and number that could be placed.
    classes : dict of str to int
        Number of cells per class.
    stained : Stain, optional
        Change of the stain, if `stain` is "augmented".
    acquisition : Acquisition, optional
        Illumination, focus, noise and debris; None if the model has no acquisition model.

    Examples
    --------
    >>> from smearsynth.generation.stream import SyntheticSmears
    >>> recipe = SyntheticSmears("default", size=(32, 48), seed=5).make(2)[1]
    >>> recipe.name, recipe.seed, recipe.style
    ('smear-000002', 5, 'joint')
    >>> Recipe.model_validate_json(recipe.to_json()) == recipe
    True
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    index: int
    seed: int
    model: str
    smearsynth: str
    width: int
    height: int
    layout: str
    style: str
    blend: float | None = None
    stain: StainName = "original"
    light: LightName = "original"
    density: float
    mix: dict[str, float] | None = None
    verified: bool = False
    attempt: int = 0
    redrawn: int | None = None
    requested: int
    placed: int
    classes: dict[str, int]
    stained: Stain | None = None
    acquisition: Acquisition | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_format_1(cls, record: Any) -> Any:
        return to_current("recipe", record)

    @classmethod
    def from_image(cls, image: Path) -> Self | None:
        """Read the recipe from the text of a PNG or TIFF image; None if it has no valid recipe."""
        try:
            return cls.model_validate_json(read_image_text(image)["recipe"])
        except (KeyError, DataError, ValidationError):
            return None

    def to_json(self) -> str:
        """Return one line of JSON.

        It has the field names of format 1, without later fields that have no effect, so that a recipe has the same
        bytes in every version.
        """
        exclude: dict[str, Any] = {} if self.redrawn is not None else {"redrawn": True}
        if self.acquisition is not None:
            exclude["acquisition"] = self.acquisition.unused_later_fields()
        return text_to_format_1("recipe", self.model_dump_json(exclude=exclude))

    @property
    def tags(self) -> dict[str, str]:
        """Text to store in the PNG image of this smear."""
        return {"synthetic": "true", "smearsynth": self.smearsynth, "recipe": self.to_json()}

    def same_stream(self, other: Recipe) -> bool:
        """Test whether both are recipes of one stream, which may be written into one folder."""
        return self.model_dump(exclude=_PER_SMEAR) == other.model_dump(exclude=_PER_SMEAR)

    def stream_mismatch(self, stream: Recipe, folder: Path) -> DataError:
        """Return the error for a folder that holds this smear when another stream is to be written into it."""
        old, new = self.model_dump(), stream.model_dump()
        fields = (key for key in old if key not in _PER_SMEAR and old[key] != new[key])
        differences = ", ".join(
            f"{key} {str(old[key])[:_VALUE_LENGTH]} (now {str(new[key])[:_VALUE_LENGTH]})" for key in fields
        )
        return DataError(
            f"contains smears generated with {differences}; choose another folder or the same options", folder
        )


def write_manifest(folder: Path, recipes: Iterable[Recipe]) -> None:
    """Write ``manifest.jsonl``, one recipe per line."""
    with atomic_write(folder / MANIFEST) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for recipe in recipes:
            file.write(recipe.to_json() + "\n")
