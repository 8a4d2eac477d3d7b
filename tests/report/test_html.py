"""Tests of templates, data URIs and written pages."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import jinja2
import numpy as np
import pytest
from PIL import Image

from smears import random_smear
from smearsynth.errors import DataError
from smearsynth.report.html import data_uri, jpeg_uri, template, write_page


def test_templates_escape_values_and_reject_undefined_ones() -> None:
    quiz = template("quiz.html")
    page = quiz.render(pictures=['"><script>'], side=8, each=1)
    assert "<script>" not in page
    assert "&#34;&gt;&lt;script&gt;" in page
    with pytest.raises(jinja2.UndefinedError, match="side"):
        quiz.render(pictures=["a"], each=1)


def test_templates_of_other_packages_include_the_common_style() -> None:
    environment = template("benefit.html", "smearsynth.experiment.report").environment
    assert environment.get_template("page.css").render().startswith(":root")


def test_jpeg_uris_contain_the_image_and_the_comment() -> None:
    image = random_smear(0).image
    header, content = jpeg_uri(image, "synthetic=true").split(",", 1)
    assert header == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as decoded:
        assert decoded.info["comment"] == b"synthetic=true"  # type: ignore[attr-defined,unused-ignore]
        assert np.abs(np.asarray(decoded, float) - image).mean() < 4


def test_data_uris_encode_the_content() -> None:
    assert base64.b64decode(data_uri("png", b"\x00\xff").removeprefix("data:image/png;base64,")) == b"\x00\xff"


def test_pages_are_written_atomically(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert write_page(path, "µ caf\udce9\n") == path
    assert path.read_bytes() == "µ caf?\n".encode()
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="folder"):
        write_page(tmp_path / "folder", "text")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder", "page.html"]
