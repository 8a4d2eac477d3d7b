"""Commands on annotated smears: bad input is one line that names the file and the remedy."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from command_line import error_of, left_behind
from conftest import Run
from smears import analytic_smear, write_folder


def save(path: Path, pixels: np.ndarray[Any, Any]) -> None:
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels)
    else:
        Image.fromarray(pixels).save(path)


def replace_labels(folder: Path, name: str, pixels: np.ndarray[Any, Any]) -> None:
    (folder / "labels" / f"{name[0]}.png").unlink()
    save(folder / "labels" / name, pixels)


def float_labels(folder: Path) -> None:
    replace_labels(folder, "a.tif", np.where(np.eye(64, 80) > 0, 1.5, 0).astype(np.float32))


def colour_labels(folder: Path) -> None:
    labels = np.zeros((64, 80, 3), np.uint8)
    labels[4:20, 4:20] = (10, 200, 30)
    replace_labels(folder, "b.png", labels)  # not the first, by which the format is told


def other_size(folder: Path) -> None:
    labels = np.zeros((32, 40), np.uint16)
    labels[4:9, 4:9], labels[14:19, 4:9] = 1, 2
    replace_labels(folder, "a.png", labels)


def no_image(folder: Path) -> None:
    (folder / "images" / "a.png").write_text("These are not the pixels you are looking for.")


def truncated(folder: Path) -> None:
    path = folder / "images" / "a.png"
    path.write_bytes(path.read_bytes()[:-200])


def truncated_labels(folder: Path) -> None:
    path = folder / "labels" / "a.png"
    path.write_bytes(path.read_bytes()[:70])


def missing_pair(folder: Path) -> None:
    (folder / "labels" / "a.png").unlink()


def missing_image(folder: Path) -> None:
    (folder / "images" / "a.png").unlink()


BAD: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "not an image": (no_image, "images/a.png", "is not an image; save it as PNG"),
    "other size": (other_size, "labels/a.png", "is 40×32 px, but its image"),
    "float labels": (float_labels, "labels/a.tif", "contains fractions, but labels are expected; save integer"),
    "colour labels": (colour_labels, "labels/b.png", "a colour image of 3 channels, but labels are expected"),
    "truncated image": (truncated, "images/a.png", "is truncated or damaged"),
    "truncated labels": (truncated_labels, "labels/a.png", "is truncated or damaged"),
    "missing labels": (missing_pair, "", "1 image (a) without labels; add labels/a.png or remove the image"),
    "missing image": (missing_image, "", "1 label image (a) without image; add images/a.png or remove it"),
}


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Four smears in a folder that another program could have written."""
    folder = write_folder(
        tmp_path / "data", [analytic_smear(noise=2, seed=k, name=n) for k, n in enumerate("abcd")]
    )
    (folder / "classes.json").unlink()
    return folder


@pytest.mark.parametrize("case", BAD)
def test_bad_smears_are_named(run: Run, foreign: Path, tmp_path: Path, tiny_folder: Path, case: str) -> None:
    spoil, culprit, said = BAD[case]
    spoil(foreign)
    out = tmp_path / "out"
    for arguments in (
        ("stats", foreign),
        ("stats", foreign, "--json"),
        ("train", foreign, "-o", out, "--preset", "tiny", "--steps", 2),
        ("masks", "--data", foreign, "-o", out),
        ("generate", "-m", tiny_folder, "-o", out, "--style-of", f"{foreign}:{'b' if 'b.png' in culprit else 'a'}"),
    ):
        ran = run(*arguments)
        line = error_of(ran)
        assert line.startswith(f"error: {foreign / culprit}"), line
        assert said in line
        assert ran.out == ""
        assert arguments[0] == "train" or [text[:6] for text in ran.err.splitlines()[:-1]] in ([], ["found:"])
        assert left_behind(out) == []


