"""The one kind of failure that the command reports to its user."""

from __future__ import annotations

EXIT_AGREE = 0
EXIT_DISAGREE = 1
EXIT_COULD_NOT_RUN = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class CommandError(Exception):
    """The command cannot run: the message says what was got, what was expected, and the fix."""
