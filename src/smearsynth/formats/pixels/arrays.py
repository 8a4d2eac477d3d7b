"""NumPy files (`.npy`) with labels: label arrays, stacks of masks, and the `_seg.npy` files of Cellpose.

A `_seg.npy` file is a pickled dictionary, and unpickling a file can run any program that it names. Here the pickle
is decoded with substitutes: the names of NumPy's arrays stand for records of this module that hold bytes, and any
name but those and the containers of Python is refused.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NotRequired, TypedDict

import numpy as np
import numpy.lib.format as npy_format
import numpy.typing as npt

from smearsynth.errors import DataError
from smearsynth.formats.pixels.decoding import Pixels, check_pixels, decoding
from smearsynth.formats.pixels.label_ids import as_ids

_EXPORT = "export the masks from Cellpose (File > Save masks as PNG/TIF, *_cp_masks.png)"
_KINDS = "biuf"
_MAX_SCALAR_BYTES = 64


class CellposeSegmentation(TypedDict):
    """The masks of a `_seg.npy` file of Cellpose.

    Attributes
    ----------
    masks : (H, W) integer array
        Ids; 0 = background.
    ismanual : (n,) bool array, optional
        Whether cell 1, 2, ... was drawn by hand. Absent if the file does not say it.
    filename : str, optional
        The image, as a path on the computer where it was segmented.
    """

    masks: npt.NDArray[np.integer[Any]]
    ismanual: NotRequired[npt.NDArray[np.bool_]]
    filename: NotRequired[str]


def npy_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of the array in a `.npy` file; only the header is read.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.npy"
    >>> np.save(path, np.zeros((5, 4, 3), bool))
    >>> npy_shape(path)
    (5, 4, 3)
    """
    with decoding(path), path.open("rb") as file:
        return _read_header(file)[0]


def read_npy_ids(path: Path) -> npt.NDArray[np.integer[Any]]:
    """Read ids from a `.npy` file: a label array, or the masks of a `_seg.npy` file of Cellpose.

    Parameters
    ----------
    path : Path

    Returns
    -------
    (H, W) integer array
        0 = background.

    Raises
    ------
    DataError
        If the array has other axes, fractions or negative values, is too large, or is a pickle of other content.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.npy"
    >>> np.save(path, np.array([[0, 1], [7, 7]], np.int64))
    >>> read_npy_ids(path).tolist()
    [[0, 1], [7, 7]]
    """
    with decoding(path):
        with path.open("rb") as file:
            shape, _, dtype = _read_header(file)
        if dtype.hasobject:
            return read_cellpose_seg(path)["masks"]
        if len(shape) == 3 and shape[0] != 1:
            raise DataError(
                f"is an array of {shape[0]} planes ({_axes(shape)}); save one label array (H, W)",
                path,
            )
        return as_ids(np.array(_load(path, shape, dtype)).reshape(shape[-2:]), path)


def npy_planes(path: Path) -> Iterator[Pixels]:
    """Yield the planes of an array (N, H, W), or the array itself if it is (H, W).

    The array is mapped to memory, so that only the requested plane is loaded.

    Raises
    ------
    DataError
        If the array has other axes, or is not of bool, integer or float.
    """
    with decoding(path):
        with path.open("rb") as file:
            shape, _, dtype = _read_header(file)
        if len(shape) not in (2, 3):
            raise DataError(f"is an array of shape ({_axes(shape)}); save masks as an array (N, H, W)", path)
        array = _load(path, shape, dtype)
    for plane in array.reshape(-1, *shape[-2:]) if math.prod(shape) else []:
        yield np.array(plane)


def _read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy_format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"unknown version {version} of the format")
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return tuple(int(side) for side in shape), bool(fortran), dtype


