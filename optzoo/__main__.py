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
    from optzoo.errors import OptzooError

    try:
        app()
    except OptzooError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    except BrokenPipeError:  # the reader went away: `optzoo list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
