"""The synthesizer as one object, and the folder it lives in: JSON and safetensors, never pickle."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import safetensors.torch
import torch
from torch import Tensor

from smearsynth.errors import DataError, ModelError, OptionError
from smearsynth.files import CHECKSUM_FILE, atomic_write, write_checksums
from smearsynth.layout import ContactParameters
from smearsynth.layout.labels import LabelSource
from smearsynth.migrations import RecordKind, text_to_format_1
from smearsynth.shapes import ParametricShapes, ShapeLibrary
from smearsynth.smear import ImageArray, LabelArray, Mask, Smear
from smearsynth.statistics import DataStatistics
from smearsynth.synthesis.acquisition.debris import find_debris
from smearsynth.synthesis.acquisition.imaging import Acquisition, AcquisitionModel
from smearsynth.synthesis.acquisition.stain import Stain
from smearsynth.synthesis.model.folder import (
    ACQUISITION_FILE,
    CONFIG_FILE,
    DEFAULT,
    EXEMPLARS_FILE,
    LAYOUT_FILE,
    PARAMETRIC_FILE,
    STATISTICS_FILE,
    STYLES_FILE,
    WEIGHTS_FILE,
    ModelConfig,
    default_folder,
    read_config,
    read_networks,
    read_part,
    read_shapes,
    read_styles,
    verify_folder,
)
from smearsynth.synthesis.model.provenance import PretrainedRecord
from smearsynth.synthesis.model.tiling import MAX_TILE_PIXELS, encode_field, paint_field
from smearsynth.synthesis.networks.generator import Encoder, Generator
from smearsynth.synthesis.styles import StyleBank, Styles

# Fields were renamed after the first models were written; the hash of a model must not change with them.
_HASHED_AS_FORMAT_1: dict[str, RecordKind] = {
    CONFIG_FILE: "model",
    STATISTICS_FILE: "statistics",
    ACQUISITION_FILE: "acquisition",
}
_POOL = 1_000  # shapes drawn from a parametric model for each layout's use


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
    contact : ContactParameters, optional
        Fitted to the training smears; without it layouts are the paper's rings.
    acquisition : AcquisitionModel, optional
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
    contact: ContactParameters | None = None
    acquisition: AcquisitionModel | None = None

    def __getstate__(self) -> dict[str, object]:
        # the layout's workspace stays with its process: workers that are not forked make their own
        return {name: value for name, value in self.__dict__.items() if name != "label_source"}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Cell classes it can paint."""
        return self.config.network.class_names

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.generator.parameters()).device

    @cached_property
    def label_source(self) -> LabelSource:
        """What masks are drawn from: the shape library itself, or a fixed draw from the parametric model."""
        shapes = self.shapes if isinstance(self.shapes, ShapeLibrary) else self.shapes.sample(_POOL, rng=0)
        return LabelSource(shapes, self.statistics, self.contact)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the model's content, independent of where it lies."""
        digest = hashlib.sha256()
        contents = self._contents()
        # settings that later versions add have the old behaviour as their default: the model stays the same
        contents[CONFIG_FILE] = self.config.model_dump_json(exclude_defaults=True).encode()
        for name, kind in _HASHED_AS_FORMAT_1.items():
            if name in contents:
                contents[name] = text_to_format_1(kind, contents[name].decode()).encode()
        for name, content in sorted(contents.items()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        return digest.hexdigest()

    @property
    def as_pretrained(self) -> PretrainedRecord:
        """How a model that began with this one names it."""
        return PretrainedRecord(hash=self.hash, data=self.config.data, pretrained=self.config.pretrained)

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
            for stale in {CHECKSUM_FILE, EXEMPLARS_FILE, PARAMETRIC_FILE, LAYOUT_FILE, ACQUISITION_FILE} - contents.keys():
                (folder / stale).unlink(missing_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise ModelError(f"the model cannot be written ({reason}); choose another folder", folder) from error
        for name, content in contents.items():
            with atomic_write(folder / name) as temporary:
                temporary.write_bytes(content)
        write_checksums(folder, contents)

    @classmethod
    def load(cls, folder: Path | str = DEFAULT, device: torch.device | str = "cpu") -> Synthesizer:
        """Load a model folder, or the shipped model by the name ``default``.

        Raises
        ------
        ModelError
            When a file is missing, damaged, or has another hash than ``SHA256SUMS`` says.
        """
        root = default_folder() if str(folder) == DEFAULT else Path(folder)
        listed = verify_folder(root)
        config = read_config(root / CONFIG_FILE)
        generator, encoder = read_networks(root / WEIGHTS_FILE, config.network)
        shapes = read_shapes(
            root / (EXEMPLARS_FILE if EXEMPLARS_FILE in listed else PARAMETRIC_FILE), config.network
        )
        styles = read_styles(root / STYLES_FILE, config.network)
        statistics = read_part(root / STATISTICS_FILE, DataStatistics.from_json)
        layout = read_part(root / LAYOUT_FILE, ContactParameters.from_json) if LAYOUT_FILE in listed else None
        taken = (
            read_part(root / ACQUISITION_FILE, AcquisitionModel.from_json) if ACQUISITION_FILE in listed else None
        )
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
            CONFIG_FILE: self.config.model_dump_json(indent=2).encode(),
            WEIGHTS_FILE: safetensors.torch.save(weights),
            STYLES_FILE: safetensors.numpy.save(self.styles.tensors()),
            STATISTICS_FILE: self.statistics.to_json().encode(),
        }
        name = EXEMPLARS_FILE if isinstance(self.shapes, ShapeLibrary) else PARAMETRIC_FILE
        files[name] = self.shapes.to_bytes()
        if self.contact is not None:
            files[LAYOUT_FILE] = self.contact.to_json().encode()
        if self.acquisition is not None:
            files[ACQUISITION_FILE] = self.acquisition.to_json().encode()
        return files
