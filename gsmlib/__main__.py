"""What the command `gsmlib` starts: quiet at Ctrl-C from the first moment on."""

import sys


def main() -> None:
    """Import the command line, which takes a second or two, and run it."""
    try:
        from gsmlib.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
