"""Names in files of format 1, as written before the fields were renamed, and their translation to current names.

Format 1 is what smearsynth wrote up to revision f25f8b7. Files of that format stay readable (`to_current`).
Hashes and recipes are still computed over the names of format 1 (`to_format_1`, `text_to_format_1`): a model
keeps its hash, a cached result its key, and a recipe its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

RecordKind = Literal["model", "state", "statistics", "acquisition", "recipe", "task", "benefit", "realism", "audit"]

_TRAINING = {
    "augment": "discriminator_augmentation",
    "restain": "stain_augmentation",
    "head_start": "warmup",
}

# Former field name to current field name, at any depth of a record of this kind.
_FIELDS: dict[RecordKind, dict[str, str]] = {
    "model": {**_TRAINING, "start": "pretrained"},
    "state": {**_TRAINING, "start": "pretrained"},
    "statistics": {"empty_shares": "empty_fractions"},
    "acquisition": {"mottle": "correlated_noise"},
    "recipe": {"mottle": "correlated_noise"},
    "task": {
        "least_area": "min_area",
        "least_anchor": "min_anchor",
        "sure": "score_threshold",
        "began_with": "initial_weights",
    },
    "benefit": {"share": "synthetic_fraction", "best_by": "select_by", "at_hand": "subsets"},
    "realism": {"caught": "detection_rates"},
    "audit": {
        "flagged_share": "flagged_fraction",
        "lead": "margin",
        "held_out_lead": "held_out_margin",
        "planted": "controls",
        "planted_caught": "controls_detected",
        "seen_again": "overlapping_smears",
        "of": "compared_cells",
        "turn": "rotation",
    },
}

# Fields whose values were renamed, and former value to current value.
_VALUE_FIELDS: dict[RecordKind, tuple[str, ...]] = {"recipe": ("stain", "light"), "benefit": ("stain",)}
_VALUES = {"own": "original", "varied": "augmented"}


def to_current(kind: RecordKind, record: Any) -> Any:
    """Translate a decoded JSON record of format 1 to current field names; current names stay as they are.

    Parameters
    ----------
    kind : str
        What the record describes.
    record : object
        As `json.loads` returns it.

    Returns
    -------
    object
        A new record.

    Examples
    --------
    >>> to_current("recipe", {"seed": 3, "stain": "own", "acquisition": {"mottle": 0.2}})
    {'seed': 3, 'stain': 'original', 'acquisition': {'correlated_noise': 0.2}}
    """
    current = _translate(record, _FIELDS[kind], _VALUE_FIELDS.get(kind, ()), _VALUES)
    return _nest_estimates(current) if kind == "realism" else current


def to_format_1(kind: RecordKind, record: Any) -> Any:
    """Translate a record to the field names of format 1, the inverse of `to_current`.

    Examples
    --------
    >>> to_format_1("task", {"min_area": 30})
    {'least_area': 30}
    """
    return _translate(record, _inverse(_FIELDS[kind]), _VALUE_FIELDS.get(kind, ()), _inverse(_VALUES))


def text_to_format_1(kind: RecordKind, text: str) -> str:
    """Translate JSON text to the field names of format 1 and leave every other byte as it is.

    Numbers keep their digits, which decoding and encoding again would not guarantee.

    Examples
    --------
    >>> text_to_format_1("recipe", '{"stain":"augmented","seed":1e-05}')
    '{"stain":"varied","seed":1e-05}'
    """
    for field in _VALUE_FIELDS.get(kind, ()):
        for former, current in _VALUES.items():
            text = re.sub(rf'"{field}":(\s*)"{current}"', rf'"{field}":\1"{former}"', text)
    for former, current in _FIELDS[kind].items():
        text = re.sub(rf'"{current}"(\s*):', rf'"{former}"\1:', text)
    return text


def _nest_estimates(record: Any) -> Any:
    """Nest the fields kid, kid_interval and kid_real of a realism record of format 1; likewise for other distances.

    A record without these fields stays as it is.
    """
    if not isinstance(record, Mapping) or "kid_interval" not in record:
        return record
    nested = dict(record)
    for name in ("kid", "fid", "density", "coverage"):
        value, interval, reference = (nested.pop(name + part, None) for part in ("", "_interval", "_real"))
        estimate = {"value": value, "interval": interval, "reference": reference}
        nested[name] = None if value is None else estimate
    return nested


def _translate(
    record: Any, fields: Mapping[str, str], value_fields: tuple[str, ...], values: Mapping[str, str]
) -> Any:
    if isinstance(record, Mapping):
        translated = {}
        for name, value in record.items():
            if name in value_fields and isinstance(value, str):
                value = values.get(value, value)
            translated[fields.get(name, name)] = _translate(value, fields, value_fields, values)
        return translated
    if isinstance(record, (list, tuple)):
        return [_translate(value, fields, value_fields, values) for value in record]
    return record


def _inverse(names: Mapping[str, str]) -> dict[str, str]:
    return {current: former for former, current in names.items()}
