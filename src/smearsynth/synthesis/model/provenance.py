"""Where a model comes from: its data, and the models whose weights it began with."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class DataSource(BaseModel):
    """What a model was trained on, for its card and for whoever must respect the licence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "unnamed"
    smears: int = 0
    split: str | None = None
    scale: float = 1.0
    licence: str = "not stated"
    citation: str = "not stated"


class PretrainedRecord(BaseModel):
    """The model whose weights a training began with: its data are data of the trained model, too.

    Examples
    --------
    >>> first = PretrainedRecord(hash="ab", data=DataSource(name="first"))
    >>> [record.data.name for record in PretrainedRecord(hash="cd", data=DataSource(name="second"), pretrained=first).lineage]
    ['second', 'first']
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hash: str
    data: DataSource
    pretrained: PretrainedRecord | None = None

    @property
    def lineage(self) -> tuple[PretrainedRecord, ...]:
        """The record itself, that of the model it began with, and so on."""
        return (self, *(self.pretrained.lineage if self.pretrained else ()))
