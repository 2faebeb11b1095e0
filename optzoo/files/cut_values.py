"""Values that a comma has cut in two: inside `{}` a comma ends a value that is not quoted.

`{input: max(grad, m.prev)}` is, to YAML, the value `max(grad` and a key `m.prev)` without a value.
What follows is blamed on both halves; the one thing wrong is the missing quotes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml


@dataclass(frozen=True)
class CutValue:
    """The value of `key` as it was meant, and the keys that are rests of it."""

    key: str
    value: yaml.Node
    rests: tuple[str, ...]
    text: str


def cut_values(node: yaml.MappingNode, text: str) -> Iterator[CutValue]:
    """Yield the values of a mapping in braces that are followed by keys without colon or value."""
    pairs = node.value if node.flow_style else []
    for i, (key, value) in enumerate(pairs):
        rests = []
        for rest, nothing in pairs[i + 1 :]:
            if not _is_rest(rest, nothing, text):
                break
            rests.append(rest)
        is_text = isinstance(value, yaml.ScalarNode) and value.style is None
        if not rests or not is_text or _is_rest(key, value, text):
            continue
        whole = text[value.start_mark.index : rests[-1].end_mark.index]
        yield CutValue(key.value, value, tuple(rest.value for rest in rests), whole)


def _is_rest(key: yaml.Node, value: yaml.Node, text: str) -> bool:
    plain = all(isinstance(n, yaml.ScalarNode) and n.style is None for n in (key, value))
    return plain and ":" not in text[key.end_mark.index : value.end_mark.index] and not value.value
