"""Recipes: all that is needed to make a synthetic smear again, in its image and in the manifest of its folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from smearsynth.errors import DataError
from smearsynth.files import atomic_write
from smearsynth.formats.images import png_text
from smearsynth.migrations import text_to_format_1, to_current
from smearsynth.synthesis.acquisition.imaging import Acquisition
from smearsynth.synthesis.acquisition.stain import Stain, StainName

MANIFEST = "manifest.jsonl"

LightName = Literal["original", "augmented"]


class Recipe(BaseModel):
    """All that is needed to make one synthetic smear again, and what came of it.

    Parameters
    ----------
    name : str
        Stem of its files.
    index, seed : int
        The smear is number `index` of the stream of `seed`.
    model : str
        SHA-256 of the model (``Synthesizer.hash``).
    smearsynth : str
        Version.
    width, height : int
        Field in px.
    layout : str
    style : str
        "joint", "independent", the number of a joint cluster, or "of NAME HASH" for the style of a
        given smear (HASH of its image and labels), which has to be at hand to make this one again.
    blend : float, optional
        Where between two given smears the styles lie, 0 at the first and 1 at the second.
    stain : {"original", "augmented"}
        Whether the stain is that of the style, or one that no training smear has.
    light : {"original", "augmented"}
        Whether the light is that of a training smear, or falls off as in none of them, with haze.
    density : float
        Factor on the number of cells.
    mix : dict of str to float, optional
        Probability of each class, where it was asked for.
    verified : bool
        Whether its labels were held against its image, and it was drawn anew until they fitted.
    attempt : int
        How often it was.
    requested, placed : int
        Cells asked of the layout, and those that found room.
    classes : dict of str to int
        Cells by class.
    stained : Stain, optional
        What was changed in the stain of the style, where it is varied.
    acquisition : Acquisition, optional
        How the field was taken: illumination, focus, noise, debris; None for models that know nothing of it.
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
    requested: int
    placed: int
    classes: dict[str, int]
    stained: Stain | None = None
    acquisition: Acquisition | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_format_1(cls, record: Any) -> Any:
        return to_current("recipe", record)

    def same_stream(self, other: Recipe) -> bool:
        """Whether both come from one stream, so that they belong into one folder."""
        return self.model_dump(exclude=_OWN) == other.model_dump(exclude=_OWN)

    def to_json(self) -> str:
        """One line of JSON, with the field names of format 1: the same recipe is the same text in every version."""
        return text_to_format_1("recipe", self.model_dump_json())

    @property
    def tags(self) -> dict[str, str]:
        """What the image of this smear says of it, in its PNG text."""
        return {"synthetic": "true", "smearsynth": self.smearsynth, "recipe": self.to_json()}

    @classmethod
    def of_image(cls, image: Path) -> Self | None:
        """The recipe in a written image; None when it has none that can be read."""
        try:
            return cls.model_validate_json(png_text(image)["recipe"])
        except (KeyError, DataError, ValidationError):
            return None

    def other_stream(self, wanted: Recipe, folder: Path) -> DataError:
        """What to say of a folder that holds this smear where one of another stream is to go."""
        old, new = self.model_dump(), wanted.model_dump()
        shared = (key for key in old if key not in _OWN and old[key] != new[key])
        differences = ", ".join(f"{key} {str(old[key])[:12]} (now {str(new[key])[:12]})" for key in shared)
        return DataError(f"holds smears made with {differences}; choose another folder or the same options", folder)


# what differs within a stream
_OWN = {"name", "index", "attempt", "requested", "placed", "classes", "blend", "stained", "acquisition"}


def write_manifest(folder: Path, recipes: Iterable[Recipe]) -> None:
    """Write ``manifest.jsonl``, a recipe a line."""
    with atomic_write(folder / MANIFEST) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for recipe in recipes:
            file.write(recipe.to_json() + "\n")
