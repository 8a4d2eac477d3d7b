"""Setup of an experiment and of its synthesizers: what is needed to interpret its scores and to repeat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from smearsynth.synthesis.acquisition.stain import StainName
from smearsynth.tasks.config import TaskName


class ExperimentRecord(BaseModel):
    """Base of all records: unknown fields are errors, and records do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SynthesizerFacts(ExperimentRecord):
    """A synthesizer and the data it was trained on.

    Parameters
    ----------
    hash : str
    name : str
        Name of the training data.
    smears : int
        Number of training smears.
    misfit : str, optional
        How its cell size differs from the smears of the experiment, with a remedy.

    Examples
    --------
    >>> print(SynthesizerFacts(hash="f00d" * 16, name="mine", smears=54))
    mine, 54 smears, hash f00df00df00d
    """

    hash: str
    name: str
    smears: int
    misfit: str | None = None

    def __str__(self) -> str:
        return f"{self.name}, {counted(self.smears, 'smear')}, hash {self.hash[:12]}"


class Facts(ExperimentRecord):
    """Setup of an experiment: what is needed to interpret its scores and to repeat it.

    Parameters
    ----------
    data_set, command, smearsynth, torch, machine : str
        Name of the data, command line, versions and machine.
    preset : str
    device : str
    scale : float
        Scale at which the smears were read.
    seeds : int
    select_by : {"validation", "test"}
        What selected the checkpoints.
    train, held_out, test : int
        Numbers of real smears: training smears, those of them held out for validation, and test smears.
    synthetic : int
        Number of synthetic smears in mixed arms with all real smears.
    synthetic_fraction : float
        Fraction of the crops in mixed arms that are synthetic.
    stain : {"original", "augmented"}
        Stain of the synthetic smears in mixed arms.
    steps : dict of str to int
        Training steps by task.
    synthesizers : dict of int to SynthesizerFacts
        Synthesizer by number of real training smears.
    subsets : dict of int to tuple of str
        Names of the real training smears by their number, for subsets of the training smears.
    draws : int
        Number of random choices of the subsets of the training smears.
    further_synthesizers : dict of int to tuple of SynthesizerFacts
        Synthesizers of the second and further draws, by number of real training smears.
    further_subsets : dict of int to tuple of (tuple of str)
        Names of the real training smears of the second and further draws.
    leaks : tuple of str
        Warnings about test smears that a synthesizer was trained on, or may have been, and about repeated fields.
    minutes : float
        Computing time of all runs.
    """

    data_set: str
    command: str
    smearsynth: str
    torch: str
    machine: str
    preset: str
    device: str
    scale: float
    seeds: int
    select_by: Literal["validation", "test"]
    train: int
    held_out: int
    test: int
    synthetic: int
    synthetic_fraction: float
    stain: StainName = "original"
    steps: dict[TaskName, int]
    synthesizers: dict[int, SynthesizerFacts] = {}
    subsets: dict[int, tuple[str, ...]] = {}
    draws: int = 1
    further_synthesizers: dict[int, tuple[SynthesizerFacts, ...]] = {}
    further_subsets: dict[int, tuple[tuple[str, ...], ...]] = {}
    leaks: tuple[str, ...] = ()
    minutes: float

    def draws_of(self, reals: int) -> int:
        """Return the number of draws of `reals` real smears; all of them can be chosen in one way only."""
        return self.draws if reals < self.train else 1


def synthesizer_warnings(synthesizers: Mapping[int, SynthesizerFacts]) -> list[str]:
    """Return sentences on why the use of these synthesizers may mislead.

    Parameters
    ----------
    synthesizers : mapping of int to SynthesizerFacts
        Synthesizer by number of real training smears.

    Examples
    --------
    >>> synthesizer_warnings({54: SynthesizerFacts(hash="f00d" * 16, name="mine", smears=54)})
    []
    """
    sentences = []
    for synthesizer in dict.fromkeys(synthesizers.values()):
        sizes = [reals for reals in synthesizers if synthesizers[reals] == synthesizer]
        if synthesizer.misfit:
            sentences.append(f"The synthesizer for {_join(sizes)} {synthesizer.misfit}.")
        if smaller := [reals for reals in sizes if reals < synthesizer.smears]:
            sentences.append(
                f"The synthesizer for {_join(smaller)} was trained on {synthesizer.smears:,} smears "
                f"({synthesizer.name}). If those smears are similar to yours, the comparison favours the arms with "
                "synthetic smears: they use information from more real smears than the other arms."
            )
    return sentences


def _join(sizes: Sequence[int]) -> str:
    first = f"{', '.join(map(str, sizes[:-1]))} and " if len(sizes) > 1 else ""
    return first + counted(sizes[-1], "real smear")


def counted(count: int, noun: str) -> str:
    """Return a count and its noun, in the plural unless the count is 1.

    Examples
    --------
    >>> counted(1, "seed"), counted(1200, "real smear")
    ('1 seed', '1,200 real smears')
    """
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"
