"""Origin of models: chains of pretrained models."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from smearsynth.synthesis.model.provenance import DataSource, PretrainedRecord


def test_lineage_is_nearest_first() -> None:
    record = None
    for name in ("first", "second", "third"):
        record = PretrainedRecord(hash=name, data=DataSource(name=name), pretrained=record)
    assert record is not None
    assert [ancestor.hash for ancestor in record.lineage] == ["third", "second", "first"]
    assert PretrainedRecord.model_validate_json(record.model_dump_json()) == record


def test_unknown_fields_are_an_error() -> None:
    with pytest.raises(ValidationError, match="colour"):
        DataSource.model_validate({"name": "a", "colour": "red"})
