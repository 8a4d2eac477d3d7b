"""The tasks there are, by name."""

from __future__ import annotations

from pathlib import Path

from smearsynth.errors import ModelError, OptionError
from smearsynth.tasks.base import Task
from smearsynth.tasks.config import TaskName
from smearsynth.tasks.contours import Contours
from smearsynth.tasks.detection import Detection
from smearsynth.tasks.folder import restored
from smearsynth.tasks.segmentation import Segmentation

TASKS: dict[TaskName, type[Task]] = {"segmentation": Segmentation, "detection": Detection, "contours": Contours}


def task_type(name: str) -> type[Task]:
    """The class of a task.

    Raises
    ------
    OptionError
        For an unknown name.

    Examples
    --------
    >>> task_type("segmentation").name
    'segmentation'
    """
    for known, kind in TASKS.items():
        if name == known:
            return kind
    raise OptionError(f"unknown task {name!r}; choose one of {', '.join(TASKS)}")


def load_model(folder: Path | str, device: str = "cpu") -> Task:
    """Load the model of any task.

    Parameters
    ----------
    folder : Path or str
        As `smearsynth.tasks.save_model` or a finished `smearsynth.tasks.fit` wrote it.
    device : str
        cpu or cuda.

    Raises
    ------
    ModelError
        When a file is missing, damaged or altered.

    Examples
    --------
    >>> import tempfile
    >>> from smearsynth.tasks import save_model
    >>> folder = Path(tempfile.mkdtemp())
    >>> save_model(folder, Segmentation.preset("tiny"))
    >>> load_model(folder).name
    'segmentation'
    """
    return restored(Path(folder), TASKS).to(device)


def load_segmentation(folder: Path, device: str = "cpu") -> Segmentation:
    """Load the segmentation model of a folder; a model of another task is refused."""
    model = load_model(folder, device)
    if isinstance(model, Segmentation):
        return model
    raise ModelError(f"is a model of {model.name}; give one of `smearsynth fit-task segmentation`", folder)
