"""A second reader of RESP, to hold against `resp.Parser`: slow, and plain enough to be right.

It wants the whole input at once, reads a value by calling itself for each
element, and was written from the specification without a look at the other.
A value is a pair that says what it is, so that True, 1 and 1.0 differ:

    ("string", bytes)   simple, bulk and verbatim     ("null", None)
    ("error", str)      simple and bulk               ("list", [value, ...])   arrays and sets
    ("integer", int)    also big ones                 ("push", [value, ...])
    ("boolean", bool)                                 ("map", [(key, value), ...])
    ("double", str)     repr() of the float           ("attribute", None)      never an element

Where the specification leaves it open: a line ends at the first CR LF and may
hold a CR or an LF of its own; there is no streaming; and numbers have no more
digits than `resp` says.
"""

MAX_DEPTH = 8


class Cut(Exception):
    """The input ends inside a value."""


class Invalid(Exception):
    """What begins at byte `pos` is not RESP."""

    def __init__(self, pos):
        super().__init__(pos)
        self.pos = pos


def read_all(data, max_bulk=1 << 60, max_elements=1 << 60):
    """Return (values, how it ends, byte): "end", "cut", or "invalid" at that byte."""
    values = []
    pos = 0
    while pos < len(data):
        try:
            value, pos = Reader(data, max_bulk, max_elements).read(pos, 0)
        except Cut:
            return values, "cut", pos
        except Invalid as error:
            return values, "invalid", error.pos
        if value[0] != "attribute":
            values.append(value)
    return values, "end", pos


class Reader:
    """Reads one top-level value, and counts what its aggregates may still hold."""

    def __init__(self, data, max_bulk, max_elements):
        self.data = data
        self.max_bulk = max_bulk
        self.elements_left = max_elements

    def read(self, pos, depth):
        """Return the value that begins at `pos`, and where the next one begins."""
        if pos == len(self.data):
            raise Cut
        kind = chr(self.data[pos])
        if kind not in "+-:$*_#,(!=%~>|":
            raise Invalid(pos)
        end = self.data.find(b"\r\n", pos)
        if end == -1:
            raise Cut
        line = self.data[pos + 1:end]
        after = end + 2
        if kind == "+":
            return ("string", line), after
        if kind == "-":
            return ("error", line.decode("utf-8", "replace")), after
        if kind in ":(":
            return self.integer(pos, line, 20 if kind == ":" else 4000), after
        if kind == "_" and line == b"":
            return ("null", None), after
        if kind == "#" and line in (b"t", b"f"):
            return ("boolean", line == b"t"), after
        if kind == ",":
            return self.double(pos, line), after
        if kind in "$!=":
            return self.string(kind, pos, line, after)
        if kind in "*%~>|":
            return self.aggregate(kind, pos, line, after, depth)
        raise Invalid(pos)

    def integer(self, pos, line, most_digits):
        digits = without_sign(line)
        if not only_digits(digits) or len(digits) > most_digits:
            raise Invalid(pos)
        return "integer", int(line.decode())

    def double(self, pos, line):
        digits = without_sign(line)
        if digits not in (b"inf", b"nan"):
            digits, has_exponent, exponent = digits.replace(b"E", b"e", 1).partition(b"e")
            whole, has_point, fraction = digits.partition(b".")
            exponent = without_sign(exponent)
            if (not only_digits(whole) or len(whole) > 1100
                    or has_point and (not only_digits(fraction) or len(fraction) > 1100)
                    or has_exponent and (not only_digits(exponent) or len(exponent) > 9)):
                raise Invalid(pos)
        return "double", repr(float(line.decode()))

    def string(self, kind, pos, line, after):
        if kind == "$" and line == b"-1":
            return ("null", None), after
        size = self.length(pos, line)
        if size > self.max_bulk:
            raise Invalid(pos)
        end = after + size
        if len(self.data) < end + 2:
            raise Cut
        if self.data[end:end + 2] != b"\r\n":
            raise Invalid(end)
        text = self.data[after:end]
        if kind == "!":
            return ("error", text.decode("utf-8", "replace")), end + 2
        if kind == "=":
            if len(text) < 4 or chr(text[3]) != ":":
                raise Invalid(after)
            text = text[4:]
        return ("string", text), end + 2

    def aggregate(self, kind, pos, line, after, depth):
        if kind == "*" and line == b"-1":
            return ("null", None), after
        count = self.length(pos, line)
        if kind in "%|":
            count = 2 * count
        self.elements_left -= count
        if self.elements_left < 0 or depth == MAX_DEPTH:
            raise Invalid(pos)
        items = []
        while len(items) < count:
            item, after = self.read(after, depth + 1)
            if item[0] != "attribute":
                items.append(item)
        if kind == "|":
            return ("attribute", None), after
        if kind == ">":
            return ("push", items), after
        if kind == "%":
            return ("map", last_of_each_name(items[::2], items[1::2])), after
        return ("list", items), after

    def length(self, pos, line):
        if not only_digits(line) or len(line) > 18:
            raise Invalid(pos)
        return int(line.decode())


def last_of_each_name(keys, values):
    """The pairs; where all keys are strings, one for each, as in a dict."""
    pairs = list(zip(keys, values))
    if any(key[0] != "string" for key in keys):
        return pairs
    return [(("string", name), value) for name, value in {key[1]: value for key, value in pairs}.items()]


def without_sign(line):
    return line[1:] if line[:1] in (b"+", b"-") else line


def only_digits(line):
    return line != b"" and all(byte in b"0123456789" for byte in line)
