"""Terminals, as far as programs look."""

import io


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self):
        return True
