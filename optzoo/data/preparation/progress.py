"""The bar of a pass, on stderr: tokens where their number is known, else bytes of the sources."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from tqdm import tqdm

from optzoo.data.preparation.readers import Meter
from optzoo.data.preparation.sources import SourceFile

if TYPE_CHECKING:
    from optzoo.data.preparation.split_pass import PassState

EVERY = 0.2  # seconds between looks at the file's position


class Bar:
    """Shows how far a pass is and how long it will take."""

    def __init__(
        self,
        name: str,
        files: Sequence[SourceFile],
        max_tokens: int | None,
        state: PassState,
        *,
        quiet: bool,
    ) -> None:
        self.meter = Meter()
        self._files = files
        self._by_tokens = max_tokens is not None and name == "train"
        sizes = [file.size for file in files]
        known = [size for size in sizes if size is not None]
        total = max_tokens if self._by_tokens else sum(known) if len(known) == len(sizes) else None
        self._behind = [sum(size or 0 for size in sizes[:i]) for i in range(len(sizes))]
        self._file = 0
        self._looked = 0.0
        self._bar: Any = tqdm(
            total=total,
            initial=min(state.tokens, total or 0) if self._by_tokens else 0,
            desc=name,
            unit="token" if self._by_tokens else "B",
            unit_scale=True,
            disable=quiet,
            leave=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._bar.total is not None:
            self._bar.update(self._bar.total - self._bar.n)
        self._bar.close()

    def open(self, number: int) -> None:
        """Say which file is read next."""
        self._file = number
        if len(self._files) > 1:
            self._bar.set_postfix_str(f"file {number + 1} of {len(self._files)}", refresh=False)

    def wrote(self, tokens: int) -> None:
        """Count tokens that were written."""
        if self._by_tokens:
            self._bar.update(min(tokens, max(0, self._bar.total - self._bar.n)))

    def moved(self) -> None:
        """Look at the position in the sources, not too often."""
        now = time.monotonic()
        if not self._by_tokens and not self._bar.disable and now - self._looked > EVERY:
            self._looked = now
            position = self._behind[self._file] + self.meter.position()
            self._bar.update(max(0, position - self._bar.n))
