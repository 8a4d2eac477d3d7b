"""TODO."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Literal, TypeVar

import safetensors.numpy
import safetensors.torch
from pydantic import BaseModel, ConfigDict, ValidationError

from smearsynth.errors import DataError, ModelError
from smearsynth.files import COPY_AGAIN, CHECKSUM_FILE, verify_checksums, read_checksums, read_text
from smearsynth.migrations import to_current
from smearsynth.shapes import ParametricShapes, ShapeLibrary
from smearsynth.synthesis.config import NetworkConfig, TrainingConfig
from smearsynth.synthesis.model.provenance import DataSource, PretrainedRecord
from smearsynth.synthesis.networks.generator import Encoder, Generator
from smearsynth.synthesis.styles import StyleBank

DEFAULT = "default"  # the name of the shipped model

CONFIG_FILE, WEIGHTS_FILE, STYLES_FILE, STATISTICS_FILE = (
    "config.json",
    "weights.safetensors",
    "styles.safetensors",
    "statistics.json",
)

EXEMPLARS_FILE, PARAMETRIC_FILE = "shapes.safetensors", "shapes.json"

LAYOUT_FILE = "layout.json"  # models made before contact layouts have none

ACQUISITION_FILE = "acquisition.json"  # older models have none

_T = TypeVar("_T")


class ModelConfig(BaseModel):
    """``config.json`` of a model folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    smearsynth: str
    network: NetworkConfig
    training: TrainingConfig
    second: TrainingConfig | None = None
    steps_done: int
    data: DataSource = DataSource()
    pretrained: PretrainedRecord | None = None

    @property
    def starts(self) -> tuple[PretrainedRecord, ...]:
        """The model it began with, what that one began with, and so on; nearest first."""
        return self.pretrained.lineage if self.pretrained else ()

    @property
    def licence(self) -> str:
        """Licences of all data it has learned from; each with its data where it began with another model.

        Examples
        --------
        >>> Synthesizer.load("default").config.licence
        'MIT'
        """
        if self.pretrained is None:
            return self.data.licence
        sources = (self.data, *(pretrained.data for pretrained in self.starts))
        return ", ".join(dict.fromkeys(f"{source.licence} ({source.name})" for source in sources))


def default_folder() -> Path:
    """Where the shipped model lies."""
    return Path(str(resources.files("smearsynth"))) / "default_model"


def verify_folder(root: Path) -> frozenset[str]:
    """Refuse a folder that is not a whole, unaltered model; give the names of its files."""
    if not root.is_dir():
        raise ModelError("no such model folder; train one with `smearsynth train`, or use --model default", root)
    try:
        sums = read_checksums(root)
    except FileNotFoundError:
        remedy = (
            "its training is not finished: run the same `smearsynth train` again"
            if (root / "state").is_dir()
            else "name a folder that `smearsynth train` made"
        )
        raise ModelError(f"not a model folder, {CHECKSUM_FILE} is missing; {remedy}", root) from None
    if sums.keys() == {CONFIG_FILE, WEIGHTS_FILE}:
        raise ModelError("holds a task model, no synthesizer; name a folder that `smearsynth train` made", root)
    shapes = EXEMPLARS_FILE if EXEMPLARS_FILE in sums else PARAMETRIC_FILE
    if {CONFIG_FILE, WEIGHTS_FILE, STYLES_FILE, STATISTICS_FILE, shapes} - sums.keys():
        raise ModelError(f"damaged, it is no list of a model's files; {COPY_AGAIN}", root / CHECKSUM_FILE)
    verify_checksums(root, sums)
    return frozenset(sums)


def read_part(path: Path, parse: Callable[[str], _T]) -> _T:
    try:
        return parse(read_text(path))
    except DataError as error:
        raise ModelError(f"{error}; {COPY_AGAIN}", path) from None


def read_config(path: Path) -> ModelConfig:
    try:
        content = json.loads(read_text(path))
        number = content["format"]
    except (DataError, ValueError, KeyError, TypeError):
        raise ModelError(f"not the configuration of a model; {COPY_AGAIN}", path) from None
    if number != 1:
        raise ModelError(f"of format {number}, and this smearsynth reads 1; install a newer smearsynth", path)
    try:
        return ModelConfig.model_validate(to_current("model", content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ModelError(
            f"made by another version of smearsynth ({place}: {first['msg']}); install that version, "
            "or train the model again",
            path,
        ) from None


def read_networks(path: Path, config: NetworkConfig) -> tuple[Generator, Encoder]:
    try:
        weights = {name: tensor.float() for name, tensor in safetensors.torch.load_file(path).items()}
    except safetensors.SafetensorError as error:
        raise ModelError(f"no whole safetensors file ({error}); {COPY_AGAIN}", path) from None
    generator, encoder = Generator(config), Encoder(config)
    for prefix, module in (("generator.", generator), ("encoder.", encoder)):
        own = {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            first = str(error).splitlines()[1].strip()[:200]
            raise ModelError(f"does not fit {CONFIG_FILE} beside it ({first}); {COPY_AGAIN}", path) from None
        module.requires_grad_(False).eval()
    return generator, encoder


def read_styles(path: Path, config: NetworkConfig) -> StyleBank:
    try:
        bank = StyleBank.from_tensors(safetensors.numpy.load_file(path), config.class_names)
    except safetensors.SafetensorError as error:
        raise ModelError(f"no whole safetensors file ({error}); {COPY_AGAIN}", path) from None
    except ModelError as error:
        raise ModelError(str(error), path) from None
    width, n = config.style_channels, len(config.class_names)
    laws = [(bank.joint, width * (n + 1) + n)]
    laws += [(law, width) for law in (*(one.law for one in bank.within), *bank.per_class)]
    for law, size in laws:
        k = len(law.weights)
        if law.centres.shape != (k, size) or law.roots.shape != (k, size, size):
            raise ModelError(f"does not fit {CONFIG_FILE} beside it; {COPY_AGAIN}, or train the model again", path)
    cells_fit = all(one.fits(width, len(bank.smears)) for one in bank.within)
    if bank.smears.ndim != 2 or not len(bank.smears) or bank.smears.shape[1] != laws[0][1] or not cells_fit:
        raise ModelError(f"does not fit {CONFIG_FILE} beside it; {COPY_AGAIN}, or train the model again", path)
    return bank


def read_shapes(path: Path, config: NetworkConfig) -> ShapeLibrary | ParametricShapes:
    kind = ShapeLibrary if path.name == EXEMPLARS_FILE else ParametricShapes
    shapes: ShapeLibrary | ParametricShapes = kind.load(path)
    if shapes.class_names != config.class_names:
        raise ModelError(f"has other classes than {CONFIG_FILE} beside it; {COPY_AGAIN}", path)
    return shapes
