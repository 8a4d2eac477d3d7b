"""Origin of a model: its training data and the pretrained models."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class DataSource(BaseModel):
    """Training data of a model, for the model card and for users who must respect the licence.

    Parameters
    ----------
    name : str
    smears : int
        Number of training smears.
    split : str, optional
        Split of the data that was used.
    scale : float
        Factor by which the smears were resized.
    licence, citation : str
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "unnamed"
    smears: int = 0
    split: str | None = None
    scale: float = 1.0
    licence: str = "not stated"
    citation: str = "not stated"


class PretrainedRecord(BaseModel):
    """Pretrained model of a training; its data are data of the trained model, too.

    Parameters
    ----------
    hash : str
    data : DataSource
    pretrained : PretrainedRecord, optional
        Pretrained model of the pretrained model.

    Examples
    --------
    >>> first = PretrainedRecord(hash="ab", data=DataSource(name="first"))
    >>> second = PretrainedRecord(hash="cd", data=DataSource(name="second"), pretrained=first)
    >>> [record.data.name for record in second.lineage]
    ['second', 'first']
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hash: str
    data: DataSource
    pretrained: PretrainedRecord | None = None

    @property
    def lineage(self) -> tuple[PretrainedRecord, ...]:
        """The record itself, the record of its pretrained model, and so on."""
        return (self, *(self.pretrained.lineage if self.pretrained else ()))
