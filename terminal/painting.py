"""Colours, for those who can see them and want them.

    --color always | never      goes before
    NO_COLOR=1, TERM=dumb       these, which go before
    a terminal, or not          that
"""

AUTO, ALWAYS, NEVER = "auto", "always", "never"
CHOICES = (AUTO, ALWAYS, NEVER)

_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36, "reverse": 7}


class Painter:
    """Puts words into colours, or leaves them as they are.

    choice    one of CHOICES, what the user said
    stream    where it is written
    environ   the environment: NO_COLOR (see no-color.org), TERM
    """

    def __init__(self, choice, stream, environ):
        self.paints = choice == ALWAYS or (
            choice == AUTO and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb" and stream.isatty())

    def __call__(self, colour, text):
        """`text`, which is printable, in a colour: bold, dim, red, green, yellow, cyan or reverse."""
        return f"\033[{_CODES[colour]}m{text}\033[m" if self.paints and text else text


PLAIN = Painter(NEVER, None, {})
