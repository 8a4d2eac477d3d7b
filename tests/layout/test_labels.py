"""Painting: what is painted is what was laid out, and areas are those of geometry."""

import json

import numpy as np
import pytest
from matplotlib.path import Path

from layout_reference import ellipses
from smears import analytic_smear
from smearsynth.errors import DataError, OptionError
from smearsynth.layout import ContactParameters, Layout, Workspace, ring_layout, uniform_layout
from smearsynth.layout.labels import LabelSource, draw_labels, write_labels
from smearsynth.layout.painting import PALETTE, paint_colours, paint_labels
from smearsynth.statistics import measure

DISCS = ellipses([(7, 7), (8, 6)])
SIZES = ellipses([(4, 4), (23, 20), (70, 40), (130, 120)])


def one_cell(size, shape, x, y, angle=0.0, scale=1.0, mirrored=False):
    ints = [np.array([value], np.int64) for value in (shape, x, y, 0, 1)]
    pose = np.array([angle]), np.array([scale]), np.array([mirrored])
    return Layout(*size, ints[0], *pose, *ints[1:], requested=1)


@pytest.mark.parametrize("shape", range(4))
@pytest.mark.parametrize("angle", [0.0, 0.4, 2.0])
def test_areas_are_those_of_the_ellipse(shape, angle):
    semi = np.ptp(SIZES.contours[shape], axis=0) / 2
    labels = paint_labels(one_cell((400, 400), shape, 200, 200, angle, 1.1), SIZES)
    assert (labels > 0).sum() == pytest.approx(np.pi * semi.prod() * 1.21, rel=0.02, abs=4)
    ys, xs = np.nonzero(labels)
    assert abs(xs.mean() - 200) < 0.6
    assert abs(ys.mean() - 200) < 0.6


@pytest.mark.parametrize("mirrored", [False, True])
def test_pixels_are_those_whose_centre_lies_inside(mirrored):
    rng = np.random.default_rng(4)
    lobes = 1 + 0.35 * np.cos(3 * np.linspace(0, 2 * np.pi, 64, endpoint=False) + 0.3)
    shapes = ellipses([(40, 25)])
    shapes.contours[0] *= lobes[:, None].astype(np.float32)
    for _ in range(10):
        angle, scale = rng.uniform(0, 7), rng.uniform(0.3, 2)
        labels = paint_labels(one_cell((220, 240), 0, 118, 107, angle, scale, mirrored), shapes)
        points = shapes.contours[0].astype(np.float64) * (-1 if mirrored else 1, 1) * scale
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        ys, xs = np.mgrid[:220, :240]
        inside = Path(points @ turn.T + (118, 107)).contains_points(np.stack([xs.ravel(), ys.ravel()], 1))
        assert ((labels > 0) != inside.reshape(labels.shape)).sum() == 0


def test_a_cell_over_the_border_is_cut_there():
    whole = paint_labels(one_cell((300, 300), 2, 150, 150, 0.7), SIZES)
    for x, y in ((0, 0), (99, 50), (-30, 40), (64, 79)):
        cut = paint_labels(one_cell((80, 100), 2, x, y, 0.7), SIZES)
        assert np.array_equal(cut, whole[150 - y : 230 - y, 150 - x : 250 - x])
    assert not paint_labels(one_cell((80, 100), 2, 900, 40), SIZES).any()


@pytest.mark.parametrize("dtype", [np.int32, np.uint16])
def test_painting_is_what_the_layout_tested(dtype):
    warm = Workspace(SIZES)
    laid = ring_layout((500, 700), 90, warm, cell_size=46, rng=3)
    kept = paint_labels(laid, warm, dtype=dtype)  # from the rasters of the layout
    drawn = paint_labels(laid, SIZES, dtype=dtype)  # from the contours
    assert kept.dtype == dtype
    assert np.array_equal(kept, drawn)
    # No overlap: every cell owns all its pixels.
    areas = np.bincount(kept.ravel())[1:]
    alone = [
        (paint_labels(one_cell(laid.size, *pose), SIZES) > 0).sum()
        for pose in zip(laid.shape, laid.x, laid.y, laid.angle, laid.scale, laid.mirrored, strict=True)
    ]
    assert areas.tolist() == alone
    assert min(alone) > 0
    ring_layout((50, 60), 5, warm, cell_size=46, rng=4)
    assert np.array_equal(paint_labels(laid, warm, dtype=dtype), drawn)


