"""A task model on disk: JSON and safetensors, never pickle; the state of an unfinished run beside it."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from safetensors import safe_open
from torch import Tensor

from smearsynth.errors import DataError, ModelError
from smearsynth.files import (
    CHECKSUM_FILE,
    atomic_write,
    read_checksums,
    read_text,
    verify_checksums,
    write_checksums,
)
from smearsynth.formats.listing import TRAINING_SMEARS_FILE
from smearsynth.formats.training_smears import TrainingSmears
from smearsynth.metrics.intervals import BootstrapScore, standard_error
from smearsynth.migrations import to_current
from smearsynth.tasks.base import Task
from smearsynth.tasks.config import TaskName

_CONFIG = "config.json"
_WEIGHTS = "weights.safetensors"
_STATE = "state.safetensors"
_LOG = "fit-log.csv"
CONTENT = ", content "  # precedes the hash of images and labels in a description of smears
_REMEDY = "copy the folder again, or train the model again in another folder"


class FitReport(BaseModel):
    """Record of a training.

    Parameters
    ----------
    smears : str
        Description of the training smears with hashes.
    steps : int
        Number of steps done.
    finished : bool
    best_step : int
        Step of the stored weights; the last step without validation smears.
    best_score : float, optional
        Validation score of these weights.
    history : tuple of dict
        One row per validation: step, mean loss since the last row, validation score.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    smears: str
    steps: int
    finished: bool
    best_step: int
    best_score: float | None
    history: tuple[dict[str, float], ...]

    @property
    def knows_content(self) -> bool:
        """Whether `smears` has a hash of images and labels, which earlier versions did not store."""
        return CONTENT in self.smears


