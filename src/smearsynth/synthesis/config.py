"""Settings of the networks and of the training, and their presets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from smearsynth.errors import OptionError

PaddingName = Literal["reflect", "zeros"]
FeatureName = Literal["efficientnet_lite0", "vgg19", "none"]
# The hash prefix identifies the weights: another model has other features.
SegmentationName = Annotated[str, StringConstraints(pattern="^segmentation model [0-9a-f]{12}$")]


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkConfig(_Config):
    """Architecture of the generator G, the encoder E and the discriminators D.

    The defaults are the small generator (2 M parameters); that of the paper is ``downs=4, blocks=9``.
    """

    class_names: tuple[str, ...] = Field(("cell",), min_length=1, description="cell classes, without background")
    style_channels: int = Field(8, ge=1, le=64, description="length of a style vector")
    filters: int = Field(16, ge=2, le=256, description="filters of the first layer of generator and encoder")
    discriminator_filters: int = Field(16, ge=2, le=256, description="first-layer filters of each discriminator")
    downs: int = Field(3, ge=1, le=6, description="downsampling layers of the generator, stride 2 each")
    blocks: int = Field(6, ge=0, le=32, description="residual blocks of the generator")
    # Zeros also mark the image border, which G learns from the borders of the training crops.
    padding: PaddingName = Field(
        "reflect", description="padding of the generator's convolutions at the image border; zeros is faster"
    )
    discriminator_layers: int = Field(3, ge=1, le=6, description="downsampling layers of each patch discriminator")
    discriminator_scales: int = Field(
        2, ge=1, le=4, description="number of patch discriminators, each at half the resolution of the one before"
    )
    discriminator_norm: Literal["instance", "spectral"] = Field(
        "instance", description="normalisation of the discriminators: instance or spectral normalisation"
    )
    debris: bool = Field(False, description="add a debris channel (platelets, ghosts, dirt) to the condition")
    modulation: bool = Field(
        False, description="modulate every normalisation of the generator by condition and styles (SPADE)"
    )
    label_discriminator: bool = Field(
        False, description="add a discriminator that classifies every pixel as fake or as its class (OASIS)"
    )

    @property
    def condition_channels(self) -> int:
        """Channels of the condition: background, cell classes, instance boundaries, and debris if enabled."""
        return len(self.class_names) + 2 + self.debris


DISCRIMINATOR_SETTINGS = tuple(name for name in NetworkConfig.model_fields if "discriminator" in name)


class TrainingConfig(_Config):
    """Losses, schedule and data augmentation of one training stage.

    The defaults are for one CPU thread; see also `PRESETS`.
    """

    steps: int = Field(20_000, ge=1, le=100_000_000, description="training steps")
    batch: int = Field(1, ge=1, le=1024, description="batch size in crops")
    # (height, width)
    crop: tuple[int, int] = Field((160, 160), description="size of a training crop in px")
    scale: float = Field(1.0, gt=0, le=1, description="scale factor of the smears in this stage")
    learning_rate: float = Field(2e-4, gt=0, le=0.1, description="Adam learning rate of generator and encoder")
    # With single crops D learns too fast: by 2,000 steps on BBBC041Seg G paints noise on cells and background.
    # At 0.4 the loss of D stays near 0.4 and feature matching near 3 (at 1.0: 0.22 and 5.6), and pallors appear.
    discriminator_rate: float = Field(
        0.4, gt=0, le=100, description="learning rate of the discriminators, as a multiple of learning_rate"
    )
    decay_from: float = Field(
        0.5, ge=0, le=1, description="fraction of the steps after which the learning rate decays linearly to zero"
    )
    # Short, as a precaution: from the shipped model to ten smears of BBBC041Seg, 300 CPU steps ended no worse
    # without warm-up (perceptual loss 2.03, colour 0.27) than with a warm-up of all 300 steps (2.10, 0.29).
    warmup: int = Field(
        100,
        ge=0,
        le=1_000_000,
        description="steps of learning-rate warm-up of a pretrained generator, whose discriminators are new",
    )
    adversarial: Literal["lsgan", "log"] = Field(
        "lsgan", description="adversarial loss: least squares, or the logarithm of equation 5 of the paper"
    )
    feature_matching: float = Field(10.0, ge=0, description="weight of the feature-matching loss")
    perceptual: float = Field(2.5, ge=0, description="weight of the perceptual loss")
    perceptual_features: FeatureName | SegmentationName = Field(
        "efficientnet_lite0", description="network of the perceptual loss"
    )
    colour: float = Field(
        5.0, ge=0, description="weight of the L1 colour loss at 1/16 of the resolution; the paper has none"
    )
    r1: float = Field(0.0, ge=0, description="weight of the R1 gradient penalty of the discriminators")
    label_weight: float = Field(1.0, ge=0, description="weight of the loss of the label discriminator")
    discriminator_augmentation: float = Field(
        0.0,
        ge=0,
        le=1,
        description="discriminator augmentation (rotation, scale, colour): fraction of crops, real and fake alike",
    )
    stain_augmentation: float = Field(
        0.0, ge=0, le=1, description="stain augmentation: fraction of training crops in a random stain"
    )
    flips: bool = Field(True, description="flip crops horizontally and vertically, each with probability 0.5")
    align_channels: bool = Field(
        False,
        description="undo the chromatic shift of the smears before flips, which would put its fringe on both sides "
        "of the cells; the acquisition model adds it again",
    )
    ema: float = Field(0.998, ge=0, lt=1, description="EMA decay of the stored weights")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16 is faster on GPUs and on CPUs with AMX, and slower on other CPUs"
    )
    seed: int = Field(0, ge=0, lt=1 << 63, description="random seed; results on the CPU are bit-identical")


class Preset(_Config):
    """Network and training settings, with those of a second stage if there is one.

    The first stage trains G, D and E together, on downscaled smears if its scale is below 1. The second stage
    continues with G and D at its own scale, with the styles that E gave each instance in the first stage
    (section 5.1 of the paper).
    """

    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    second: TrainingConfig | None = None

    @property
    def steps(self) -> int:
        """Number of steps of all stages."""
        return self.training.steps + (self.second.steps if self.second else 0)

    @property
    def stages(self) -> tuple[Preset, ...]:
        """Each stage as a preset with one stage."""
        configs = (self.training, self.second) if self.second else (self.training,)
        return tuple(Preset(network=self.network, training=config) for config in configs)

    def limit_crops(self, field: tuple[int, int]) -> Preset:
        """Return a preset whose crops fit into fields of (H, W) px, scaled by the scale of each stage.

        Examples
        --------
        >>> PRESETS["paper"].limit_crops((480, 640)).second.crop
        (480, 640)
        """
        grid = self._grid

        def limited(stage: TrainingConfig) -> TrainingConfig:
            height, width = (
                min(crop_side, max(2 * grid, int(field_side * stage.scale) // grid * grid))
                for crop_side, field_side in zip(stage.crop, field, strict=True)
            )
            return stage.model_copy(update={"crop": (height, width)})

        second = limited(self.second) if self.second else None
        return Preset(network=self.network, training=limited(self.training), second=second)

    def initialised_from(self, network: NetworkConfig) -> Preset:
        """Return a preset with the G and E of `network`; the classes and D are those of this preset.

        Raises
        ------
        OptionError
            If the crop size is not a multiple of the downsampling factor of that G.

        Examples
        --------
        >>> PRESETS["tiny"].initialised_from(NetworkConfig(downs=3, discriminator_filters=64)).network.downs
        3
        """
        unchanged = {name: getattr(self.network, name) for name in ("class_names", *DISCRIMINATOR_SETTINGS)}
        try:
            return Preset(network=network.model_copy(update=unchanged), training=self.training, second=self.second)
        except ValidationError as error:
            raise _option_error(error) from None

    def with_features(self, name: str) -> Preset:
        """Return a preset with these features in the perceptual loss of all stages.

        Examples
        --------
        >>> Preset().with_features("none").training.perceptual_features
        'none'
        """

        def changed(stage: TrainingConfig) -> TrainingConfig:
            return TrainingConfig(**{**stage.model_dump(), "perceptual_features": name})

        second = changed(self.second) if self.second else None
        return Preset(network=self.network, training=changed(self.training), second=second)

    @property
    def _grid(self) -> int:
        # the label discriminator downsamples three times
        return max(1 << self.network.downs, 8 if self.network.label_discriminator else 1)

    @model_validator(mode="after")
    def _check_crops(self) -> Preset:
        grid = self._grid
        for stage in filter(None, (self.training, self.second)):
            height, width = stage.crop
            if height % grid or width % grid or min(height, width) < max(2 * grid, 16):
                raise ValueError(
                    f"crop: sides must be multiples of {grid} and at least {max(2 * grid, 16)} px "
                    f"(got {height}×{width})"
                )
        return self


_PAPER_TRAINING = TrainingConfig(
    steps=60 * 120,  # 120 epochs of its 60 fields
    discriminator_rate=1.0,
    crop=(1200, 1920),
    perceptual=10.0,
    perceptual_features="vgg19",
    colour=0.0,
)

# Selected by the ablations and by visual inspection, see benchmarks/synthesis.md.
_DEFAULT_NETWORK = NetworkConfig(padding="zeros", debris=True, modulation=True, label_discriminator=True)

PRESETS: dict[str, Preset] = {
    # one hour on one CPU thread
    "cpu": Preset(
        network=_DEFAULT_NETWORK,
        training=TrainingConfig(
            steps=10_000, discriminator_augmentation=0.1, stain_augmentation=0.5, align_channels=True
        ),
    ),
    # a data-centre GPU: larger crops and batches, a wider D
    "gpu": Preset(
        network=_DEFAULT_NETWORK.model_copy(update={"discriminator_filters": 32}),
        training=TrainingConfig(
            steps=30_000,
            batch=16,
            crop=(256, 256),
            discriminator_rate=1.0,
            discriminator_augmentation=0.3,
            stain_augmentation=0.5,
            align_channels=True,
            ema=0.999,
            precision="bf16",
        ),
    ),
    # section 5.1 of the paper: 1024 × 640 px, then 1920 × 1200 px
    "paper": Preset(
        network=NetworkConfig(style_channels=3, downs=4, blocks=9),
        training=_PAPER_TRAINING.model_copy(update={"crop": (640, 1024), "scale": 640 / 1200}),
        second=_PAPER_TRAINING,
    ),
    # one minute on any machine: tests that everything works, not for realistic images
    "tiny": Preset(
        network=NetworkConfig(style_channels=3, filters=4, discriminator_filters=4, downs=2, blocks=1),
        training=TrainingConfig(
            steps=50, crop=(64, 64), discriminator_rate=1.0, perceptual_features="none", ema=0.9
        ),
    ),
}


def preset(name: str, *, class_names: tuple[str, ...] = ("cell",), **settings: object) -> Preset:
    """Return a preset for these classes, with some settings changed.

    Parameters
    ----------
    name : str
        One of `PRESETS`.
    class_names : tuple of str
        Cell classes.
    **settings
        Values of `NetworkConfig`, and of `TrainingConfig` for all stages. None keeps the value of the preset.

    Raises
    ------
    OptionError
        For an unknown preset, an unknown setting or a value out of its range.

    Examples
    --------
    >>> preset("cpu", steps=300, modulation=True).training.steps
    300
    """
    if name not in PRESETS:
        raise OptionError(f"unknown preset {name!r}; choose one of {', '.join(PRESETS)}")
    base = PRESETS[name]
    training = {key: value for key, value in settings.items() if value is not None}
    network = {key: training.pop(key) for key in NetworkConfig.model_fields if key in training}
    try:
        return Preset(
            network=NetworkConfig(**{**base.network.model_dump(), **network, "class_names": class_names}),
            training=TrainingConfig(**{**base.training.model_dump(), **training}),
            second=TrainingConfig(**{**base.second.model_dump(), **training}) if base.second else None,
        )
    except ValidationError as error:
        raise _option_error(error) from None


def _option_error(error: ValidationError) -> OptionError:
    """Return the first error of a validation as one line with the setting and its value."""
    first = error.errors()[0]
    if not first["loc"]:
        return OptionError(first["msg"].removeprefix("Value error, "))
    setting = ".".join(str(part) for part in first["loc"])
    return OptionError(f"{setting}: {first['msg']} (got {first['input']!r})")
