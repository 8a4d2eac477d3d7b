"""Class names and splits of a YOLO data set: `data.yaml`, `classes.txt`, and lists such as `train.txt`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from smearsynth.errors import DataError
from smearsynth.files import read_text
from smearsynth.formats.finding import normalised, text_of
from smearsynth.formats.mark_files.marks import short_text

YAML_SUFFIXES = (".yaml", ".yml")
SPLIT_KEYS = ("train", "val", "test")
_NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels", "predefined_classes.txt")


class DataFile(NamedTuple):
    """Content of `data.yaml` and of the files that it names.

    Parameters
    ----------
    names : mapping of int to str
        Name of each class id; empty if no file has them.
    split_by_name : mapping of str to str
        Split of each image that a list names, by its normalised name without extension.
    folders : mapping of str to str
        Folder of the images of each split.
    notes : tuple of str
        Notes for the user.
    """

    names: Mapping[int, str]
    split_by_name: Mapping[str, str]
    folders: Mapping[str, str]
    notes: tuple[str, ...]


def read_data_file(folders: Sequence[Path], files: Sequence[Path] | None = None) -> DataFile:
    r"""Read the class names and the splits of a data set.

    Parameters
    ----------
    folders : sequence of Path
        Folders that are searched.
    files : sequence of Path, optional
        YAML files, if they are not to be searched for.

    Raises
    ------
    DataError
        If a file is damaged, or two files have different class names.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "data.yaml").write_text("train: images/a\nnames: [red, white]")
    >>> data = read_data_file([folder])
    >>> data.names, data.folders
    ({0: 'red', 1: 'white'}, {'train': 'images/a'})
    """
    if files is None:
        files = [path for folder in folders for path in sorted(folder.glob("*")) if path.suffix in YAML_SUFFIXES]
    contents = {path: content for path in files if (content := yaml_content(path)) is not None}
    lists = [(key, folder / f"{key}.txt") for folder in folders for key in SPLIT_KEYS]
    if not contents:
        names, notes = _names_of_text(folders)
        return DataFile(names, _listed_images(lists), {}, notes)
    preferred = [path for path in contents if path.stem.lower() in ("data", "dataset")] or list(contents)
    path = preferred[0]
    content = contents[path]
    if other := next((other for other in preferred if contents[other]["names"] != content["names"]), None):
        raise DataError(f"has other class names than {other}; open the folder of one of the two data sets", path)
    folder = path.parent
    places = {key: list(_paths(content.get(key))) for key in SPLIT_KEYS}
    lists = [
        (key, folder / name) for key, names in places.items() for name in names if name.endswith(".txt")
    ] + lists
    split_folders = {key: name for key, names in places.items() for name in names if not name.endswith(".txt")}
    # Without a validation split, programs name the folder of training twice.
    single = {key: name for key, name in split_folders.items() if list(split_folders.values()).count(name) == 1}
    return DataFile(_names(content["names"], path), _listed_images(lists), single, ())


def yaml_content(path: Path) -> Mapping[str, Any] | None:
    r"""Return the content of a YAML file with class names, or None for other files.

    Raises
    ------
    DataError
        If it is not valid YAML.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "data.yaml"
    >>> _ = path.write_text("names: {0: red}")
    >>> yaml_content(path)
    {'names': {0: 'red'}}
    """
    text = text_of(path)
    if "names" not in text:
        return None
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"is not valid YAML ({reason}); correct it", path) from error
    return content if isinstance(content, dict) and content.get("names") else None


def _names(value: Any, path: Path) -> dict[int, str]:
    """Return the class names by id, from a list or a mapping."""
    items: Iterable[tuple[Any, Any]]
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        raise DataError("names is neither a list nor a mapping of ids to class names; correct it", path)
    names: dict[int, str] = {}
    for key, name in items:
        if not str(key).isdecimal() or isinstance(name, (dict, list)) or name is None:
            raise DataError(f"names: {short_text(key)}: {short_text(name)} is no id with a name; correct it", path)
        names[int(str(key))] = str(name)
    return names


def _names_of_text(folders: Sequence[Path]) -> tuple[dict[int, str], tuple[str, ...]]:
    """Return the class names of a file with one name per line, and a note."""
    for folder in folders:
        for name in _NAME_FILES:
            if (folder / name).is_file():
                lines = read_text(folder / name).strip().splitlines()
                return dict(enumerate(line.strip() for line in lines)), ()
    return {}, ("no data.yaml with class names; classes are named by their numbers",)


def _paths(value: Any) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            parts = [part for part in item.replace("\\", "/").split("/") if part not in ("", ".", "..")]
            yield "/".join(parts)


def _listed_images(lists: Iterable[tuple[str, Path]]) -> dict[str, str]:
    """Return the split of each image that a list file such as `train.txt` names, by its normalised stem."""
    split_by_name: dict[str, str] = {}
    for split, path in lists:
        if path.is_file():
            for line in read_text(path).splitlines():
                name = line.strip().replace("\\", "/").rpartition("/")[2]
                split_by_name.setdefault(normalised(Path(name).stem), split)
    return split_by_name
