"""A second reader of RESP, to hold against `resp.Parser`: slow, and plain enough to be right.

It wants the whole input at once, reads a value by calling itself for each
element, and was written from the specification without a look at the other.
A value is a pair that says what it is, and as what it came:

    ("simple", bytes)       ("integer", int)            ("array", [value, ...])
    ("bulk", bytes)         ("big number", int)         ("set", [value, ...])
    ("verbatim", bytes)     ("boolean", bool)           ("push", [value, ...])
    ("error", str)          ("double", str)  its repr   ("map", [(key, value), ...])
    ("bulk error", str)     ("null", "$", "*" or "_")   ("attribute", [(key, value), ...])   never an element

The form of a verbatim string, its first three letters, isn't in its value.

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


def read_all(data, max_bulk=1 << 60, max_elements=1 << 60, empty_lines=False):
    """Return (values, how it ends, byte): "end", "cut", or "invalid" at that byte.

    empty_lines   whether there may be some between values
    """
    values = []
    pos = 0
    while pos < len(data):
        if empty_lines and data[pos:pos + 2] == b"\r\n":
            pos += 2
            continue
        if empty_lines and data[pos:] == b"\r":
            return values, "cut", pos
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
            return ("simple", line), after
        if kind == "-":
            return ("error", line.decode("utf-8", "replace")), after
        if kind in ":(":
            name, most_digits = {":": ("integer", 20), "(": ("big number", 4000)}[kind]
            return (name, self.integer(pos, line, most_digits)), after
        if kind == "_" and line == b"":
            return ("null", "_"), after
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
        return int(line.decode())

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
            return ("null", "$"), after
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
            return ("bulk error", text.decode("utf-8", "replace")), end + 2
        if kind == "$":
            return ("bulk", text), end + 2
        if len(text) < 4 or chr(text[3]) != ":":
            raise Invalid(after)
        return ("verbatim", text[4:]), end + 2

    def aggregate(self, kind, pos, line, after, depth):
        if kind == "*" and line == b"-1":
            return ("null", "*"), after
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
        name = {"*": "array", "~": "set", ">": "push", "%": "map", "|": "attribute"}[kind]
        return (name, list(zip(items[::2], items[1::2])) if kind in "%|" else items), after

    def length(self, pos, line):
        if not only_digits(line) or len(line) > 18:
            raise Invalid(pos)
        return int(line.decode())


# Types that mean the same to who reads values.
SAME = {"simple": "string", "bulk": "string", "verbatim": "string", "bulk error": "error", "big number": "integer",
        "array": "list", "set": "list"}


def plain(value):
    """A value without how it came: ("string", ...), ("error", ...), ("integer", ...), ("list", ...), ("null", None).

    The pairs of a map whose keys are all strings are one for each key, as in a dict.
    """
    kind, content = value
    kind = SAME.get(kind, kind)
    if kind == "null":
        return kind, None
    if kind == "map":
        pairs = [(plain(key), plain(item)) for key, item in content]
        if all(key[0] == "string" for key, _ in pairs):
            pairs = list({key: (key, item) for key, item in pairs}.values())
        return kind, pairs
    return kind, [plain(item) for item in content] if kind in ("list", "push") else content


def in_resp2(value):
    """A value of RESP3 as RESP2 has it, which knows simple and bulk strings, errors, integers, arrays and nulls alone.

    Which of its two nulls it is can't be told: ("null", None).
    """
    kind, content = value
    if kind == "boolean":
        return "integer", int(content)
    if kind == "double":
        return "bulk", (content[:-2] if content.endswith(".0") else content).encode()
    if kind == "big number":
        return "bulk", b"%d" % content
    if kind == "verbatim":
        return "bulk", content
    if kind == "bulk error":
        return "error", content.replace("\r", " ").replace("\n", " ")
    if kind == "null":
        return kind, None
    if kind == "map":
        content = [part for pair in content for part in pair]
    if kind in ("map", "set", "push", "array"):
        return "array", [in_resp2(item) for item in content]
    return value


def types(value):
    """The types that a value is made of; of nulls which one it is: {"array", "bulk", "null *"}."""
    kind, content = value
    if kind == "null":
        return {f"null {content}"}
    if kind == "map":
        content = [part for pair in content for part in pair]
    return {kind}.union(*map(types, content)) if isinstance(content, list) else {kind}


# Those that there are in RESP2, and those that RESP3 has instead of others.
IN_RESP2 = {"simple", "bulk", "error", "integer", "array", "null $", "null *"}
NOT_IN_RESP3 = {"null $", "null *"}


def without_sign(line):
    return line[1:] if line[:1] in (b"+", b"-") else line


def only_digits(line):
    return line != b"" and all(byte in b"0123456789" for byte in line)