def test_colours_where_ids_are_expected_can_be_read_as_the_format_they_are(run: Run, foreign: Path) -> None:
    for path in (foreign / "labels").iterdir():
        save(
            path,
            np.array([(0, 0, 0), (250, 0, 0), (0, 250, 0), (0, 0, 250)], np.uint8)[np.asarray(Image.open(path))],
        )
    assert "colour image" in error_of(run("stats", foreign, "--format", "labels"))
    for format in ("palette", "auto"):
        assert json.loads(run("stats", foreign, "--format", format, "--json").out)["count"]["mean"] == 3
    assert "format must be auto, labels" in error_of(run("stats", foreign, "--format", "yolo9000"))


def test_a_binary_mask_is_recognised_and_read_on_request(run: Run, foreign: Path, tmp_path: Path) -> None:
    for path in (foreign / "labels").iterdir():
        save(path, ((np.asarray(Image.open(path)) > 0) * 255).astype(np.uint8))
    out = tmp_path / "out"
    small = ("--preset", "tiny", "--steps", 2)
    for arguments in (
        ("stats", foreign),
        ("train", foreign, "-o", out / "m", *small),
        ("masks", "--data", foreign, "-o", out / "k", "-n", 1),
    ):
        line = error_of(run(*arguments))
        assert str(foreign / "labels" / "a.png") in line
        assert "looks like a binary mask" in line
        assert "pass --binary" in line
        assert left_behind(out) == []
        ran = run(*arguments, "--binary")
        assert ran.code == 0, ran.err
        shutil.rmtree(out, ignore_errors=True)
    # two of the three discs touch and are one component
    assert json.loads(run("stats", foreign, "--binary", "--json").out)["count"]["mean"] == 2


@pytest.mark.parametrize("command", ["stats", "train", "masks", "generate"])
def test_what_is_no_folder_of_smears_is_told_apart(
    run: Run, tmp_path: Path, tiny_folder: Path, command: str
) -> None:
    empty, file, bare = tmp_path / "empty", tmp_path / "one.png", tmp_path / "bare"
    empty.mkdir()
    (bare / "images").mkdir(parents=True)
    save(bare / "images" / "a.png", np.zeros((8, 8, 3), np.uint8))
    save(file, np.zeros((8, 8, 3), np.uint8))
    out = tmp_path / "out"
    for path, said in (
        (tmp_path / "nowhere", "does not exist; name a folder of annotated smears"),
        (empty, "is empty; name a folder of annotated smears"),
        (file, "is a file; name the folder of annotated smears"),
        (bare, "contains images/ without annotations; put label images in"),
    ):
        ran = run(
            *{
                "stats": ("stats", path),
                "train": ("train", path, "-o", out),
                "masks": ("masks", "--data", path, "-o", out),
                "generate": ("generate", "-m", tiny_folder, "-o", out, "--style-of", f"{path}:a"),
            }[command]
        )
        assert error_of(ran).startswith(f"error: {path}: {said}")
        assert ran.err.count("\n") == 1
        assert not out.exists()


@pytest.mark.parametrize("kind", ["no cells", "all cut"])
def test_data_without_a_whole_cell_names_the_folder(run: Run, tmp_path: Path, kind: str) -> None:
    discs = [] if kind == "no cells" else [(0.0, 0.0, 12.0), (79.0, 63.0, 12.0)]
    data = write_folder(tmp_path / "data", [analytic_smear(discs=discs, name=n) for n in "ab"])
    assert run("stats", data).code == 0  # what there is to measure is measured
    out = tmp_path / "out"
    for arguments in (
        ("train", data, "-o", out, "--preset", "tiny"),
        ("train", data, "-o", out, "--preset", "tiny", "--dry-run"),
        ("masks", "--data", data, "-o", out),
        ("masks", "--data", data, "-o", out, "--explain"),
    ):
        line = error_of(run(*arguments))
        assert line.startswith(f"error: {data}: no whole cell to extract a shape from")
        assert line.endswith("add smears with whole cells")
        assert not out.exists()


def test_a_figure_does_not_replace_a_folder(run: Run, tmp_path: Path, tiny_folder: Path) -> None:
    line = error_of(run("masks", "-m", tiny_folder, "-o", tmp_path, "--explain", "--size", "64x64"))
    assert line.startswith(f"error: {tmp_path}: cannot be written")
    assert left_behind(tmp_path) == []


