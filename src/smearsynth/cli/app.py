"""The command line: entry point, exit codes and the list of commands."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.exceptions import Abort, TyperException

from smearsynth.cli.annotation import annotate, convert
from smearsynth.cli.benefit import benefit
from smearsynth.cli.evaluation import audit, check_layout, realism
from smearsynth.cli.generation import demo, generate
from smearsynth.cli.grouping import Command, Group, grouped
from smearsynth.cli.models import export, info
from smearsynth.cli.slides import cut_fields
from smearsynth.cli.smears import masks, stats
from smearsynth.cli.tasks import predict, score, train_task
from smearsynth.cli.terminal import err, fail, out, plain_warnings, say
from smearsynth.cli.training import train
from smearsynth.errors import SmearsynthError

app = typer.Typer(
    name="smearsynth",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Panel of --help, and in it the commands with an example that works.
_COMMANDS: dict[str, tuple[tuple[str, Callable[..., Any], str], ...]] = {
    "Annotated smears": (
        ("stats", stats, "smearsynth stats DATA"),
        ("cut-fields", cut_fields, "smearsynth cut-fields SLIDE -o fields --um-per-px 0.1 -n 50"),
        ("annotate", annotate, "smearsynth annotate IMAGES --boxes boxes.csv -o labelled"),
        ("convert", convert, "smearsynth convert DATA out --to yolo-segment --split train=0.8,val=0.2"),
        ("masks", masks, "smearsynth masks -n 10 -o masks"),
    ),
    "Synthetic smears": (
        ("demo", demo, "smearsynth demo -o demo"),
        ("train", train, "smearsynth train DATA -o my-model --pretrained default"),
        ("generate", generate, "smearsynth generate -n 100 -o out --size 640x480"),
        ("info", info, "smearsynth info default"),
        ("export", export, "smearsynth export default -o sampler.onnx"),
    ),
    "Models that find cells": (
        ("train-task", train_task, "smearsynth train-task segmentation DATA -o my-task"),
        ("predict", predict, "smearsynth predict my-task IMAGES -o predictions"),
        ("score", score, "smearsynth score my-task DATA --split test"),
    ),
    "Evaluation of synthetic smears": (
        ("benefit", benefit, "smearsynth benefit DATA -o verdict --dry-run"),
        ("realism", realism, "smearsynth realism DATA out --no-labels"),
        ("audit", audit, "smearsynth audit DATA out"),
        ("check-layout", check_layout, "smearsynth check-layout DATA --model my-model"),
    ),
}
for _panel, _entries in _COMMANDS.items():
    for _name, _command, _example in _entries:
        app.command(_name, cls=Command, rich_help_panel=_panel, epilog=f"Example: {_example}")(grouped(_command))


def _print_version(requested: bool) -> None:
    if requested:
        say(out, f"smearsynth {version('smearsynth')}")
        raise typer.Exit


@app.callback()
def _main(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Generate annotated synthetic blood smears, and measure whether they help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        0 on success, 2 for an error that the user can correct (one line on stderr), 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with plain_warnings():
            result = app(
                args=words, prog_name="smearsynth", standalone_mode=False, obj=shlex.join(["smearsynth", *words])
            )
        return int(result or 0)
    except SmearsynthError as error:
        fail(str(error))
        return 2
    except TyperException as error:
        if message := error.format_message():  # empty if the help was printed because no command was given
            fail(f"{message.rstrip('.')}; see --help")
        return 2
    except (KeyboardInterrupt, Abort):  # Abort is a RuntimeError
        say(err, "interrupted")
        return 130
    except (MemoryError, RuntimeError) as error:
        if not _is_memory_error(error):
            raise
        fail(f"out of memory ({error}); use a smaller --size or --batch, or --device cpu")
        return 2


def _is_memory_error(error: Exception) -> bool:
    # PyTorch raises RuntimeError on the CPU and its subclass OutOfMemoryError on a GPU
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
