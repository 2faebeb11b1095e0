"""Shapes of the parameters that a benchmark updates."""

from __future__ import annotations

import math
import re

from optzoo.errors import Diagnostic, InputError

Shapes = list[tuple[int, ...]]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
_SMALLEST, _LARGEST = 1_000, 10**11


def parse_count(text: str) -> int:
    """Return a number of parameters such as `30M`, `1.5b` or `100000`.

    Raises InputError for anything else, and for less than a thousand or more than 100 billion.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmbKMB]?)\s*", text)
    count = round(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if not _SMALLEST <= count <= _LARGEST:
        message = f"`{text}` is not a number of parameters from 1K to 100B"
        hint = "write a number, with K, M or B if you like: `30M`"
        raise InputError(Diagnostic("bad-value", message, hint=hint))
    return count


def count_elements(shapes: Shapes) -> int:
    """Return how many parameters there are."""
    return sum(math.prod(shape) for shape in shapes)


def transformer_shapes(params: int) -> Shapes:
    """Return the tensors of a transformer of about so many parameters, within 2%.

    A block has two norms, four D x D and two D x 4D matrices; the embedding takes what is left of
    the parameters, about a fifth. 6 blocks to 60 M, 12 to 600 M, 24 above; 1 below 100 thousand.
    """
    layers = 1 if params < 10**5 else 6 if params < 6 * 10**7 else 12 if params < 6 * 10**8 else 24
    grain = 64 if params > 10**7 else 8
    width = max(8, int(math.sqrt(0.8 * params / (12 * layers)) / grain) * grain)
    matrices = [(width, width)] * 4 + [(4 * width, width), (width, 4 * width)]
    block: Shapes = [(width,), *matrices[:4], (width,), *matrices[4:]]
    rows = max(1, round((params - layers * count_elements(block)) / width) - 1)
    return [(rows, width), *(block * layers), (width,)]


def equal_shapes(params: int, tensors: int) -> Shapes:
    """Return so many vectors of one length, about so many parameters together.

    Raises InputError when there are fewer parameters than tensors.
    """
    if not 1 <= tensors <= params:
        message = f"`--tensors {tensors}`: {params} parameters make 1 to {params} tensors"
        raise InputError(Diagnostic("bad-value", message))
    return [(params // tensors,)] * tensors