def test_masks_do_not_come_among_smears(run: Run, tmp_path: Path, tiny_folder: Path) -> None:
    data = write_folder(tmp_path / "data", [analytic_smear(name="a")])
    before = left_behind(data)
    line = error_of(run("masks", "-m", tiny_folder, "-o", data, "-n", 1))
    assert (
        line == f"error: {data}: contains images; choose another folder, instance masks are written without images"
    )
    line = error_of(run("generate", "-m", tiny_folder, "-o", data, "-n", 1))
    assert "a.png: was not made by `smearsynth generate`; choose another folder" in line
    assert left_behind(data) == before


def test_a_full_disk_while_drawing_masks_or_figures_is_one_line(
    run: Run, tmp_path: Path, tiny_folder: Path, disk_full: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_full(1)
    line = error_of(run("masks", "-m", tiny_folder, "-o", tmp_path, "-n", 2, "--size", "48x48"))
    assert f"{tmp_path}/palette/mask-000000.png: the disk is full" in line
    assert [name for name in left_behind(tmp_path) if name.endswith((".png", ".part", ".jsonl"))] == [
        "labels/mask-000000.png"
    ]

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    figure = tmp_path / "figures" / "f.png"
    line = error_of(run("masks", "-m", tiny_folder, "-o", figure, "--explain", "--size", "64x64"))
    assert f"{figure}: the disk is full" in line
    assert left_behind(figure.parent) == []


def test_stats_lists_and_draws_overlays(tmp_path, capsys):
    from smearsynth.cli.app import main

    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    image = np.full((64, 96, 3), 200, np.uint8)
    image[50:52, 40:80] = 0, 255, 0
    labels = np.zeros((64, 96), np.uint8)
    labels[10:20, 10:20] = 1
    Image.fromarray(image).save(tmp_path / "images" / "a.png")
    Image.fromarray(labels).save(tmp_path / "labels" / "a.png")
    sheet = tmp_path / "overlays.png"
    assert main(["stats", str(tmp_path), "--overlays", str(sheet), "--json"]) == 0
    printed = capsys.readouterr()
    overlay = json.loads(printed.out)["overlays"][0]
    assert (overlay["kind"], overlay["smears"], overlay["place"]) == ("scale bar or text", 1, "lower centre")
    assert "overlays: scale bar or text in 1 of 1 smears" in printed.err
    assert Image.open(sheet).width > 96


def _folder_with_a_bar(root: Path) -> Path:
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    image = np.full((64, 96, 3), 200, np.uint8)
    image[50:52, 40:80] = 0, 255, 0
    labels = np.zeros((64, 96), np.uint8)
    labels[10:20, 10:20], labels[49:53, 45:60], labels[30:40, 60:70] = 1, 2, 3
    save(root / "images" / "a.png", image)
    save(root / "labels" / "a.png", labels)
    return root


def test_keep_overlays_counts_the_cells_below_a_scale_bar(run: Run, tmp_path: Path) -> None:
    folder = _folder_with_a_bar(tmp_path / "data")
    cells = {}
    for options in ((), ("--keep-overlays",)):
        code, out, errors = run("stats", folder, "--json", *options)
        assert code == 0
        cells[options] = json.loads(out)["count"]["mean"]
        assert ("scale bar or text in 1 of 1 smears, excluded" in errors) is not bool(options)
    assert cells == {(): 2, ("--keep-overlays",): 3}


def test_ignore_removes_the_cells_below_a_mask(run: Run, tmp_path: Path) -> None:
    folder = _folder_with_a_bar(tmp_path / "data")
    mask = np.zeros((64, 96), np.uint8)
    mask[25:45, 55:75] = 255
    save(tmp_path / "mask.png", mask)
    code, out, _ = run("stats", folder, "--ignore", tmp_path / "mask.png", "--json")
    assert code == 0
    assert json.loads(out)["count"]["mean"] == 1
    save(tmp_path / "mask.png", mask[:50])
    line = error_of(run("stats", folder, "--ignore", tmp_path / "mask.png"))
    assert "mask is 96×50 px, image a is 96×64 px" in line
    assert str(tmp_path / "none.png") in error_of(run("stats", folder, "--ignore", tmp_path / "none.png"))
