"""The command line: `optzoo` and `python -m optzoo`.

Turns errors into messages and exit codes: 0 ok, 1 the run failed, 2 bad input. Data goes to stdout,
messages to stderr.
"""

from __future__ import annotations

import errno
import os
import sys


def main() -> None:
    """Run the command line and leave the process with its exit code."""
    from optzoo.cli.spinning import TRAINING, bound_spinning
    from optzoo.cli.streams import prepare_streams

    prepare_streams(patient=sys.argv[1:2] == ["train"])
    if sys.argv[1:2] and sys.argv[1] in TRAINING:  # before anything imports torch
        bound_spinning()
    code = _run()
    size = os.environ.get("WORLD_SIZE", "1")
    if size.isdecimal() and int(size) > 1:  # do not wait for threads that talk to other processes
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _run() -> int:
    """Run a command and return its exit code."""
    from optzoo.errors import OptzooError

    try:
        return _call()
    except OptzooError as error:
        if error.diagnostics:  # none: another process of the run has said it
            sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except MemoryError:
        sys.stderr.write("error: the memory of this machine is not enough\n")
    except OSError as error:
        sys.stderr.write(f"{_refused(error)}\n")
    return 1


def _call() -> int:
    from optzoo.cli.app import app

    code: object = 0
    try:
        app()
    except SystemExit as leaving:
        code = leaving.code
    sys.stdout.flush()
    return code if isinstance(code, int) else int(code is not None)


def _refused(error: OSError) -> str:
    """Return the message of what the system refused and no command expected."""
    from optzoo.errors import Diagnostic

    reason = error.strerror or str(error)
    place = "the standard output" if error.filename is None else str(error.filename)
    hint = {
        errno.EMFILE: "raise the number of files that may be open: `ulimit -n 1024`",
        errno.ENOSPC: "make room",
    }
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM) and error.filename is None:
        place = "the system"
    return Diagnostic("refused", f"{place}: {reason}", hint=hint.get(error.errno or 0)).render()


if __name__ == "__main__":
    main()