def test_painting_into_a_given_array():
    laid = uniform_layout((90, 120), 12, DISCS, rng=1)
    out = np.full((90, 120), 77, np.uint16)
    assert paint_labels(laid, DISCS, out) is out
    assert set(np.unique(out)) == set(range(13))
    with pytest.raises(OptionError, match="shape"):
        paint_labels(laid, DISCS, np.zeros((120, 90), np.uint16))
    with pytest.raises(OptionError, match="dtype"):
        paint_labels(laid, DISCS, dtype=np.uint8)
    with pytest.raises(DataError, match="right library"):
        paint_labels(uniform_layout((90, 120), 12, SIZES, rng=1), ellipses([(3, 3)]))


def test_uint16_labels_end_at_65535():
    specks = ellipses([(1.2, 1.2)])
    laid = uniform_layout((900, 900), 66_000, specks, rng=1)
    assert laid.placed == 66_000
    with pytest.raises(OptionError, match="int32"):
        paint_labels(laid, specks, dtype=np.uint16)
    assert paint_labels(laid, specks).max() == 66_000


def test_colours_are_those_of_the_layout():
    laid = ring_layout((120, 160), 40, DISCS, cell_size=14, rng=1)
    labels, painted = paint_labels(laid, DISCS), paint_colours(laid, DISCS)
    assert painted.dtype == np.uint8
    assert np.array_equal(painted[labels == 0], np.zeros_like(painted[labels == 0]))
    for k in range(laid.placed):
        assert (painted[labels == k + 1] == PALETTE[laid.colours[k]]).all()
    with pytest.raises(OptionError, match="palette"):
        paint_colours(laid, DISCS, PALETTE[:2])


def test_the_palette_is_distinguishable():
    assert not PALETTE[0].any()
    apart = np.linalg.norm(PALETTE[:, None].astype(float) - PALETTE[None], axis=2) + 999 * np.eye(len(PALETTE))
    assert len(PALETTE) > 8
    assert apart.min() > 60


def test_drawn_masks_follow_the_law_of_counts():
    warm = Workspace(DISCS)
    drawn = [draw_labels((200, 260), warm, (20, 6), cell_size=14, rng=k) for k in range(300)]
    counts = np.array([mask.layout.requested for mask in drawn])
    assert abs(counts.mean() - 20) < 4 * 6 / np.sqrt(300)
    assert 5 < counts.std() < 7
    for labels, classes, layout in drawn[:40]:
        assert labels.dtype == np.int32
        assert set(np.unique(labels)) == set(range(layout.placed + 1))
        assert len(classes) == layout.placed
    low = [draw_labels((50, 60), warm, (0.2, 1), layout="uniform", cell_size=14, rng=k) for k in range(30)]
    assert min(mask.layout.requested for mask in low) == 0


def test_a_drawn_mask_is_its_seed():
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
def test_absurd_laws_are_named(change):
    options = {"size": (60, 80), "shapes": DISCS, "count_distribution": (5, 1), "cell_size": 14, "rng": 1} | change
    with pytest.raises(OptionError, match="give"):
        draw_labels(**options)


def test_masks_of_a_mix_are_written_with_their_classes(tmp_path):
    shapes = ellipses([(4, 3), (9, 8)], [0, 1], ("platelet", "red"))
    source = LabelSource(
        shapes, measure([analytic_smear()]), ContactParameters(adhesion=0, smears=[(6.5, 2.8, -2.3, 0)])
    )
    for layout in ("contact", "ring", "uniform"):
        folder = tmp_path / layout
        laid = write_labels(source, (120, 160), 2, folder, layout=layout, mix={"red": 0.5, "platelet": 0.5}, seed=1)
        rows = [line.split(",") for line in (folder / "instances.csv").read_text().splitlines()[1:]]
        for index, one in enumerate(laid):
            names = [kind for image, _, kind in rows if image == f"mask-{index:06d}"]
            assert names == [shapes.class_names[kind] for kind in one.classes]
        assert {kind for _, _, kind in rows} == {"platelet", "red"}
    with pytest.raises(OptionError, match="classes are platelet, red"):
        write_labels(source, (120, 160), 2, tmp_path / "none", mix={"white": 1})
    assert not (tmp_path / "none").exists()


