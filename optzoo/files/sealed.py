"""JSON objects that know when they were changed: a field `sha256` over all the others.

The hash is of the values, not of the text: other white space, or another order, is no change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optzoo.files.atomic import to_json

SEAL = "sha256"


class DamagedFileError(Exception):
    """A file that is not what was written; the text says why, beginning with the file's name."""


def hash_values(values: object) -> str:
    """Return the sha256 (hex) of JSON values."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def seal(values: Mapping[str, Any]) -> bytes:
    """Return the text of a JSON object with its seal."""
    return to_json({**values, SEAL: hash_values(values)})


def read_object(path: Path) -> dict[str, Any]:
    """Return a JSON object, sealed or not. Raises DamagedFileError, and OSError as it comes."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise DamagedFileError(f"{path.name} is not a regular file")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise DamagedFileError(f"{path.name} is not JSON") from None
    if not isinstance(value, dict):
        raise DamagedFileError(f"{path.name} is not a JSON object")
    return value


def unseal(values: Mapping[str, Any], name: str, *, always: bool = True) -> dict[str, Any]:
    """Return a sealed object without its seal; one that need not `always` have one may have none.

    Raises DamagedFileError where it was changed.
    """
    rest = {key: value for key, value in values.items() if key != SEAL}
    if SEAL not in values and not always:
        return rest
    if SEAL not in values:
        raise DamagedFileError(f"{name} lacks its `{SEAL}`")
    if values[SEAL] != hash_values(rest):
        raise DamagedFileError(f"{name} was changed: it no longer has the `{SEAL}` it gives")
    return rest
