"""Realism: all measures in one record, from folders or from memory, with errors before long work."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from evaluation_smears import DarkSegmenter, noisy, shifted, without_cells
from smears import partly_annotated, unannotated, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.evaluation.realism import realism as module
from smearsynth.evaluation.realism.appearance import MEASURES
from smearsynth.evaluation.realism.realism import Realism, measure_realism, realism
from smearsynth.evaluation.realism.structure import STRUCTURE_MEASURES
from smearsynth.runs import Execution, Progress

RESULTS = Path(__file__).resolve().parents[3] / "docs" / "results"
CPU = Execution(device="cpu")


@pytest.fixture
def trained(monkeypatch):
    """Replace the training of a segmenter; return a list of the names that it is trained on."""
    calls = []

    def train(smears, folder, *, seed, execution):
        calls.append((smears.names, folder, seed))
        return DarkSegmenter()

    monkeypatch.setattr(module, "load_or_train_segmenter", train)
    return calls


def test_the_record_holds_all_measures(realism_result):
    assert realism_result.features == "efficientnet_lite0"
    assert realism_result.crop == 64
    assert realism_result.scale == pytest.approx(40 / 18, rel=0.05)
    low, high = realism_result.kid.interval
    assert low <= realism_result.kid.value <= high
    assert realism_result.kid.reference[0] < realism_result.kid.reference[1]
    assert abs(realism_result.kid.value) < 0.05
    assert realism_result.label_iou_median > 0.9
    measured = set(realism_result.appearance)
    assert set(MEASURES) <= measured <= {*MEASURES, *STRUCTURE_MEASURES}
    assert Realism.model_validate_json(realism_result.model_dump_json()) == realism_result
    assert "efficientnet_lite0" in realism_result.verdict()[0]
    assert realism_result.verdict()[-1].startswith("Labels: median IoU")
    assert realism_result.table().row_count == 4
    assert realism_result.appearance_table().row_count == len(measured)


@pytest.mark.parametrize("name", ["realism-chula.json", "realism-bbbc041seg.json"])
def test_records_of_format_1_are_read(name):
    former = json.loads((RESULTS / name).read_text())
    current = Realism.model_validate_json((RESULTS / name).read_text())
    for distance in ("kid", "fid", "density", "coverage"):
        estimate = getattr(current, distance)
        assert estimate.value == former[distance]
        assert list(estimate.interval) == former[f"{distance}_interval"]
        assert list(estimate.reference) == former[f"{distance}_real"]
    assert current.labels.limits.detection_rates == former["labels"]["limits"]["caught"]
    assert current.labels.disagreements[0].smear == former["labels"]["disagreements"][0]["smear"]
    assert Realism.model_validate_json(current.model_dump_json()) == current


def test_too_few_or_too_small_smears_are_refused(features, smears):
    with pytest.raises(DataError, match="3 synthetic smears are too few"):
        measure_realism(smears[:4], smears[:3], features)
    with pytest.raises(DataError, match=r"smear-00 \(96×96 px\) is smaller than a crop of 1\d\d px \(256 px at"):
        measure_realism(smears[:4], smears[:4], features, crop=256)


def test_smears_of_another_scale_are_refused_with_the_scale_to_read_at(features, smears, smear_folder):
    with pytest.raises(DataError, match=r"--scale (1\.9|2)"):
        measure_realism(smears[:4], [smear.resized(2) for smear in smears[4:8]], features)
    # read at scale 0.5, so half as large as the synthetic ones
    with pytest.raises(DataError, match=r"analytic: synthetic cells have .*--scale (0\.9|1)"):
        measure_realism(open_smears(smear_folder, scale=0.5), smears[4:8], features)


def test_smears_without_cells_are_refused(features, smears, realism_result):
    with pytest.raises(DataError, match="no whole cell"):
        measure_realism(smears[:4], [without_cells(smear) for smear in smears[:4]], features)
    lines = realism_result.model_copy(update={"appearance": {}}).verdict()
    assert not any("deviation" in line for line in lines)  # no measure is no agreement


def test_too_few_crops_give_no_density_and_coverage(features, smears, realism_result):
    few = measure_realism(smears[:4], smears[12:], features, crop=128)  # one crop per smear
    assert few.density is few.coverage is None
    assert few.kid.interval[0] <= few.kid.value <= few.kid.interval[1]
    assert Realism.model_validate_json(few.model_dump_json()) == few
    assert '"coverage":null' in few.model_dump_json()
    console = Console(width=120, record=True)
    console.print(few.table())
    assert console.export_text().count("too few crops") == 4
    assert any("too few crops" in line for line in few.verdict())
    assert not any("too few crops" in line for line in realism_result.verdict())
    # enough real crops in all smears, but not in a half
    halves = measure_realism(smears[:11], smears[12:], features, crop=128)
    assert halves.coverage is not None
    assert halves.coverage.reference is None
    # too few synthetic crops leave balls empty by chance
    assert measure_realism(smears[:11], smears[12:18], features, crop=128).coverage is None


def test_references_and_limits_do_not_depend_on_the_synthetic_smears(features, smears):
    first, second = (
        measure_realism(smears[:6], synthetic, features, segmenter=DarkSegmenter(), rng=3)
        for synthetic in (smears[6:10], [noisy(smear, 20) for smear in smears[10:18]])
    )
    assert first.kid.value != second.kid.value
    for name in ("kid", "fid", "density", "coverage"):
        assert getattr(first, name).reference == getattr(second, name).reference, name
    assert first.labels.limits == second.labels.limits


def test_no_value_is_a_negative_zero(realism_result):
    kid = realism_result.kid.model_copy(update={"value": -0.0, "interval": (-0.0, 0.1)})
    zero = realism_result.model_copy(update={"kid": kid})
    appearance = {
        name: comparison.model_copy(update={"offset": -0.01})
        for name, comparison in realism_result.appearance.items()
    }
    console = Console(width=120, record=True)
    console.print(zero.table(), realism_result.model_copy(update={"appearance": appearance}).appearance_table())
    assert "-0 " not in console.export_text(clear=False) + zero.verdict()[0]
    assert "-0.0 " not in console.export_text()


def test_folders_are_split_and_a_segmenter_is_trained_on_the_training_split(smears, tmp_path, trained):
    real = write_folder(tmp_path / "real", smears[:10], splits=("train", "test"))
    synthetic = write_folder(tmp_path / "synthetic", [shifted(smear, 12) for smear in smears[10:15]])
    result = realism(real, synthetic, tell=False, rng=3, execution=CPU)
    assert trained == [(tuple(f"smear-0{k}" for k in (0, 2, 4, 6, 8)), None, 3)]
    assert (result.real_smears, result.synthetic_smears) == (5, 5)
    assert result.labels.limits.iou_median > 0.9  # of the test split
    assert result.labels.wrong > 10
    limited = realism(real, open_smears(synthetic), split="train", limit=4, labels=False, tell=False, execution=CPU)
    assert (limited.real_smears, limited.synthetic_smears, limited.labels) == (4, 4, None)
    assert len(trained) == 1


def test_folders_are_checked_before_a_segmenter_is_trained(smear_folder, smears, tmp_path, trained):
    few = write_folder(tmp_path / "few", smears[:3])
    bare = write_folder(tmp_path / "bare", [without_cells(smear) for smear in smears[:4]])
    large = write_folder(tmp_path / "large", [smear.resized(2) for smear in smears[:4]])
    small = write_folder(tmp_path / "small", [smear.cropped(0, 0, 60, 60) for smear in smears[:4]])
    for folder, location, message in (
        (few, few, "3 synthetic smears are too few"),
        (bare, bare, "no whole cell"),
        (large, smear_folder, "--scale 1.9"),
        (small, small, r"smear-00 \(60×60 px\) is smaller than a crop of \d\d px"),
    ):
        with pytest.raises(DataError, match=f"^{location}: .*{message}"):
            realism(smear_folder, folder, split="train", crop=160, execution=CPU)
    with pytest.raises(DataError, match="3 real smears are too few"):  # in its test split
        realism(smear_folder, smear_folder, execution=CPU)
    with pytest.raises(OptionError, match="features 'none'"):
        realism(smear_folder, smear_folder, features="none")
    assert not trained


def test_progress_is_reported_by_stage(smears, tmp_path, trained):
    folder = write_folder(tmp_path / "real", smears[:8])
    calls = []

    class Recorder(Progress):
        def advance(self, stage, done, total=None):
            calls.append((stage, done, total))

    execution = Execution(device="cpu", progress=Recorder())
    realism(folder, folder, segmenter=DarkSegmenter(), tell=False, execution=execution)
    assert not trained
    assert {stage: done for stage, done, total in calls if done == total} == {
        "real crops": 8,
        "synthetic crops": 8,
        "real colours": 8,
        "synthetic colours": 8,
        "real labels": 4,
        "synthetic labels": 8,
    }


def test_partly_annotated_smears_are_compared(features, smears):
    real = [*(partly_annotated(smear, 60) for smear in smears[:10]), unannotated(smears[10])]
    result = measure_realism(real, smears[12:18], features, segmenter=DarkSegmenter(), crop=64, rng=0)
    assert result.appearance["background green"].offset < 3
    assert result.labels is not None
    assert result.labels.limits.false_missing <= 0.02
    assert 0 < result.real_crops < 10 * 9
