from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from image_folders import IMAGE, LABELS, LABELS_8, data_error, write_pair
from label_images import components, discs, jpeg, outlines, photograph
from smears import analytic_smear, random_smear, write_folder
from smearsynth.datasets import open_smears
from smearsynth.errors import DataError
from smearsynth.formats.label_images.labels import LabelReader, pixel_size
from smearsynth.formats.registry import open_writer
from smearsynth.formats.tables import FolderMetadata
from smearsynth.smear import Smear

TWO_CLASSES = ("red", "white")


def test_a_field_without_cells_and_fields_of_different_sizes(tmp_path: Path) -> None:
    write_pair(tmp_path)
    write_pair(tmp_path, np.zeros((30, 40), np.uint8), IMAGE[:30, :40], image_file="b.png", label_file="b.png")
    assert [(smear.count, smear.shape) for smear in open_smears(tmp_path)] == [(3, (64, 80)), (0, (30, 40))]


def test_classes_of_other_programs_are_used_only_on_request(tmp_path: Path) -> None:
    write_pair(tmp_path)
    (tmp_path / "instances.csv").write_text("image,instance,class\na.png,3,ring\na,1,red\na,2,red\n")
    assert open_smears(tmp_path).class_names == ("cell",)
    annotated = open_smears(tmp_path, classes="annotated")
    assert annotated.class_names == ("ring", "red")
    assert annotated[0].classes.tolist() == [1, 1, 0]
    (tmp_path / "instances.csv").write_text("image,instance,class\na,1,red\na,3,ring\n")
    assert "instance 2 of image a" in data_error(lambda: open_smears(tmp_path, classes="annotated")[0])


def test_an_error_of_different_sizes_names_both_files(tmp_path: Path) -> None:
    write_pair(tmp_path, LABELS_8[:, :60])
    message = data_error(lambda: open_smears(tmp_path)[0])
    for part in ("labels/a.png", "60×64", "images/a.png", "80×64"):
        assert part in message


@pytest.mark.parametrize("value", [1, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, bool])
def test_a_binary_mask_is_split_into_components_only_on_request(tmp_path: Path, value: int, dtype: type) -> None:
    write_pair(tmp_path, ((LABELS > 0) * value).astype(dtype))
    message = data_error(lambda: open_smears(tmp_path)[0])
    assert "looks like a binary mask" in message
    assert "--binary" in message
    # The two discs that overlap are one component.
    assert open_smears(tmp_path, binary=True)[0].count == 2


def test_a_component_that_reaches_all_borders_looks_binary_and_a_single_cell_does_not(tmp_path: Path) -> None:
    net = np.zeros((64, 80), np.uint8)
    net[30:34] = net[:, 40:44] = 1
    write_pair(tmp_path, net)
    assert "--binary" in data_error(lambda: open_smears(tmp_path)[0])
    write_pair(tmp_path, (LABELS == 3).astype(np.uint8))
    assert open_smears(tmp_path)[0].count == 1


def test_one_cell_in_two_pieces_is_not_a_binary_mask_if_other_smears_have_several_ids(tmp_path: Path) -> None:
    split = (LABELS == 3).astype(np.uint8)
    split[44] = 0
    write_pair(tmp_path, split)
    write_pair(tmp_path, LABELS_8, image_file="b.png", label_file="b.png")
    assert [smear.count for smear in open_smears(tmp_path)] == [1, 3]


def test_annotated_classes_of_a_folder_without_classes(tmp_path: Path) -> None:
    write_pair(tmp_path)
    assert "contains no classes; add instances.csv" in data_error(
        lambda: open_smears(tmp_path, classes="annotated")
    )


def test_pixel_size_is_read_from_the_tag_of_smearsynth_and_not_from_a_resolution(tmp_path: Path) -> None:
    write_folder(tmp_path, [analytic_smear(name="a", um_per_px=0.125)])
    path = tmp_path / "images" / "a.png"
    assert pixel_size(path, FolderMetadata("labels", ("cell",))) == 0.125
    assert pixel_size(path, None) == 0.125
    Image.fromarray(IMAGE).save(path, dpi=(72, 72))
    assert pixel_size(path, FolderMetadata("labels", ("cell",))) is None


def test_labels_are_16_bit_png_or_tiff_for_more_instances(tmp_path: Path) -> None:
    many = np.arange(300 * 300, dtype=np.int32).reshape(300, 300)
    smear = Smear.from_labels(np.zeros((300, 300, 3), np.uint8), many, name="many")
    with open_writer(tmp_path) as writer:
        writer.write(smear)
        writer.write(analytic_smear(name="few"))
    with Image.open(tmp_path / "labels" / "few.png") as image:
        assert image.mode == "I;16"
    assert tifffile.imread(tmp_path / "labels" / "many.tif").dtype == np.int32
    assert (open_smears(tmp_path)[1].labels == many).all()


