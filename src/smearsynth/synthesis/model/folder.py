"""Files of a model folder: names, verification and reading. JSON and safetensors, never pickle."""

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
from smearsynth.files import (
    CHECKSUM_FILE,
    COPY_AGAIN,
    atomic_write,
    read_checksums,
    read_text,
    verify_checksums,
    write_checksums,
)
from smearsynth.formats.listing import TRAINING_SMEARS_FILE
from smearsynth.formats.training_smears import TrainingSmears
from smearsynth.migrations import to_current
from smearsynth.shapes import ParametricShapes, ShapeLibrary
from smearsynth.synthesis.config import NetworkConfig, TrainingConfig
from smearsynth.synthesis.model.provenance import DataSource, PretrainedRecord
from smearsynth.synthesis.networks.generator import Encoder, Generator
from smearsynth.synthesis.styles.bank import StyleBank

DEFAULT = "default"  # name of the shipped model

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "weights.safetensors"
STYLES_FILE = "styles.safetensors"
STATISTICS_FILE = "statistics.json"
EXEMPLARS_FILE = "shapes.safetensors"  # shapes as contours of real cells
PARAMETRIC_FILE = "shapes.json"  # shapes as a parametric model
LAYOUT_FILE = "layout.json"  # contact parameters; missing in models from before contact layouts
ACQUISITION_FILE = "acquisition.json"  # missing in old models
COLOURS_FILE = "colours.json"  # missing in old models

_T = TypeVar("_T")


class ModelConfig(BaseModel):
    """Content of ``config.json`` of a model folder."""

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
    def ancestors(self) -> tuple[PretrainedRecord, ...]:
        """Records of the pretrained model, of the pretrained model of that one, and so on."""
        return self.pretrained.lineage if self.pretrained else ()

    @property
    def licence(self) -> str:
        """Licence of the training data; with a pretrained model, the licences of all data with their names.

        Examples
        --------
        >>> read_config(default_folder() / CONFIG_FILE).licence
        'MIT'
        """
        if self.pretrained is None:
            return self.data.licence
        sources = (self.data, *(pretrained.data for pretrained in self.ancestors))
        return ", ".join(dict.fromkeys(f"{source.licence} ({source.name})" for source in sources))


def default_folder() -> Path:
    """Return the folder of the shipped model."""
    return Path(str(resources.files("smearsynth"))) / "default_model"


def verify_folder(root: Path) -> frozenset[str]:
    """Check that a folder is a complete model with the recorded checksums, and return the names of its files.

    Raises
    ------
    ModelError
        If it is not a model folder, or a file is missing or damaged.

    Examples
    --------
    >>> CONFIG_FILE in verify_folder(default_folder())
    True
    """
    if not root.is_dir():
        raise ModelError("no such model folder; train one with `smearsynth train`, or use --model default", root)
    try:
        checksums = read_checksums(root)
    except FileNotFoundError:
        remedy = (
            "its training is not finished: run the same `smearsynth train` again"
            if (root / "state").is_dir()
            else "name a folder written by `smearsynth train`"
        )
        raise ModelError(f"not a model folder, {CHECKSUM_FILE} is missing; {remedy}", root) from None
    if checksums.keys() - {TRAINING_SMEARS_FILE} == {CONFIG_FILE, WEIGHTS_FILE}:
        raise ModelError("is a task model, not a synthesizer; name a folder written by `smearsynth train`", root)
    shapes = EXEMPLARS_FILE if EXEMPLARS_FILE in checksums else PARAMETRIC_FILE
    if {CONFIG_FILE, WEIGHTS_FILE, STYLES_FILE, STATISTICS_FILE, shapes} - checksums.keys():
        raise ModelError(f"damaged: does not list the files of a model; {COPY_AGAIN}", root / CHECKSUM_FILE)
    verify_checksums(root, checksums)
    return frozenset(checksums)


def load_training_smears(folder: Path | str) -> TrainingSmears | None:
    """Read the record of the training smears of a model folder; the networks are not read.

    Parameters
    ----------
    folder : Path or str
        Model folder, or "default" for the shipped model.

    Returns
    -------
    TrainingSmears or None
        None if the model was written by a version that did not record them.

    Raises
    ------
    ModelError
        If it is not a model folder, or a file is missing or damaged.

    Examples
    --------
    >>> len(load_training_smears("default").sources[0].smears)
    144
    """
    root = default_folder() if str(folder) == DEFAULT else Path(folder)
    if TRAINING_SMEARS_FILE not in verify_folder(root):
        return None
    return read_part(root / TRAINING_SMEARS_FILE, TrainingSmears.from_json)


