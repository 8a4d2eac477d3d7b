"""Labels of synthetic smears: number of cells, reference smears, and the files."""

import json

import numpy as np
import pytest

from layout_reference import ellipses
from smears import analytic_smear
from smearsynth.errors import OptionError
from smearsynth.layout import ContactParameters, Workspace
from smearsynth.layout.labels import LabelSource, draw_labels, write_labels
from smearsynth.statistics import measure

DISCS = ellipses([(7, 7), (8, 6)])
PARAMETERS = ContactParameters(adhesion=0, smears=[(6.5, 2.8, -2.3, 0)])


def test_the_number_of_cells_is_normally_distributed():
    workspace = Workspace(DISCS)
    draws = [draw_labels((200, 260), workspace, (20, 6), cell_size=14, rng=k) for k in range(300)]
    counts = np.array([draw.layout.requested for draw in draws])
    assert abs(counts.mean() - 20) < 4 * 6 / np.sqrt(300)
    assert 5 < counts.std() < 7
    for labels, classes, layout, _ in draws[:40]:
        assert labels.dtype == np.int32
        assert set(np.unique(labels)) == set(range(layout.placed + 1))
        assert len(classes) == layout.placed
    few = [draw_labels((50, 60), workspace, (0.2, 1), layout="uniform", cell_size=14, rng=k) for k in range(30)]
    assert min(draw.layout.requested for draw in few) == 0


def test_the_seed_determines_the_labels():
    first, again, other = (draw_labels((90, 120), DISCS, (9, 3), cell_size=14, rng=seed) for seed in (5, 5, 6))
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.labels, other.labels)


@pytest.mark.parametrize(
    "change",
    [
        {"count_distribution": (-5, 1)},
        {"count_distribution": (5, -1)},
        {"count_distribution": (np.nan, 1)},
        {"layout": "spiral"},
    ],
)
def test_invalid_parameters_are_refused(change):
    options = {"size": (60, 80), "shapes": DISCS, "count_distribution": (5, 1), "cell_size": 14, "rng": 1} | change
    with pytest.raises(OptionError, match="give"):
        draw_labels(**options)


@pytest.mark.parametrize("layout", ["ring", "uniform"])
def test_a_mean_of_no_cells_draws_none(layout):
    labels, classes, cells, _ = draw_labels((60, 80), DISCS, (0, 0), layout=layout, cell_size=14, rng=1)
    assert not labels.any()
    assert (len(classes), cells.placed, cells.requested) == (0, 0, 0)


def test_labels_have_the_number_and_size_of_cells_of_the_reference_smear():
    few_large = analytic_smear((200, 260), [(30 + 50 * (k % 5), 30 + 50 * (k // 5), 16) for k in range(20)])
    many_small = analytic_smear((200, 260), [(12 + 20 * (k % 12), 12 + 20 * (k // 12), 6) for k in range(108)])
    source = LabelSource.from_smears([few_large, many_small])
    parameters = ContactParameters(
        adhesion=-4,
        smears=tuple(
            (np.log(row.count / 0.052), np.log(row.cell_diameter.mean), -4.0, -3.0)
            for row in source.statistics.rows
        ),
    )
    source = LabelSource(source.shapes, source.statistics, parameters)
    draws = {smear: [source.draw((200, 260), reference=smear, rng=seed) for seed in range(12)] for smear in (0, 1)}
    counts = {smear: np.mean([len(draw.classes) for draw in many]) for smear, many in draws.items()}
    areas = {
        smear: np.median([np.bincount(draw.labels.ravel())[1:].mean() for draw in many])
        for smear, many in draws.items()
    }
    assert counts[1] > 2 * counts[0]
    assert areas[0] > 2 * areas[1]  # the draws are smoothed towards each other


def test_each_smear_is_the_reference_once_before_any_repeats():
    source = LabelSource(DISCS, measure([analytic_smear()] * 7))
    references = [source.reference_smear(index, seed=2) for index in range(21)]
    for start in (0, 7, 14):
        assert sorted(references[start : start + 7]) == list(range(7))
    assert references[:7] != references[7:14]
    assert references != [source.reference_smear(index, seed=3) for index in range(21)]
    assert {source.reference_smear(index, seed=2, subset=[5, 1]) for index in range(6)} == {1, 5}


def test_the_default_layout_depends_on_the_contact_parameters():
    statistics = measure([analytic_smear()])
    assert LabelSource(DISCS, statistics).default_layout == "ring"
    source = LabelSource(DISCS, statistics, PARAMETERS)
    assert source.default_layout == "contact"
    assert source.contact_parameters is PARAMETERS
    # 20 cells of 46 px on 1920 × 1200 px, as in the paper
    room = 1920 * 1200 / 46**2 * statistics.cell_size**2
    assert source.n_init((1, round(room))) == 20
    assert source.n_init((1, 1)) == 1


# Files.


def test_labels_of_a_mix_are_written_with_their_classes(tmp_path):
    shapes = ellipses([(4, 3), (9, 8)], [0, 1], ("platelet", "red"))
    source = LabelSource(shapes, measure([analytic_smear()]), PARAMETERS)
    for layout in ("contact", "ring", "uniform"):
        folder = tmp_path / layout
        layouts = write_labels(
            source, (120, 160), 2, folder, layout=layout, mix={"red": 0.5, "platelet": 0.5}, seed=1
        )
        rows = [line.split(",") for line in (folder / "instances.csv").read_text().splitlines()[1:]]
        for index, cells in enumerate(layouts):
            names = [kind for image, _, kind in rows if image == f"mask-{index:06d}"]
            assert names == [shapes.class_names[kind] for kind in cells.classes]
        assert {kind for _, _, kind in rows} == {"platelet", "red"}
    with pytest.raises(OptionError, match="classes are platelet, red"):
        write_labels(source, (120, 160), 2, tmp_path / "none", mix={"white": 1})
    assert not (tmp_path / "none").exists()


def test_a_shorter_call_removes_the_files_of_an_earlier_one(tmp_path):
    statistics = measure([analytic_smear()])
    two_classes = LabelSource(ellipses([(4, 3), (9, 8)], [0, 1], ("platelet", "red")), statistics, PARAMETERS)
    one_class = LabelSource(ellipses([(9, 8)]), statistics, PARAMETERS)
    write_labels(two_classes, (60, 80), 4, tmp_path)
    (tmp_path / "labels" / "note.txt").write_text("mine")
    write_labels(one_class, (60, 80), 2, tmp_path)
    names = ["mask-000000.png", "mask-000001.png"]
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == [*names, "note.txt"]
    assert sorted(path.name for path in (tmp_path / "palette").iterdir()) == names
    assert [json.loads(line)["name"] for line in (tmp_path / "masks.jsonl").read_text().splitlines()] == names
    assert not (tmp_path / "instances.csv").exists()


def test_labels_written_before_an_error_are_recorded(tmp_path):
    source = LabelSource(ellipses([(9, 8)]), measure([analytic_smear()]))

    def stop(done):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_labels(source, (60, 80), 4, tmp_path, on_labels=stop)
    assert len((tmp_path / "masks.jsonl").read_text().splitlines()) == 2
    write_labels(source, (60, 80), 1, tmp_path)
    assert len(list(tmp_path.rglob("*.png"))) == 2
