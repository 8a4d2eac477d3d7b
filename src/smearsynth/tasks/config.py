"""Configuration of task models: typed, with bounds; unknown keys are errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from smearsynth.errors import OptionError
from smearsynth.tasks.augment import MAX_SEVERITY, AugmentName


class Config(BaseModel):
    """Immutable record; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FitConfig(Config):
    """Schedule and data handling of a training; defaults are those of the preset ``cpu``."""

    steps: int = Field(400, ge=1, le=10_000_000, description="training steps")
    batch: int = Field(4, ge=1, le=1024, description="crops per step")
    crop: tuple[int, int] | None = Field((192, 192), description="height and width in px; None: the whole field")
    augment: AugmentName = Field("none", description="augmentation of the crops")
    changes: int = Field(
        MAX_SEVERITY,
        ge=0,
        le=9,
        description="largest number of simultaneous colour or texture changes of the classic augmentation",
    )
    learning_rate: float = Field(
        2e-3, gt=0, le=1, description="learning rate after the warm-up, with cosine decay to zero"
    )
    warm_up: int = Field(20, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(1e-4, ge=0, le=1, description="weight decay of AdamW")
    clip: float = Field(5.0, gt=0, description="largest norm of the gradient (clipping)")
    held_out: int = Field(8, ge=0, description="smears held out to select the weights, at most a fifth of all")
    validate_every: int = Field(50, ge=1, description="steps between validations")
    slack: float = Field(
        1.0,
        ge=0,
        description="later weights are kept if they score at most this many standard errors below the best",
    )
    seed: int = Field(0, ge=0, lt=1 << 63, description="random seed")

    def held_out_of(self, smears: int) -> int:
        """Return how many of `smears` smears are held out to select the weights.

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
    """Architecture of an FCN-8s with the layers of VGG16; defaults are those of the paper."""

    filters: int = Field(64, ge=4, le=64, description="filters of the first layer; other layers scale with it")
    head: int = Field(
        4096, ge=8, le=4096, description="filters of the two layers that replace the classifier of VGG"
    )
    dropout: float = Field(0.5, ge=0, lt=1)
    maps: int = Field(
        1, ge=1, le=64, description="score maps per output; 1 in the FCN paper, more resolve details below 8 px"
    )
    groups: int = Field(8, ge=1, description="groups of the group normalisation, fewer in narrow layers")


class TaskConfig(Config):
    """Configuration that all tasks share: classes and training."""

    class_names: tuple[str, ...] = Field(("cell",), min_length=1)
    fit: FitConfig = FitConfig()

    def with_fit(self, **settings: object) -> Self:
        """Return a copy with other training settings; settings that are None are ignored.

        Raises
        ------
        OptionError
            If a setting is unknown or a value is out of range.

        Examples
        --------
        >>> TaskConfig().with_fit(steps=7, seed=None).fit.steps
        7
        """
        changes = {key: value for key, value in settings.items() if value is not None}
        try:
            return self.model_copy(update={"fit": FitConfig(**{**self.fit.model_dump(), **changes})})
        except ValidationError as error:
            raise _as_option_error(error) from None

    def for_classes(self, class_names: Sequence[str]) -> Self:
        """Return a copy for other classes.

        Raises
        ------
        OptionError
            If these are no valid names.

        Examples
        --------
        >>> TaskConfig().for_classes(["red cell", "white cell"]).class_names
        ('red cell', 'white cell')
        """
        try:
            return self.model_validate(self.model_dump() | {"class_names": class_names})
        except ValidationError as error:
            raise _as_option_error(error) from None


def _as_option_error(error: ValidationError) -> OptionError:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    return OptionError(f"{place}: {reason} (got {first['input']!r})")


TaskName = Literal["segmentation", "detection", "contours"]
