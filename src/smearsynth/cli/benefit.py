"""The command of the benefit experiment, which tells whether synthetic smears help a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smearsynth.cli.options import AsJson, Binary, Data, Device, Reading, Scale, open_data, refuse_smears
from smearsynth.cli.terminal import err, out, progress, say, training_progress
from smearsynth.datasets import SmearFolder
from smearsynth.errors import DataError, ModelError, OptionError, error_location
from smearsynth.runs import select_device

if TYPE_CHECKING:  # PyTorch takes seconds to import
    from smearsynth.experiment.experiment import Experiment
    from smearsynth.experiment.plan import Settings
    from smearsynth.experiment.records import BenefitResult
    from smearsynth.experiment.running import Work
    from smearsynth.synthesis.config import Preset


def benefit(
    context: typer.Context,
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of results; run again to continue.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="Synthesizer that has seen no test smear: a model folder or 'default'; N=FOLDER for one that has "
            "seen N real smears. None: one is trained on the train split, an hour or two.",
        ),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(help="Synthesizers trained here go on from this model, which has seen no test smear either."),
    ] = None,
    tasks: Annotated[str, typer.Option(help="Of segmentation, detection, contours.")] = "all",
    arms: Annotated[str, typer.Option(help="Of RD, SD, RD+aug, SD+aug, RD+copy-paste, RD+SD, RD+SD+aug.")] = "all",
    preset: Annotated[str, typer.Option(help="Of the tasks: cpu, paper or tiny.")] = "cpu",
    seeds: Annotated[int, typer.Option(help="Trainings of every arm.", min=1, max=1000)] = 3,
    sizes: Annotated[str, typer.Option(help="Numbers of real smears, such as 3,10,30,all.")] = "all",
    synthetic: Annotated[
        int | None, typer.Option(help="Synthetic smears beside the real ones; default: 15 a real one.", min=1)
    ] = None,
    synthetic_fraction: Annotated[
        float, typer.Option(help="Of the crops of RD+SD that are synthetic.", min=0.01, max=0.99)
    ] = 0.5,
    stain: Annotated[
        str,
        typer.Option(help="Of the synthetic smears of RD+SD: varied, as no train smear has it; or own."),
    ] = "augmented",
    steps: Annotated[int | None, typer.Option(help="Training steps of every arm.", min=1)] = None,
    select_by: Annotated[
        str, typer.Option(help="validation, or test: best weights as the paper chose them, which flatters.")
    ] = "validation",
    train_split: Annotated[str, typer.Option(help="What is learned from.")] = "train",
    test_split: Annotated[str, typer.Option(help="What is tested on.")] = "test",
    scale: Scale = 1.0,
    format: Reading = "auto",
    binary: Binary = False,
    name: Annotated[str | None, typer.Option(help="Of the data, in the report.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes; default: one a core, one on a GPU.", min=1)
    ] = None,
    device: Device = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how long it takes, stop.")] = False,
    json: AsJson = False,
) -> int:
    """Do synthetic smears help? The paper's Table 2 on your smears, with intervals."""
    from smearsynth.experiment.arms import ARMS
    from smearsynth.experiment.plan import Settings
    from smearsynth.experiment.preparing import prepare, preset_of
    from smearsynth.tasks.registry import TASKS, task_type

    refuse_smears(output)
    smears = open_data(data, None, scale, classes="one", format=format, binary=binary, cache_mb=800)
    train, test = _divided(smears, train_split, test_split)
    settings = Settings(
        tasks=_named(tasks, tuple(TASKS), "tasks"),
        arms=_named(arms, tuple(ARMS), "arms"),
        preset=preset,
        seeds=seeds,
        sizes=_sizes(sizes, len(train)),
        synthetic=synthetic,
        synthetic_fraction=synthetic_fraction,
        stain=_either(stain, ("original", "augmented"), "stain"),
        steps=steps,
        select_by=_either(select_by, ("validation", "test"), "best weights by"),
    )
    device = select_device(device)
    workers = workers or (1 if device == "cuda" else os.cpu_count() or 1)
    given = _given(model or [], len(train), settings.sizes_of(len(train)))
    for task in settings.tasks:
        task_type(task).configured(preset, steps=steps)  # an unknown preset is told now, not after an hour
    wanted = preset_of(device, going_on=pretrained is not None)
    first = 0.0  # minutes for synthesizers
    if dry_run:
        given = _finished(train, settings, output, pretrained) | given
        missing = [size for size in settings.sizes_of(len(train)) if settings.draws and size not in given]
        first = _dry_run(train, missing, wanted, device)
        given |= dict.fromkeys(missing, "default")  # which stands in for them
    with error_location(data), training_progress(wanted.steps) as on_step:
        experiment = prepare(
            train,
            test,
            settings,
            output,
            given,
            pretrained=pretrained,
            device=device,
            on_step=on_step,
            say=lambda line: say(err, line),
        )
    if experiment is None:
        return _stopped(output)
    if dry_run:
        return _told_beforehand(experiment, workers, first, json)
    return _carried_out(experiment, workers, name or data.resolve().name, str(context.obj), json)


