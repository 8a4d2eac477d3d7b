"""All tasks by name, and loading of their models."""

from __future__ import annotations

from pathlib import Path

from smearsynth.errors import ModelError, OptionError
from smearsynth.tasks.base import Task
from smearsynth.tasks.config import TaskName
from smearsynth.tasks.contours import Contours
from smearsynth.tasks.detection import Detection
from smearsynth.tasks.folder import load_task
from smearsynth.tasks.segmentation import Segmentation

TASKS: dict[TaskName, type[Task]] = {"segmentation": Segmentation, "detection": Detection, "contours": Contours}


def task_type(name: str) -> type[Task]:
    """Return the class of a task.

    Raises
    ------
    OptionError
        If the name is unknown.

    Examples
    --------
    >>> task_type("segmentation").name
    'segmentation'
    """
    for task, kind in TASKS.items():
        if name == task:
            return kind
    raise OptionError(f"unknown task {name!r}; choose one of {', '.join(TASKS)}")


def load_model(folder: Path | str, device: str = "cpu") -> Task:
    """Load the model of any task.

    Parameters
    ----------
    folder : Path or str
        Written by `smearsynth.tasks.save_model` or a finished `smearsynth.tasks.fit`.
    device : str
        cpu or cuda.

    Raises
    ------
    ModelError
        If a file is missing, damaged or altered.

    Examples
    --------
    >>> import tempfile
    >>> from smearsynth.tasks import save_model
    >>> folder = Path(tempfile.mkdtemp())
    >>> save_model(folder, Segmentation.preset("tiny"))
    >>> load_model(folder).name
    'segmentation'
    """
    return load_task(Path(folder), TASKS).to(device)


def load_segmentation(folder: Path, device: str = "cpu") -> Segmentation:
    """Load a segmentation model; raise a `ModelError` for a model of another task."""
    model = load_model(folder, device)
    if isinstance(model, Segmentation):
        return model
    raise ModelError(f"is a model of {model.name}; name one of `smearsynth train-task segmentation`", folder)
