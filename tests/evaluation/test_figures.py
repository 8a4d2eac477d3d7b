"""Figures: PNG files that show what the record says."""

import numpy as np
import pytest
from PIL import Image

from evaluation_smears import DIAMETER, DarkSegmenter, shifted
from smearsynth.errors import DataError
from smearsynth.evaluation.figures import disagreements_figure, layout_check_figure, pairs_figure
from smearsynth.evaluation.label_fidelity import calibrate_limits, label_fidelity
from smearsynth.evaluation.layout_check import Curve, LayoutCheck, Verdict


def test_pairs_are_drawn_side_by_side(training, new_smears, clean_audit, tmp_path):
    path = pairs_figure(clean_audit, new_smears, training, tmp_path / "pairs.png")
    assert path == tmp_path / "pairs.png"
    assert path.stat().st_size > 10_000


def test_disagreements_are_drawn_with_the_labels(smears, tmp_path):
    limits = calibrate_limits(smears[:6], DarkSegmenter(), DIAMETER)
    moved = shifted(smears[7], 9)
    labels = label_fidelity([moved], DarkSegmenter(), limits, DIAMETER)
    path = disagreements_figure(labels, [moved], tmp_path / "labels.png")
    assert path.stat().st_size > 5000
    few = labels.model_copy(update={"disagreements": ()})
    assert disagreements_figure(few, [moved], tmp_path / "none.png").stat().st_size < path.stat().st_size


@pytest.fixture
def check():
    x = np.arange(4.0)
    curve = Curve("pair correlation", "distance", x, x, x - 0.5, x + 0.5, {"contact": x, "ring": x + 2})
    value = Curve("fraction", "", *(np.array([v]) for v in (0.0, 0.3, 0.2, 0.4)), {"contact": np.array([0.3])})
    inside, outside = (Verdict(value=0, low=0, high=1, inside=flag) for flag in (True, False))
    statistics = {"curve": {"contact": inside, "ring": outside}, "value": {"contact": inside}}
    return LayoutCheck(30, 300, statistics, {"curve": curve, "value": value})


def test_a_layout_that_differs_is_dashed(check, tmp_path):
    figure = layout_check_figure(check, tmp_path / "check.png")
    curves, values, *unused = figure.axes
    assert {line.get_label(): line.get_linestyle() for line in curves.get_lines()} == {
        "real": "-",
        "contact": "-",
        "ring": "--",
    }
    assert curves.get_title(loc="left") == "pair correlation"
    assert [tick.get_text() for tick in values.get_xticklabels()] == ["contact"]
    assert all(ax.axison for ax in (curves, values))
    assert not any(ax.axison for ax in unused)
    with Image.open(tmp_path / "check.png") as image:
        assert image.width > image.height > 200


def test_a_file_that_cannot_be_written_is_reported(check, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError):
        layout_check_figure(check, tmp_path / "file" / "check.png")