class _Record(BaseModel):
    """Content of config.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    task: TaskName
    smearsynth: str
    config: dict[str, Any]
    weights_sha256: str
    initial_weights: str | None = None  # hash of the initial weights; earlier versions did not store it
    scale: float = 1.0  # nor the scale
    report: FitReport

    @model_validator(mode="before")
    @classmethod
    def _read_format_1(cls, record: Any) -> Any:
        return to_current("task", record)


@dataclass
class FitState:
    """State of a training: step, weights (those of the task), moments, best weights so far.

    `top` is the highest validation score; the score of the stored weights may be slightly lower (see `keep_best`).
    """

    task: Task
    smears: str
    optimiser: torch.optim.AdamW
    step: int = 0
    best: dict[str, Tensor] | None = None
    best_score: float = 0.0
    best_step: int = 0
    top: BootstrapScore | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)  # since the last row of the history

    @classmethod
    def fresh(cls, task: Task, smears: str) -> FitState:
        """Return the state before the first step."""
        parameters = [p for p in task.network.parameters() if p.requires_grad]
        return cls(task, smears, torch.optim.AdamW(parameters, lr=0.0, weight_decay=task.config.fit.weight_decay))

    @property
    def report(self) -> FitReport:
        """Record of the training so far."""
        has_best = self.best is not None
        return FitReport(
            smears=self.smears,
            steps=self.step,
            finished=self.step == self.task.config.fit.steps,
            best_step=self.best_step if has_best else self.step,
            best_score=self.best_score if has_best else None,
            history=tuple(self.history),
        )

    def keep_best(self, scored: BootstrapScore) -> None:
        """Store the weights if their validation score is within one standard error of the highest score.

        With few validation smears the highest score is mostly chance, and later weights generalise better because
        the learning rate falls.
        """
        slack = self.task.config.fit.slack
        if self.top is None or scored.value >= self.top.value:
            self.top = scored
        elif self.top.value - scored.value > slack * standard_error(self.top, scored):
            return
        self.best_score, self.best_step = scored.value, self.step
        self.best = {name: tensor.detach().clone() for name, tensor in self.task.network.state_dict().items()}

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name."""
        tensors = {f"network.{k}": t for k, t in self.task.network.state_dict().items()}
        tensors |= {f"best.{k}": t for k, t in (self.best or {}).items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": t for k, t in moments.items()}
        if self.losses:
            tensors["losses"] = torch.stack(self.losses)
        if self.top is not None:
            tensors["top"] = torch.from_numpy(self.top.draws)
        return tensors

    def fill(self, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
        """Restore a stored state."""
        self.task.network.load_state_dict(_under("network.", tensors))
        self.best = _under("best.", tensors) or None
        optimiser_state = self.optimiser.state_dict()
        optimiser_state["state"] = {}
        for name, tensor in _under("optimiser.", tensors).items():
            index, key = name.split(".")
            optimiser_state["state"].setdefault(int(index), {})[key] = tensor
        self.optimiser.load_state_dict(optimiser_state)
        self.losses = list(tensors["losses"].to(self.task.device)) if "losses" in tensors else []
        self.smears = record["smears"]  # as described when the run started
        if "top" in tensors:
            self.top = BootstrapScore(float(record["top"]), tensors["top"].numpy(), int(record["top_images"]))
        self.step, self.history = int(record["step"]), list(record["history"])
        self.best_score, self.best_step = float(record["best_score"]), int(record["best_step"])


def save_state(folder: Path, state: FitState) -> None:
    """Write the state of an unfinished run to one file, atomically."""
    record = {
        "task": state.task.name,
        "config": state.task.config.model_dump(mode="json"),
        "smears": state.smears,
        "initial_weights": state.task.initial_weights,
        "step": state.step,
        "history": state.history,
        "best_score": state.best_score,
        "best_step": state.best_step,
        "top": state.top and state.top.value,
        "top_images": state.top and state.top.images,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors().items()}
    with atomic_write(folder / _STATE) as temporary:
        _save(tensors, temporary, {"record": json.dumps(record)})


def load_state(folder: Path, state: FitState) -> bool:
    """Restore `state` from the folder; return False if there is none.

    Raises
    ------
    ModelError
        If it is damaged, or of other settings or smears.
    """
    path = folder / _STATE
    if folder.exists() and not folder.is_dir():
        raise ModelError("is a file; name a model folder", folder)
    if not path.exists():
        return False
    try:
        with safe_open(path, "pt") as file:
            record = to_current("task", json.loads(file.metadata()["record"]))
        initial_weights = record.get("initial_weights")
        _check_same_run(record["task"], record["config"], record["smears"], initial_weights, state, folder)
        state.fill(safetensors.torch.load_file(path), record)
    except (OSError, LookupError, ValueError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        raise ModelError(f"the training state is damaged ({error}); delete it to start again", path) from error
    return True


def save_model(folder: Path | str, task: Task, report: FitReport | None = None) -> None:
    """Write the model folder, with SHA256SUMS last, and delete the training state.

    Raises
    ------
    DataError
        If it cannot be written.
    """
    folder = Path(folder)
    steps = task.config.fit.steps
    report = report or FitReport(
        smears="not stated", steps=steps, finished=True, best_step=steps, best_score=None, history=()
    )
    content = _weights(task)
    with suppress(OSError):  # the checksums of an earlier model would mark an interrupted write as damaged
        (folder / CHECKSUM_FILE).unlink()
    with atomic_write(folder / _WEIGHTS) as temporary:
        temporary.write_bytes(content)
    with atomic_write(folder / _LOG) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", "loss", "validation"])
        writer.writeheader()
        writer.writerows(report.history)
    record = _Record(
        task=task.name,
        smearsynth=version("smearsynth"),
        config=task.config.model_dump(mode="json"),
        weights_sha256=hashlib.sha256(content).hexdigest(),
        initial_weights=task.initial_weights,
        scale=task.scale,
        report=report,
    )
    config = record.model_dump_json(indent=2).encode()
    with atomic_write(folder / _CONFIG) as temporary:
        temporary.write_bytes(config)
    contents = {_CONFIG: config, _WEIGHTS: content}
    if task.training_smears is None:
        (folder / TRAINING_SMEARS_FILE).unlink(missing_ok=True)  # of a former model
    else:
        contents[TRAINING_SMEARS_FILE] = task.training_smears.to_json().encode()
        with atomic_write(folder / TRAINING_SMEARS_FILE) as temporary:
            temporary.write_bytes(contents[TRAINING_SMEARS_FILE])
    write_checksums(folder, contents)
    (folder / _STATE).unlink(missing_ok=True)


def weights_hash(task: Task) -> str:
    """Return the SHA-256 of the weights as written by `save_model` (``weights_sha256`` of config.json)."""
    return hashlib.sha256(_weights(task)).hexdigest()


def finished_report(folder: Path, state: FitState) -> FitReport | None:
    """If the folder holds this model, finished, load its weights into the task and return its record.

    Raises
    ------
    ModelError
        If it holds another model, or this model damaged.
    """
    if not (folder / _CONFIG).exists():
        return None
    record = _read_record(folder)
    _check_same_run(record.task, record.config, record.report.smears, record.initial_weights, state, folder)
    _read_weights(folder, record, state.task)
    return record.report


def load_task(folder: Path, kinds: Mapping[TaskName, type[Task]]) -> Task:
    """Load the model of a folder; `kinds` maps task names to classes."""
    record = _read_record(folder)
    kind = kinds[record.task]
    try:
        task = kind(kind.config_type.model_validate(record.config))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ModelError(
            f"made by another version of smearsynth ({place}: {first['msg']}); train the model again",
            folder / _CONFIG,
        ) from None
    task.scale = record.scale
    _read_weights(folder, record, task)
    task.training_smears = _read_training_smears(folder)
    return task


def _read_record(folder: Path) -> _Record:
    if not folder.is_dir():
        raise ModelError("no such model folder; train one with `smearsynth train-task`", folder)
    if not (folder / _CONFIG).exists():
        remedy = (
            "its training is not finished; run the same `smearsynth train-task` again"
            if (folder / _STATE).exists()
            else "name a folder written by `smearsynth train-task`"
        )
        raise ModelError(f"not a task model, {_CONFIG} is missing; {remedy}", folder)
    with suppress(FileNotFoundError):  # earlier versions wrote no checksums
        settings = read_checksums(folder).get(_CONFIG, "none")
        verify_checksums(folder, {_CONFIG: settings})  # config.json has the hash of the weights
    try:
        return _Record.model_validate_json(read_text(folder / _CONFIG))
    except (DataError, ValidationError):
        raise ModelError(
            "not the configuration of a task model; name a folder written by `smearsynth train-task`",
            folder / _CONFIG,
        ) from None


def _read_training_smears(folder: Path) -> TrainingSmears | None:
    """Return the record of the training smears, or None if an earlier version wrote the model."""
    try:
        checksums = read_checksums(folder)
    except FileNotFoundError:
        return None
    if TRAINING_SMEARS_FILE not in checksums:
        return None
    path = folder / TRAINING_SMEARS_FILE
    verify_checksums(folder, {TRAINING_SMEARS_FILE: checksums[TRAINING_SMEARS_FILE]})
    try:
        return TrainingSmears.from_json(read_text(path))
    except DataError as error:
        raise ModelError(f"{error}; {_REMEDY}", path) from None


def _weights(task: Task) -> bytes:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in task.network.state_dict().items()}
    return safetensors.torch.save(tensors)


def _read_weights(folder: Path, record: _Record, task: Task) -> None:
    path = folder / _WEIGHTS
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror or error}); {_REMEDY}", path) from error
    if hashlib.sha256(content).hexdigest() != record.weights_sha256:
        raise ModelError(f"altered or damaged: its hash differs from {_CONFIG}; {_REMEDY}", path)
    try:
        task.network.load_state_dict(safetensors.torch.load(content))
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()[:200]
        raise ModelError(f"does not match {_CONFIG} ({first}); {_REMEDY}", path) from None