def _told_beforehand(experiment: Experiment, workers: int, synthesizers: float, json: bool) -> int:
    """What is to be done, and how long it takes beside the minutes for synthesizers."""
    from smearsynth.experiment.running import work_of

    work = work_of(experiment)
    time_limit = _announce(experiment, work, workers)
    if json:
        times = {"synthesizer_minutes": round(synthesizers, 1), "time_limit": round(time_limit, 1)}
        print(dumps({"pieces": len(work), "processes": workers, **times}))
    elif not work:
        say(err, f"all is done; run it without --dry-run for the report ({experiment.folder})")
    return 0


def _carried_out(experiment: Experiment, workers: int, data_set: str, command: str, json: bool) -> int:
    """All that is not yet done, then the report."""
    from smearsynth.experiment.running import run_all, work_of
    from smearsynth.experiment.verdict import summarise

    work = work_of(experiment)
    _announce(experiment, work, workers)
    with progress("benefit", len(work), quiet=json) as tick:
        finished = run_all(experiment, work, workers=workers, on_done=_counting(tick))
    output = experiment.folder
    if not finished:
        return _stopped(output)
    result = summarise(experiment, data_set, command)
    result.save(output / "benefit.json")
    _report(result, experiment, output)
    if json:
        print(result.to_json(), end="")
        return 0
    for line in result.verdict:
        say(out, line)
    say(out, f"report: {output / 'report.html'}")
    return 0


def _divided(smears: SmearFolder, train: str, test: str) -> tuple[SmearFolder, SmearFolder]:
    """The smears to learn from and those to test on."""
    if smears.splits:
        if train == test:
            raise OptionError(f"split {train!r} cannot be both learned from and tested on")
        return smears.split(train), smears.split(test)
    if len(smears) < 3:
        raise DataError(f"{len(smears)} smears are too few to learn from some and test on others", smears.root)
    say(err, "no split.csv: every third smear is tested on; fields of one slide on both sides flatter all arms")
    kept = [k for k in range(len(smears)) if k % 3 != 1]
    return smears.subset(kept), smears[1::3]


def _named(text: str, known: tuple[str, ...], what: str) -> Any:
    """Names from "a,b"; all of them for "all"."""
    names = known if text == "all" else tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for one in names:
        if one not in known:
            raise OptionError(f"{what} {one!r}: choose of {', '.join(known)}, or all")
    return names


def _either(word: str, known: tuple[str, ...], what: str) -> Any:
    if word not in known:
        raise OptionError(f"{what} {word!r}: choose {' or '.join(known)}")
    return word


def _sizes(text: str, train: int) -> tuple[int, ...]:
    """Numbers of real smears from "3,10,all"."""
    words = [word.strip() for word in text.split(",")]
    if not all(word == "all" or word.isdecimal() for word in words):
        raise OptionError(f"sizes {text!r}: give numbers of smears, or all, such as 3,10,all")
    return tuple(dict.fromkeys(train if word == "all" else int(word) for word in words))


