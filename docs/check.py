"""Check links, Python code and command lines of the Markdown pages: python docs/check.py.

Relative links and anchors must exist. Python blocks of a page run one after the other in one namespace. Every
``smearsynth`` line of a shell block is parsed, so that an unknown option is an error; nothing is executed.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import typer
from typer.exceptions import TyperException

from smearsynth.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")])
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)|\!\[[^\]]*\]\(([^)\s]+)\)")


def check_links(page: Path, text: str) -> Iterator[str]:
    """Yield the relative links of a page that lead nowhere."""
    for match in _LINK.finditer(text):
        target = match.group(1) or match.group(2)
        if re.match(r"[a-z]+:", target):
            continue  # external pages are not reachable from every machine
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            yield f"link to {target}: no such file"
        elif anchor and anchor not in _anchors(file.read_text(encoding="utf-8")):
            yield f"link to {target}: no such heading"


def check_python(text: str) -> Iterator[str]:
    """Run the Python blocks of a page; yield what fails."""
    namespace: dict[str, object] = {"__name__": "__docs__"}
    for number, code in enumerate(_blocks(text, "python"), 1):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(code, f"block {number}", "exec"), namespace)
        except Exception as error:
            yield f"Python block {number}: {type(error).__name__}: {error}"


def check_commands(text: str) -> Iterator[str]:
    """Parse the command lines of a page; yield those that the command line would refuse."""
    commands = typer.main.get_command(app)
    for block in _blocks(text, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] != ["smearsynth"]:
                continue
            try:
                name, command, rest = commands.resolve_command(typer.Context(commands), words[1:])  # type: ignore[attr-defined]
                with contextlib.redirect_stdout(io.StringIO()):
                    command.make_context(name, rest)
            except typer.Exit:
                continue  # --help
            except TyperException as error:
                yield f"`{line.strip()}`: {error.format_message()}"


def _blocks(text: str, language: str) -> list[str]:
    return [code for name, code in _BLOCK.findall(text) if name == language]


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def main() -> int:
    """Check all pages and return 1 if there is a problem."""
    problems = 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for problem in (*check_links(page, text), *check_commands(text), *check_python(text)):
            print(f"{page.relative_to(ROOT)}: {problem}")
            problems += 1
    print(f"{len(PAGES)} pages, {problems} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
