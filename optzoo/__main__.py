"""The command line: `optzoo` and `python -m optzoo`.

Turns errors into messages and exit codes: 0 ok, 1 the run failed, 2 bad input. Data goes to stdout,
messages to stderr.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and leave the process with its exit code."""
    from optzoo.cli.app import app
    from optzoo.cli.spinning import TRAINING, bound_spinning
    from optzoo.errors import OptzooError

    if sys.argv[1:2] and sys.argv[1] in TRAINING:  # before anything imports torch
        bound_spinning()
    try:
        app()
    except OptzooError as error:
        if error.diagnostics:  # none: another process of the run has said it
            sys.stderr.write(f"{error}\n")
        _leave_at_once(error.exit_code)
        sys.exit(error.exit_code)
    except SystemExit as leaving:
        _leave_at_once(leaving.code)
        raise
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    except BrokenPipeError:  # the reader went away: `optzoo list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _leave_at_once(code: object) -> None:
    """End one of several processes of a run without waiting for its communication threads."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
