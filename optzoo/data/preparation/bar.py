"""How far a pass is: a bar on a terminal, and in a log a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, Self

from tqdm import tqdm

from optzoo.data.preparation.readers import Meter
from optzoo.data.preparation.source_file import SourceFile

LOOK_EVERY = 0.2  # seconds between looks at the file's position
LOG_EVERY = 30.0  # seconds between lines in a log


class Bar:
    """Shows how far a pass is and how long it will take: in tokens, or in bytes of its sources."""

    def __init__(
        self,
        name: str,
        files: Sequence[SourceFile],
        max_tokens: int | None,
        tokens: int,
        *,
        quiet: bool,
    ) -> None:
        """`tokens` are there already."""
        self.meter = Meter()
        self._name, self._files, self._quiet = name, files, quiet or sys.stderr is None
        self._by_tokens = max_tokens is not None and name == "train"
        sizes = [file.size for file in files]
        known = [size for size in sizes if size is not None]
        whole = sum(known) if len(known) == len(sizes) else None
        self._total = max_tokens if self._by_tokens else whole
        self._behind = [sum(size or 0 for size in sizes[:i]) for i in range(len(sizes))]
        self._at = min(tokens, self._total or 0) if self._by_tokens else 0
        self._unit = "token" if self._by_tokens else "B"
        self._file = 0
        self._looked, self._logged = 0.0, time.monotonic()
        self._bar: Any = None
        if not self._quiet and sys.stderr.isatty():
            self._bar = tqdm(
                total=self._total, initial=self._at, desc=name, unit=self._unit, unit_scale=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._bar is not None:
            if kind is None and self._total is not None:
                self._move_to(self._total)
            self._bar.close()

    def open(self, number: int) -> None:
        """Say which file is read next."""
        self._file = number
        if self._bar is not None and len(self._files) > 1:
            self._bar.set_postfix_str(self._place(), refresh=False)

    def wrote(self, tokens: int) -> None:
        """Count tokens that were written."""
        if self._by_tokens:
            self._move_to(self._at + tokens)

    def moved(self) -> None:
        """Look at the position in the sources, not too often."""
        now = time.monotonic()
        if not self._by_tokens and not self._quiet and now - self._looked > LOOK_EVERY:
            self._looked = now
            self._move_to(self._behind[self._file] + self.meter.position())

    def _move_to(self, place: int) -> None:
        before, self._at = self._at, max(self._at, min(place, self._total or place))
        if self._bar is not None:
            self._bar.update(self._at - before)
        elif not self._quiet and time.monotonic() - self._logged > LOG_EVERY:
            self._logged = time.monotonic()
            done = tqdm.format_sizeof(self._at)
            share = f" ({self._at / self._total:.0%})" if self._total else ""
            sys.stderr.write(f"{self._name}: {done}{self._unit}{share}, {self._place()}\n")

    def _place(self) -> str:
        return f"file {self._file + 1:,} of {len(self._files):,}"
