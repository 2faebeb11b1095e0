"""Writing checkpoints behind the back of the training: one thread, one checkpoint at a time.

Training goes on as soon as the tensors are copied to host memory. What goes wrong in the thread is
raised where the training next asks, as one error. The first checkpoint of a process is read back
and compared.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from optzoo.distributed.signals import Interrupted
from optzoo.errors import OptzooError
from optzoo.train.runs.checkpoint import Checkpoint

Save = Callable[[Checkpoint, bool], None]


class CheckpointWriter:
    """Calls `save(checkpoint, verify)` in a thread; `verify` is true the first time.

    As a context manager it waits at the end for what is under way.
    """

    def __init__(self, save: Save) -> None:
        self._save = save
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._is_first = True

    def submit(self, checkpoint: Checkpoint) -> None:
        """Once the one before it is written, copy a checkpoint to host memory and have it written.

        Raises RunError when that one could not be written.
        """
        self.wait()
        copied = checkpoint.on_host()
        self._thread = threading.Thread(
            target=self._work, args=(copied, self._is_first), name="checkpoint", daemon=True
        )
        self._is_first = False
        self._thread.start()

    def check(self) -> None:
        """Raise RunError if a checkpoint could not be written; do not wait."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def wait(self) -> None:
        """Wait until nothing is under way. Raises RunError if it could not be written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def _work(self, checkpoint: Checkpoint, verify: bool) -> None:
        try:
            self._save(checkpoint, verify)
        except BaseException as error:  # raised again where the training asks
            self._error = error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, Interrupted):
            self.wait()
            return
        if self._thread is not None:
            self._thread.join()
        if not issubclass(kind, OptzooError):  # what other processes saw of this one's failure
            self.check()
