from __future__ import annotations

from pathlib import Path

import pytest

from image_folders import data_error, write_pair
from smears import analytic_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError, OptionError
from smearsynth.formats.registry import READ_AS, WRITE_FORMATS, detect_format, open_reader, open_writer


def test_paths_without_readable_smears(tmp_path: Path) -> None:
    assert "does not exist" in data_error(lambda: open_smears(tmp_path / "no"))
    assert "is empty" in data_error(lambda: open_smears(tmp_path))
    (tmp_path / "readme.txt").write_text("x")
    message = data_error(lambda: open_smears(tmp_path))
    assert "labels/" in message
    assert "COCO" in message
    assert "is a file; name the folder" in data_error(lambda: open_smears(tmp_path / "readme.txt"))
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    assert "unknown format" in data_error(lambda: open_smears(tmp_path))


def test_unknown_options_are_rejected(tmp_path: Path) -> None:
    write_pair(tmp_path)
    for options in ({"format": "jpeg"}, {"classes": "some"}, {"classes": "annotated", "binary": True}):
        with pytest.raises(OptionError):
            open_smears(tmp_path, **options)  # type: ignore[arg-type]


def test_an_unreadable_folder_is_a_data_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert "no permission to read it" in data_error(lambda: open_reader(tmp_path))


@pytest.mark.parametrize("format", WRITE_FORMATS)
def test_the_format_of_a_folder_is_detected(tmp_path: Path, format: str) -> None:
    write_folder(tmp_path, [analytic_smear()], format=format)
    name = READ_AS.get(format, format)
    assert detect_format(tmp_path) == open_reader(tmp_path).format == name
    (tmp_path / "classes.json").unlink()  # as written by another program
    assert detect_format(tmp_path) == open_reader(tmp_path).format == name


def test_writers_of_unknown_formats_or_duplicate_classes_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="labels, palette, coco"):
        open_writer(tmp_path, format="jpeg")
    with pytest.raises(OptionError, match="no duplicates"):
        open_writer(tmp_path, class_names=("a", "a"))
    (tmp_path / "x.txt").touch()
    with pytest.raises(DataError, match="is a file"):
        open_writer(tmp_path / "x.txt")


def test_a_value_for_unannotated_pixels_is_ignored(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [analytic_smear()])
    (tmp_path / "classes.json").unlink()  # as written by another program
    smear = open_smears(folder, ignore_value=3)[0]
    assert smear.count == 2
    assert smear.ignored is not None
    assert (smear.ignored == (analytic_smear().labels == 3)).all()
    coco = write_folder(tmp_path / "coco", [analytic_smear()], format="coco")
    with pytest.raises(OptionError, match="applies to the format labels"):
        open_smears(coco, ignore_value=3)
