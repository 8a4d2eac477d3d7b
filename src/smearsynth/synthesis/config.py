"""What a synthesizer is made of and how it is trained: typed, bounded, unknown keys forbidden."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from smearsynth.errors import OptionError

PaddingName = Literal["reflect", "zeros"]
FeatureName = Literal["efficientnet_lite0", "vgg19", "none"]
# by the beginning of the hash of its weights: another model has other features
SegmentationName = Annotated[str, StringConstraints(pattern="^segmentation model [0-9a-f]{12}$")]


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkConfig(_Config):
    """Architecture of generator, encoder and discriminators.

    The defaults are the small generator (2 M parameters); the paper's is ``downs=4, blocks=9``.
    """

    class_names: tuple[str, ...] = Field(("cell",), min_length=1, description="cell classes, background is none")
    style_channels: int = Field(8, ge=1, le=64, description="length of a style vector")
    filters: int = Field(16, ge=2, le=256, description="filters of the first layer of G and E")
    discriminator_filters: int = Field(16, ge=2, le=256, description="filters of the first layer of D")
    downs: int = Field(3, ge=1, le=6, description="halvings of the resolution in G")
    blocks: int = Field(6, ge=0, le=32, description="residual blocks of G")
    padding: PaddingName = Field(
        "reflect", description="beyond the edge of the field; zeros are faster, and crops teach G what they mean"
    )
    discriminator_layers: int = Field(3, ge=1, le=6, description="halvings of the resolution in D")
    discriminator_scales: int = Field(
        2, ge=1, le=4, description="resolutions of the image, each with a D of its own"
    )
    discriminator_norm: Literal["instance", "spectral"] = Field(
        "instance", description="statistics of the activations, or the largest gain of each convolution held to 1"
    )
    debris: bool = Field(False, description="one more channel of the condition: platelets, ghosts and dirt")
    modulation: bool = Field(
        False, description="classes, boundaries and styles scale and shift every normalisation of G (as SPADE)"
    )
    label_discriminator: bool = Field(
        False,
        description="one more D, which names the class of every pixel or calls it fake (as OASIS)",
    )

    @property
    def condition_channels(self) -> int:
        """Background, one channel per cell class, the instance boundaries, and the debris if any."""
        return len(self.class_names) + 2 + self.debris


DISCRIMINATOR_SETTINGS = tuple(name for name in NetworkConfig.model_fields if "discriminator" in name)


class TrainingConfig(_Config):
    """Losses, schedule and data handling of one training run, for one CPU thread; see also `PRESETS`."""

    steps: int = Field(20_000, ge=1, le=100_000_000, description="updates of all networks")
    batch: int = Field(1, ge=1, le=1024, description="crops a step")
    crop: tuple[int, int] = Field((160, 160), description="height and width of a training crop in px")
    scale: float = Field(1.0, gt=0, le=1, description="size of the smears in this stage, relative to the data")
    learning_rate: float = Field(2e-4, gt=0, le=0.1, description="of G and E, by Adam")
    # With single crops D learns too fast: by 2,000 steps on BBBC041Seg G answers with grain on cells and ground.
    # At 0.4 the loss of D stays near 0.4, feature matching near 3 (at 1.0: 0.22 and 5.6), and pallors appear.
    discriminator_rate: float = Field(0.4, gt=0, le=100, description="learning rate of D over that of G")
    decay_from: float = Field(0.5, ge=0, le=1, description="share of the steps before the linear decay starts")
    # Short, as a caution: from the shipped model to ten smears of BBBC041Seg 300 steps on the CPU ended no worse
    # without one (perceptual loss 2.03, colour 0.27) than with one of all 300 steps (2.10, 0.29).
    warmup: int = Field(
        100,
        ge=0,
        le=1_000_000,
        description="steps over which the rate of G and E rises where they start with a model's: D is new",
    )
    adversarial: Literal["lsgan", "log"] = Field("lsgan", description="least squares, or equation 5 as it stands")
    feature_matching: float = Field(10.0, ge=0, description="lambda_FM of equation 4")
    perceptual: float = Field(2.5, ge=0, description="lambda_PR of equation 4")
    perceptual_features: FeatureName | SegmentationName = Field(
        "efficientnet_lite0", description="network that compares the images"
    )
    colour: float = Field(5.0, ge=0, description="weight of the L1 distance at 1/4 resolution; 0 in the paper")
    r1: float = Field(0.0, ge=0, description="weight of the squared slope of D at real images")
    label_weight: float = Field(1.0, ge=0, description="weight of the label-aware D, where there is one")
    discriminator_augmentation: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of crops that D sees turned, scaled and recoloured, real and fake alike",
    )
    stain_augmentation: float = Field(
        0.0, ge=0, le=1, description="share of crops under another stain, drawn anew; G and E see them so, too"
    )
    flips: bool = Field(True, description="half of the crops upside down, half mirrored")
    ema: float = Field(0.998, ge=0, lt=1, description="decay of the averaged weights that are kept")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16 pays on a GPU and on a CPU with matrix units (AMX); elsewhere it costs"
    )
    seed: int = Field(0, ge=0, lt=1 << 63, description="same seed, same model; on the CPU bit for bit")


class Preset(_Config):
    """Network and training settings, and those of a second stage where there is one.

    Stage one trains G, D and E together, on downsized smears if its scale says so; stage two goes on at its own
    scale with G and D, at the styles that E gave each instance in stage one (section 5.1 of the paper).
    """

    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    second: TrainingConfig | None = None

    @property
    def steps(self) -> int:
        """Of all stages."""
        return self.training.steps + (self.second.steps if self.second else 0)

    @property
    def stages(self) -> tuple[Preset, ...]:
        """Each stage as a preset of its own."""
        both = (self.training, self.second) if self.second else (self.training,)
        return tuple(Preset(network=self.network, training=stage) for stage in both)

    def within(self, field: tuple[int, int]) -> Preset:
        """The same preset, its crops no larger than fields of (H, W) px at the scale of their stage.

        Examples
        --------
        >>> PRESETS["paper"].within((480, 640)).second.crop
        (480, 640)
        """
        grid = self._grid

        def fitted(stage: TrainingConfig) -> TrainingConfig:
            sides = [
                min(wanted, max(2 * grid, int(side * stage.scale) // grid * grid))
                for wanted, side in zip(stage.crop, field, strict=True)
            ]
            return stage.model_copy(update={"crop": (sides[0], sides[1])})

        second = fitted(self.second) if self.second else None
        return Preset(network=self.network, training=fitted(self.training), second=second)

    def initialised_from(self, network: NetworkConfig) -> Preset:
        """The same preset with G and E as a model has them; the classes and D stay.

        Raises
        ------
        OptionError
            When the crops do not fit the depth of that G.

        Examples
        --------
        >>> PRESETS["tiny"].initialised_from(NetworkConfig(downs=3, discriminator_filters=64)).network.downs
        3
        """
        own = {name: getattr(self.network, name) for name in ("class_names", *DISCRIMINATOR_SETTINGS)}
        try:
            return Preset(network=network.model_copy(update=own), training=self.training, second=self.second)
        except ValidationError as error:
            raise _in_one_line(error) from None

    def on_features(self, name: str) -> Preset:
        """The same preset, the features of its perceptual loss those of this name.

        Examples
        --------
        >>> Preset().on_features("none").training.perceptual_features
        'none'
        """

        def named(stage: TrainingConfig) -> TrainingConfig:
            return TrainingConfig(**{**stage.model_dump(), "perceptual_features": name})

        second = named(self.second) if self.second else None
        return Preset(network=self.network, training=named(self.training), second=second)

    @property
    def _grid(self) -> int:
        # the label-aware discriminator halves the resolution three times
        return max(1 << self.network.downs, 8 if self.network.label_discriminator else 1)

    @model_validator(mode="after")
    def _crops_fit(self) -> Preset:
        grid = self._grid
        for stage in filter(None, (self.training, self.second)):
            height, width = stage.crop
            if height % grid or width % grid or min(height, width) < max(2 * grid, 16):
                raise ValueError(
                    f"crop: sides must be multiples of {grid} and at least {max(2 * grid, 16)} px "
                    f"(got {height}×{width})"
                )
        return self


_PAPER = TrainingConfig(
    steps=60 * 120,  # 120 epochs of its 60 fields
    discriminator_rate=1.0,
    crop=(1200, 1920),
    perceptual=10.0,
    perceptual_features="vgg19",
    colour=0.0,
)

# What the ablations and the eye chose: benchmarks/synthesis.md
_TAUGHT_BEST = NetworkConfig(padding="zeros", debris=True, modulation=True, label_discriminator=True)

PRESETS: dict[str, Preset] = {
    # an hour on one CPU thread
    "cpu": Preset(
        network=_TAUGHT_BEST,
        training=TrainingConfig(steps=10_000, discriminator_augmentation=0.1, stain_augmentation=0.5),
    ),
    # a data-centre GPU: larger crops and batches, a wider D
    "gpu": Preset(
        network=_TAUGHT_BEST.model_copy(update={"discriminator_filters": 32}),
        training=TrainingConfig(
            steps=30_000,
            batch=16,
            crop=(256, 256),
            discriminator_rate=1.0,
            discriminator_augmentation=0.3,
            stain_augmentation=0.5,
            ema=0.999,
            precision="bf16",
        ),
    ),
    # section 5.1 of the paper: 1024 × 640 px, then 1920 × 1200
    "paper": Preset(
        network=NetworkConfig(style_channels=3, downs=4, blocks=9),
        training=_PAPER.model_copy(update={"crop": (640, 1024), "scale": 640 / 1200}),
        second=_PAPER,
    ),
    # a minute on anything: to see that all works, not to look at
    "tiny": Preset(
        network=NetworkConfig(style_channels=3, filters=4, discriminator_filters=4, downs=2, blocks=1),
        training=TrainingConfig(
            steps=50, crop=(64, 64), discriminator_rate=1.0, perceptual_features="none", ema=0.9
        ),
    ),
}


def preset(name: str, *, class_names: tuple[str, ...] = ("cell",), **settings: object) -> Preset:
    """The preset `name` for these classes, with settings overridden by those that are not None.

    Parameters
    ----------
    name : str
    class_names : tuple of str
    **settings
        Of `NetworkConfig` and of `TrainingConfig`, there for all stages.

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
    given = {key: value for key, value in settings.items() if value is not None}
    network = {key: given.pop(key) for key in NetworkConfig.model_fields if key in given}
    try:
        return Preset(
            network=NetworkConfig(**{**base.network.model_dump(), **network, "class_names": class_names}),
            training=TrainingConfig(**{**base.training.model_dump(), **given}),
            second=TrainingConfig(**{**base.second.model_dump(), **given}) if base.second else None,
        )
    except ValidationError as error:
        raise _in_one_line(error) from None


def _in_one_line(error: ValidationError) -> OptionError:
    first = error.errors()[0]
    if not first["loc"]:
        return OptionError(first["msg"].removeprefix("Value error, "))
    place = ".".join(str(part) for part in first["loc"])
    return OptionError(f"{place}: {first['msg']} (got {first['input']!r})")
