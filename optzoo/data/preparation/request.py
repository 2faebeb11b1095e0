"""What is asked of a preparation, and whether a directory was begun or made with the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optzoo.data.stream_hash import PIECE_TOKENS
from optzoo.errors import Diagnostic, InputError

SHARD_TOKENS = PIECE_TOKENS
VALIDATION_TOKENS = 10_000_000
HOLD_OUT = 100


@dataclass(frozen=True)
class Request:
    """What is asked for: everything that the result is a function of, beside the sources' content.

    `validation` empty: the hub's own validation split, for a single text its end, and for other
    sources one document in `hold_out` by a hash of its text.
    """

    sources: tuple[str, ...]
    tokenizer: str = "bytes"
    split: str = "train"
    validation: tuple[str, ...] = ()
    text_field: str = "text"
    lines: bool = False
    max_tokens: int | None = None
    max_documents: int | None = None
    max_validation_tokens: int = VALIDATION_TOKENS
    hold_out: int = HOLD_OUT
    skip_bad: bool = False
    end_of_document: str | None = None
    shuffle_files: int | None = None
    shard_tokens: int = SHARD_TOKENS

    def to_json(self) -> dict[str, Any]:
        """Return the request as JSON gives it back."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return data


def check_request(out: Path, begun: Mapping[str, Any], request: Request, *, skipped: bool) -> None:
    """Raise InputError where a directory comes of another request.

    Where nothing was `skipped`, leaving out what is bad makes no difference so far.
    """
    asked = request.to_json()
    free = () if skipped else ("skip_bad",)
    other = [key for key in asked if key not in free and begun.get(key) != asked[key]]
    if other:
        lines = [f"{key}: {begun.get(key)} there, {asked[key]} now" for key in other]
        raise InputError(
            Diagnostic(
                "other-request",
                f"`{out}` was made with other options ({'; '.join(lines)})",
                hint="give the options it was made with, or another `--out`",
            )
        )
