"""Record of the smears that a model was trained on, and the check that test smears are not among them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from smearsynth.errors import DataError
from smearsynth.files import read_text
from smearsynth.formats.fingerprints import Fingerprint, Match, find_same_fields
from smearsynth.formats.listing import TRAINING_SMEARS_FILE

_LISTED = 3  # names in a message
_MAX_REPEATED = 0.1  # fraction of the test smears that may repeat a field of the training smears of the same data

Role = Literal["model", "pretrained", "synthesizer"]
_ROLES: dict[Role, str] = {
    "model": "",
    "pretrained": "the pretrained model of ",
    "synthesizer": "the synthesizer that generated training smears of ",
}


class TrainingSource(BaseModel):
    """Training smears of one model.

    Parameters
    ----------
    role : {"model", "pretrained", "synthesizer"}
        Whether the smears trained the model itself, a pretrained model, or the synthesizer of its training smears.
    data : str
        Name of the data.
    hash : str, optional
        Hash of the pretrained model or of the synthesizer.
    smears : tuple of Fingerprint, optional
        None if they are unknown, because the model was trained by a version that did not record them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role = "model"
    data: str
    hash: str | None = None
    smears: tuple[Fingerprint, ...] | None = None


class TrainingSmears(BaseModel):
    """Content of ``training-smears.json`` in a model folder and in a folder of synthetic smears.

    Parameters
    ----------
    sources : tuple of TrainingSource
        The training smears of the model itself, then those of its pretrained models.
    held_out : tuple of Fingerprint, optional
        Smears that the training held out for tests, from data without splits.

    Examples
    --------
    >>> record = TrainingSmears(sources=(TrainingSource(data="mine", smears=(Fingerprint(name="a", digest="0"),)),))
    >>> [(match.smear, match.other) for match in record.find([Fingerprint(name="b", digest="0")])]
    [('b', 'a')]
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    sources: tuple[TrainingSource, ...]
    held_out: tuple[Fingerprint, ...] = ()

    def find(self, smears: Sequence[Fingerprint]) -> list[SeenSmear]:
        """Return the smears that are among the training smears, each with the first source that contains it."""
        seen: dict[str, SeenSmear] = {}
        for source in self.sources:
            for match in find_same_fields(smears, source.smears or ()):
                if match.smear not in seen or (match.exact and not seen[match.smear].exact):
                    seen[match.smear] = SeenSmear(*match, source.role, source.data)
        return [seen[smear.name] for smear in smears if smear.name in seen]

    def held_out_indices(self, smears: Sequence[Fingerprint]) -> list[int]:
        """Return the indices of the smears that the training held out; empty if these are all or none.

        A held-out smear may resemble a training smear; the more similar of both decides.

        Parameters
        ----------
        smears : sequence of Fingerprint
        """
        if not self.held_out:
            return []
        known = [smear.model_copy(update={"name": "held out"}) for smear in self.held_out]
        for source in self.sources:
            known += [smear.model_copy(update={"name": "seen"}) for smear in source.smears or ()]
        names = {match.smear for match in find_same_fields(smears, known) if match.other == "held out"}
        indices = [k for k, smear in enumerate(smears) if smear.name in names]
        return indices if len(indices) < len(smears) else []

    def inherited(self, role: Role, hash: str) -> tuple[TrainingSource, ...]:
        """Return the sources as those of a pretrained model or a synthesizer with this hash."""
        return tuple(
            source.model_copy(update={"role": role, "hash": hash if source.role == "model" else source.hash})
            for source in self.sources
        )

    def to_json(self) -> str:
        """Return JSON text."""
        return self.model_dump_json(indent=1)

    @classmethod
    def from_json(cls, text: str) -> TrainingSmears:
        """Read JSON text.

        Raises
        ------
        DataError
            If it is not such a record.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            raise DataError("is not a record of training smears") from None


class SeenSmear(NamedTuple):
    """A smear that is among the training smears of a model.

    Parameters
    ----------
    smear, other : str
        Names of the smear and of the training smear.
    exact : bool
        Whether all pixels are equal.
    role : {"model", "pretrained", "synthesizer"}
    data : str
        Name of the training data.
    """

    smear: str
    other: str
    exact: bool
    role: Role
    data: str


def read_training_smears(folder: Path) -> TrainingSmears | None:
    """Read the record in a folder of synthetic smears; None if there is none.

    Raises
    ------
    DataError
        If it is damaged.
    """
    path = folder / TRAINING_SMEARS_FILE
    if not path.is_file():
        return None
    try:
        return TrainingSmears.from_json(read_text(path))
    except DataError as error:
        if error.path is not None:
            raise
        raise DataError(f"{error}; copy or generate the folder again", path) from None


