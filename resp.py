"""RESP2 and RESP3: bytes to values and values to bytes.  No socket, no thread.

    type   first byte   on the wire                        as a value
    -----  -----------  ---------------------------------  -------------------
    simple      +       +OK CRLF                           bytes
    error       -       -ERR why CRLF                      ErrorReply
    integer     :       :42 CRLF                           int
    bulk        $       $3 CRLF one CRLF                   bytes
    array       *       *2 CRLF, then two values           list
    null      $ * _     $-1 CRLF, *-1 CRLF, _ CRLF         None
    boolean     #       #t CRLF                            bool
    double      ,       ,1.5 CRLF                          float
    big         (       (123 CRLF                          int
    bulk error  !       !7 CRLF ERR why CRLF               ErrorReply
    verbatim    =       =7 CRLF txt:one CRLF               bytes ("one")
    map         %       %1 CRLF, then key and value        dict, or a list of
                                                           [key, value] where a
                                                           key isn't bytes
    set         ~       ~2 CRLF, then two values           list
    push        >       >2 CRLF, then two values           Push
    attribute   |       |1 CRLF, then key and value        dropped

`Parser` turns bytes into values and remembers where it stopped, so that
what was fed in many small pieces is joined once and read once.  A long bulk
string is received to where it stays, if its driver can do so:

    room = parser.room()            None: receive wherever, and feed that
    parser.received(sock.recv_into(room))

`Requests` is a Parser for the server's side: it yields commands, and many of one
kind at once.  Between them it passes over empty lines.
"""

import re
from typing import NamedTuple

CRLF = b"\r\n"

# A line that isn't a bulk string (a length, a number, a name) may be this long.
MAX_LINE = 64 * 1024
MAX_DEPTH = 8

# From this size on a bulk string is worth a receive of its own.
LONG = 64 * 1024
# Memory for a string that is still coming is taken as it comes, whatever length
# was announced: this much to begin with, then so many times what is there.
_FIRST_ROOM = 4096
_GROWTH = 4

# Digits are counted before they are read: int() and float() take time that
# grows with the square of it.  A double needs no more than 1,100 on either side.
_LENGTH = re.compile(rb"(?:-1|[0-9]{1,18})\Z")
_INTEGER = re.compile(rb"[+-]?[0-9]{1,20}\Z")
_BIG = re.compile(rb"[+-]?[0-9]{1,4000}\Z")
_DOUBLE = re.compile(rb"[+-]?(?:inf|nan|[0-9]{1,1100}(?:\.[0-9]{1,1100})?(?:[eE][+-]?[0-9]{1,9})?)\Z")


class ProtocolError(ValueError):
    """These bytes are not RESP, or pass a limit; nothing behind them can be read.

    pos   the byte, counted from the first one ever fed, where what can't be
          read begins: the type byte of a value, or the end of a bulk string
          that isn't CR LF.
    """

    def __init__(self, pos, why):
        super().__init__(f"Protocol error at byte {pos}: {why}")
        self.pos = pos


class ErrorReply(Exception):
    """An error as a value: returned by the parser, raised by clients."""

    @property
    def code(self):
        """Its first word, such as ERR or WRONGVERSION."""
        return self.args[0].split(" ", 1)[0]

    def __eq__(self, other):
        return isinstance(other, ErrorReply) and self.args == other.args

    def __hash__(self):
        return hash(self.args)


class Push(list):
    """An out-of-band RESP3 array: it answers no request."""


class _Incomplete:
    """What `Parser.get` returns while the bytes of a value are still coming."""

    def __repr__(self):
        return "INCOMPLETE"

    def __bool__(self):
        return False


INCOMPLETE = _Incomplete()


# -- values to bytes ---------------------------------------------------------

def simple(text):
    """`text` (bytes without CR or LF) as a simple string."""
    return b"+%b\r\n" % text


def error(text):
    """`text` (str) as an error; CR and LF are shown as spaces."""
    line = text.replace("\r", " ").replace("\n", " ")
    return b"-%b\r\n" % line.encode("utf-8", "backslashreplace")


def integer(number):
    return b":%d\r\n" % number


def bulk(data):
    return b"$%d\r\n%b\r\n" % (len(data), data)


def array(encoded):
    """An array of values that are encoded already."""
    return b"*%d\r\n%b" % (len(encoded), b"".join(encoded))