def test_a_shorter_call_leaves_no_masks_of_an_earlier_one(tmp_path):
    law = ContactParameters(adhesion=0, smears=[(6.5, 2.8, -2.3, 0)])
    both = LabelSource(ellipses([(4, 3), (9, 8)], [0, 1], ("platelet", "red")), measure([analytic_smear()]), law)
    one = LabelSource(ellipses([(9, 8)]), measure([analytic_smear()]), law)
    write_labels(both, (60, 80), 4, tmp_path)
    (tmp_path / "labels" / "note.txt").write_text("mine")
    write_labels(one, (60, 80), 2, tmp_path)
    names = ["mask-000000.png", "mask-000001.png"]
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == [*names, "note.txt"]
    assert sorted(path.name for path in (tmp_path / "palette").iterdir()) == names
    assert [json.loads(line)["name"] for line in (tmp_path / "masks.jsonl").read_text().splitlines()] == names
    assert not (tmp_path / "instances.csv").exists()


def test_masks_drawn_before_an_error_are_known(tmp_path, monkeypatch):
    source = LabelSource(ellipses([(9, 8)]), measure([analytic_smear()]))

    def stop(done):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_labels(source, (60, 80), 4, tmp_path, on_labels=stop)
    assert len((tmp_path / "masks.jsonl").read_text().splitlines()) == 2
    write_labels(source, (60, 80), 1, tmp_path)
    assert len(list(tmp_path.rglob("*.png"))) == 2


@pytest.mark.parametrize("layout", ["ring", "uniform"])
def test_a_law_of_no_cells_draws_none(layout):
    labels, classes, laid = draw_labels((60, 80), DISCS, (0, 0), layout=layout, cell_size=14, rng=1)
    assert not labels.any()
    assert (len(classes), laid.placed, laid.requested) == (0, 0, 0)


def test_a_mask_like_one_smear_has_its_cells_in_number_and_size():
    few_large = analytic_smear((200, 260), [(30 + 50 * (k % 5), 30 + 50 * (k // 5), 16) for k in range(20)])
    many_small = analytic_smear((200, 260), [(12 + 20 * (k % 12), 12 + 20 * (k // 12), 6) for k in range(108)])
    source = LabelSource.from_smears([few_large, many_small])
    law = ContactParameters(
        adhesion=-4,
        smears=tuple(
            (np.log(row.count / 0.052), np.log(row.cell_diameter.mean), -4.0, -3.0)
            for row in source.statistics.rows
        ),
    )
    source = LabelSource(source.shapes, source.statistics, law)
    drawn = {like: [source.draw((200, 260), like=like, rng=seed) for seed in range(12)] for like in (0, 1)}
    counts = {like: np.mean([len(mask.classes) for mask in masks]) for like, masks in drawn.items()}
    areas = {
        like: np.median([np.bincount(m.labels.ravel())[1:].mean() for m in masks]) for like, masks in drawn.items()
    }
    assert counts[1] > 2 * counts[0]
    assert areas[0] > 2 * areas[1]  # drawn towards each other, there being two


def test_smears_take_turns_in_a_series():
    source = LabelSource(DISCS, measure([analytic_smear()] * 7))
    turns = [source.reference_smear(index, seed=2) for index in range(21)]
    for start in (0, 7, 14):
        assert sorted(turns[start : start + 7]) == list(range(7))
    assert turns[:7] != turns[7:14]
    assert turns != [source.reference_smear(index, seed=3) for index in range(21)]
    assert {source.reference_smear(index, seed=2, among=[5, 1]) for index in range(6)} == {1, 5}
