"""Readers and writers of annotated smears, one module per annotation format."""

from smearsynth.formats.base import ClassChoice, Entry, Reader, Writer
from smearsynth.formats.registry import FORMATS, FormatName, detect_format, open_reader, open_writer

__all__ = [
    "FORMATS",
    "ClassChoice",
    "Entry",
    "FormatName",
    "Reader",
    "Writer",
    "detect_format",
    "open_reader",
    "open_writer",
]
