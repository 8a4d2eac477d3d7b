"""User-facing text uses the field's terms: no private word that has a standard equivalent remains."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from smearsynth.cli.app import app

ROOT = Path(__file__).resolve().parents[2]

# Word that must not appear, and what to write instead.
TERMS = {
    r"\blaws?\b": "model, distribution, parameters",
    r"\bgrounds?\b": "background",
    r"\brestain\w*": "stain augmentation",
    r"\bdisguis\w+": "discriminator augmentation",
    r"\bslips?\b": "simulated label errors",
    r"\bplanted\b|\bplant(ing)? cop": "positive controls",
    r"\b(the|a|of|its|no|more|median|held.out) lead\b|\blead (of|above)\b": "margin",
    r"\b(the|a|its|same) shares?\b|\bshares? of\b": "fraction",
    r"\bvaried (stain|light)\b|`varied`|[\"']varied[\"']": "augmented",
    r"\bmade up\b": "false positives",
    r"\bas many steps\b": "equal step counts",
    r"--start\b": "--pretrained",
    r"--minutes\b": "--time-limit",
    r"\bfit-task\b|\bfit_task\b": "train-task",
    r"\bcertif(y|ies|icates?)\b": "check-layout, layout check",
    r"\brehears\w*": "benchmark_steps",
    r"\bmottled?\b": "correlated noise",
    r"\bwhose turn\b|\ba smear like\b": "reference smear",
    r"\bknobs?\b": "tunable parameters",
    r"\bproof by itself\b": "this alone proves memorisation",
    r"\bgo away\b": "are overwritten",
    r"\bteach(es)? most\b|\bto teach by\b": "for training data",
    r"\bused for what it is not\b": "reused only if their inputs are unchanged",
    r"\banew\b": "again, regenerate",
    r"\bno room\b": "could not be placed",
    r"\bflatters?\b": "optimistically biased",
    r"\btakes? a turn\b": "used once, in shuffled order",
    r"\btaken so\b": "apply the acquisition model",
    r"\b(least|most)_\w+": "min_, max_",
}
# Documents the field names of files of format 1, which keep their names.
EXEMPT = {
    "migrations.py": TERMS.keys(),
    "formats.md": (r"\bvaried (stain|light)\b|`varied`|[\"']varied[\"']", r"\bmottled?\b"),
    "CHANGELOG.md": TERMS.keys(),
}


def python_text(path: Path) -> Iterator[tuple[int, str]]:
    """Strings, comments and identifiers of a module, by line."""
    kinds = (tokenize.STRING, tokenize.COMMENT, tokenize.NAME)
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type in kinds:
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, line


def findings(path: Path, lines: Iterator[tuple[int, str]]) -> list[str]:
    patterns = [pattern for pattern in TERMS if pattern not in EXEMPT.get(path.name, ())]
    return [
        f"{path.relative_to(ROOT)}:{number}: {match.group()!r}: write {TERMS[pattern]}"
        for number, line in lines
        for pattern in patterns
        if (match := re.search(pattern, line, re.IGNORECASE))
    ]


@pytest.mark.parametrize(
    "folder", sorted(path.name for path in (ROOT / "src/smearsynth").iterdir() if path.is_dir())
)
def test_the_source_uses_standard_terms(folder: str) -> None:
    source = ROOT / "src/smearsynth" / folder
    problems = [problem for path in source.rglob("*.py") for problem in findings(path, python_text(path))]
    for path in (*source.rglob("*.html"), *source.rglob("*.css")):
        problems += findings(path, iter(enumerate(path.read_text(encoding="utf-8").splitlines(), 1)))
    assert not problems, "\n".join(problems)


def test_top_level_modules_use_standard_terms() -> None:
    problems = [p for path in (ROOT / "src/smearsynth").glob("*.py") for p in findings(path, python_text(path))]
    assert not problems, "\n".join(problems)


def test_the_pages_use_standard_terms() -> None:
    pages = (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md"))
    pages = (*pages, *(ROOT / "src").rglob("model-card.md"), ROOT / "CITATION.cff")
    problems = [
        problem
        for path in pages
        for problem in findings(path, iter(enumerate(path.read_text(encoding="utf-8").splitlines(), 1)))
    ]
    assert not problems, "\n".join(problems)


def test_a_term_is_found_where_it_stands() -> None:
    page = ROOT / "README.md"
    assert findings(page, iter([(3, "fitted to the law of the data")]))
    assert not findings(page, iter([(3, "cells on the background share one stain")]))


def test_changelog_entries_are_short() -> None:
    """At most two lines an entry, at most 120 characters a line."""
    entries = re.split(r"^- ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        lines = entry.split("\n\n")[0].strip().splitlines()
        assert len(lines) <= 2, entry
        assert max(map(len, lines)) <= 120, entry


COMMANDS = typer.main.get_command(app)


@pytest.mark.parametrize("name", sorted(COMMANDS.commands))  # type: ignore[attr-defined]
def test_help_is_complete(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An action in the first line, an example that parses, a help text and a readable type for every option."""
    command = COMMANDS.commands[name]  # type: ignore[attr-defined]
    assert (command.help or "").split("\n")[0].endswith(".")
    example = (command.epilog or "").removeprefix("Example: smearsynth ").split()
    assert example[0] == name
    command.make_context(name, example[1:])  # raises where an option does not exist
    for parameter in command.params:
        assert getattr(parameter, "help", "x"), parameter.name
        assert (parameter.metavar or "") not in ("<str>", "<text>", "TEXT..."), parameter.name
    from smearsynth.cli.app import main

    assert main([name, "-h"]) == 0
    text = capsys.readouterr().out
    assert "<str>" not in text
    assert "<int>" not in text
    assert "Example:" in text