def push(encoded, protocol):
    """What no request asked for: a push in RESP3, an array in RESP2."""
    return b"%c%d\r\n%b" % (b">" if protocol == 3 else b"*", len(encoded), b"".join(encoded))


def mapping(pairs, protocol):
    """Encoded pairs as a map in RESP3, as a flat array in RESP2."""
    flat = [part for pair in pairs for part in pair]
    if protocol == 3:
        return b"%%%d\r\n%b" % (len(pairs), b"".join(flat))
    return array(flat)


def members(encoded, protocol):
    """Values that are encoded already, in no order that means anything: a set in RESP3, an array in RESP2."""
    return b"%c%d\r\n%b" % (b"~" if protocol == 3 else b"*", len(encoded), b"".join(encoded))


def attribute(pairs, protocol):
    """Encoded pairs about the value that is to follow, which a client may pass over; nothing in RESP2."""
    if protocol != 3:
        return b""
    return b"|%d\r\n%b" % (len(pairs), b"".join(part for pair in pairs for part in pair))


def null(protocol):
    """Nothing, where a string or a number might be."""
    return b"_\r\n" if protocol == 3 else b"$-1\r\n"


def null_array(protocol):
    """Nothing, where an array might be."""
    return b"_\r\n" if protocol == 3 else b"*-1\r\n"


def boolean(value, protocol):
    """True or False; 1 or 0 in RESP2."""
    if protocol == 3:
        return b"#t\r\n" if value else b"#f\r\n"
    return integer(bool(value))


def double(number, protocol):
    """A float in as few digits as make the same one again; a bulk string of them in RESP2."""
    digits = repr(float(number)).encode()
    if digits.endswith(b".0"):
        digits = digits[:-2]
    return b",%b\r\n" % digits if protocol == 3 else bulk(digits)


def big_number(number, protocol):
    """An int of any size; a bulk string of its digits in RESP2."""
    return b"(%d\r\n" % number if protocol == 3 else bulk(b"%d" % number)


def verbatim(text, protocol, form=b"txt"):
    """`text` (bytes) to be shown to people as it is, in a form of three letters (txt, mkd); a bulk string in RESP2."""
    if protocol == 3:
        return b"=%d\r\n%b:%b\r\n" % (len(form) + 1 + len(text), form, text)
    return bulk(text)


def bulk_error(text, protocol):
    """`text` (str) as an error, whose lines stay lines; as `error` in RESP2."""
    if protocol != 3:
        return error(text)
    data = text.encode("utf-8", "backslashreplace")
    return b"!%d\r\n%b\r\n" % (len(data), data)


def command(*arguments):
    """A request: an array of bulk strings.  str is sent as UTF-8, int as digits."""
    return array([bulk(_argument(a)) for a in arguments])


def _argument(value):
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, int):
        return b"%d" % value
    return bytes(value)


# -- bytes to values ---------------------------------------------------------

class _Open:
    """An aggregate whose elements are still coming."""

    __slots__ = ("kind", "left", "items")

    def __init__(self, kind, left):
        self.kind = kind
        self.left = left
        self.items = []


class _Coming:
    """A bulk string that isn't whole yet.

    kind   its type byte
    head   bytes of its first line
    size   bytes behind that line, CR LF at the end included; `have` of them are there
    data   a view of those, and of room for more
    """

    __slots__ = ("kind", "head", "size", "have", "data")

    def __init__(self, kind, head, size):
        self.kind = kind
        self.head = head
        self.size = size
        self.have = 0
        self.data = memoryview(bytearray())

    def take(self, data, pos):
        """Copy what belongs to it from byte `pos` of `data` on; return where that ends."""
        end = min(len(data), pos + self.size - self.have)
        have = self.have + end - pos
        if have > len(self.data):
            self._make_room(have)
        self.data[self.have:have] = memoryview(data)[pos:end]
        self.have = have
        return end

    def room(self):
        """A view to receive what comes next into, or None if that isn't worth it."""
        if self.have == len(self.data) < self.size:
            self._make_room(self.have)
        room = self.data[self.have:]
        return room if len(room) >= LONG else None

    def _make_room(self, have):
        data = memoryview(bytearray(min(self.size, max(_FIRST_ROOM, _GROWTH * have))))
        data[:self.have] = self.data[:self.have]
        self.data = data