def check_unseen(
    record: TrainingSmears | None,
    test: Sequence[Fingerprint],
    model: str,
    *,
    others: Sequence[Fingerprint] = (),
    remedy: str = "",
    allow_leak: bool = False,
) -> tuple[str, ...]:
    """Check that no test smear is among the training smears of a model.

    Parameters
    ----------
    record : TrainingSmears or None
        Training smears of the model; None if they are unknown.
    test : sequence of Fingerprint
        Test smears.
    model : str
        The model in messages, such as "the synthesizer my-model".
    others : sequence of Fingerprint
        The other smears of the test data. A test smear that repeats the field of one of them is a property of the
        data: it gives a warning and no error, if that holds for up to a tenth of the test smears.
    remedy : str
        What to do, for the error; ends with a comma or is empty.
    allow_leak : bool
        Return warnings in place of an error.

    Returns
    -------
    tuple of str
        Warnings for the output.

    Raises
    ------
    DataError
        If a test smear was a training smear.

    Examples
    --------
    >>> smear = Fingerprint(name="a", digest="0")
    >>> record = TrainingSmears(sources=(TrainingSource(data="mine", smears=(smear,)),))
    >>> check_unseen(record, [Fingerprint(name="b", digest="1")], "the model m")
    ()
    >>> print(*check_unseen(record, [smear], "the model m", allow_leak=True))  # doctest: +NORMALIZE_WHITESPACE
    1 of 1 test smears was a training smear of the model m: a. Results on these smears are optimistically biased;
    do not report them as results on unseen smears.
    """
    if record is None:
        return (f"{_capital(model)} does not record its training smears. It may have seen the test smears.",)
    seen = record.find(test)
    repeated = find_same_fields(test, others)
    names = {match.smear for match in repeated if len(repeated) <= _MAX_REPEATED * len(test)}
    leaks = [item for item in seen if item.exact or item.smear not in names]
    if leaks and not allow_leak:
        raise DataError(
            f"{_count_seen(leaks, test)} of {_subject(leaks, model)}: {_names(leaks)}; {remedy}test on other "
            "smears, or continue with a warning in every output (--allow-leak, allow_leak=True)"
        )
    warnings = [
        f"{_count_seen(leaks, test)} of {_subject(leaks, model)}: {_names(leaks)}. Results on these smears are "
        "optimistically biased; do not report them as results on unseen smears."
    ] * bool(leaks)
    unknown = [source for source in record.sources if source.smears is None]
    if unknown:
        subjects = ", ".join(dict.fromkeys(f"{_ROLES[source.role]}{model} ({source.data})" for source in unknown))
        warnings.append(f"The training smears of {subjects} are unknown. They may contain test smears.")
    return (*warnings, *describe_repeated(repeated, len(test)))


def describe_repeated(matches: Sequence[Match], test: int) -> tuple[str, ...]:
    """Return a warning about test smears that show the field of another smear of the same data.

    Parameters
    ----------
    matches : sequence of Match
        Test smears with the other smears.
    test : int
        Number of test smears.

    Examples
    --------
    >>> describe_repeated([Match("262", "263", False)], 96)[0][:77]
    '1 of 96 test smears shows the same field as a smear outside the test smears: '
    """
    if not matches:
        return ()
    pairs = [f"{match.smear} and {match.other}" for match in matches]
    verb = "shows" if len(matches) == 1 else "show"
    return (
        f"{len(matches)} of {test} test smears {verb} the same field as a smear outside the test smears: "
        f"{_listed(pairs)}. Scores on them are optimistically biased; put both into one split.",
    )


def _count_seen(seen: Sequence[SeenSmear], test: Sequence[Fingerprint]) -> str:
    verb, noun = ("was", "a training smear") if len(seen) == 1 else ("were", "training smears")
    return f"{len(seen)} of {len(test)} test smears {verb} {noun}"


def _subject(seen: Sequence[SeenSmear], model: str) -> str:
    roles = dict.fromkeys(item.role for item in seen)
    return " and ".join(f"{_ROLES[role]}{model}" for role in roles)


def _names(seen: Sequence[SeenSmear]) -> str:
    return _listed([item.smear if item.smear == item.other else f"{item.smear} (as {item.other})" for item in seen])


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