def add_training_smears(folder: Path, record: TrainingSmears) -> None:
    """Write the record of the training smears into an existing model folder, and update its checksums.

    The hash of the model does not change. Use it for a model that was trained by a version without such records.

    Parameters
    ----------
    folder : Path
    record : TrainingSmears

    Raises
    ------
    ModelError, DataError
        If it is not a model folder, or cannot be written.
    """
    names = verify_folder(folder)
    content = record.to_json().encode()
    with atomic_write(folder / TRAINING_SMEARS_FILE) as temporary:
        temporary.write_bytes(content)
    write_checksums(folder, {name: (folder / name).read_bytes() for name in {*names, TRAINING_SMEARS_FILE}})


def read_part(path: Path, parse: Callable[[str], _T]) -> _T:
    """Read a text file of a model and parse it.

    Parameters
    ----------
    path : Path
    parse : callable
        Returns the object of a text, such as `DataStatistics.from_json`; raises `DataError` on invalid text.

    Raises
    ------
    ModelError
        If the file cannot be read or parsed.
    """
    try:
        return parse(read_text(path))
    except DataError as error:
        raise ModelError(f"{error}; {COPY_AGAIN}", path) from None


def read_config(path: Path) -> ModelConfig:
    """Read the configuration of a model, also one with the field names of format 1.

    Raises
    ------
    ModelError
        If it is damaged or of an unsupported version.
    """
    try:
        content = json.loads(read_text(path))
        number = content["format"]
    except (DataError, ValueError, KeyError, TypeError):
        raise ModelError(f"not the configuration of a model; {COPY_AGAIN}", path) from None
    if number != 1:
        raise ModelError(
            f"has format {number}; this version of smearsynth reads format 1, install a newer one", path
        )
    try:
        return ModelConfig.model_validate(to_current("model", content))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ModelError(
            f"written by another version of smearsynth ({field}: {first['msg']}); install that version, "
            "or train the model again",
            path,
        ) from None


def read_networks(path: Path, config: NetworkConfig) -> tuple[Generator, Encoder]:
    """Read generator and encoder, in fp32, in evaluation mode and without gradients.

    Raises
    ------
    ModelError
        If the file is damaged or does not match the configuration.
    """
    try:
        weights = {name: tensor.float() for name, tensor in safetensors.torch.load_file(path).items()}
    except safetensors.SafetensorError as error:
        raise ModelError(f"not a complete safetensors file ({error}); {COPY_AGAIN}", path) from None
    generator, encoder = Generator(config), Encoder(config)
    for prefix, module in (("generator.", generator), ("encoder.", encoder)):
        state = {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            first = str(error).splitlines()[1].strip()[:200]
            raise ModelError(f"does not match {CONFIG_FILE} ({first}); {COPY_AGAIN}", path) from None
        module.requires_grad_(False).eval()
    return generator, encoder


def read_styles(path: Path, config: NetworkConfig) -> StyleBank:
    """Read the style bank.

    Raises
    ------
    ModelError
        If the file is damaged or does not match the configuration.
    """
    try:
        bank = StyleBank.from_tensors(safetensors.numpy.load_file(path), config.class_names)
    except safetensors.SafetensorError as error:
        raise ModelError(f"not a complete safetensors file ({error}); {COPY_AGAIN}", path) from None
    except ModelError as error:
        raise ModelError(str(error), path) from None
    if not _styles_match(bank, config):
        raise ModelError(f"does not match {CONFIG_FILE}; {COPY_AGAIN}, or train the model again", path)
    return bank


def read_shapes(path: Path, config: NetworkConfig) -> ShapeLibrary | ParametricShapes:
    """Read the shapes: a library of contours or a parametric model, by the name of the file.

    Raises
    ------
    ModelError
        If the file is damaged or has other classes than the configuration.
    """
    kind = ShapeLibrary if path.name == EXEMPLARS_FILE else ParametricShapes
    shapes: ShapeLibrary | ParametricShapes = kind.load(path)
    if shapes.class_names != config.class_names:
        raise ModelError(f"has other classes than {CONFIG_FILE}; {COPY_AGAIN}", path)
    return shapes


def _styles_match(bank: StyleBank, config: NetworkConfig) -> bool:
    """Test whether all arrays of a style bank have the shapes that the configuration implies."""
    width, n_classes = config.style_channels, len(config.class_names)
    joint_width = width * (n_classes + 1) + n_classes  # styles of background and classes, spreads of the classes
    mixtures = [(bank.joint, joint_width)]
    mixtures += [(mixture, width) for mixture in (*(within.pooled for within in bank.within), *bank.per_class)]
    for mixture, size in mixtures:
        k = len(mixture.weights)
        if mixture.centres.shape != (k, size) or mixture.roots.shape != (k, size, size):
            return False
    smears = bank.smears
    if smears.ndim != 2 or not len(smears) or smears.shape[1] != joint_width:
        return False
    return all(within.is_consistent(width, len(smears)) for within in bank.within)
