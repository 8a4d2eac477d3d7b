"""NumPy files with labels, among them files that would run a program if they were unpickled."""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.lib.format as npy_format
import pytest

from image_folders import LABELS, data_error
from smearsynth.formats.pixels.arrays import npy_planes, npy_shape, read_cellpose_seg, read_npy_ids


@pytest.mark.parametrize("kind", ["?", "u1", "u2", ">u4", "i8", "f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_label_arrays(tmp_path: Path, kind: str, order: Any) -> None:
    np.save(tmp_path / "a.npy", np.asarray(LABELS, kind, order=order))
    ids = read_npy_ids(tmp_path / "a.npy")
    assert (ids == LABELS.astype(kind)).all()
    assert ids.flags.writeable
    np.save(tmp_path / "a.npy", np.asarray(LABELS, kind)[None])
    assert (read_npy_ids(tmp_path / "a.npy") == LABELS.astype(kind)).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4, 5), np.uint8), "is an array of 3 planes (3 × 4 × 5)"),
        (np.zeros(3, np.uint8), "is an array of shape (3)"),
        (np.array([["a"]]), "has values of type <U1"),
        (np.full((2, 2), 0.5), "contains fractions"),
    ],
)
def test_other_arrays_are_rejected(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array)
    assert message in data_error(lambda: read_npy_ids(tmp_path / "a.npy"))


def write_header(path: Path, shape: tuple[int, ...], content: bytes = b"", descr: str = "|u1") -> None:
    header = io.BytesIO()
    npy_format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    path.write_bytes(header.getvalue() + content)


def test_sizes_are_checked_before_the_data_are_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    write_header(path, (1 << 20, 1 << 20))
    assert "too large for one microscope field" in data_error(lambda: read_npy_ids(path))
    write_header(path, (8000, 8000), b"\0" * 100)
    assert "truncated or damaged" in data_error(lambda: read_npy_ids(path))
    write_header(path, (1 << 30, 1 << 20, 1 << 20))
    assert "too large for one microscope field" in data_error(lambda: next(npy_planes(path)))
    path.write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': 'u")
    assert "truncated or damaged" in data_error(lambda: read_npy_ids(path))
    path.write_bytes(b"\x93NUMPY\x07\x00" + b" " * 200)
    assert "unknown version" in data_error(lambda: npy_shape(path))


def test_planes_of_a_stack(tmp_path: Path) -> None:
    stack = np.stack([k == LABELS for k in (1, 2)])
    np.save(tmp_path / "a.npy", stack)
    assert npy_shape(tmp_path / "a.npy") == stack.shape
    assert (np.stack(list(npy_planes(tmp_path / "a.npy"))) == stack).all()
    np.save(tmp_path / "a.npy", stack[:0])
    assert list(npy_planes(tmp_path / "a.npy")) == []


def seg(**values: Any) -> dict[str, Any]:
    """Return the dictionary that Cellpose saves."""
    count = int(LABELS.max())
    return {
        "outlines": (LABELS > 0).astype(np.uint16), "colors": np.zeros((count, 3), np.uint8),
        "masks": LABELS.astype(np.uint16), "current_channel": 0, "chan_choose": [0, 0],
        "filename": "/data/a.png", "flows": [np.zeros((2, 3), np.float32), None, [np.float64(1.5)]],
        "ismanual": np.arange(count) == 1, "manual_changes": [], "model_path": 0, "est_diam": np.float32(30),
        "zdraw": [None, OrderedDict(a={1}, b=frozenset({2.5}))], "flow_threshold": 0.4,
    } | values  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_cellpose_masks_of_all_pickle_protocols(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a_seg.npy"
    array = np.empty((), object)
    array[()] = seg(source=PurePosixPath("a/b"), text=b"bytes")
    write_header(path, (), pickle.dumps(array, protocol=protocol), "|O")
    segmentation = read_cellpose_seg(path)
    assert (segmentation["masks"] == LABELS).all()
    assert segmentation["ismanual"].tolist() == [False, True, False]
    assert segmentation["filename"] == "/data/a.png"
    assert (read_npy_ids(path) == LABELS).all()


def test_cellpose_masks_of_older_numpy(tmp_path: Path) -> None:
    path = tmp_path / "a_seg.npy"
    array = np.empty((), object)
    array[()] = seg()
    content = pickle.dumps(array, protocol=3)
    assert b"numpy._core" in content
    write_header(path, (), content.replace(b"cnumpy._core.", b"cnumpy.core."), "|O")
    assert (read_cellpose_seg(path)["masks"] == LABELS).all()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (seg(masks=np.zeros((4, 5, 6), np.uint16)), "has masks of shape 4 × 5 × 6, but one plane is expected"),
        (seg(masks=[1]), "has masks of no array"),
        (seg(masks=np.array(["a"])), "has masks of no array"),
        ({"flows": 1}, "has no masks"),
        ([1], "has no masks"),
    ],
)
def test_other_pickles_are_rejected(tmp_path: Path, record: Any, message: str) -> None:
    path = tmp_path / "a_seg.npy"
    array = np.empty((), object)
    array[()] = record
    np.save(path, array, allow_pickle=True)
    text = data_error(lambda: read_cellpose_seg(path))
    assert message in text
    assert "Save masks as PNG/TIF" in text


class Malicious:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.reduced = (call, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("call", [os.mkdir, eval, getattr, np.load, np.fromfile, __import__])
def test_a_malicious_pickle_runs_nothing(tmp_path: Path, call: Any, protocol: int) -> None:
    path, victim = tmp_path / "a_seg.npy", tmp_path / "victim"
    argument = f"__import__('os').mkdir({str(victim)!r})" if call is eval else str(victim)
    array = np.empty((), object)
    array[()] = seg(trap=Malicious(call, argument))
    write_header(path, (), pickle.dumps(array, protocol=protocol), "|O")
    text = data_error(lambda: read_npy_ids(path))
    assert "not loaded because it could run a program" in text
    assert "Save masks as PNG/TIF" in text
    assert not victim.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"cnumpy\nndarray\n(I1\nI2\nI3\nI4\nI5\ntb.",  # the state of a class
        b"cnumpy._core.multiarray\n_reconstruct\n(N}S'__defaults__'\n(I1\ntstb.",  # the defaults of a function
        b"cbuiltins\nint\n(S'x'\ntR.",
        b"c__main__\n.\n.",
    ],
)
def test_a_damaged_pickle_is_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a_seg.npy"
    write_header(path, (), content, "|O")
    assert str(path) in data_error(lambda: read_cellpose_seg(path))


def test_pickled_arrays_must_have_the_bytes_of_their_shape(tmp_path: Path) -> None:
    path = tmp_path / "a_seg.npy"
    array = np.empty((), object)
    array[()] = {"masks": np.zeros((77, 88), np.uint8)}
    content = pickle.dumps(array, protocol=3)
    assert content.count(b"KMKX") == 1  # 77 and 88
    write_header(path, (), content.replace(b"KMKX", b"KMKY"), "|O")
    assert "does not match its shape" in data_error(lambda: read_cellpose_seg(path))
