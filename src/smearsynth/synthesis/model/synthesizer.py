"""The synthesizer: networks, style bank, shapes and statistics of a trained model in one object."""

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
from smearsynth.formats.listing import TRAINING_SMEARS_FILE
from smearsynth.formats.training_smears import TrainingSmears
from smearsynth.layout import ContactParameters
from smearsynth.layout.labels import LabelSource
from smearsynth.layout.overlaps import Layers
from smearsynth.migrations import RecordKind, text_to_format_1
from smearsynth.shapes import ParametricShapes, ShapeLibrary
from smearsynth.smear import ImageArray, LabelArray, Mask, Smear
from smearsynth.statistics import DataStatistics
from smearsynth.synthesis.acquisition.debris import find_debris
from smearsynth.synthesis.acquisition.imaging import Acquisition
from smearsynth.synthesis.acquisition.model import AcquisitionModel
from smearsynth.synthesis.acquisition.stain import Stain
from smearsynth.synthesis.model.colours import TissueColours
from smearsynth.synthesis.model.folder import (
    ACQUISITION_FILE,
    COLOURS_FILE,
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
from smearsynth.synthesis.model.tiling import MAX_TILE_PIXELS, encode_smear, paint_field
from smearsynth.synthesis.model.translucent import add_upper_cells
from smearsynth.synthesis.networks.generator import Encoder, Generator
from smearsynth.synthesis.styles.bank import StyleBank
from smearsynth.synthesis.styles.clusters import Styles

# Fields were renamed after the first models were written. Hashes use the former names, so that they do not change.
_HASHED_AS_FORMAT_1: dict[str, RecordKind] = {
    CONFIG_FILE: "model",
    STATISTICS_FILE: "statistics",
    ACQUISITION_FILE: "acquisition",
}
_OPTIONAL_FILES = (
    EXEMPLARS_FILE,
    PARAMETRIC_FILE,
    LAYOUT_FILE,
    ACQUISITION_FILE,
    COLOURS_FILE,
    TRAINING_SMEARS_FILE,
)
_POOL = 1_000  # number of shapes drawn from a parametric model for layouts


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
        Statistics of the training smears, at the scale of the model.
    shapes : ShapeLibrary or ParametricShapes
    contact : ContactParameters, optional
        Fitted to the training smears. Without them layouts are ring layouts, as in the paper.
    acquisition : AcquisitionModel, optional
        Fitted to the training smears. Without it fields are evenly illuminated, in focus and without debris.
    colours : TissueColours, optional
        Colours of the training smears, against which painted fields are checked. None for models of former
        versions.
    training_smears : TrainingSmears, optional
        Fingerprints of the training smears, which show whether a model has seen a smear. None for old models.

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
    colours: TissueColours | None = None
    training_smears: TrainingSmears | None = None

    def __getstate__(self) -> dict[str, object]:
        # The label source holds the buffers of the layout kernels; each process allocates its own.
        return {name: value for name, value in self.__dict__.items() if name != "label_source"}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the cell classes."""
        return self.config.network.class_names

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return next(self.generator.parameters()).device

    @cached_property
    def label_source(self) -> LabelSource:
        """Source of labels: the shape library, or a fixed sample of the parametric shape model."""
        shapes = self.shapes if isinstance(self.shapes, ShapeLibrary) else self.shapes.sample(_POOL, rng=0)
        return LabelSource(shapes, self.statistics, self.contact)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the content of the model without the record of training smears; the folder does not matter."""
        digest = hashlib.sha256()
        contents = self._contents()
        # Settings of later versions keep the former behaviour by default; without defaults the hash does not
        # change.
        contents[CONFIG_FILE] = self.config.model_dump_json(exclude_defaults=True).encode()
        for name, kind in _HASHED_AS_FORMAT_1.items():
            if name in contents:
                contents[name] = text_to_format_1(kind, contents[name].decode()).encode()
        for name, content in sorted(contents.items()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        return digest.hexdigest()

    @property
    def as_pretrained(self) -> PretrainedRecord:
        """Record of this model in models that are fine-tuned from it."""
        return PretrainedRecord(hash=self.hash, data=self.config.data, pretrained=self.config.pretrained)

    def encode(self, smear: Smear) -> Styles:
        """Return the styles of the background (row 0) and of the cells of a smear, (n + 1, S) float32."""
        # The encoder is trained in stage one only, at the scale of stage one.
        scale = self.config.training.scale if self.config.second else 1.0
        return encode_smear(self.encoder, smear, scale)

    def paint(
        self,
        labels: LabelArray,
        classes: npt.NDArray[np.int64],
        rng: int | np.random.Generator,
        *,
        styles: Styles | None = None,
        layers: Layers | None = None,
        acquisition: Acquisition | None = None,
        debris: Mask | None = None,
        stain: Stain | None = None,
        visibility: float = 1.0,
        max_tile_pixels: int = MAX_TILE_PIXELS,
        precision: torch.dtype = torch.float32,
    ) -> ImageArray:
        """Synthesise the image of labels.

        Parameters
        ----------
        labels : (H, W) int array
            0 background, 1..n cells.
        classes : (n,) int array
            Class id of each cell.
        rng : int or Generator
            For the noise input, and for the styles if none are given.
        styles : (n + 1, S) float32 array, optional
            Row 0 is the background. Default: drawn from the style bank.
        layers : Layers, optional
            The cells of `labels` in layers without overlap (`DrawnLabels.layers`). Overlapping cells are then
            painted as translucent. Default: `labels` are painted as they are.
        acquisition : Acquisition, optional
            Illumination, focus, noise and debris. Default: evenly illuminated, in focus, no debris.
        debris : (H, W) bool array, optional
            Debris mask, in place of the debris of `acquisition`.
        stain : Stain, optional
            Change of stain after painting.
        visibility : float
            Of the lower of two overlapping cells, see `add_upper_cells`.
        max_tile_pixels, precision
            See `paint_field`.

        Returns
        -------
        (H, W, 3) uint8 array
            RGB.

        Raises
        ------
        DataError
            If labels, classes and styles do not match, or the model does not have a class.
        """
        labels = np.asarray(labels).astype(np.int32, copy=False)
        classes = np.asarray(classes, np.int64)
        self._check_labels(labels, classes)
        rng = np.random.default_rng(rng)
        if styles is None:
            styles = self.styles.draw(classes, rng)
        shape = (len(classes) + 1, self.config.network.style_channels)
        if styles.shape != shape:
            raise DataError(f"styles have shape {styles.shape}; these labels need {shape}")
        if debris is None:
            debris = self.draw_debris(labels, acquisition)
        base = labels if layers is None else layers.base
        image = paint_field(
            self.generator,
            base,
            classes,
            styles,
            rng,
            max_tile_pixels=max_tile_pixels,
            precision=precision,
            debris=debris,
        )
        if layers is not None:
            image = self._add_upper_cells(image, layers, classes, styles, rng, precision, visibility)
        return self.develop(image, labels, stain=stain, acquisition=acquisition)

    @staticmethod
    def develop(
        image: ImageArray, labels: LabelArray, *, stain: Stain | None, acquisition: Acquisition | None
    ) -> ImageArray:
        """Return a painted field (H, W, 3) as it looks in this stain and after this acquisition."""
        if stain is not None:
            image = stain.apply(image)
        return image if acquisition is None else acquisition.apply(image, labels)

    def draw_debris(self, labels: LabelArray, acquisition: Acquisition | None) -> Mask | None:
        """Return the debris mask (H, W) of an acquisition; None if there is no acquisition model."""
        if acquisition is None or self.acquisition is None:
            return None
        return self.acquisition.debris.draw(labels, acquisition.debris, acquisition.seed)

    def _add_upper_cells(
        self,
        image: ImageArray,
        layers: Layers,
        classes: npt.NDArray[np.int64],
        styles: Styles,
        rng: np.random.Generator,
        precision: torch.dtype,
        visibility: float,
    ) -> ImageArray:
        """Paint the upper cells of a field in windows of their own and add them to its image."""

        def paint_window(labels: LabelArray, label: int) -> ImageArray:
            cell = slice(label - 1, label)
            window_styles = styles[[0, label]]
            return paint_field(self.generator, labels, classes[cell], window_styles, rng, precision=precision)

        return add_upper_cells(image, layers, paint_window, visibility)

    def repaint(self, smear: Smear, rng: int | np.random.Generator = 0) -> ImageArray:
        """Reconstruct a real smear from its labels, styles and debris, without acquisition model."""
        debris = find_debris(smear.image, smear.labels, smear.ignored) if self.config.network.debris else None
        return self.paint(smear.labels, smear.classes, rng, styles=self.encode(smear), debris=debris)

    def accelerated(self) -> Synthesizer:
        """Return a compiled model in half precision, for many fields of one size on a GPU.

        The first field takes some seconds. A few pixels differ by a grey level from full precision.

        Raises
        ------
        OptionError
            If the model is not on a CUDA device.
        """
        if self.device.type != "cuda":
            raise OptionError("the model is on the CPU; load it with device='cuda' to accelerate it")
        generator = copy.deepcopy(self.generator).half().to(memory_format=torch.channels_last)
        generator.compile(dynamic=False)
        fast = replace(self, generator=generator)
        fast.__dict__["hash"] = self.hash
        return fast

    def to(self, device: torch.device | str) -> Synthesizer:
        """Move the networks to a device and return the model itself."""
        self.generator.to(device)
        self.encoder.to(device)
        return self

    def rounded_to_half(self) -> Synthesizer:
        """Return a copy with weights rounded to half precision, the model that ``save(..., half=True)`` stores."""
        return replace(
            self,
            generator=copy.deepcopy(self.generator).half().float(),
            encoder=copy.deepcopy(self.encoder).half().float(),
        )

    def save(self, folder: Path | str, *, half: bool = False) -> None:
        """Write the model folder. Every file is written completely or not at all, the checksums last.

        Parameters
        ----------
        folder : Path or str
        half : bool
            Store the weights in fp16: half the size, without visible difference. The model itself does not change;
            the stored one is `rounded_to_half`.

        Raises
        ------
        ModelError, DataError
            If the folder or a file cannot be written.
        """
        folder = Path(folder)
        contents = self._contents(half=half)
        if self.training_smears is not None:
            contents[TRAINING_SMEARS_FILE] = self.training_smears.to_json().encode()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in {CHECKSUM_FILE, *_OPTIONAL_FILES} - contents.keys():  # files of a former model
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise ModelError(f"the model cannot be written ({reason}); choose another folder", folder) from error
        for name, content in contents.items():
            with atomic_write(folder / name) as temporary:
                temporary.write_bytes(content)
        write_checksums(folder, contents)

    @classmethod
    def load(cls, folder: Path | str = DEFAULT, device: torch.device | str = "cpu") -> Synthesizer:
        """Load a model.

        Parameters
        ----------
        folder : Path or str
            Model folder, or "default" for the shipped model.
        device : torch.device or str

        Raises
        ------
        ModelError
            If a file is missing or damaged, or its hash is not the one in ``SHA256SUMS``.
        """
        root = default_folder() if str(folder) == DEFAULT else Path(folder)
        files = verify_folder(root)
        config = read_config(root / CONFIG_FILE)
        generator, encoder = read_networks(root / WEIGHTS_FILE, config.network)
        shapes = read_shapes(
            root / (EXEMPLARS_FILE if EXEMPLARS_FILE in files else PARAMETRIC_FILE), config.network
        )
        styles = read_styles(root / STYLES_FILE, config.network)
        statistics = read_part(root / STATISTICS_FILE, DataStatistics.from_json)
        contact = read_part(root / LAYOUT_FILE, ContactParameters.from_json) if LAYOUT_FILE in files else None
        acquisition = (
            read_part(root / ACQUISITION_FILE, AcquisitionModel.from_json) if ACQUISITION_FILE in files else None
        )
        colours = read_part(root / COLOURS_FILE, TissueColours.from_json) if COLOURS_FILE in files else None
        training_smears = (
            read_part(root / TRAINING_SMEARS_FILE, TrainingSmears.from_json)
            if TRAINING_SMEARS_FILE in files
            else None
        )
        return cls(
            config,
            generator.to(device),
            encoder.to(device),
            styles,
            statistics,
            shapes,
            contact,
            acquisition,
            colours,
            training_smears,
        )

    def _check_labels(self, labels: LabelArray, classes: npt.NDArray[np.int64]) -> None:
        if labels.ndim != 2 or not labels.size:
            raise DataError(f"labels have shape {labels.shape}; they must be (H, W) with at least one pixel")
        n = len(classes)
        lowest, highest = int(labels.min()), int(labels.max())
        if highest > n or lowest < 0:
            raise DataError(f"labels are in {lowest}..{highest}, but there are {n} classes; they must be in 0..{n}")
        for class_id in (int(classes.min()), int(classes.max())) if n else ():
            if not 0 <= class_id < len(self.class_names):
                names = ", ".join(f"{k} = {name}" for k, name in enumerate(self.class_names))
                raise DataError(f"class id {class_id} is not one of the model's classes ({names})")

    def _contents(self, *, half: bool = False) -> dict[str, bytes]:
        """Return the content of all files that the hash covers, by name."""
        weights: dict[str, Tensor] = {}
        for prefix, module in (("generator", self.generator), ("encoder", self.encoder)):
            for name, tensor in module.state_dict().items():
                tensor = tensor.detach().cpu().contiguous()
                weights[f"{prefix}.{name}"] = tensor.half() if half else tensor
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
        if self.colours is not None:
            files[COLOURS_FILE] = self.colours.to_json().encode()
        return files