class Parser:
    """Bytes in, values out; the place in a half-read value is kept between feeds.

    max_bulk       bytes in one bulk string
    max_elements   values inside one top-level value, nested ones included
    max_size       bytes of one top-level value

    A ProtocolError is final: it is raised again whatever is fed afterwards,
    and none of that is kept.
    """

    def __init__(self, max_bulk=512 << 20, max_elements=1 << 24, max_size=1 << 30):
        self.max_bulk = max_bulk
        self.max_elements = max_elements
        self.max_size = max_size
        self._buffer = b""          # read from self._pos on
        self._pos = 0
        self._coming = None         # a bulk string that began before the buffer
        self._dropped = 0           # bytes before the buffer's front, ever
        self._stack = []            # open aggregates, outermost first
        self._started = 0           # absolute byte where the top-level value began
        self._elements = 0          # values that its aggregates announced so far
        self._failed = None         # what to make the ProtocolError of, once there is one

    def feed(self, data):
        """Take `data` (bytes) as it comes from the socket, in pieces of any size.

        Call it when the values fed before were all taken: what is unread is
        copied each time, unless it waits for the rest of a bulk string.
        """
        if self._failed:
            return
        if self._buffer:
            left = self._buffer[self._pos:]
            self._drop_read()
            self._buffer = left + data
        elif self._coming is None:          # the usual: no copy
            self._buffer = data
        else:
            self._feed_coming(data)

    def _feed_coming(self, data):
        taken = self._coming.take(data, 0)
        if taken < len(data):
            self._buffer = data
            self._pos = taken
        else:
            self._dropped += taken

    def room(self):
        """Where to receive what comes next: a view, the whole of which is bytes of one string.

        None where it is as well to receive elsewhere and `feed` that.
        """
        return None if self._coming is None else self._coming.room()

    def received(self, count):
        """The next `count` bytes, at least one, were written to the front of the `room` last asked for."""
        self._coming.have += count
        self._dropped += count

    def _drop_read(self):
        """Let go of the buffer.  An idle connection must not keep what it sent last."""
        self._dropped += self._pos
        self._pos = 0
        self._buffer = b""

    @property
    def pending(self):
        """Bytes fed that no value was made of yet."""
        unread = len(self._buffer) - self._pos
        return unread if self._coming is None else unread + self._coming.head + self._coming.have

    @property
    def mid_value(self):
        """True if input that ends here ends inside a value."""
        return bool(self._stack) or self.pending > 0

    def get(self):
        """Return the next whole value, or INCOMPLETE.

        Raises ProtocolError.
        """
        if self._failed:
            raise ProtocolError(*self._failed)
        return self._next_value()

    def values(self):
        """All whole values that were fed so far."""
        while True:
            value = self.get()
            if value is INCOMPLETE:
                return
            yield value

    # A linear state machine: each turn reads one header line, and either
    # opens an aggregate or completes a value, which may complete others.
    def _next_value(self):
        while True:
            if not self._stack:
                self._started = self._dropped + self._pos
                self._elements = 0
            value = self._read_one()
            if value is INCOMPLETE:
                return INCOMPLETE
            if isinstance(value, _Open):
                if value.left:
                    self._stack.append(value)
                    continue
                value = _close(value)
                if value is INCOMPLETE:     # an attribute: describes, is no value
                    continue
            while self._stack:
                top = self._stack[-1]
                top.items.append(value)
                top.left -= 1
                if top.left:
                    break
                value = _close(self._stack.pop())
                if value is INCOMPLETE:
                    break
            else:
                return value

    def _read_one(self):
        """Read a scalar or the head of an aggregate, or nothing at all."""
        if self._coming is not None:
            return self._read_coming()
        buffer, pos = self._buffer, self._pos
        if pos >= len(buffer):
            self._drop_read()
            return INCOMPLETE
        kind = buffer[pos]
        read = _READERS.get(kind)
        if read is None:
            raise self._fail(f"found {_show(buffer[pos:pos + 1])}, expected a RESP type such as '*' or '$'")
        end = buffer.find(CRLF, pos + 1, pos + 1 + MAX_LINE + 2)
        if end < 0:
            if len(buffer) - pos > MAX_LINE + 2:
                self._check_size(MAX_LINE + 3)
                raise self._fail(f"no end of line within {MAX_LINE} bytes")
            self._check_size(len(buffer) - pos)
            return INCOMPLETE
        if self._dropped + end + 2 - self._started > self.max_size:
            raise self._too_large()
        return read(self, kind, buffer[pos + 1:end], end + 2)

    def _read_line(self, kind, line, after):
        self._pos = after
        return line

    def _read_error(self, kind, line, after):
        self._pos = after
        return ErrorReply(line.decode("utf-8", "replace"))

    def _read_integer(self, kind, line, after):
        if not (_INTEGER if kind == 58 else _BIG).match(line):
            raise self._fail(f"found {_show(line)}, expected an integer")
        self._pos = after
        return int(line)

    def _read_null(self, kind, line, after):
        if line:
            raise self._fail(f"found {_show(line)}, expected nothing after '_'")
        self._pos = after

    def _read_boolean(self, kind, line, after):
        if line not in (b"t", b"f"):
            raise self._fail(f"found {_show(line)}, expected 't' or 'f'")
        self._pos = after
        return line == b"t"

    def _read_double(self, kind, line, after):
        if not _DOUBLE.match(line):
            raise self._fail(f"found {_show(line)}, expected a number")
        self._pos = after
        return float(line)

    def _read_bulk(self, kind, line, after):
        size = self._length(line, "bytes")
        if size > self.max_bulk:
            raise self._fail(f"found {size} bytes, expected no more than {self.max_bulk}")
        if size < 0:
            if kind != 36:      # only $-1 is a null
                raise self._fail(f"found {_show(line)}, expected a number of bytes")
            self._pos = after
            return None
        end = after + size
        self._check_size(end + 2 - self._pos)
        buffer = self._buffer
        if len(buffer) < end + 2:
            self._coming = _Coming(kind, after - self._pos, size + 2)
            self._coming.take(buffer, after)
            self._pos = len(buffer)
            self._drop_read()
            return INCOMPLETE
        if buffer[end:end + 2] != CRLF:
            raise self._unended(size, end)
        self._pos = end + 2
        return self._string(kind, buffer[after:end])

    def _read_coming(self):
        """Read the string that began before the buffer, if it is whole."""
        coming = self._coming
        if coming.have < coming.size:
            return INCOMPLETE
        self._coming = None
        size = coming.size - 2
        if coming.data[size:] != CRLF:
            raise self._unended(size, self._pos - 2)
        return self._string(coming.kind, self._value_of(coming.data[:size]))

    def _value_of(self, view):
        """What a string that came in parts is handed out as."""
        return bytes(view)

    def _unended(self, size, end):
        return self._fail(f"a string of {size} bytes is not followed by CR LF", end)

    def _string(self, kind, data):
        """The value of a bulk string, which ends two bytes before `_pos`."""
        if kind == 36:      # $
            return data
        if kind == 33:      # !
            return ErrorReply(str(data, "utf-8", "replace"))
        if data[3:4] != b":":
            raise self._fail("a verbatim string without its three-letter format", self._pos - 2 - len(data))
        return data[4:]

    def _read_aggregate(self, kind, line, after):
        count = self._length(line, "elements")
        if count < 0:
            if kind != 42:      # only *-1 is a null
                raise self._fail(f"found {_show(line)}, expected a number of elements")
            self._pos = after
            return None
        if kind in (37, 124):
            count *= 2
        self._elements += count
        if self._elements > self.max_elements:
            raise self._fail(f"found {self._elements} elements in one value, "
                             f"expected no more than {self.max_elements}")
        if len(self._stack) == MAX_DEPTH:
            raise self._fail(f"arrays nested more than {MAX_DEPTH} deep")
        self._pos = after
        return _Open(kind, count)

    def _length(self, line, unit):
        if line == b"?":
            raise self._fail("streamed types are not supported")
        if not _LENGTH.match(line):
            raise self._fail(f"found {_show(line)}, expected a number of {unit}")
        return int(line)

    def _check_size(self, unread):
        if self._dropped + self._pos + unread - self._started > self.max_size:
            raise self._too_large()

    def _too_large(self):
        return self._fail(f"found more than {self.max_size} bytes in one value")

    def _fail(self, why, at=None):
        # Kept as what to make an error of: an error that was raised holds its
        # frames, and with them this parser and all that it has in memory.
        self._failed = self._dropped + (self._pos if at is None else at), why
        return ProtocolError(*self._failed)


