"""Shape library, poses and the parametric model, on shapes of known area and form and on real cells."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from skimage.draw import polygon2mask

from smears import analytic_smear, disc_mask
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, ModelError, OptionError
from smearsynth.shapes import (
    NO_AUGMENTATION,
    VERTICES,
    ParametricShapes,
    ShapeAugmentation,
    ShapeLibrary,
    apply_poses,
    are_simple,
    draw_poses,
    polygon_areas,
    polygon_centroids,
)
from smearsynth.shapes.contours import contour_of, resample
from smearsynth.smear import Smear


def ellipse_mask(a: float, b: float, turn: float, centre: tuple[float, float], side: int = 80) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    u = (x - centre[0]) * np.cos(turn) + (y - centre[1]) * np.sin(turn)
    v = (y - centre[1]) * np.cos(turn) - (x - centre[0]) * np.sin(turn)
    return (u / a) ** 2 + (v / b) ** 2 <= 1


def rastered(contour: np.ndarray, centre=(60.3, 60.7), side: int = 120) -> np.ndarray:
    return polygon2mask((side, side), (contour + np.array(centre))[:, ::-1])


def blobs(n: int, seed: int = 0, size: float = 18.0, spicules: float = 0.0) -> np.ndarray:
    """Wavy ellipses with areas of a log-normal law, some with fine spicules."""
    rng = np.random.default_rng(seed)
    turn = np.linspace(0, 2 * np.pi, 8 * VERTICES, endpoint=False)
    outlines = []
    for _ in range(n):
        ratio = 1 + rng.gamma(2.0, 0.08)
        radius = 1 + sum(rng.normal(0, 0.04 / k) * np.cos(k * turn + rng.uniform(0, 7)) for k in (2, 3, 4, 5))
        radius += spicules * np.cos(12 * turn + rng.uniform(0, 7))
        scale = size * np.exp(rng.normal(0, 0.08))
        x, y = scale * radius * np.cos(turn) * math.sqrt(ratio), scale * radius * np.sin(turn) / math.sqrt(ratio)
        outlines.append(np.stack([x, y], axis=1))
    dense = np.stack(outlines)
    contours = np.stack([resample(outline, VERTICES) for outline in dense])
    return (contours - polygon_centroids(contours)[:, None]).astype(np.float32)


def library_of(contours: np.ndarray, classes: np.ndarray | None = None, names=("cell",)) -> ShapeLibrary:
    ids = np.zeros(len(contours), np.int64) if classes is None else classes
    return ShapeLibrary(contours, ids, names)


# --- contours ---


def test_contours_keep_the_area_of_the_mask():
    rng = np.random.default_rng(0)
    bias = []
    for _ in range(40):
        a, b = rng.uniform(8, 30, 2)
        mask = ellipse_mask(a, b, rng.uniform(0, 3), tuple(rng.uniform(38, 42, 2)))
        contour, area, pieces = contour_of(mask)
        assert (area, pieces) == (mask.sum(), 1)
        assert polygon_areas(contour[None])[0] == pytest.approx(mask.sum(), rel=1e-5)
        bias.append(rastered(contour).sum() / mask.sum() - 1)
    assert np.abs(bias).max() < 0.02
    assert abs(np.mean(bias)) < 0.002


def test_contours_lie_on_the_true_outline_at_equal_steps():
    contour, _, _ = contour_of(ellipse_mask(25, 15, 0.0, (40.0, 40.0)))
    level = np.hypot(contour[:, 0] / 25, contour[:, 1] / 15)
    assert np.abs(level - 1).max() < 0.03  # half a pixel at most; masks alone have steps of one
    steps = np.linalg.norm(np.roll(contour, -1, axis=0) - contour, axis=1)
    assert steps.std() / steps.mean() < 0.03
    assert np.abs(polygon_centroids(contour[None])).max() < 1e-4


def test_holes_are_filled_and_the_largest_piece_is_taken():
    mask = disc_mask((60, 60), (25, 25, 15))
    whole = mask.sum()
    mask &= ~disc_mask((60, 60), (25, 25, 5))
    mask |= disc_mask((60, 60), (50, 50, 4))
    contour, area, pieces = contour_of(mask)
    assert (area, pieces) == (whole, 2)
    assert np.abs(np.hypot(*contour.T) - 15).max() < 0.6


def test_a_mask_that_fills_its_window_is_traced():
    contour, area, _ = contour_of(np.ones((6, 9), bool))
    assert area == 54
    assert np.ptp(contour, axis=0) == pytest.approx([9, 6], abs=0.7)


# --- library ---


def test_library_leaves_out_border_and_specks_and_reports_them():
    discs = [(25, 25, 10), (60, 25, 10), (95, 25, 10), (60, 70, 3), (0, 70, 10), (118, 60, 10)]
    smear = analytic_smear((90, 120), discs)
    library = ShapeLibrary.from_smears(iter([smear, smear]))
    report = library.report
    assert report is not None
    assert (report.total, report.kept, report.border, report.specks, report.fragments) == (12, 6, 4, 2, 0)
    assert len(library) == 6
    assert library.areas() == pytest.approx(np.tile(smear.areas()[:3], 2), rel=1e-5)
    assert report.smallest["cell"] == pytest.approx(0.2 * np.median([317, 317, 317, smear.areas()[3]]), rel=0.01)
    assert "4 cut by the border" in str(report)


def test_cells_that_others_hide_in_part_are_left_out_and_those_on_top_of_few_are_not():
    # of nine cells, one lies under another: its annotation has a bite
    alone = [(25 + 40 * (k % 4), 25 + 40 * (k // 4), 12) for k in range(8)]
    smear = analytic_smear((110, 180), [*alone, (40, 90, 12)])
    labels = smear.labels.copy()
    labels[disc_mask(labels.shape, (52, 90, 12))] = 10
    smear = Smear(smear.image, labels, np.zeros(10, int))
    report = ShapeLibrary.from_smears([smear]).report
    assert report is not None
    assert (report.total, report.hidden, report.kept) == (10, 2, 8)
    assert "2 partly hidden" in str(report)
    # a pixel of background between the cells, as many annotations have it, changes nothing
    labels[:, 40:41][labels[:, 40:41] == 9] = 0
    assert ShapeLibrary.from_smears([smear]).report == report


def test_where_most_cells_touch_half_of_them_serve():
    labels = np.zeros((60, 200), np.int32)
    for k in range(8):
        labels[disc_mask(labels.shape, (20 + 20 * k, 30, 12))] = k + 1
    library = ShapeLibrary.from_smears([Smear(np.zeros((60, 200, 3), np.uint8), labels, np.zeros(8, int))])
    assert len(library) >= 4


def test_shapes_of_one_smear():
    few = analytic_smear((90, 400), [(15 + 24 * k, 30, 10) for k in range(16)])
    many = analytic_smear((90, 600), [(15 + 24 * k, 30, 8) for k in range(24)])
    library = ShapeLibrary.from_smears([few, many])
    assert library.smears is not None
    assert np.bincount(library.smears).tolist() == [16, 24]
    assert library.of_smear(0) is None  # too few to tell
    found = library.of_smear(1)
    assert found is not None
    assert found[0].areas() == pytest.approx(np.full(24, many.areas()[0]), rel=1e-4)
    assert found[1] == (1.0,)


def test_a_class_with_few_cells_in_a_smear_takes_shapes_of_all_and_keeps_its_share():
    names = ("rbc", "platelet")
    cells = [(15 + 24 * k, 30, 10) for k in range(24)] + [(15, 70, 4)]
    first = analytic_smear((90, 620), cells, classes=[0] * 24 + [1], class_names=names)
    library = ShapeLibrary.from_smears([first, first])
    found = library.of_smear(0)
    assert found is not None
    shapes, mix = found
    assert np.bincount(shapes.classes).tolist() == [24, 2]
    assert mix == pytest.approx((24 / 25, 1 / 25))


def test_a_small_class_is_no_speck_beside_a_large_one():
    smear = analytic_smear(
        (90, 120), [(25, 25, 14), (60, 25, 14), (95, 25, 4), (95, 60, 4)], classes=[0, 0, 1, 1],
        class_names=("rbc", "platelet"),
    )  # fmt: skip
    library = ShapeLibrary.from_smears([smear])
    assert library.classes.tolist() == [0, 0, 1, 1]
    assert len(library.of_class("platelet")) == len(library.of_class(1)) == 2
    with pytest.raises(OptionError, match=r"'wbc'.*rbc, platelet"):
        library.of_class("wbc")


def test_classes_are_matched_by_name_between_smears():
    apart = [(20, 20, 10), (60, 20, 10), (60, 60, 10)]
    first = analytic_smear((90, 120), apart, classes=[0, 0, 1], class_names=("rbc", "wbc"))
    second = analytic_smear((90, 120), apart, classes=[0, 0, 1], class_names=("wbc", "rbc"))
    library = ShapeLibrary.from_smears([first, second])
    assert library.class_names == ("rbc", "wbc")
    assert library.classes.tolist() == [0, 0, 1, 1, 1, 0]


def test_fragments_are_counted():
    labels = np.zeros((60, 60), np.int32)
    labels[disc_mask((60, 60), (25, 25, 12))] = 1
    labels[50:53, 50:53] = 1
    library = ShapeLibrary.from_smears([Smear(np.zeros((60, 60, 3), np.uint8), labels, np.array([0]))])
    assert library.report is not None
    assert library.report.fragments == 1


def test_no_whole_cell_is_an_error_with_the_counts():
    with pytest.raises(DataError, match="1 cut by the border"):
        ShapeLibrary.from_smears([analytic_smear((40, 40), [(0, 0, 10)])])
    with pytest.raises(DataError, match="0 shapes of 0 cells"):
        ShapeLibrary.from_smears([])


def test_library_round_trip(tmp_path: Path):
    library = ShapeLibrary.from_smears([analytic_smear(classes=[0, 1, 1], class_names=("a", "b"))])
    path = tmp_path / "shapes.safetensors"
    library.save(path)
    again = ShapeLibrary.load(path)
    assert (again.contours == library.contours).all()
    assert (again.classes == library.classes).all()
    assert (again.class_names, again.report) == (library.class_names, library.report)
    assert np.array_equal(again.smears, library.smears)
    assert [file.name for file in tmp_path.iterdir()] == ["shapes.safetensors"]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"shapes\.safetensors.*not a shape library"):
        ShapeLibrary.load(path)
    with pytest.raises(ModelError, match="no such"):
        ShapeLibrary.load(tmp_path / "none")


def test_parts_that_do_not_fit_are_refused():
    good = blobs(2)
    for contours, classes, message in (
        (good.astype(np.float64), np.zeros(2, np.int64), "float32"),
        (good[:, :10], np.zeros(2, np.int64), "float32"),
        (good * np.float32(np.nan), np.zeros(2, np.int64), "NaN"),
        (good, np.zeros(3, np.int64), "2 contours"),
        (good, np.ones(2, np.int64), "class ids"),
    ):
        with pytest.raises(DataError, match=message):
            ShapeLibrary(contours, classes)


# --- poses ---


def test_poses_follow_the_stated_probabilities():
    augmentation = ShapeAugmentation(rotation=0.7, scale=0.4, scale_range=(0.8, 1.3))
    poses = draw_poses(20000, augmentation, 0)
    assert (poses.scale != 1).mean() == pytest.approx(0.4, abs=0.02)
    assert 0.8 <= poses.scale.min() < 0.81 < 1.29 < poses.scale.max() <= 1.3
    assert (np.isin(poses.angle, [0, np.pi])).mean() == pytest.approx(0.3, abs=0.02)
    assert set(poses.flip.tolist()) == {-1.0, 1.0}
    assert poses.flip.mean() == pytest.approx(0, abs=0.03)


def test_flips_are_what_they_say():
    contours = blobs(1)
    for horizontal, vertical in ((1, 0), (0, 1), (1, 1), (0, 0)):
        augmentation = ShapeAugmentation(0, 0, (1, 1), horizontal, vertical)
        posed = apply_poses(contours, draw_poses(1, augmentation, 0))
        expected = contours * np.array([-1 if horizontal else 1, -1 if vertical else 1])
        assert posed == pytest.approx(expected, abs=1e-4)
    assert (apply_poses(contours, draw_poses(1, NO_AUGMENTATION, 0)) == contours).all()


def test_poses_scale_areas_and_depend_on_the_seed_alone():
    contours = blobs(50)
    poses = draw_poses(50, ShapeAugmentation(scale=1.0), 7)
    assert polygon_areas(apply_poses(contours, poses)) == pytest.approx(
        polygon_areas(contours) * poses.scale**2, rel=1e-4
    )
    again = draw_poses(50, ShapeAugmentation(scale=1.0), np.random.default_rng(7))
    assert (again.angle == poses.angle).all()
    with pytest.raises(OptionError, match="50 poses for 49"):
        apply_poses(contours[1:], poses)


@pytest.mark.parametrize(
    "options", [{"rotation": 1.1}, {"flip_vertical": -0.1}, {"scale_range": (1.1, 0.9)}, {"scale_range": (0, 1)}]
)
def test_absurd_augmentation_is_refused(options: dict):
    with pytest.raises(OptionError, match=next(iter(options))):
        ShapeAugmentation(**options)


# --- parametric model ---


@pytest.fixture(scope="module")
def fitted() -> tuple[ShapeLibrary, ParametricShapes, ShapeLibrary]:
    library = library_of(np.concatenate([blobs(400), blobs(200, seed=1, spicules=0.03)]))
    model = ParametricShapes.fit(library)
    return library, model, model.sample(600, rng=0)


def forms(contours: np.ndarray) -> dict[str, np.ndarray]:
    steps = np.linalg.norm(np.roll(contours, -1, axis=1) - contours, axis=2)
    centred = contours - contours.mean(axis=1, keepdims=True)
    spread = np.linalg.eigvalsh(np.einsum("nki,nkj->nij", centred, centred))
    areas = polygon_areas(contours)
    return {
        "area": areas,
        "aspect": np.sqrt(spread[:, 1] / spread[:, 0]),
        "compactness": steps.sum(axis=1) ** 2 / (4 * np.pi * areas),
    }


def test_samples_are_distributed_as_the_library(fitted):
    library, _, sampled = fitted
    assert sampled.areas().mean() == pytest.approx(library.areas().mean(), rel=0.03)
    assert sampled.areas().std() == pytest.approx(library.areas().std(), rel=0.15)
    real, drawn = forms(library.contours), forms(sampled.contours)
    for name, values in real.items():
        assert stats.ks_2samp(values, drawn[name]).statistic < 0.12, name
    # The same measure must condemn plain discs of the right areas.
    turn = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    discs = np.stack([np.cos(turn), np.sin(turn)], -1) * np.sqrt(library.areas() / np.pi)[:, None, None]
    assert stats.ks_2samp(real["compactness"], forms(discs)["compactness"]).statistic > 0.9


def test_samples_are_valid_centred_contours(fitted):
    _, _, sampled = fitted
    assert are_simple(sampled.contours).all()
    assert np.abs(polygon_centroids(sampled.contours)).max() < 1e-2
    steps = np.linalg.norm(np.roll(sampled.contours, -1, axis=1) - sampled.contours, axis=2)
    assert (steps.std(axis=1) / steps.mean(axis=1)).max() < 0.01


def test_model_holds_no_exemplar(fitted, tmp_path: Path):
    library, model, sampled = fitted
    # The size of the model does not grow with the cells behind it...
    model.save(tmp_path / "shapes.json")
    size = (tmp_path / "shapes.json").stat().st_size
    double = ParametricShapes.fit(library_of(np.concatenate([library.contours, blobs(600, seed=5)])))
    double.save(tmp_path / "double.json")
    assert size < 20_000
    assert (tmp_path / "double.json").stat().st_size < 2.2 * size  # more components, never beyond their bound
    # ...and no sample lies nearer to a real cell than real cells lie to one another.
    fourier = [np.abs(np.fft.fft(c[..., 0] + 1j * c[..., 1], axis=1)) for c in (library.contours, sampled.contours)]
    among = np.linalg.norm(fourier[0][:, None] - fourier[0][None], axis=2) + 1e9 * np.eye(len(library))
    across = np.linalg.norm(fourier[1][:, None] - fourier[0][None], axis=2)
    assert across.min() > 0.5 * among.min()


def test_model_round_trip_and_seeds(fitted, tmp_path: Path):
    _, model, _ = fitted
    model.save(tmp_path / "shapes.json")
    again = ParametricShapes.load(tmp_path / "shapes.json")
    assert again == model
    first, second, other = again.sample(9, 3), model.sample(9, np.random.default_rng(3)), model.sample(9, 4)
    assert (first.contours == second.contours).all()
    assert (first.contours != other.contours).any()
    (tmp_path / "shapes.json").write_text('{"version": 1}')
    with pytest.raises(ModelError, match=r"shapes\.json.*not a shape model"):
        ParametricShapes.load(tmp_path / "shapes.json")
    with pytest.raises(ModelError, match="no such"):
        ParametricShapes.load(tmp_path / "none.json")


def test_classes_keep_their_shares_and_sizes():
    contours = np.concatenate([blobs(150), blobs(50, size=6)])
    model = ParametricShapes.fit(library_of(contours, np.repeat([0, 2], [150, 50]), ("rbc", "wbc", "platelet")))
    sampled = model.sample(400, rng=1)
    assert sampled.class_names == ("rbc", "wbc", "platelet")
    assert np.bincount(sampled.classes, minlength=3) == pytest.approx([300, 0, 100], abs=35)
    assert sampled.of_class("rbc").areas().min() > sampled.of_class("platelet").areas().max()
    assert set(model.sample(5, 0, "platelet").classes.tolist()) == {2}
    with pytest.raises(OptionError, match=r"'wbc'.*rbc, platelet"):
        model.sample(1, 0, "wbc")


@pytest.mark.parametrize("count", [1, 2, 9])
def test_few_cells_give_their_size_but_not_their_form(count: int):
    crosses = blobs(count, size=20)
    crosses[:, ::2] *= 0.6  # a form that no other cell has
    model = ParametricShapes.fit(library_of(crosses))
    sampled = model.sample(300, rng=0)
    assert np.log(sampled.areas()).mean() == pytest.approx(np.log(polygon_areas(crosses)).mean(), abs=0.05)
    assert np.log(sampled.areas()).std() > 0.07
    assert forms(sampled.contours)["compactness"].max() < 1.2 < forms(crosses)["compactness"].min()


def test_a_rare_class_borrows_the_forms_of_the_others():
    contours = np.concatenate([blobs(120, spicules=0.05), blobs(3, seed=9, size=40)])
    model = ParametricShapes.fit(library_of(contours, np.repeat([0, 1], [120, 3]), ("rbc", "wbc")))
    large = model.sample(100, 0, "wbc")
    assert large.areas().mean() == pytest.approx(polygon_areas(contours[120:]).mean(), rel=0.2)
    assert forms(large.contours)["compactness"].mean() == pytest.approx(
        forms(contours[:120])["compactness"].mean(), rel=0.1
    )


def test_identical_cells_and_empty_draws():
    model = ParametricShapes.fit(library_of(np.repeat(blobs(1), 12, axis=0)))
    sampled = model.sample(20, 0)
    assert sampled.areas() == pytest.approx(polygon_areas(blobs(1))[0], rel=0.05)
    assert len(model.sample(0, 0)) == 0
    with pytest.raises(OptionError, match="-1 shapes"):
        model.sample(-1, 0)
    with pytest.raises(DataError, match="empty"):
        ParametricShapes.fit(library_of(np.zeros((0, VERTICES, 2), np.float32)))


@pytest.mark.realdata
def test_real_cells_and_their_model(real_data: Path):
    library = ShapeLibrary.from_smears(open_smears(real_data / "chula", split="train", limit=10))
    bias = [rastered(contour, (100.2, 99.9), 200).sum() for contour in library.contours] / library.areas() - 1
    assert abs(bias.mean()) < 0.001
    assert are_simple(library.contours).all()
    sampled = ParametricShapes.fit(library).sample(600, rng=0)
    real, drawn = forms(library.contours), forms(sampled.contours)
    for name, values in real.items():
        assert stats.ks_2samp(values, drawn[name]).statistic < 0.12, name