def _given(models: list[str], train: int, sizes: tuple[int, ...]) -> dict[int, str]:
    """Synthesizers by number of real smears, from "FOLDER" and "N=FOLDER"."""
    found: dict[int, str] = {}
    for text in models:
        number, equals, folder = text.partition("=")
        size, folder = (int(number), folder) if equals and number.isdecimal() else (train, text)
        if size in found:
            raise OptionError(f"two synthesizers for {size} real smears: {found[size]} and {folder}")
        if size not in sizes:
            asked = ", ".join(str(one) for one in sizes)
            raise OptionError(
                f"--model {text} is of {size} real smears, --sizes asks for {asked}; name it N={folder} if it has "
                "seen no others than those N"
            )
        found[size] = folder
    return found


def _finished(train: SmearFolder, settings: Settings, output: Path, pretrained: str | None) -> dict[int, str]:
    """Synthesizers that an earlier call has trained on these smears."""
    from smearsynth.experiment.plan import digests
    from smearsynth.experiment.preparing import is_finished, synthesizer_folder
    from smearsynth.synthesis.model.synthesizer import Synthesizer

    known, begun = digests(train, "train"), Synthesizer.load(pretrained) if pretrained else None
    places = {size: synthesizer_folder(output, known, size, begun) for size in settings.sizes_of(len(train))}
    return {size: str(place) for size, place in places.items() if is_finished(place)}


def _dry_run(train: SmearFolder, missing: Sequence[int], wanted: Preset, device: str) -> float:
    """Minutes for the synthesizers that are neither given nor finished, one after another; says so."""
    from smearsynth.synthesis.networks.features import load_features
    from smearsynth.synthesis.training.pipeline import benchmark_steps

    if not missing:
        return 0.0
    paces = benchmark_steps(train, wanted, device, load_features(wanted.training.perceptual_features))
    time_limit = paces[wanted.training.precision] * wanted.steps / 60
    numbers = ", ".join(str(size) for size in missing)
    each = f"{time_limit / 60:.1f} h" if time_limit >= 60 else f"{time_limit:.0f} min"
    say(err, f"no --model for {numbers} real smears: each is trained first, {wanted.steps} steps, {each}")
    return time_limit * len(missing)


def _announce(experiment: Experiment, work: Sequence[Work], workers: int) -> float:
    """Say how much is to be done and how many minutes that takes, and give these."""
    from smearsynth.experiment.running import expected_seconds

    time_limit = expected_seconds(experiment, work, workers) / 60
    if work:
        say(err, f"{len(work)} pieces of work to do, about {time_limit:.0f} min with {workers} processes")
    return time_limit


def _stopped(output: Path) -> int:
    say(err, f"stopped; run the same command again to continue ({output})")
    return 130


def _counting(tick: Callable[[int], object]) -> Callable[[object], None]:
    done = 0

    def on_done(work: object) -> None:
        nonlocal done
        done += 1
        tick(done)
        if not err.is_terminal:
            say(err, f"{done} done: {' '.join(str(part) for part in work)}")  # type: ignore[attr-defined]

    return on_done


def _report(result: BenefitResult, experiment: Experiment, output: Path) -> None:
    """Page and Markdown, with the best and the worst that kept models of the first seed predict."""
    from smearsynth.experiment.arms import ARMS
    from smearsynth.experiment.plan import Job
    from smearsynth.experiment.report.page import Example, write_report
    from smearsynth.tasks import load_model
    from smearsynth.tasks.pictures import prediction_example

    kept = {
        run.task: (run, folder)  # the last of each task: most real smears, and of the arms the one with everything
        for run in sorted(result.runs, key=lambda run: (run.reals, list(ARMS).index(run.arm)))
        if run.seed == 0 and (folder := experiment.model_folder(Job(run.task, run.arm, run.reals, 0))).exists()
    }
    shown = []
    for task, (run, folder) in kept.items():
        try:
            model = load_model(folder, experiment.device)
        except ModelError as error:
            say(err, f"the report shows no prediction of {task}: {error}; delete this folder")
            continue
        told = [row for row in run.images if row.tp + row.fn] or run.images  # an empty field shows little
        ranked = sorted(told, key=lambda row: row.score)
        for which, row in (("best", ranked[-1]), ("worst", ranked[0])):
            smear = experiment.test[experiment.test.names.index(row.image)]
            picture = prediction_example(smear, model.predict(smear.image), task)
            shown.append(Example(task, run.arm, row.image, row.score, which, picture))  # type: ignore[arg-type]
    write_report(result, output, shown)
