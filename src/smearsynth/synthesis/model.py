"""The synthesizer as one object, and the folder it lives in: JSON and safetensors, never pickle."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from smearsynth.errors import DataError, ModelError
from smearsynth.formats.files import reading_problem, replacing, write_text
from smearsynth.masks import MaskSource
from smearsynth.shapes import ParametricShapes, ShapeLibrary
from smearsynth.smear import ImageArray, LabelArray, Smear
from smearsynth.statistics import DataStatistics
from smearsynth.synthesis.config import NetworkConfig, TrainingConfig
from smearsynth.synthesis.networks import Encoder, Generator
from smearsynth.synthesis.sampling import MAX_TILE_PIXELS, encode_field, paint_field
from smearsynth.synthesis.styles import StyleBank, Styles

DEFAULT = "default"  # the name of the shipped model

_SUMS = "SHA256SUMS"
_EXEMPLARS, _PARAMETRIC = "shapes.safetensors", "shapes.json"
_POOL = 1_000  # shapes drawn from a parametric model for each layout's use


class DataSource(BaseModel):
    """What a model was trained on, for its card and for whoever must respect the licence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "unnamed"
    smears: int = 0
    split: str | None = None
    scale: float = 1.0
    licence: str = "not stated"
    citation: str = "not stated"


