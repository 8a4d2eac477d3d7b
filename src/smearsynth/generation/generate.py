"""Generate synthetic smears on disk, with all that `smearsynth generate` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack

from smearsynth.datasets import SmearFolder, open_smears
from smearsynth.errors import OptionError
from smearsynth.evaluation.label_fidelity import Segmenter
from smearsynth.files import write_text
from smearsynth.formats.listing import TRAINING_SMEARS_FILE
from smearsynth.generation.options import StreamOptions
from smearsynth.generation.recipe import Recipe
from smearsynth.generation.stream import SyntheticSmears
from smearsynth.generation.verification import label_check
from smearsynth.report.sheet import write_contact_sheet
from smearsynth.runs import Execution, Progress, select_device
from smearsynth.synthesis.model.folder import DEFAULT
from smearsynth.synthesis.model.synthesizer import Synthesizer

SHEET_FILE = "contact-sheet.html"
_SHEET_SMEARS = 8


def generate(
    output: Path | str,
    n: int = 10,
    *,
    model: Synthesizer | Path | str = DEFAULT,
    format: str = "labels",
    split: Mapping[str, float] | None = None,
    verify: SmearFolder | Path | str | None = None,
    segmenter: Segmenter | Path | str | None = None,
    sheet: bool = True,
    execution: Execution = Execution(),
    **options: Unpack[StreamOptions],
) -> list[Recipe]:
    """Generate annotated synthetic smears into a folder; the same call continues an interrupted one.

    Parameters
    ----------
    output : Path or str
        Receives ``images/``, the annotation, ``manifest.jsonl``, ``contact-sheet.html``, and
        ``training-smears.json`` with the fingerprints of the smears that the model was trained on.
    n : int
        Number of smears.
    model : Synthesizer or Path or str
        A model, its folder, or "default" for the shipped model.
    format : str
        Annotation format, one of `smearsynth.formats.WRITE_FORMATS`.
    split : mapping of str to float, optional
        Fraction of each split, such as ``{"train": 0.8, "val": 0.2}``. Default: no splits.
    verify : SmearFolder or Path or str, optional
        Annotated real smears: regenerate images whose labels disagree with a segmenter trained on them.
    segmenter : Segmenter or Path or str, optional
        Segmentation model for `verify`, or its folder. By default one is trained, which takes minutes.
    sheet : bool
        Also write a page that shows the first 8 smears beside the statistics of the training smears.
    execution : Execution
        Device, and receiver of the progress and of messages.
    **options
        `size`, `layout`, `style`, `style_of`, `stain`, `light`, `density`, `mix` and `seed`, see `StreamOptions`.

    Returns
    -------
    list of Recipe
        One per smear; shorter than `n` after Ctrl-C.

    Raises
    ------
    DataError
        If the folder contains other images, or data cannot be read or written.
    OptionError
        If an option has an invalid value, or all attempts at a smear were rejected.

    Examples
    --------
    >>> import tempfile
    >>> recipes = generate(tempfile.mkdtemp(), 2, size=(64, 96), seed=7)
    >>> [recipe.name for recipe in recipes]
    ['smear-000000', 'smear-000001']
    """
    if segmenter is not None and verify is None:
        raise OptionError("a segmenter without real smears to verify with; give both, or neither")
    if n < 1:
        raise OptionError(f"the number of smears must be at least 1, not {n}")
    progress = execution.progress
    stream = SyntheticSmears(model, device=select_device(execution.device), **options)
    for name, classes in stream.styles.classes_without_style.items():
        progress.message(f"{name}: the style of {', '.join(classes)} is not used; the model has no such class")
    if verify is not None:  # after the options are validated: training a segmenter takes minutes
        scale = stream.model.config.data.scale
        stream.accept = label_check(verify, segmenter=segmenter, scale=scale, seed=stream.seed, execution=execution)
    recipes = stream.write(
        output, n, format=format, split=split, on_smear=lambda done: progress.advance("generating", done, n)
    )
    if stream.model.training_smears is not None:  # for `realism`
        write_text(Path(output) / TRAINING_SMEARS_FILE, stream.model.training_smears.to_json())
    _report_counts(recipes, progress)
    if sheet and recipes:
        _write_sheet(Path(output), format, stream, recipes, "" if isinstance(model, Synthesizer) else str(model))
    return recipes


def _report_counts(recipes: Sequence[Recipe], progress: Progress) -> None:
    """Report how many images were regenerated and how many cells could not be placed."""
    redrawn = sum(recipe.redrawn or 0 for recipe in recipes)
    if redrawn:
        progress.message(f"{redrawn} images regenerated because of colours that no training smear has")
    if any(recipe.verified for recipe in recipes):
        regenerated = sum(recipe.attempt - (recipe.redrawn or 0) for recipe in recipes)
        progress.message(f"{regenerated} images regenerated because their labels disagreed with the segmenter")
    requested = sum(recipe.requested for recipe in recipes)
    missing = requested - sum(recipe.placed for recipe in recipes)
    if missing:
        progress.message(f"{missing} of {requested} cells could not be placed; see manifest.jsonl")


def _write_sheet(
    folder: Path, format: str, stream: SyntheticSmears, recipes: Sequence[Recipe], model_name: str
) -> None:
    smears = open_smears(folder, format=format)[: min(_SHEET_SMEARS, len(recipes))]
    hash_text = stream.model.hash[:12]
    facts = {
        "model": f"{model_name} ({hash_text})" if model_name else hash_text,
        "seed": str(stream.seed),
        "layout": stream.layout,
        "style": stream.styles.name,
        "stain": stream.stain,
        "light": stream.light,
        "licence of the training data": stream.model.config.licence,
    }
    write_contact_sheet(
        folder / SHEET_FILE,
        list(smears),
        real=stream.model.statistics,
        title=f"{len(recipes)} synthetic smears",
        facts=facts,
        recipes=[recipe.model_dump() for recipe in recipes[: len(smears)]],
    )