def _load(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Pixels:
    """Map the array of a `.npy` file to memory; the header is checked first."""
    if dtype.kind not in _KINDS:
        raise DataError(f"has values of type {dtype}; save integer ids as uint16 or int32", path)
    if len(shape) < 2:
        raise DataError(f"is an array of shape ({_axes(shape)}); save a label array (H, W)", path)
    check_pixels(shape[-2:], path)
    if not math.prod(shape):
        return np.zeros(shape, dtype)
    # mmap_mode, because it compares the size of the file with the header before memory is allocated.
    array: Pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _axes(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def read_cellpose_seg(path: Path) -> CellposeSegmentation:
    """Read the masks of a `_seg.npy` file of Cellpose, without unpickling objects.

    Parameters
    ----------
    path : Path

    Returns
    -------
    CellposeSegmentation
        A dictionary with the masks, and with `ismanual` and `filename` if the file has them.

    Raises
    ------
    DataError
        If the file contains anything but arrays and plain values, has no masks, or has masks of a volume.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a_seg.npy"
    >>> np.save(path, {"masks": np.array([[0, 1]], np.uint16), "filename": "a.png"}, allow_pickle=True)
    >>> segmentation = read_cellpose_seg(path)
    >>> segmentation["masks"].tolist(), segmentation["filename"]
    ([[0, 1]], 'a.png')
    """
    with decoding(path), path.open("rb") as file:
        shape, _, dtype = _read_header(file)
        if not dtype.hasobject or shape != ():
            raise DataError(f"is not a _seg.npy file of Cellpose; {_EXPORT}", path)
        content = _unpickled(file, path)
    record = content.data[0] if isinstance(content, _Array) and isinstance(content.data, list) else content
    if not isinstance(record, dict) or "masks" not in record:
        raise DataError(f"has no masks; {_EXPORT}", path)
    with decoding(path):
        return _segmentation(record, path)


def _segmentation(record: dict[object, object], path: Path) -> CellposeSegmentation:
    masks = _pixels(record["masks"], path)
    if masks is None or masks.ndim not in (2, 3) or (masks.ndim == 3 and masks.shape[0] != 1):
        found = "of no array" if masks is None else f"of shape {_axes(masks.shape)}"
        raise DataError(f"has masks {found}, but one plane is expected; {_EXPORT}", path)
    result = CellposeSegmentation(masks=as_ids(masks.reshape(masks.shape[-2:]), path))
    manual = record.get("ismanual")
    flags = np.asarray(manual) if _is_flags(manual) else _pixels(manual, path)
    if flags is not None and flags.ndim == 1:
        result["ismanual"] = flags.astype(bool)
    if isinstance(name := record.get("filename"), str):
        result["filename"] = name
    return result


def _is_flags(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(flag, (bool, int)) for flag in value)


class _Dtype:
    """Substitute for `numpy.dtype`: the code of a type and its byte order."""

    def __init__(self, code: object = "", align: object = False, copy: object = False) -> None:
        self.code = code if isinstance(code, str) else ""
        self.order = "="

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "=", "|"):
            self.order = str(state[1])

    def numpy(self) -> np.dtype[Any] | None:
        """Return the type if it is a number, else None."""
        if len(self.code) not in (2, 3) or self.code[0] not in _KINDS or not self.code[1:].isdigit():
            return None
        return np.dtype(self.code).newbyteorder(self.order if self.order in "<>" else "=")  # type: ignore[arg-type]


class _Array:
    """Substitute for `numpy.ndarray`: the bytes of an array, or the list of its objects."""

    shape: object = ()
    dtype: object = None
    fortran: object = False
    data: object = b""

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("unknown state of an array")
        _, self.shape, self.dtype, self.fortran, self.data = state


def _pixels(value: object, path: Path) -> Pixels | None:
    """Return the array of a substitute, or None if it is no array of numbers."""
    if not isinstance(value, _Array) or not isinstance(value.dtype, _Dtype):
        return None
    dtype, shape = value.dtype.numpy(), value.shape
    if dtype is None or not isinstance(value.data, (bytes, bytearray)) or not isinstance(shape, tuple):
        return None
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        return None
    if len(shape) >= 2:
        check_pixels(shape[-2:], path)
    if math.prod(shape) * dtype.itemsize != len(value.data):
        raise ValueError("the size of an array does not match its shape")
    return np.frombuffer(value.data, dtype).reshape(shape, order="F" if value.fortran else "C")


def _new_array(kind: object, shape: object, code: object) -> _Array:
    return _Array()


def _array_of_buffer(data: object, dtype: object, shape: object, order: object) -> _Array:
    array = _Array()
    array.data, array.dtype, array.shape, array.fortran = data, dtype, shape, order == "F"
    return array


def _scalar(dtype: object, data: object = b"") -> object:
    kind = dtype.numpy() if isinstance(dtype, _Dtype) else None
    if kind is None or not isinstance(data, bytes) or len(data) != kind.itemsize or len(data) > _MAX_SCALAR_BYTES:
        return None
    return np.frombuffer(data, kind)[0].item()


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    # Protocol 2 stores bytes as text of Latin-1.
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"unknown encoding {encoding}")
    return text.encode("latin-1")


def _joined_path(*parts: str) -> str:
    return "/".join(map(str, parts))


class _Function:
    """A function whose attributes a pickle cannot change."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *arguments: object) -> object:
        return self._call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise ValueError("a function with a state")


_NUMPY = {
    ("multiarray", "_reconstruct"): _Function(_new_array),
    ("multiarray", "scalar"): _Function(_scalar),
    ("numeric", "_frombuffer"): _Function(_array_of_buffer),
}
_SUBSTITUTES: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Function(_encoded),
    ("collections", "OrderedDict"): OrderedDict,
    **{(f"numpy.{core}.{module}", name): substitute
       for core in ("core", "_core") for (module, name), substitute in _NUMPY.items()},
    **{(module, kind.__name__): kind
       for module in ("builtins", "__builtin__")  # the second of protocol 2
       for kind in (set, frozenset, list, dict, tuple, bool, int, float, str)},
    **{(f"pathlib{part}", name): _Function(_joined_path)
       for part in ("", "._local") for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")},
}  # fmt: skip


class _RefusedNameError(Exception):
    """The pickle names a function or class that is not permitted."""


class _PlainUnpickler(pickle.Unpickler):
    """Decoder of pickles that contain arrays and plain values only."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the substitute of a name."""
        try:
            return _SUBSTITUTES[module, name]
        except KeyError:
            raise _RefusedNameError(f"{module}.{name}") from None


def _unpickled(file: BinaryIO, path: Path) -> Any:
    try:
        return _PlainUnpickler(file).load()
    except _RefusedNameError as error:
        name = " ".join(str(error).split())[:80]
        raise DataError(
            f"contains {name}, which is not loaded because it could run a program; {_EXPORT}", path
        ) from error
    except (
        pickle.UnpicklingError,
        AttributeError,
        AssertionError,
        RecursionError,
        MemoryError,
        ImportError,
    ) as error:
        reason = " ".join(str(error).split())[:80]
        raise DataError(f"is damaged ({reason}); save it again, or {_EXPORT}", path) from error