class ModelConfig(BaseModel):
    """``config.json`` of a model folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    smearsynth: str
    network: NetworkConfig
    training: TrainingConfig
    steps_done: int
    data: DataSource = DataSource()


@dataclass(frozen=True, eq=False)
class Synthesizer:
    """A trained conditional generator with its encoder, style bank, statistics and shapes.

    Parameters
    ----------
    config : ModelConfig
    generator : Generator
    encoder : Encoder
    styles : StyleBank
    statistics : DataStatistics
        Of the training smears, at the scale of the model.
    shapes : ShapeLibrary or ParametricShapes

    Examples
    --------
    >>> model = Synthesizer.load("default")
    >>> labels = np.zeros((48, 64), np.int32)
    >>> labels[8:40, 16:48] = 1
    >>> model.paint(labels, np.array([0]), rng=1).shape
    (48, 64, 3)
    """

    config: ModelConfig
    generator: Generator
    encoder: Encoder
    styles: StyleBank
    statistics: DataStatistics
    shapes: ShapeLibrary | ParametricShapes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Cell classes it can paint."""
        return self.config.network.class_names

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.generator.parameters()).device

    @cached_property
    def masks(self) -> MaskSource:
        """What masks are drawn from: the shape library itself, or a fixed draw from the parametric model."""
        shapes = self.shapes if isinstance(self.shapes, ShapeLibrary) else self.shapes.sample(_POOL, rng=0)
        return MaskSource(shapes, self.statistics)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the model's content, independent of where it lies."""
        digest = hashlib.sha256()
        for name, content in sorted(self._contents().items()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        return digest.hexdigest()

    def encode(self, smear: Smear) -> Styles:
        """Style of the background (row 0) and of every cell of a smear, (n + 1, S) float32."""
        return encode_field(self.encoder, smear.image, smear.labels, smear.count)

    def paint(
        self,
        labels: LabelArray,
        classes: npt.NDArray[np.int64],
        rng: int | np.random.Generator,
        *,
        styles: Styles | None = None,
        max_tile_pixels: int = MAX_TILE_PIXELS,
        precision: torch.dtype = torch.float32,
    ) -> ImageArray:
        """Paint the image of a field of labels.

        Parameters
        ----------
        labels : (H, W) int32 array
            0 background, 1..n cells.
        classes : (n,) int64 array
        rng : int or Generator
            For the noise, and for the styles where none are given.
        styles : (n + 1, S) float32 array, optional
            Row 0 the background; drawn from the joint law of the style bank when None.
        max_tile_pixels, precision
            As in `paint_field`.

        Returns
        -------
        (H, W, 3) uint8 array
            RGB, of the size of the labels.

        Raises
        ------
        DataError
            When labels and classes do not fit, or a class is unknown to the model.
        """
        n = len(classes)
        if labels.size and (int(labels.max()) > n or int(labels.min()) < 0):
            raise DataError(f"labels run from {int(labels.min())} to {int(labels.max())} for {n} classes given")
        if n and (int(classes.max()) >= len(self.class_names) or int(classes.min()) < 0):
            known = ", ".join(f"{k} = {name}" for k, name in enumerate(self.class_names))
            raise DataError(f"class id {int(classes.max())} is not one of the model's classes ({known})")
        rng = np.random.default_rng(rng)
        if styles is None:
            styles = self.styles.draw(classes, rng)
        if styles.shape != (n + 1, self.config.network.style_channels):
            raise DataError(
                f"styles are {styles.shape}, the labels need {(n + 1, self.config.network.style_channels)}"
            )
        return paint_field(
            self.generator,
            labels,
            classes,
            styles,
            rng,
            max_tile_pixels=max_tile_pixels,
            precision=precision,
        )

    def to(self, device: torch.device | str) -> Synthesizer:
        """Move the networks to a device; returns the model itself."""
        self.generator.to(device)
        self.encoder.to(device)
        return self

    def save(self, folder: Path | str, *, half: bool = False) -> None:
        """Write the model folder; every file is whole or absent, the sums come last.

        Parameters
        ----------
        folder : Path or str
        half : bool
            Store the weights in fp16 (half the size; no difference is visible).
        """
        if half:
            for module in (self.generator, self.encoder):
                for parameter in module.parameters():
                    parameter.data = parameter.data.half().float()
            self.__dict__.pop("hash", None)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _SUMS).unlink(missing_ok=True)
        contents = self._contents(half=half)
        for stale in {_EXEMPLARS, _PARAMETRIC} - contents.keys():
            (folder / stale).unlink(missing_ok=True)
        for name, content in contents.items():
            with replacing(folder / name) as temporary:
                temporary.write_bytes(content)
        sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(contents.items())]
        write_text(folder / _SUMS, "".join(sums))

    @classmethod
    def load(cls, folder: Path | str = DEFAULT, device: torch.device | str = "cpu") -> Synthesizer:
        """Load a model folder, or the shipped model by the name ``default``.

        Raises
        ------
        ModelError
            When a file is missing, damaged, or has another hash than ``SHA256SUMS`` says.
        """
        root = default_folder() if str(folder) == DEFAULT else Path(folder)
        _verify(root)
        try:
            config = ModelConfig.model_validate_json((root / "config.json").read_text())
            weights = {
                name: tensor.float()
                for name, tensor in safetensors.torch.load_file(root / "weights.safetensors").items()
            }
            generator, encoder = Generator(config.network), Encoder(config.network)
            for prefix, module in (("generator.", generator), ("encoder.", encoder)):
                own = {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
                module.load_state_dict(own)
                # channels last: 1.4 times faster on the CPU, and what a GPU prefers
                module.requires_grad_(False).eval().to(device).to(memory_format=torch.channels_last)
            return cls(
                config,
                generator,
                encoder,
                StyleBank.from_tensors(
                    safetensors.numpy.load_file(root / "styles.safetensors"), config.network.class_names
                ),
                DataStatistics.from_json((root / "statistics.json").read_text(), root / "statistics.json"),
                _load_shapes(root),
            )
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ModelError(f"made by another version? {place}: {first['msg']}", root / "config.json") from None
        except (RuntimeError, safetensors.SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"weights do not fit the configuration ({reason})", root) from None

    def _contents(self, *, half: bool = False) -> dict[str, bytes]:
        """Every file of the folder that makes up the model, by name."""
        weights: dict[str, Tensor] = {}
        for prefix, module in (("generator", self.generator), ("encoder", self.encoder)):
            for name, tensor in module.state_dict().items():
                kept = tensor.detach().cpu().contiguous()
                weights[f"{prefix}.{name}"] = kept.half() if half else kept
        files = {
            "config.json": self.config.model_dump_json(indent=2).encode(),
            "weights.safetensors": safetensors.torch.save(weights),
            "styles.safetensors": safetensors.numpy.save(self.styles.tensors()),
            "statistics.json": self.statistics.to_json().encode(),
        }
        name = _EXEMPLARS if isinstance(self.shapes, ShapeLibrary) else _PARAMETRIC
        files[name] = self.shapes.to_bytes()
        return files


def default_folder() -> Path:
    """Where the shipped model lies."""
    return Path(str(resources.files("smearsynth"))) / "default_model"


def _verify(root: Path) -> None:
    """Refuse a folder that is not a whole, unaltered model."""
    if not root.is_dir():
        raise ModelError("no such model folder; train one with `smearsynth train`, or use --model default", root)
    try:
        lines = (root / _SUMS).read_text().splitlines()
    except FileNotFoundError:
        hint = " (its training is not finished: run the same `smearsynth train` again)"
        raise ModelError(
            f"not a model folder, {_SUMS} is missing{hint if (root / 'state').is_dir() else ''}", root
        ) from None
    for line in lines:
        wanted, _, name = line.partition("  ")
        try:
            found = hashlib.sha256((root / name).read_bytes()).hexdigest()
        except FileNotFoundError:
            raise ModelError("this file of the model is missing; copy the folder again", root / name) from None
        except OSError as error:
            raise ModelError(reading_problem(error), root / name) from error
        if found != wanted:
            raise ModelError(
                f"altered or damaged, its hash is not the one in {_SUMS}; copy the folder again", root / name
            )


def _load_shapes(root: Path) -> ShapeLibrary | ParametricShapes:
    if (root / _EXEMPLARS).exists():
        return ShapeLibrary.load(root / _EXEMPLARS)
    return ParametricShapes.load(root / _PARAMETRIC)