def _show(line):
    """A line for a message: never longer than a message may be."""
    return repr(line[:40])[1:] + ("..." if len(line) > 40 else "")


def _close(aggregate):
    """The value of an aggregate all of whose elements are there."""
    kind, items = aggregate.kind, aggregate.items
    if kind == 62:
        return Push(items)
    if kind == 124:
        return INCOMPLETE
    if kind == 37:
        pairs = zip(items[::2], items[1::2])
        # Only the hash of bytes is secret: of numbers anyone can send so many
        # with the same one that a dict of them takes hours.
        if all(isinstance(key, bytes) for key in items[::2]):
            return dict(pairs)
        return [list(pair) for pair in pairs]
    return items


_READERS = {
    ord("+"): Parser._read_line,
    ord("-"): Parser._read_error,
    ord(":"): Parser._read_integer,
    ord("("): Parser._read_integer,
    ord("_"): Parser._read_null,
    ord("#"): Parser._read_boolean,
    ord(","): Parser._read_double,
    ord("$"): Parser._read_bulk,
    ord("!"): Parser._read_bulk,
    ord("="): Parser._read_bulk,
    ord("*"): Parser._read_aggregate,
    ord("%"): Parser._read_aggregate,
    ord("~"): Parser._read_aggregate,
    ord(">"): Parser._read_aggregate,
    ord("|"): Parser._read_aggregate,
}


