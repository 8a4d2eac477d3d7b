"""Groups of options: the fields of a dataclass are options of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer
from typer.testing import CliRunner

from smearsynth.cli.grouping import Command, grouped


@dataclass(frozen=True)
class Cells:
    """Example of a group."""

    panel: ClassVar[str] = "About cells"

    count: Annotated[int, typer.Option(metavar="N", help="Number of cells.")] = 3
    round: Annotated[bool, typer.Option("--round", help="Round cells only.")] = False


def describe(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    cells: Cells,
    loud: Annotated[bool, typer.Option("--loud", help="Print in capitals.")] = False,
) -> None:
    """Print a group."""
    text = f"{name}: {cells.count} {cells.round}"
    print(text.upper() if loud else text)


def app() -> typer.Typer:
    app = typer.Typer()
    app.command(cls=Command)(grouped(describe))
    return app


def test_options_of_a_group_reach_the_command_as_one_record() -> None:
    runner = CliRunner()
    assert runner.invoke(app(), ["a"]).output == "a: 3 False\n"
    assert runner.invoke(app(), ["a", "--count", "5", "--round", "--loud"]).output == "A: 5 TRUE\n"


def test_help_shows_the_group_as_a_panel_without_types_of_flags() -> None:
    text = CliRunner().invoke(app(), ["--help"]).output
    assert "About cells" in text
    assert "Number of cells." in text
    assert "<bool>" not in text


def test_a_value_of_the_wrong_type_is_refused() -> None:
    assert CliRunner().invoke(app(), ["a", "--count", "few"]).exit_code == 2
