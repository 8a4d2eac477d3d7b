"""Tasks that smears train models for: segmentation, detection, detection from segmentation.

>>> from smearsynth.tasks import Segmentation, fit
>>> model = Segmentation.preset("cpu", steps=300)
"""

from smearsynth.tasks.base import Evaluation, ImageScore, Prediction, Task
from smearsynth.tasks.contours import Contours
from smearsynth.tasks.detection import Detection
from smearsynth.tasks.fitting import FitRun, fit
from smearsynth.tasks.folder import FitReport, save_model
from smearsynth.tasks.registry import TASKS, load_model
from smearsynth.tasks.segmentation import Segmentation

__all__ = [
    "TASKS",
    "Contours",
    "Detection",
    "Evaluation",
    "FitReport",
    "FitRun",
    "ImageScore",
    "Prediction",
    "Segmentation",
    "Task",
    "fit",
    "load_model",
    "save_model",
]
