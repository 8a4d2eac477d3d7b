"""Before the first run: all smears read and told apart, a synthesizer at hand for every number of real smears."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from smearsynth.datasets import SmearFolder
from smearsynth.errors import DataError
from smearsynth.experiment.experiment import Experiment, Source
from smearsynth.experiment.plan import Settings, chosen, digests, key_of
from smearsynth.experiment.records import SynthesizerFacts
from smearsynth.statistics import DataStatistics, measure
from smearsynth.synthesis.config import Preset, preset
from smearsynth.synthesis.model.provenance import DataSource
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.networks.features import load_features
from smearsynth.synthesis.training.loop import OnStep, TrainingRun, fabric_for
from smearsynth.synthesis.training.pipeline import train_synthesizer

MessageCallback = Callable[[str], None]

_FEW = 8  # smears show the size of cells
_STEPS_ON = 3_000  # of a synthesizer that goes on from a finished one


def preset_of(device: str, *, going_on: bool = False) -> Preset:
    """Of the synthesizers that the experiment trains itself, from nothing or going on from a finished one."""
    return preset("gpu" if device == "cuda" else "cpu", steps=_STEPS_ON if going_on else None)


def prepare(
    train: SmearFolder,
    test: SmearFolder,
    settings: Settings,
    folder: Path,
    models: Mapping[int, Path | str] | None = None,
    *,
    pretrained: Path | str | None = None,
    device: str = "cpu",
    on_step: OnStep | None = None,
    say: MessageCallback = lambda line: None,
) -> Experiment | None:
    """All that the runs need.

    Parameters
    ----------
    train, test : SmearFolder
        No smear may be in both.
    settings : Settings
    folder : Path
        For all results; those of an earlier call are used where nothing has changed.
    models : mapping of int to Path or str, optional
        Synthesizers by the number of real smears they have seen. Where none is given, one is trained on these
        smears alone, in a `synthesizer_folder`; that takes an hour or two on a CPU.
    pretrained : Path or str, optional
        A model that has seen no test smear, from which those trained here go on: a quarter of an hour each.
    device : str
        cpu or cuda.
    on_step : callable, optional
        Called with (step, losses or None) while a synthesizer is trained.
    say : callable
        Told in a line what is being done.

    Returns
    -------
    Experiment or None
        None when the training of a synthesizer was interrupted; call again to continue.

    Raises
    ------
    DataError
        When a smear cannot be read, or is in both splits, or a split has no cell.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError("is a file; name a folder for the results", folder)
    sizes = settings.sizes_of(len(train))
    given = {reals: Synthesizer.load(model) for reals, model in (models or {}).items()}
    say(f"reading {len(train)} smears to learn from and {len(test)} to test on")
    known = digests(train, "train"), digests(test, "test")
    if twice := len(set(known[0]) & set(known[1])):
        raise DataError(f"{twice} smears are in the train and the test split; leave each in one", train.root)
    for smears, what, why in ((train, "train", "learn from"), (test, "test", "find in")):
        if not any(smear.count for smear in smears):
            raise DataError(f"no {what} smear has a cell; there is nothing to {why} them", smears.root)
    begun = Synthesizer.load(pretrained) if pretrained else None
    sources: dict[int, Source] = {}
    few = measure(train[k] for k in range(min(_FEW, len(train))))
    for reals in sizes if settings.draws else ():
        place = Path((models or {}).get(reals, synthesizer_folder(folder, known[0], reals, begun)))
        model = given.get(reals) or _learned(train, reals, place, begun, device, on_step, say)
        if model is None:
            return None
        data = model.config.data
        misfit = _size_remark(few, model)
        if misfit:
            say(f"the synthesizer beside {reals} real smears {misfit}")
        if data.smears > reals:
            say(f"the synthesizer beside {reals} real smears has learned from {data.smears} ({data.name})")
        facts = SynthesizerFacts(hash=model.hash, name=data.name, smears=data.smears, misfit=misfit)
        sources[reals] = Source(place, facts)
    return Experiment(train, test, known, settings, sources, folder, device)


def _size_remark(here: DataStatistics, model: Synthesizer) -> str | None:
    """What to do where a synthesizer paints cells of another size than the smears have."""
    scale = here.scale_to(model.statistics)
    if scale is None:
        return None
    return (
        f"paints cells of {model.statistics.cell_size:.0f} px, here they measure {here.cell_size:.0f} px: it does "
        f"not fit; read the smears at {scale:.2g} times the scale (--scale), or have a synthesizer trained on them"
    )


def synthesizer_folder(folder: Path, train: Sequence[str], reals: int, pretrained: Synthesizer | None) -> Path:
    """Where the synthesizer of so many smears is trained: of other smears, or from another start, elsewhere.

    Parameters
    ----------
    folder : Path
        Of all results.
    train : sequence of str
        Hash of each train smear, as `digests` gives them.
    reals : int
    pretrained : Synthesizer, optional
    """
    seen = [train[k] for k in chosen(len(train), reals)]
    return folder / f"synthesizer-{reals}-{key_of(seen, pretrained and pretrained.hash)[:8]}"


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a whole model: the sums are written last."""
    return (folder / "SHA256SUMS").exists()


def _learned(
    train: SmearFolder,
    reals: int,
    folder: Path,
    pretrained: Synthesizer | None,
    device: str,
    on_step: OnStep | None,
    say: MessageCallback,
) -> Synthesizer | None:
    """A synthesizer that has seen so many of these smears and no others of them, trained now or before."""
    if is_finished(folder):
        return Synthesizer.load(folder)
    wanted = preset_of(device, going_on=pretrained is not None)
    say(f"training a synthesizer on {reals} real smears, {wanted.steps} steps; Ctrl-C is safe")
    return train_synthesizer(
        train.subset(chosen(len(train), reals)),
        wanted,
        TrainingRun(folder, fabric_for(device, wanted.training.precision), on_step=on_step),
        source=DataSource(name=train.root.name, smears=reals, split="train", scale=train.scale),
        pretrained=pretrained,
        features=load_features(wanted.training.perceptual_features),
        say=say,
    )