# -- requests ----------------------------------------------------------------

class BadRequest(ValueError):
    """Whole, well-formed RESP that is no command; what follows it can be read."""


# A command of four parts, up to the bytes of its last one.
_HEAD = re.compile(
    rb"(\*4\r\n\$[0-9]{1,9}\r\n[^\r]+)\r\n"
    rb"\$([0-9]{1,9}\r\n[^\r]+)\r\n"
    rb"\$([0-9]{1,9}\r\n[^\r]+)\r\n"
    rb"\$([0-9]{1,9})\r\n")

# A command up to its first argument: its opening, which those like it share.
_OPENING = re.compile(rb"\*([1-9][0-9]{0,3})\r\n\$([1-9][0-9]?)\r\n([^\r]+)\r\n")

# The head of a string that isn't so short that _HEADS has it.
_LONG_HEAD = re.compile(rb"\$[0-9]{1,5}\Z")

# More bytes than such a head has where the fast path takes it.
_MAX_HEAD = 1024
_MAX_KNOWN = 1 << 16
_LONGEST_KNOWN = 256

# Commands that differ are split so many bytes at a time, if their last parts are
# short: the lengths that these may have.
_WINDOW = 16 * 1024
# A command of more strings isn't looked at by itself first, for others that repeat it.
_FEW = 16
_LENGTHS = range(1000)
# As they stand on the wire, with the type byte before them.
_HEADS = {b"$%d" % length: length for length in _LENGTHS}
# And what a string of so many bytes begins with, its length and CR LF included; no string has a length for which
# it is a space.
_BEGINNINGS = [b" "] * (len(b"999\r\n") + len(_LENGTHS))
for _begin in [b"%d\r\n" % length for length in _LENGTHS]:
    _BEGINNINGS[len(_begin) + int(_begin)] = _begin
_SHORT = len(_BEGINNINGS)       # with its length a string has fewer bytes, if it may be taken so


class Known(dict):
    """Short strings in good order that were seen lately: b"6 CRLF orders" -> b"orders".

    check   check(string) raises ValueError where one isn't

    All connections share one: 10,000 of them don't keep a copy each.  Any thread
    may add a string or clear all; both are single dict operations, and a lost
    entry costs one more check.
    """

    def __init__(self, check):
        super().__init__()
        self.check = check

    def __missing__(self, wire):
        """Raises ValueError where the plain path must judge."""
        size, string = wire.split(CRLF)
        if len(wire) > _LONGEST_KNOWN or not _LENGTH.match(size) or int(size) != len(string):
            raise ValueError
        self.check(string)
        if len(self) >= _MAX_KNOWN:
            self.clear()
        self[wire] = string
        return string


class Alike(NamedTuple):
    """Commands of the name and count that are wanted together, which came one behind the other.

    commands   [(name, argument, …), …] in bytes, each shorter than 16 KiB
    size       bytes that they took
    """

    commands: list
    size: int


# What the arguments of a command come as.
_STRINGS = {bytes, memoryview}

_EMPTY_LINES = re.compile(rb"(?:\r\n)*")


