"""The synthesizer as one object, and the folder it lives in: JSON and safetensors, never pickle."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from smearsynth.errors import DataError, ModelError, OptionError
from smearsynth.formats.files import read_text, replacing
from smearsynth.formats.sums import COPY_AGAIN, SUMS, check_sums, read_sums, write_sums
from smearsynth.layout import ContactLaw
from smearsynth.masks import MaskSource
from smearsynth.shapes import ParametricShapes, ShapeLibrary
from smearsynth.smear import ImageArray, LabelArray, Mask, Smear
from smearsynth.statistics import DataStatistics
from smearsynth.synthesis.acquisition import Acquisition, AcquisitionLaw
from smearsynth.synthesis.config import NetworkConfig, TrainingConfig
from smearsynth.synthesis.debris import find_debris
from smearsynth.synthesis.networks import Encoder, Generator
from smearsynth.synthesis.provenance import DataSource, StartRecord
from smearsynth.synthesis.sampling import MAX_TILE_PIXELS, encode_field, paint_field
from smearsynth.synthesis.stain import Stain
from smearsynth.synthesis.styles import StyleBank, Styles

DEFAULT = "default"  # the name of the shipped model

_CONFIG, _WEIGHTS, _STYLES, _STATISTICS = (
    "config.json",
    "weights.safetensors",
    "styles.safetensors",
    "statistics.json",
)
_EXEMPLARS, _PARAMETRIC = "shapes.safetensors", "shapes.json"
_LAYOUT = "layout.json"  # models made before contact layouts have none
_ACQUISITION = "acquisition.json"  # older models have none
_POOL = 1_000  # shapes drawn from a parametric model for each layout's use
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
    start: StartRecord | None = None

    @property
    def starts(self) -> tuple[StartRecord, ...]:
        """The model it began with, what that one began with, and so on; nearest first."""
        return self.start.lineage if self.start else ()

    @property
    def licence(self) -> str:
        """Licences of all data it has learned from; each with its data where it began with another model.

        Examples
        --------
        >>> Synthesizer.load("default").config.licence
        'MIT'
        """
        if self.start is None:
            return self.data.licence
        sources = (self.data, *(start.data for start in self.starts))
        return ", ".join(dict.fromkeys(f"{source.licence} ({source.name})" for source in sources))


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
    layout : ContactLaw, optional
        Fitted to the training smears; without it layouts are the paper's rings.
    acquisition : AcquisitionLaw, optional
        Fitted to the training smears; without it fields are evenly lit, in focus and clean.

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
    layout: ContactLaw | None = None
    acquisition: AcquisitionLaw | None = None

    def __getstate__(self) -> dict[str, object]:
        # the layout's workspace stays with its process: workers that are not forked make their own
        return {name: value for name, value in self.__dict__.items() if name != "masks"}

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
        return MaskSource(shapes, self.statistics, self.layout)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the model's content, independent of where it lies."""
        digest = hashlib.sha256()
        contents = self._contents()
        # settings that later versions add have the old behaviour as their default: the model stays the same
        contents[_CONFIG] = self.config.model_dump_json(exclude_defaults=True).encode()
        for name, content in sorted(contents.items()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        return digest.hexdigest()

    @property
    def as_start(self) -> StartRecord:
        """How a model that began with this one names it."""
        return StartRecord(hash=self.hash, data=self.config.data, start=self.config.start)

    def encode(self, smear: Smear) -> Styles:
        """Style of the background (row 0) and of every cell of a smear, (n + 1, S) float32."""
        # stage two leaves the encoder as stage one taught it, at the scale of stage one
        scale = self.config.training.scale if self.config.second else 1.0
        return encode_field(self.encoder, smear.image, smear.labels, smear.count, scale=scale)

    def paint(
        self,
        labels: LabelArray,
        classes: npt.NDArray[np.int64],
        rng: int | np.random.Generator,
        *,
        styles: Styles | None = None,
        acquisition: Acquisition | None = None,
        debris: Mask | None = None,
        stain: Stain | None = None,
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
        acquisition : Acquisition, optional
            How the field is taken, debris included; evenly lit, in focus and clean when None.
        debris : (H, W) bool array, optional
            Where the debris lies, instead of that of the acquisition.
        stain : Stain, optional
            Another than that of the styles.
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
        labels = np.asarray(labels).astype(np.int32, copy=False)
        classes = np.asarray(classes, np.int64)
        if labels.ndim != 2 or not labels.size:
            raise DataError(f"labels must be (H, W) with a pixel at least, got {labels.shape}")
        n = len(classes)
        if int(labels.max()) > n or int(labels.min()) < 0:
            raise DataError(f"labels run from {int(labels.min())} to {int(labels.max())} for {n} classes given")
        if n and (int(classes.max()) >= len(self.class_names) or int(classes.min()) < 0):
            known = ", ".join(f"{k} = {name}" for k, name in enumerate(self.class_names))
            wrong = int(classes.min()) if int(classes.min()) < 0 else int(classes.max())
            raise DataError(f"class id {wrong} is not one of the model's classes ({known})")
        rng = np.random.default_rng(rng)
        if styles is None:
            styles = self.styles.draw(classes, rng)
        if styles.shape != (n + 1, self.config.network.style_channels):
            raise DataError(
                f"styles are {styles.shape}, the labels need {(n + 1, self.config.network.style_channels)}"
            )
        if debris is None and acquisition is not None and self.acquisition is not None:
            debris = self.acquisition.debris.draw(labels, acquisition.debris, acquisition.seed)
        image = paint_field(
            self.generator,
            labels,
            classes,
            styles,
            rng,
            max_tile_pixels=max_tile_pixels,
            precision=precision,
            debris=debris,
        )
        if stain is not None:
            image = stain.applied(image)
        return image if acquisition is None else acquisition.expose(image, labels)

    def repaint(self, smear: Smear, rng: int | np.random.Generator = 0) -> ImageArray:
        """The generator's image of a real smear: its labels, its styles, its debris, as it was lit on average."""
        debris = find_debris(smear.image, smear.labels) if self.config.network.debris else None
        return self.paint(smear.labels, smear.classes, rng, styles=self.encode(smear), debris=debris)

    def accelerated(self) -> Synthesizer:
        """The same model for many fields of one size on a GPU: half precision, and compiled.

        The first field takes some seconds; here and there a grey level differs from full precision.

        Raises
        ------
        OptionError
            When the model is not on a CUDA device.
        """
        if self.device.type != "cuda":
            raise OptionError("only a model on a CUDA device can be accelerated; load it with device='cuda'")
        generator = copy.deepcopy(self.generator).half().to(memory_format=torch.channels_last)
        generator.compile(dynamic=False)
        fast = replace(self, generator=generator)
        fast.__dict__["hash"] = self.hash
        return fast

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
        contents = self._contents(half=half)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for stale in {SUMS, _EXEMPLARS, _PARAMETRIC, _LAYOUT, _ACQUISITION} - contents.keys():
                (folder / stale).unlink(missing_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise ModelError(f"the model cannot be written ({reason}); choose another folder", folder) from error
        for name, content in contents.items():
            with replacing(folder / name) as temporary:
                temporary.write_bytes(content)
        write_sums(folder, contents)

    @classmethod
    def load(cls, folder: Path | str = DEFAULT, device: torch.device | str = "cpu") -> Synthesizer:
        """Load a model folder, or the shipped model by the name ``default``.

        Raises
        ------
        ModelError
            When a file is missing, damaged, or has another hash than ``SHA256SUMS`` says.
        """
        root = default_folder() if str(folder) == DEFAULT else Path(folder)
        listed = _verify(root)
        config = _read_config(root / _CONFIG)
        generator, encoder = _read_networks(root / _WEIGHTS, config.network)
        shapes = _read_shapes(root / (_EXEMPLARS if _EXEMPLARS in listed else _PARAMETRIC), config.network)
        styles = _read_styles(root / _STYLES, config.network)
        statistics = _read(root / _STATISTICS, DataStatistics.from_json)
        layout = _read(root / _LAYOUT, ContactLaw.from_json) if _LAYOUT in listed else None
        taken = _read(root / _ACQUISITION, AcquisitionLaw.from_json) if _ACQUISITION in listed else None
        generator, encoder = generator.to(device), encoder.to(device)
        return cls(config, generator, encoder, styles, statistics, shapes, layout, taken)

    def _contents(self, *, half: bool = False) -> dict[str, bytes]:
        """Every file of the folder that makes up the model, by name."""
        weights: dict[str, Tensor] = {}
        for prefix, module in (("generator", self.generator), ("encoder", self.encoder)):
            for name, tensor in module.state_dict().items():
                kept = tensor.detach().cpu().contiguous()
                weights[f"{prefix}.{name}"] = kept.half() if half else kept
        files = {
            _CONFIG: self.config.model_dump_json(indent=2).encode(),
            _WEIGHTS: safetensors.torch.save(weights),
            _STYLES: safetensors.numpy.save(self.styles.tensors()),
            _STATISTICS: self.statistics.to_json().encode(),
        }
        name = _EXEMPLARS if isinstance(self.shapes, ShapeLibrary) else _PARAMETRIC
        files[name] = self.shapes.to_bytes()
        if self.layout is not None:
            files[_LAYOUT] = self.layout.to_json().encode()
        if self.acquisition is not None:
            files[_ACQUISITION] = self.acquisition.to_json().encode()
        return files


def default_folder() -> Path:
    """Where the shipped model lies."""
    return Path(str(resources.files("smearsynth"))) / "default_model"


def _verify(root: Path) -> frozenset[str]:
    """Refuse a folder that is not a whole, unaltered model; give the names of its files."""
    if not root.is_dir():
        raise ModelError("no such model folder; train one with `smearsynth train`, or use --model default", root)
    try:
        sums = read_sums(root)
    except FileNotFoundError:
        remedy = (
            "its training is not finished: run the same `smearsynth train` again"
            if (root / "state").is_dir()
            else "name a folder that `smearsynth train` made"
        )
        raise ModelError(f"not a model folder, {SUMS} is missing; {remedy}", root) from None
    if sums.keys() == {_CONFIG, _WEIGHTS}:
        raise ModelError("holds a task model, no synthesizer; name a folder that `smearsynth train` made", root)
    shapes = _EXEMPLARS if _EXEMPLARS in sums else _PARAMETRIC
    if {_CONFIG, _WEIGHTS, _STYLES, _STATISTICS, shapes} - sums.keys():
        raise ModelError(f"damaged, it is no list of a model's files; {COPY_AGAIN}", root / SUMS)
    check_sums(root, sums)
    return frozenset(sums)


def _read(path: Path, parse: Callable[[str], _T]) -> _T:
    try:
        return parse(read_text(path))
    except DataError as error:
        raise ModelError(f"{error}; {COPY_AGAIN}", path) from None


def _read_config(path: Path) -> ModelConfig:
    try:
        content = json.loads(read_text(path))
        number = content["format"]
    except (DataError, ValueError, KeyError, TypeError):
        raise ModelError(f"not the configuration of a model; {COPY_AGAIN}", path) from None
    if number != 1:
        raise ModelError(f"of format {number}, and this smearsynth reads 1; install a newer smearsynth", path)
    try:
        return ModelConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ModelError(
            f"made by another version of smearsynth ({place}: {first['msg']}); install that version, "
            "or train the model again",
            path,
        ) from None


def _read_networks(path: Path, config: NetworkConfig) -> tuple[Generator, Encoder]:
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
            raise ModelError(f"does not fit {_CONFIG} beside it ({first}); {COPY_AGAIN}", path) from None
        module.requires_grad_(False).eval()
    return generator, encoder


def _read_styles(path: Path, config: NetworkConfig) -> StyleBank:
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
            raise ModelError(f"does not fit {_CONFIG} beside it; {COPY_AGAIN}, or train the model again", path)
    cells_fit = all(one.fits(width, len(bank.smears)) for one in bank.within)
    if bank.smears.ndim != 2 or not len(bank.smears) or bank.smears.shape[1] != laws[0][1] or not cells_fit:
        raise ModelError(f"does not fit {_CONFIG} beside it; {COPY_AGAIN}, or train the model again", path)
    return bank


def _read_shapes(path: Path, config: NetworkConfig) -> ShapeLibrary | ParametricShapes:
    kind = ShapeLibrary if path.name == _EXEMPLARS else ParametricShapes
    shapes: ShapeLibrary | ParametricShapes = kind.load(path)
    if shapes.class_names != config.class_names:
        raise ModelError(f"has other classes than {_CONFIG} beside it; {COPY_AGAIN}", path)
    return shapes