def test_the_error_of_an_unfinished_folder_says_how_to_finish_it(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, class_names=TWO_CLASSES)
    writer.write(random_smear(0, class_names=TWO_CLASSES))
    with pytest.raises(DataError, match="run the same command again to finish"):
        open_smears(tmp_path)[0]


def reader_of(root: Path, *labels: np.ndarray, **options: object) -> LabelReader:
    for k, ids in enumerate(labels):
        write_pair(root, ids, photograph(discs()), image_file=f"{k}.png", label_file=f"{k}.png")
    return LabelReader(root, **options)  # type: ignore[arg-type]


def test_what_was_changed_is_reported(tmp_path: Path) -> None:
    ids = discs().astype(np.uint8)
    void = np.where(outlines(ids), 255, ids).astype(np.uint8)
    reader = reader_of(tmp_path, ids, ids + np.uint8(1), void, np.ascontiguousarray(ids[::-1, ::-1]))
    assert [reader.read(entry).count for entry in reader.entries] == [int(ids.max())] * 4
    assert reader.found == "label images of 4 smears"
    assert [note.split(" ")[-1] for note in reader.report.notes()] == ["(1)", "(2)", "(3)"]
    for note, part in zip(reader.report.notes(), ("background", "void", "turned by 180°"), strict=True):
        assert part in note


def test_pixels_of_the_ignore_value_and_of_the_folder_ignore(tmp_path: Path) -> None:
    ids = discs()
    ids[:, 100:] = 200
    reader = reader_of(tmp_path, ids.astype(np.uint8), ignore_value=200)
    (tmp_path / "ignore").mkdir()
    ignored = np.zeros(ids.shape, np.uint8)
    ignored[70:] = 1
    Image.fromarray(ignored).save(tmp_path / "ignore" / "0.png")
    reader = LabelReader(tmp_path, ignore_value=200)
    smear = reader.read(reader.entries[0])
    assert smear.ignored is not None
    assert (smear.ignored == (((ignored > 0) & (ids == 0)) | (ids == 200))).all()


def test_values_that_are_no_ids_are_refused_with_the_file_and_the_remedy(tmp_path: Path) -> None:
    ids = discs()
    many = discs(20, 20, 4, 12, touching=False)
    for k, (labels, remedy) in enumerate(
        (
            (jpeg(ids > 0), "--binary"),
            (np.where(ids > 0, 1 + ids % 3, 0).astype(np.uint8), "one id per cell"),
            (many.astype(np.uint8), "save the ids as uint16"),
            ((ids == 0).astype(np.uint8), "invert it"),
        )
    ):
        root = tmp_path / str(k)
        write_pair(root, labels, photograph(many if k == 2 else ids))
        reader = LabelReader(root)
        message = data_error(lambda reader=reader: reader.read(reader.entries[0]))  # type: ignore[misc]
        assert message.startswith(f"{root / 'labels' / 'a.png'}: ")
        assert remedy in message


def test_a_lossy_mask_is_read_as_binary(tmp_path: Path) -> None:
    ids = discs()
    reader = reader_of(tmp_path, jpeg(ids > 0), binary=True)
    assert reader.read(reader.entries[0]).count == components(ids)
    inverted = reader_of(tmp_path / "inverted", (ids == 0).astype(np.uint8), binary=True)
    assert "labels/0.png: looks like an inverted mask" in data_error(lambda: inverted.read(inverted.entries[0]))


def test_the_orientation_is_chosen_by_the_labels(tmp_path: Path) -> None:
    ids = discs()
    write_pair(tmp_path, ids.astype(np.uint8))
    (tmp_path / "images" / "a.png").unlink()
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(photograph(ids)).save(tmp_path / "images" / "a.jpg", exif=exif)
    reader = LabelReader(tmp_path)
    assert reader.read(reader.entries[0]).shape == ids.shape
    assert "EXIF orientation 6 not applied" in reader.report.notes()[0]


def test_folders_of_smearsynth_are_not_checked(tmp_path: Path) -> None:
    codes = np.where(discs() > 0, 1 + discs() % 3, 0).astype(np.int32)
    smear = Smear.from_labels(photograph(codes), codes, name="a")
    write_folder(tmp_path, [smear])
    assert open_smears(tmp_path)[0].count == 3