def _check_same_run(
    name: str, stored: dict[str, Any], smears: str, initial_weights: str | None, state: FitState, folder: Path
) -> None:
    task = state.task
    if name != task.name:
        raise ModelError(f"contains a model of {name}, not {task.name}; choose another folder", folder)
    settings = _flat(task.config.model_dump(mode="json")) | {"smears": state.smears}
    stored_settings = _flat(stored) | {"smears": smears}
    if initial_weights and task.initial_weights:  # whether a weight file was used is a setting; which file is not
        settings["weights"], stored_settings["weights"] = task.initial_weights, initial_weights
    for key in sorted(stored_settings.keys() | settings.keys()):
        if stored_settings.get(key) != settings.get(key) and not (
            key == "smears" and _is_older(smears, state.smears)
        ):
            raise ModelError(
                f"contains a model with {key} = {stored_settings.get(key)}, now it is {settings.get(key)}; "
                "use the same settings and smears, or another folder",
                folder,
            )


def _is_older(smears: str, settings: str) -> bool:
    """Test whether an earlier version gave this description, without content, of the same smears."""
    return CONTENT not in smears and settings.startswith(smears + CONTENT)


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    try:
        safetensors.torch.save_file(tensors, path, metadata)
    except safetensors.SafetensorError as error:  # full disk
        raise DataError(f"cannot be written ({error}); check the disk or choose another folder", path) from error
