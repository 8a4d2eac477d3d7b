"""TODO."""

from __future__ import annotations

import base64
import io
from functools import cache
from pathlib import Path

import jinja2
from PIL import Image

from smearsynth.files import write_text
from smearsynth.report.comparison import css_colour
from smearsynth.smear import ImageArray

JPEG_QUALITY = 90


@cache
def template(name: str, package: str = "smearsynth.report") -> jinja2.Template:
    """Load a template of this package; everything put into it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name) for name in (package, "smearsynth.report")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["css_colour"] = css_colour
    return environment.get_template(name)


def write_page(path: Path, text: str) -> Path:
    """Write a page whole or not at all, whatever the names in it; gives its path."""
    # Names of files may hold bytes that are no text (lone surrogates), which UTF-8 cannot write.
    write_text(path, text.encode("utf-8", "replace").decode("utf-8"))
    return path


def jpeg_uri(image: ImageArray, comment: str = "") -> str:
    """Give an image (H, W, 3) as the data URI of a JPEG with a comment in it."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(
        buffer, format="JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True, comment=comment.encode()
    )
    return data_uri("jpeg", buffer.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """Give an encoded image as a data URI; `kind` is ``png`` or ``jpeg``."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
