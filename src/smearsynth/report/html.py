"""HTML pages from templates, with all images embedded as data URIs."""

from __future__ import annotations

import base64
import io
from functools import cache
from pathlib import Path
from typing import Literal

import jinja2
from PIL import Image

from smearsynth.files import write_text
from smearsynth.smear import ImageArray

JPEG_QUALITY = 90


@cache
def template(name: str, package: str = "smearsynth.report") -> jinja2.Template:
    """Load a template that escapes all values and rejects undefined ones.

    Parameters
    ----------
    name : str
        File name of the template.
    package : str
        Package with the template in its folder ``templates``. Templates of `smearsynth.report` can be included from
        any package, for example with ``{% include "page.css" %}``.

    Returns
    -------
    jinja2.Template

    Examples
    --------
    >>> "<figure>" in template("quiz.html").render(pictures=["data:"], side=96, each=1)
    True
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name) for name in (package, "smearsynth.report")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def write_page(path: Path, text: str) -> Path:
    """Write a page as UTF-8, atomically, and return its path.

    Characters that UTF-8 cannot encode are replaced by ``?``. File names can contain them, because Python decodes
    invalid bytes to lone surrogates.

    Raises
    ------
    DataError
        If the file cannot be written.
    """
    write_text(path, text.encode("utf-8", "replace").decode("utf-8"))
    return path


def jpeg_uri(image: ImageArray, comment: str = "") -> str:
    """Encode an image as the data URI of a JPEG.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
        RGB.
    comment : str
        Comment in the JPEG file.

    Examples
    --------
    >>> import numpy as np
    >>> jpeg_uri(np.zeros((8, 8, 3), np.uint8))[:27]
    'data:image/jpeg;base64,/9j/'
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(
        buffer, format="JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True, comment=comment.encode()
    )
    return data_uri("jpeg", buffer.getvalue())


def data_uri(image_format: Literal["png", "jpeg"], content: bytes) -> str:
    """Return the data URI of an encoded image.

    Examples
    --------
    >>> data_uri("png", b"abc")
    'data:image/png;base64,YWJj'
    """
    return f"data:image/{image_format};base64,{base64.b64encode(content).decode('ascii')}"
