from __future__ import annotations

from pathlib import Path

import pytest

from smearsynth.errors import DataError, ModelError, OptionError, SmearsynthError, error_location


@pytest.mark.parametrize("kind", [DataError, ModelError, OptionError])
def test_the_path_precedes_the_message(kind: type[SmearsynthError]) -> None:
    error = kind("is empty", "a/b")
    assert isinstance(error, SmearsynthError)
    assert (str(error), error.path) == ("a/b: is empty", Path("a/b"))
    error = kind("is empty")
    assert (str(error), error.path) == ("is empty", None)


def test_wrong_values_are_also_value_errors() -> None:
    assert issubclass(DataError, ValueError)
    assert issubclass(OptionError, ValueError)


def test_the_location_is_added_only_to_a_data_error_without_path() -> None:
    with pytest.raises(DataError, match=r"^slides: no cells$") as raised, error_location(Path("slides")):
        raise DataError("no cells")
    assert raised.value.path == Path("slides")
    with pytest.raises(DataError, match=r"^a\.png: no cells$"), error_location(Path("slides")):
        raise DataError("no cells", "a.png")
    with pytest.raises(DataError, match=r"^no cells$"), error_location(None):
        raise DataError("no cells")
    with pytest.raises(OptionError, match=r"^out of range$"), error_location(Path("slides")):
        raise OptionError("out of range")
