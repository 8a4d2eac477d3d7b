"""How a task model is built and trained: typed, bounded, unknown keys forbidden."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from smearsynth.errors import OptionError
from smearsynth.tasks.augment import MAX_SEVERITY, AugmentName


class Config(BaseModel):
    """A frozen record whose unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FitConfig(Config):
    """Schedule and data handling of one training run; the defaults are those of preset ``cpu``."""

    steps: int = Field(400, ge=1, le=10_000_000)
    batch: int = Field(4, ge=1, le=1024)
    crop: tuple[int, int] | None = Field((192, 192), description="height and width in px; None: the whole field")
    augment: AugmentName = Field("none", description="what is done to each crop, see smearsynth.tasks.augment")
    changes: int = Field(
        MAX_SEVERITY, ge=0, le=9, description="of colour or texture at a time, at most, in the classic one"
    )
    learning_rate: float = Field(2e-3, gt=0, le=1, description="after warm-up; falls to zero along a cosine")
    warm_up: int = Field(20, ge=0, description="steps")
    weight_decay: float = Field(1e-4, ge=0, le=1)
    clip: float = Field(5.0, gt=0, description="largest norm of the gradient")
    held_out: int = Field(8, ge=0, description="smears kept to choose the best weights by, at most a fifth of all")
    validate_every: int = Field(50, ge=1, description="steps")
    slack: float = Field(
        1.0, ge=0, description="standard errors by which later weights may score below the best and be kept"
    )
    seed: int = Field(0, ge=0, lt=1 << 63)

    def held_out_of(self, smears: int) -> int:
        """How many of so many smears are kept to choose the best weights by.

        Examples
        --------
        >>> FitConfig().held_out_of(100), FitConfig().held_out_of(10)
        (8, 2)
        """
        return min(self.held_out, smears // 5)

    @field_validator("crop")
    @classmethod
    def _crop_is_seen(cls, crop: tuple[int, int] | None) -> tuple[int, int] | None:
        if crop is not None and min(crop) < 32:
            raise ValueError(f"crop: sides must be at least 32 px (got {crop[0]}×{crop[1]})")
        return crop


class FcnConfig(Config):
    """Architecture of an FCN-8s on the layers of VGG16; the defaults are the paper's."""

    filters: int = Field(64, ge=4, le=64, description="of the first layer; those of the others grow with it")
    head: int = Field(4096, ge=8, le=4096, description="filters of the two layers that replace VGG's classifier")
    dropout: float = Field(0.5, ge=0, lt=1)
    maps: int = Field(
        1, ge=1, le=64, description="score maps of each output; 1 in the FCN paper, more draw finer than 8 px"
    )
    groups: int = Field(8, ge=1, description="of group normalisation, fewer where a layer is narrow")


class TaskConfig(Config):
    """What every task has: the classes it tells apart and its training."""

    class_names: tuple[str, ...] = Field(("cell",), min_length=1)
    fit: FitConfig = FitConfig()

    def with_fit(self, **settings: object) -> Self:
        """The same with training settings overridden by those that are not None.

        Raises
        ------
        OptionError
            For an unknown setting or a value out of its range.

        Examples
        --------
        >>> TaskConfig().with_fit(steps=7, seed=None).fit.steps
        7
        """
        given = {key: value for key, value in settings.items() if value is not None}
        try:
            return self.model_copy(update={"fit": FitConfig(**{**self.fit.model_dump(), **given})})
        except ValidationError as error:
            raise _as_option(error) from None

    def telling_apart(self, class_names: Sequence[str]) -> Self:
        """The same for other classes.

        Raises
        ------
        OptionError
            When these are no names.

        Examples
        --------
        >>> TaskConfig().telling_apart(["red cell", "white cell"]).class_names
        ('red cell', 'white cell')
        """
        try:
            return self.model_validate(self.model_dump() | {"class_names": class_names})
        except ValidationError as error:
            raise _as_option(error) from None


def _as_option(error: ValidationError) -> OptionError:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    return OptionError(f"{place}: {reason} (got {first['input']!r})")


TaskName = Literal["segmentation", "detection", "contours"]