class Requests(Parser):
    """The server's parser: commands, and runs of the one that comes in pipelines.

    name                that command, which has three arguments; in lower case
    firsts, seconds     Known: what the first two of them may be
    max_last            bytes of the third one in a run
    max_arguments, max_bulk, max_size   limits of one request; past them
                                        reading ends with a ProtocolError
    together            {name: strings in all, or None for any number} of commands that come as Alike where
                        they are short

    last                (bytes up to the last argument's length, first, second) of a command `name` that came
                        alone and whole, while what comes behind it is for `take_again`; else None
    """

    def __init__(self, name, firsts, seconds, max_last=64 << 20,
                 max_arguments=1 << 20, max_bulk=64 << 20, max_size=128 << 20, together=None):
        super().__init__()
        self._name = name
        self._opening = b"*4\r\n$%d\r\n%b" % (len(name), name)
        self._wire = self._opening[len(b"*4\r\n$"):]
        self._firsts = firsts
        self._seconds = seconds
        self._together = together or {}
        self.last = None
        self.limit(max_last, max_arguments, max_bulk, max_size)

    def limit(self, max_last, max_arguments, max_bulk, max_size):
        """Have other limits from the next request on."""
        self.max_elements = max_arguments
        self.max_bulk = max_bulk
        self.max_size = max_size
        self._max_last = max_last
        # The longest last argument that the fast path may take unseen by the
        # limits: -1, none at all, where its heads might pass them.
        self._longest = -1
        if max_arguments >= 4 and max_bulk >= _MAX_HEAD:
            self._longest = min(max_last, max_bulk, max_size - 2 * _MAX_HEAD)
        # The same for how many strings a command may have that is split with others.
        self._most = min(max_arguments, 9999) if min(max_bulk, max_size) >= _WINDOW + MAX_LINE else 0

    def take_again(self, data):
        """A run as of `take`, if `data` is a command like one that came alone before: its last argument is short,
        the others are known.

        It is `feed` and `take` for clients that wait for each reply.  None: nothing
        was taken, those two are to judge.
        """
        if self.last is None:
            return None
        head, first, second = self.last
        if data.startswith(head):
            last = data[len(head):-2]
        else:
            first, second, last = self._split_one(data)
        size = len(last)
        if (first and size < _SHORT and last.startswith(_BEGINNINGS[size])
                and data.endswith(CRLF) and size <= self._longest
                and not (self._buffer or self._stack or self._coming)):
            self._dropped += len(data)
            return first, second, last
        self.last = None
        return None

    def _split_one(self, data):
        """(first, second, last with its length) of a command `name`; nothing if what it begins with isn't known."""
        parts = data.split(b"\r\n$", 4)
        if len(parts) == 5 and parts[0] == b"*4" and parts[1] == self._wire:
            first, second = self._firsts.get(parts[2]), self._seconds.get(parts[3])
            if second is not None:
                return first, second, parts[4][:-2]
        return None, None, b""

    def take(self):
        """Return what was asked in the bytes fed so far, in order, as a list of

        (runs, count, size)   `count` commands `name`, which took `size` bytes, as
                              [(first, second, lasts)]: a run is one of them or some
                              that follow one another and differ in nothing but
                              their last arguments, which are of one length.  These
                              are bytes; a long one that came in parts is a read-only
                              memoryview of where it was received.  In place of a list
                              of one there may be that one with its length, as it stands
                              on the wire: b"5 CRLF hello" (see `lasts_of`)
        Alike                 some of those that are wanted together
        [argument, …]         any other command
        BadRequest            a request that is no command
        ProtocolError         the end: nothing was or will be read behind it, and
                              it is all that comes from now on
        """
        taken = []
        tried = tried_alike = 0
        while True:
            if not self._stack and not self._coming and not self._failed:
                tried = self._take_runs(taken, tried)
                if self._pos < len(self._buffer):
                    tried_alike = self._take_alike(taken, tried_alike)
                if self._pos == len(self._buffer):
                    self._drop_read()
                    return taken
            try:
                one = self._take_one()
            except ProtocolError as error:
                taken.append(error.with_traceback(None))    # whose frames hold `taken`
                return taken
            if one is INCOMPLETE:
                return taken
            taken.append(one)

    def take_first(self):
        """The next request alone, in a list as `take` has it; what follows stays, for other limits perhaps."""
        try:
            one = self._take_one()
        except ProtocolError as error:
            return [error.with_traceback(None)]
        return [] if one is INCOMPLETE else [one]

    def _take_one(self):
        """The plain path of `take`, which reads anything.

        A BadRequest is returned: one that is raised costs 500 bytes of frames,
        and three bytes make one.
        """
        if self._buffer.startswith(b"\r", self._pos) and self._ends_in_empty_lines():
            return INCOMPLETE
        value = self.get()
        if value is INCOMPLETE:
            return value
        if not isinstance(value, list) or isinstance(value, Push):
            return BadRequest("a request is an array of strings")
        if not value:
            return BadRequest("a request without a command")
        kinds = set(map(type, value))
        if not kinds <= _STRINGS:
            return BadRequest("the arguments of a command are strings")
        if memoryview in kinds:
            value[:-1] = map(bytes, value[:-1])
        if self._is_for_runs(value):
            return [(value[1], value[2], value[3:])], 1, self._dropped + self._pos - self._started
        value[-1] = bytes(value[-1])
        return value

    def _ends_in_empty_lines(self):
        """Pass over empty lines between requests, as `redis-cli --pipe` sends; whether half of one came last."""
        if self._stack or self._coming or self._failed:
            return False
        pos = self._pos = _EMPTY_LINES.match(self._buffer, self._pos).end()
        return self._buffer[pos:pos + 2] == b"\r"

    def _value_of(self, view):
        return bytes(view) if len(view) < LONG else view.toreadonly()

    def _is_for_runs(self, command):
        if len(command) != 4 or command[0].lower() != self._name or len(command[3]) > self._max_last:
            return False
        try:
            self._firsts.check(command[1])
            self._seconds.check(command[2])
        except ValueError:
            return False
        return True

    def _take_runs(self, taken, tried):
        """The fast path of `take`: what it can't read, it leaves as it was.

        A regular expression and two look-ups read the first command of a run; each
        that follows with the same bytes before its data costs one comparison
        and one slice.  Where none does, those behind it are split many at once.

        tried   bytes before this one were split: to split them again would take a
                time that grows with the square of what was sent to that end
        Returns the new `tried`.
        """
        buffer, pos = self._buffer, self._pos
        starts_with = buffer.startswith
        runs = []
        repeated = 0
        while True:
            match = _HEAD.match(buffer, pos)
            if match is None:
                break
            opening, first, second, digits = match.groups()
            if opening != self._opening and opening.lower() != self._opening:
                break
            size = int(digits)
            start = match.end()
            end = start + size
            if size > self._longest or not starts_with(CRLF, end):
                break
            try:
                first, second = self._firsts[first], self._seconds[second]
            except ValueError:
                break
            lasts = [buffer[start:end]]
            runs.append((first, second, lasts))
            began, pos = pos, end + 2
            if pos == len(buffer):
                break
            alike = buffer[began:start]
            if starts_with(alike, pos):
                step = len(alike) + size + 2
                start += step
                end += step
                alike = CRLF + alike
                while starts_with(alike, end):
                    lasts.append(buffer[start:end])
                    start += step
                    end += step
                if starts_with(CRLF, end):
                    lasts.append(buffer[start:end])
                    pos = end + 2
                else:
                    pos = start - len(alike) + 2
                repeated += len(lasts) - 1
            # To split takes as long as to read three of them.
            elif size < len(_LENGTHS) and tried <= pos < len(buffer) - 3 * (pos - began):
                tried = pos + _WINDOW
                pos = self._split_commands(pos, tried, CRLF + opening + b"\r\n$", runs)
        if runs:
            if pos == len(buffer) and len(runs) == 1 and not repeated:
                self.last = buffer[began:start - len(digits) - 2], first, second
            taken.append((runs, len(runs) + repeated, pos - self._pos))
            self._pos = pos
        return tried

    def _take_alike(self, taken, tried):
        """The fast path for other commands of short strings: those of one name and count are split together.

        It too leaves what it can't read as it was, and splits nothing twice: behind
        the first command that can't be split, each is read by itself.
        """
        buffer, pos = self._buffer, self._pos
        opening = _OPENING.match(buffer, pos)
        if opening is None:
            return tried
        count, size, name = opening.groups()
        strings = int(count)
        if int(size) != len(name) or not 1 < strings <= self._most or (strings == 4 and name.lower() == self._name):
            return tried
        limit = pos + _WINDOW
        commands = []
        together = self._together.get(name.lower(), 0) in (strings, None)
        if pos >= tried:
            if together:
                commands, pos = self._repeated(pos, opening.end(), limit, name, strings)
            if not commands:
                tried = limit
                commands, pos = self._split_alike(pos, limit, b"*" + count, name, strings)
        opening = opening.group()
        while pos < limit and buffer.startswith(opening, pos):
            arguments, end = self._strings_at(pos + len(opening), limit, strings - 1)
            if end is None:
                break
            commands.append((name, *arguments))
            pos = end
        if commands:
            if together:
                taken.append(Alike(commands, pos - self._pos))
            else:
                taken += map(list, commands)
            self._pos = pos
        return tried

    def _repeated(self, pos, behind, limit, name, strings):
        """The command at `pos`, of few strings, and those behind it that differ in nothing but their last ones, which
        are as long; as tuples, and where they end.  None if there is no second one.

        behind   where its first argument begins
        """
        if strings > _FEW:
            return [], pos
        arguments, end = self._strings_at(behind, limit, strings - 1)
        if end is None:
            return [], pos
        buffer, size = self._buffer, len(arguments[-1])
        starts_with = buffer.startswith
        head = CRLF + buffer[pos:end - 2 - size]
        if not starts_with(head, end - 2):
            return [], pos
        step = len(head) + size
        start, stop = end - 2 + len(head), end - 2 + step
        lasts = arguments[-1:]
        while starts_with(head, stop):
            lasts.append(buffer[start:stop])
            start += step
            stop += step
        if starts_with(CRLF, stop):
            lasts.append(buffer[start:stop])
            start += step
        arguments = (name, *arguments[:-1])
        return [(*arguments, last) for last in lasts], start - len(head) + 2

    def _split_alike(self, pos, limit, head, name, strings):
        """Split what is in [pos, limit) into commands of so many short strings without CR LF.

        Returns those in good order that come first, as tuples, and where they end.
        """
        step = 1 + 2 * strings
        parts = self._buffer[pos:limit].split(CRLF)
        del parts[(len(parts) - 1) // step * step:]     # of a command that may be cut
        heads = parts[::step]
        del parts[::step]
        values = parts[1::2]
        names = values[::strings]
        whole = min(_alike(heads, [head] * len(heads)), _alike(names, [name] * len(names)),
                    _alike(list(map(_HEADS.get, parts[::2])), list(map(len, values))) // strings)
        commands = list(zip(*[iter(values)] * strings))
        if whole < len(commands):
            del commands[whole:], parts[whole * 2 * strings:]
        return commands, pos + sum(map(len, parts)) + len(parts) * len(CRLF) + whole * (len(head) + len(CRLF))

    def _strings_at(self, pos, limit, count):
        """(The `count` strings from `pos` on, where they end), which is None if they can't be read or pass `limit`."""
        buffer = self._buffer
        strings = []
        for _ in range(count):
            line = buffer.find(CRLF, pos, limit)
            head = buffer[pos:line] if line > 0 else b""
            size = _HEADS.get(head)
            if size is None:
                if not _LONG_HEAD.match(head):
                    return strings, None
                size = int(head[1:])
            start = line + 2
            end = start + size
            pos = end + 2
            if buffer[end:pos] != CRLF or pos > limit:
                return strings, None
            strings.append(buffer[start:end])
        return strings, pos

    def _split_commands(self, pos, limit, between, runs):
        """Take short commands from `pos` on, none beyond `limit`, each as a run; return the end of the last.

        between   what stands between two of them, up to the length of the first argument

        What was split there is right if all lengths are.  It ends before the first
        command of which they aren't: that is for others to judge.
        """
        buffer, firsts, seconds, longest = self._buffer, self._firsts, self._seconds, self._longest
        if not buffer.startswith(between, pos - 2):
            return pos
        if len(buffer) <= limit and buffer.endswith(CRLF):
            commands = buffer[pos - 2:-2].split(between)[1:]
        else:
            commands = buffer[pos - 2:limit].split(between)[1:-1]       # the last one may be cut
        before = len(runs)
        try:
            for command in commands:
                first, second, last = command.split(b"\r\n$", 2)
                size = len(last)
                if size > longest or not last.startswith(_BEGINNINGS[size]):
                    break
                runs.append((firsts[first], seconds[second], last))
        except (IndexError, ValueError):
            pass        # the plain path says what is wrong with it
        count = len(runs) - before
        return pos + count * len(between) + sum(map(len, commands[:count]))


def lasts_of(run):
    """The last arguments of the commands of a run that `Requests.take` gave."""
    lasts = run[2]
    return [lasts[lasts.index(CRLF) + 2:]] if type(lasts) is bytes else lasts


def _alike(some, others):
    """How many elements two lists of one length have in common from the front."""
    if some == others:
        return len(some)
    return next(i for i, (one, other) in enumerate(zip(some, others)) if one != other)
