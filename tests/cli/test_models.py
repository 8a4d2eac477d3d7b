"""Commands on model folders: damage is named."""

from __future__ import annotations

import shutil
from pathlib import Path

from command_line import error_of
from conftest import Run


def test_a_broken_model_folder_is_named_by_every_command(run: Run, tmp_path: Path, tiny_folder: Path) -> None:
    broken = shutil.copytree(tiny_folder, tmp_path / "broken")
    out = tmp_path / "out"

    def each(said: str) -> None:
        for arguments in (
            ("generate", "-m", broken, "-o", out),
            ("masks", "-m", broken, "-o", out),
            ("masks", "-m", broken, "-o", out, "--explain"),
            ("info", broken),
        ):
            ran = run(*arguments)
            assert error_of(ran) == f"error: {broken}{said}"
            assert ran.err.count("\n") == 1
            assert not out.exists()

    weights = broken / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    each("/weights.safetensors: altered or damaged, its hash is not the one in SHA256SUMS; copy the folder again")
    weights.unlink()
    each("/weights.safetensors: this file of the model is missing; copy the folder again")
    (broken / "SHA256SUMS").unlink()
    each(
        ": not a model folder, SHA256SUMS is missing; its training is not finished: "
        "run the same `smearsynth train` again"
    )
    shutil.rmtree(broken)
    each(": no such model folder; train one with `smearsynth train`, or use --model default")


def test_a_card_that_is_no_text_is_named(run: Run, tmp_path: Path, tiny_folder: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "m")
    (folder / "model-card.md").write_bytes(b"\xff\xfe\xfa")
    assert error_of(run("info", folder)).startswith(f"error: {folder / 'model-card.md'}: is not UTF-8")
