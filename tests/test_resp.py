import gc
import itertools
import math
import random
import threading
import tracemalloc
import weakref

import pytest
from alike.redis import Redis, needs_redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import resp
from resp import Alike, BadRequest, CRLF, ErrorReply, INCOMPLETE, Known, Parser, ProtocolError, Push
from tests.naive_resp import IN_RESP2, NOT_IN_RESP3, in_resp2, plain, read_all, types

# Big enough to be out of the way, small enough that a test can reach them.
LIMITS = {"max_bulk": 300, "max_elements": 40}


def examples(count):
    """That many examples, without a clock: machines that run tests are slow at times."""
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# -- helpers -----------------------------------------------------------------

def shape(value):
    """A value of `resp` with the name of its type, so that True, 1 and 1.0 differ."""
    if isinstance(value, Push):
        return "push", [shape(item) for item in value]
    if isinstance(value, list):
        return "list", [shape(item) for item in value]
    if isinstance(value, dict):
        return "map", [(shape(key), shape(item)) for key, item in value.items()]
    if isinstance(value, ErrorReply):
        return "error", value.args[0]
    if isinstance(value, float):
        return "double", repr(value)
    names = {bytes: "string", bool: "boolean", int: "integer", type(None): "null"}
    return names[type(value)], value


def as_read(value):
    """What the naive reader says, with a map that can't be a dict as the list of lists it is read as."""
    return as_shape(plain(value))


def as_shape(value):
    kind, content = value
    if kind == "map":
        pairs = [(as_shape(key), as_shape(item)) for key, item in content]
        if all(key[0] == "string" for key, _ in pairs):
            return kind, pairs
        return "list", [("list", list(pair)) for pair in pairs]
    return kind, [as_shape(item) for item in content] if kind in ("list", "push") else content


def read(pieces, parser=None):
    """Return (shapes, how it ends, the error's text) of what was fed in `pieces`."""
    parser = parser or Parser()
    shapes = []
    for piece in pieces:
        parser.feed(piece)
        try:
            shapes.extend(shape(value) for value in parser.values())
        except ProtocolError as error:
            return shapes, "invalid", str(error)
    return shapes, "cut" if parser.mid_value else "end", None


def values(data, **limits):
    parser = Parser(**limits)
    parser.feed(data)
    return list(parser.values())


def error_of(data, parser=None):
    """The text of the error that `data` ends in; it must be no value before."""
    shapes, ending, text = read([data], parser)
    assert (shapes, ending) == ([], "invalid")
    return text


def split(data, places):
    """`data` cut at `places`."""
    edges = [0, *sorted(places), len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:])]


def every_split(data, most_pieces=3):
    """Cut everywhere into two and three pieces, and into single bytes."""
    places = range(1, len(data))
    for count in range(1, most_pieces):
        for chosen in itertools.combinations(places, count):
            yield split(data, chosen)
    yield split(data, places)


def take_all(requests, pieces):
    """What a server takes of `pieces`: runs as single commands, errors as their text."""
    taken = []
    for piece in pieces:
        run = requests.take_again(piece)
        if run is None:
            requests.feed(piece)
            told = requests.take()
        else:
            told = [([run], 1, len(piece))]
        taken += as_told(requests.note(told))
        if taken and taken[-1][0] == "the end":
            break
    return taken


def as_told(taken):
    """Runs as single commands, errors as their text."""
    told = []
    for one in taken:
        if isinstance(one, ProtocolError):
            told.append(("the end", str(one)))
        elif isinstance(one, BadRequest):
            told.append(("bad", str(one)))
        elif isinstance(one, list):
            assert all(type(argument) is bytes for argument in one)
            told.append(tuple(one))
        elif isinstance(one, Alike):
            assert one.commands and all(type(string) is bytes for command in one.commands for string in command)
            told.extend(one.commands)
        else:
            runs, count, size = one
            commands = [("run", *run[:2], last) for run in runs for last in resp.lasts_of(run)]
            assert len(commands) == count
            assert all(type(first) is type(second) is bytes for _, first, second, _ in commands)
            told.extend(commands)
    return told


def receive_all(requests, data, sizes):
    """The same, received as the poller does: pieces of `sizes`, over and over, where there is room for them."""
    taken = []
    pos = 0
    for size in itertools.cycle(sizes):
        piece = data[pos:pos + size]
        room = requests.room()
        if room is None:
            requests.feed(piece)
        else:
            piece = piece[:len(room)]
            room[:len(piece)] = piece
            requests.received(len(piece))
        pos += len(piece)
        taken += as_told(requests.note(requests.take()))
        if pos == len(data) or taken and taken[-1][0] == "the end":
            return taken


def refuse(string):
    if string.startswith(b"bad"):
        raise ValueError


class Requests(resp.Requests):
    """Those of a server in whose pipelines a command `set` comes; its arguments may be anything but bad."""

    def __init__(self, name=b"set", together=None, **limits):
        super().__init__(name, Known(refuse), Known(refuse), together=together or {b"add": 7}, **limits)
        self.size = 0       # bytes of what came in runs, as far as `take_all` saw

    def note(self, taken):
        self.size += sum(one[2] for one in taken if type(one) is tuple)
        return taken


class Plain(Requests):
    """Requests without its fast paths."""

    def _take_runs(self, taken, tried):
        return tried

    def _take_alike(self, taken, tried):
        return tried


def strings(count):
    return resp.command(*["a"] * count)


# -- values to bytes ---------------------------------------------------------

@pytest.mark.parametrize("encoded, expected", [
    (resp.simple(b"OK"), b"+OK\r\n"),
    (resp.error("ERR no such thing"), b"-ERR no such thing\r\n"),
    (resp.error("ERR caf\xe9"), b"-ERR caf\xc3\xa9\r\n"),
    (resp.error("ERR a\r\nb\nc"), b"-ERR a  b c\r\n"),
    (resp.error("ERR \udcff"), b"-ERR \\udcff\r\n"),
    (resp.integer(-7), b":-7\r\n"),
    (resp.integer(2 ** 64 - 1), b":18446744073709551615\r\n"),
    (resp.bulk(b""), b"$0\r\n\r\n"),
    (resp.bulk(b"a\r\nb"), b"$4\r\na\r\nb\r\n"),
    (resp.array([]), b"*0\r\n"),
    (resp.array([b":1\r\n", b"$-1\r\n"]), b"*2\r\n:1\r\n$-1\r\n"),
    (resp.push([b":1\r\n"], 2), b"*1\r\n:1\r\n"),
    (resp.push([b":1\r\n"], 3), b">1\r\n:1\r\n"),
    (resp.mapping([(b"+a\r\n", b":1\r\n"), (b"+b\r\n", b":2\r\n")], 2), b"*4\r\n+a\r\n:1\r\n+b\r\n:2\r\n"),
    (resp.mapping([(b"+a\r\n", b":1\r\n"), (b"+b\r\n", b":2\r\n")], 3), b"%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n"),
    (resp.null(2), b"$-1\r\n"),
    (resp.null(3), b"_\r\n"),
    (resp.null_array(2), b"*-1\r\n"),
    (resp.null_array(3), b"_\r\n"),
    (resp.members([b":1\r\n", b":2\r\n"], 2), b"*2\r\n:1\r\n:2\r\n"),
    (resp.members([b":1\r\n", b":2\r\n"], 3), b"~2\r\n:1\r\n:2\r\n"),
    (resp.attribute([(b"+a\r\n", b":1\r\n")], 2), b""),
    (resp.attribute([(b"+a\r\n", b":1\r\n"), (b"+b\r\n", b":2\r\n")], 3), b"|2\r\n+a\r\n:1\r\n+b\r\n:2\r\n"),
    (resp.boolean(True, 2), b":1\r\n"),
    (resp.boolean([], 2), b":0\r\n"),
    (resp.boolean(True, 3), b"#t\r\n"),
    (resp.boolean(False, 3), b"#f\r\n"),
    (resp.double(1.5, 2), b"$3\r\n1.5\r\n"),
    (resp.double(1.5, 3), b",1.5\r\n"),
    (resp.double(-7, 3), b",-7\r\n"),
    (resp.double(1e300, 3), b",1e+300\r\n"),
    (resp.double(math.inf, 3), b",inf\r\n"),
    (resp.double(-math.inf, 2), b"$4\r\n-inf\r\n"),
    (resp.double(math.nan, 3), b",nan\r\n"),
    (resp.big_number(-10 ** 30, 2), b"$32\r\n-1000000000000000000000000000000\r\n"),
    (resp.big_number(10 ** 30, 3), b"(1000000000000000000000000000000\r\n"),
    (resp.verbatim(b"a\r\nb", 2), b"$4\r\na\r\nb\r\n"),
    (resp.verbatim(b"a\r\nb", 3), b"=8\r\ntxt:a\r\nb\r\n"),
    (resp.verbatim(b"*a*", 3, b"mkd"), b"=7\r\nmkd:*a*\r\n"),
    (resp.bulk_error("ERR a\r\ncaf\xe9", 2), b"-ERR a  caf\xc3\xa9\r\n"),
    (resp.bulk_error("ERR a\r\ncaf\xe9\udcff", 3), b"!18\r\nERR a\r\ncaf\xc3\xa9\\udcff\r\n"),
    (resp.command("publish", "caf\xe9", 12, b"\xff\r\n", bytearray(b"x")),
     b"*5\r\n$7\r\npublish\r\n$5\r\ncaf\xc3\xa9\r\n$2\r\n12\r\n$3\r\n\xff\r\n\r\n$1\r\nx\r\n"),
])
def test_a_value_is_encoded_as_the_specification_says(encoded, expected):
    assert encoded == expected


@pytest.mark.parametrize("argument", [1.5, None])
def test_an_argument_that_is_neither_text_nor_bytes_nor_int_is_a_type_error(argument):
    with pytest.raises(TypeError):
        resp.command("publish", argument)


# -- bytes to values ---------------------------------------------------------

VALUES = [
    (b"+OK\r\n", b"OK"),
    (b"+\r\n", b""),
    (b"-ERR no\r\n", ErrorReply("ERR no")),
    (b"-\xff\r\n", ErrorReply("\ufffd")),
    (b":42\r\n", 42),
    (b":+42\r\n", 42),
    (b":-42\r\n", -42),
    (b":18446744073709551615\r\n", 2 ** 64 - 1),
    (b"$3\r\none\r\n", b"one"),
    (b"$03\r\none\r\n", b"one"),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"_\r\n", None),
    (b"*0\r\n", []),
    (b"*2\r\n$1\r\na\r\n:1\r\n", [b"a", 1]),
    (b"*2\r\n*-1\r\n$-1\r\n", [None, None]),
    (b"*2\r\n*1\r\n:1\r\n*0\r\n", [[1], []]),
    (b"#t\r\n", True),
    (b"#f\r\n", False),
    (b",1.5\r\n", 1.5),
    (b",-1\r\n", -1.0),
    (b",+1.5E-3\r\n", 0.0015),
    (b",inf\r\n", math.inf),
    (b",-inf\r\n", -math.inf),
    (b",nan\r\n", math.nan),
    (b",1e999\r\n", math.inf),
    (b"(-" + b"9" * 40 + b"\r\n", 1 - 10 ** 40),
    (b"!6\r\nERR no\r\n", ErrorReply("ERR no")),
    (b"!7\r\nERR\r\nno\r\n", ErrorReply("ERR\r\nno")),
    (b"=7\r\ntxt:one\r\n", b"one"),
    (b"=4\r\ntxt:\r\n", b""),
    (b"%1\r\n+a\r\n:1\r\n", {b"a": 1}),
    (b"%0\r\n", {}),
    (b"%2\r\n+a\r\n:1\r\n$1\r\na\r\n:2\r\n", {b"a": 2}),
    (b"%2\r\n:1\r\n+a\r\n#t\r\n+b\r\n", [[1, b"a"], [True, b"b"]]),
    (b"%1\r\n%0\r\n:1\r\n", [[{}, 1]]),
    (b"~2\r\n:1\r\n:1\r\n", [1, 1]),
    (b">2\r\n+event\r\n:1\r\n", Push([b"event", 1])),
    (b">0\r\n", Push()),
    (b"|1\r\n+ttl\r\n:9\r\n:1\r\n", 1),
    (b"|0\r\n:1\r\n", 1),
    (b"*2\r\n:1\r\n|1\r\n+ttl\r\n*1\r\n:9\r\n:2\r\n", [1, 2]),
    (b"*1\r\n|0\r\n|0\r\n:2\r\n", [2]),
    (b"*1\r\n|1\r\n|1\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n", [5]),
]


@pytest.mark.parametrize("data, value", VALUES)
def test_a_value_is_read_as_the_specification_says(data, value):
    assert [shape(one) for one in values(data)] == [shape(value)]


@pytest.mark.parametrize("data, value", VALUES)
def test_the_naive_reader_reads_a_value_as_the_specification_says(data, value):
    read_values, ending, _ = read_all(data)
    assert ([as_read(one) for one in read_values], ending) == ([shape(value)], "end")


def test_an_error_is_equal_to_one_of_the_same_text_and_hashes_like_it():
    assert len({ErrorReply("ERR a"), ErrorReply("ERR a"), ErrorReply("ERR b")}) == 2
    assert ErrorReply("ERR a") != "ERR a"


def test_the_code_of_an_error_is_its_first_word():
    assert [ErrorReply(text).code for text in ("WRONGVERSION at 3", "ERR", "")] == ["WRONGVERSION", "ERR", ""]


def test_incomplete_is_false_and_says_what_it_is():
    assert not INCOMPLETE
    assert repr(INCOMPLETE) == "INCOMPLETE"


def test_a_top_level_attribute_at_the_end_leaves_nothing_pending():
    parser = Parser()
    parser.feed(b"|1\r\n+a\r\n:1\r\n")
    assert parser.get() is INCOMPLETE
    assert not parser.mid_value
    assert parser.pending == 0


# Every one is 65,536 bytes of digits; the square of that is hours for a request full of them.
@pytest.mark.parametrize("kind", [b":", b"(", b",", b",1.", b",1e", b"$", b"*"])
def test_digits_are_counted_before_they_are_read(kind):
    line = kind + b"1" * (resp.MAX_LINE - len(kind) + 1)
    assert "found '1" in error_of(line + b"\r\n")


def test_a_map_becomes_a_dict_only_where_nobody_can_choose_the_hashes_of_its_keys():
    same_hash = [number * (2 ** 61 - 1) for number in range(5)]
    assert len({hash(number) for number in same_hash}) == 1
    data = b"%5\r\n" + b"".join(b"(%d\r\n:1\r\n" % number for number in same_hash)
    assert values(data) == [[[number, 1] for number in same_hash]]


# -- hostile bytes -----------------------------------------------------------

NO_TYPE = "expected a RESP type such as '*' or '$'"

HOSTILE = [
    # what isn't RESP at all
    (b"PING\r\n", 0, f"found 'P', {NO_TYPE}"),
    (b"\r*1\r\n", 0, f"found '\\r', {NO_TYPE}"),
    (b"*1\r\n\r\n", 4, f"found '\\r', {NO_TYPE}"),
    (b"\n", 0, f"found '\\n', {NO_TYPE}"),
    (b" *1\r\n", 0, f"found ' ', {NO_TYPE}"),
    (b"\0", 0, f"found '\\x00', {NO_TYPE}"),
    (b"\xff", 0, f"found '\\xff', {NO_TYPE}"),
    (b"'", 0, f'found "\'", {NO_TYPE}'),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, f"found 'G', {NO_TYPE}"),
    (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n*1\r\n$4\r\nPING\r\n", 0, f"found 'P', {NO_TYPE}"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 0, f"found '\\x16', {NO_TYPE}"),
    (b"SSH-2.0-OpenSSH_9.6\r\n", 0, f"found 'S', {NO_TYPE}"),
    (b";4\r\n", 0, f"found ';', {NO_TYPE}"),
    (b".\r\n", 0, f"found '.', {NO_TYPE}"),
    # lengths
    (b"$-2\r\n", 0, "found '-2', expected a number of bytes"),
    (b"$-0\r\n\r\n", 0, "found '-0', expected a number of bytes"),
    (b"$-01\r\n", 0, "found '-01', expected a number of bytes"),
    (b"$+5\r\nhello\r\n", 0, "found '+5', expected a number of bytes"),
    (b"$ 5\r\nhello\r\n", 0, "found ' 5', expected a number of bytes"),
    (b"$5 \r\nhello\r\n", 0, "found '5 ', expected a number of bytes"),
    (b"$5\n\r\nhello\r\n", 0, "found '5\\n', expected a number of bytes"),
    (b"$1_0\r\n0123456789\r\n", 0, "found '1_0', expected a number of bytes"),
    (b"$0x5\r\nhello\r\n", 0, "found '0x5', expected a number of bytes"),
    (b"$5.0\r\nhello\r\n", 0, "found '5.0', expected a number of bytes"),
    (b"$\xd9\xa5\r\nhello\r\n", 0, "found '\\xd9\\xa5', expected a number of bytes"),
    (b"$\r\n\r\n", 0, "found '', expected a number of bytes"),
    (b"$-\r\n", 0, "found '-', expected a number of bytes"),
    (b"$" + b"0" * 19 + b"\r\n", 0, f"found '{'0' * 19}', expected a number of bytes"),
    (b"$" + b"9" * 5000 + b"\r\n", 0, f"found '{'9' * 40}'..., expected a number of bytes"),
    (b"$?\r\n", 0, "streamed types are not supported"),
    (b"!-1\r\n", 0, "found '-1', expected a number of bytes"),
    (b"=-1\r\n", 0, "found '-1', expected a number of bytes"),
    # counts
    (b"*-2\r\n", 0, "found '-2', expected a number of elements"),
    (b"*+2\r\n", 0, "found '+2', expected a number of elements"),
    (b"* 2\r\n", 0, "found ' 2', expected a number of elements"),
    (b"*1_000\r\n", 0, "found '1_000', expected a number of elements"),
    (b"*\r\n", 0, "found '', expected a number of elements"),
    (b"*" + b"9" * 19 + b"\r\n", 0, f"found '{'9' * 19}', expected a number of elements"),
    (b"*?\r\n", 0, "streamed types are not supported"),
    (b"%-1\r\n", 0, "found '-1', expected a number of elements"),
    (b"~-1\r\n", 0, "found '-1', expected a number of elements"),
    (b">-1\r\n", 0, "found '-1', expected a number of elements"),
    (b"|-1\r\n", 0, "found '-1', expected a number of elements"),
    # numbers, nulls and booleans
    (b":\r\n", 0, "found '', expected an integer"),
    (b":1 \r\n", 0, "found '1 ', expected an integer"),
    (b":1_000\r\n", 0, "found '1_000', expected an integer"),
    (b":--1\r\n", 0, "found '--1', expected an integer"),
    (b":" + b"9" * 21 + b"\r\n", 0, f"found '{'9' * 21}', expected an integer"),
    (b"(" + b"9" * 4001 + b"\r\n", 0, f"found '{'9' * 40}'..., expected an integer"),
    (b",\r\n", 0, "found '', expected a number"),
    (b",1.\r\n", 0, "found '1.', expected a number"),
    (b",.5\r\n", 0, "found '.5', expected a number"),
    (b",1_0\r\n", 0, "found '1_0', expected a number"),
    (b",infinity\r\n", 0, "found 'infinity', expected a number"),
    (b",0x1p3\r\n", 0, "found '0x1p3', expected a number"),
    (b"_0\r\n", 0, "found '0', expected nothing after '_'"),
    (b"#T\r\n", 0, "found 'T', expected 't' or 'f'"),
    (b"#\r\n", 0, "found '', expected 't' or 'f'"),
    # strings that don't end where they say
    (b"$3\r\norders\r\n", 7, "a string of 3 bytes is not followed by CR LF"),
    (b"$6\r\nord\r\n$1\r\na\r\n", 10, "a string of 6 bytes is not followed by CR LF"),
    (b"$3\r\none\n\r", 7, "a string of 3 bytes is not followed by CR LF"),
    (b"$0\r\nab", 4, "a string of 0 bytes is not followed by CR LF"),
    (b"=3\r\ntxt\r\n", 4, "a verbatim string without its three-letter format"),
    (b"=4\r\ntext\r\n", 4, "a verbatim string without its three-letter format"),
    # inside an array, the place is that of the element
    (b"*3\r\n$1\r\na\r\n:x\r\n", 11, "found 'x', expected an integer"),
    (b"*2\r\n$1\r\na\r\nPING\r\n", 11, f"found 'P', {NO_TYPE}"),
    (b"*1\r\n" * 8 + b"*0\r\n", 32, "arrays nested more than 8 deep"),
    (b"|1\r\n" * 9, 32, "arrays nested more than 8 deep"),
]


def test_empty_lines_between_requests_are_passed_over():
    ping, add = b"*1\r\n$4\r\nping\r\n", b"*4\r\n$3\r\nset\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"
    for kind in Requests, Plain:
        for pieces in every_split(b"\r\n\r\n" + add + add + CRLF + ping + b"\r\n\r\n" + ping + CRLF, 2):
            requests = kind()
            assert take_all(requests, pieces) == [("run", b"a", b"b", b"c")] * 2 + [(b"ping",)] * 2
            assert not requests.pending


def test_a_reader_of_replies_knows_no_empty_lines():
    assert error_of(CRLF) == f"Protocol error at byte 0: found '\\r', {NO_TYPE}"


@pytest.mark.parametrize("data, pos, why", HOSTILE)
def test_bytes_that_are_not_resp_are_refused_with_their_place(data, pos, why):
    text = f"Protocol error at byte {pos}: {why}"
    assert error_of(data) == text
    before = b"+before\r\n"
    assert read([before + data]) == ([("string", b"before")], "invalid", text.replace(
        f"byte {pos}:", f"byte {pos + len(before)}:"))
    assert read_all(data) == ([], "invalid", pos)
    assert take_all(Requests(), [data]) == take_all(Plain(), [data]) == [("the end", text)]


@pytest.mark.parametrize("data, why", [
    (b"$999999999999999999\r\n", "found 999999999999999999 bytes, expected no more than 67108864"),
    (b"*999999999999999999\r\n",
     "found 999999999999999999 elements in one value, expected no more than 1048576"),
    (b"*1000000000\r\n", "found 1000000000 elements in one value, expected no more than 1048576"),
    (b"%1000000\r\n", "found 2000000 elements in one value, expected no more than 1048576"),
])
def test_a_huge_length_is_refused_before_anything_behind_it_is_waited_for(data, why):
    assert take_all(Requests(), [data]) == [("the end", f"Protocol error at byte 0: {why}")]


@pytest.mark.parametrize("data", [
    b"$5", b"$5\r", b"$5\r\n", b"$5\r\nhello", b"$5\r\nhello\r", b"$5\r\nhelloX", b"$abc", b":1\n", b":1\r",
    b"*1\r\n", b"*2\r\n:1\r\n", b"%1\r\n:1\r\n", b"|1\r\n:1\r\n", b"*1\r\n|0\r\n", b"+no end of line\n",
])
def test_a_value_cut_short_is_awaited(data):
    assert read([data]) == ([], "cut", None)
    assert read_all(data)[:2] == ([], "cut")


def test_an_error_repeats_and_nothing_fed_behind_it_is_kept():
    parser = Parser()
    parser.feed(b":1\r\n:x\r\n:2\r\n")
    assert parser.get() == 1
    for _ in range(3):
        pending = parser.pending
        with pytest.raises(ProtocolError, match="^Protocol error at byte 4: found 'x'") as caught:
            parser.get()
        assert caught.value.pos == 4
        parser.feed(b":3\r\n" * 1000)
        assert parser.pending == pending


def test_an_error_holds_neither_its_parser_nor_what_was_fed():
    requests = Requests()
    requests.feed(strings(1) + b"x" * 1000)
    alive = weakref.ref(requests)
    gc.disable()
    try:
        taken = requests.take()
        del requests
        assert alive() is None
    finally:
        gc.enable()
    assert str(taken[-1]) == f"Protocol error at byte 11: found 'x', {NO_TYPE}"


# -- any value, any split ----------------------------------------------------

text = st.binary(max_size=12) | st.sampled_from([b"\r\n", b"$3\r\nabc\r\n", b"\r", b"a\r\n*1\r\n"])
line = text.map(lambda data: data.replace(b"\r", b"").replace(b"\n", b""))
leaf = st.one_of(
    st.tuples(st.just("+"), line), st.tuples(st.just("-"), line),
    st.tuples(st.just("$"), text), st.tuples(st.just("!"), text), st.tuples(st.just("="), text),
    st.tuples(st.just(":"), st.integers(-2 ** 64, 2 ** 64)), st.tuples(st.just("("), st.integers()),
    st.tuples(st.just(","), st.floats()), st.tuples(st.just("#"), st.booleans()),
    st.tuples(st.sampled_from(["_", "$-1", "*-1"]), st.none()))


def aggregates(inner, most):
    return st.tuples(st.sampled_from("*~>%|"), st.lists(inner, max_size=most))


def values_within(levels):
    """Values nested as deep as that.  (`st.recursive` draws again what got too large: most of a test's time.)"""
    tree, most = leaf, 6
    for _ in range(levels):
        nested = aggregates(tree, most)
        tree, most = st.booleans().flatmap(lambda is_leaf, nested=nested: leaf if is_leaf else nested), 3
    return tree


def encoded(node):
    """A (type, content) as RESP, in the plainest way."""
    kind, content = node
    if kind in ("_", "$-1", "*-1"):
        return kind.encode() + b"\r\n"
    if kind in "+-":
        return kind.encode() + content + b"\r\n"
    if kind in ":(":
        return f"{kind}{content}\r\n".encode()
    if kind == ",":
        return f",{content!r}\r\n".encode()
    if kind == "#":
        return b"#t\r\n" if content else b"#f\r\n"
    if kind == "=":
        content = b"txt:" + content
    if kind in "$!=":
        return b"%b%d\r\n%b\r\n" % (kind.encode(), len(content), content)
    items = [item for item in content if item[0] != "|"]
    if kind in "%|":
        half = len(items) // 2
        return b"%b%d\r\n%b" % (kind.encode(), half, wire(items[:2 * half]))
    return b"%b%d\r\n%b" % (kind.encode(), len(items), wire(content))


def wire(nodes):
    return b"".join(encoded(node) for node in nodes)


def expected(node):
    """The shape that `encoded(node)` must be read as."""
    kind, content = node
    if kind in "+$=":
        return "string", content
    if kind in "-!":
        return "error", content.decode("utf-8", "replace")
    if kind in ":(":
        return "integer", content
    if kind == ",":
        return "double", repr(content)
    if kind == "#":
        return "boolean", content
    if kind in ("_", "$-1", "*-1"):
        return "null", None
    items = [expected(item) for item in content if item[0] != "|"]
    if kind == "%":
        pairs = list(zip(items[::2], items[1::2]))
        if all(key[0] == "string" for key, _ in pairs):
            return "map", [(("string", key), value) for key, value in {k[1]: v for k, v in pairs}.items()]
        return "list", [("list", list(pair)) for pair in pairs]
    return ("push" if kind == ">" else "list"), items


trees = st.lists(values_within(resp.MAX_DEPTH), max_size=5)


@given(trees)
@examples(100)
def test_any_values_that_are_encoded_are_read_back(nodes):
    assert read([wire(nodes)]) == ([expected(node) for node in nodes if node[0] != "|"], "end", None)


NULLS = [resp.null, resp.null_array]
GROUPS = [resp.members, resp.push]
PAIRS = [resp.mapping, resp.attribute]
# What is written with a function of `resp` and what that is given.
scalar = st.one_of(
    st.tuples(st.just(resp.boolean), st.booleans()), st.tuples(st.just(resp.double), st.floats()),
    st.tuples(st.just(resp.big_number), st.integers()), st.tuples(st.just(resp.verbatim), text),
    st.tuples(st.just(resp.bulk_error), st.text(max_size=9)), st.tuples(st.sampled_from(NULLS), st.none()))
grouped = st.tuples(st.sampled_from(GROUPS), st.lists(scalar, max_size=4))
paired = st.tuples(st.sampled_from(PAIRS), st.lists(st.tuples(scalar, scalar | grouped), max_size=3))
nested = st.tuples(st.sampled_from(GROUPS), st.lists(grouped | paired, max_size=3))
replies = st.lists(scalar | grouped | paired | nested, max_size=4)


def said(node, protocol):
    """What `resp` writes of it."""
    make, content = node
    if make in NULLS:
        return make(protocol)
    if make in GROUPS:
        # An attribute is no element.
        content = [item for item in content if item[0] is not resp.attribute]
        return make([said(item, protocol) for item in content], protocol)
    if make in PAIRS:
        return make([(said(key, protocol), said(item, protocol)) for key, item in content], protocol)
    return make(content, protocol)


def heard(node):
    """The shape that who speaks RESP3 must read it as."""
    make, content = node
    if make in NULLS:
        return "null", None
    if make in GROUPS:
        return ("push" if make is resp.push else "list",
                [heard(item) for item in content if item[0] is not resp.attribute])
    if make is resp.mapping:
        return as_shape(("map", [(heard(key), heard(item)) for key, item in content]))
    kinds = {resp.boolean: "boolean", resp.big_number: "integer", resp.verbatim: "string", resp.bulk_error: "error"}
    return ("double", repr(content)) if make is resp.double else (kinds[make], content)


@given(replies)
@examples(200)
def test_what_is_written_in_resp3_is_read_back_and_in_resp2_is_the_same_in_its_types(nodes):
    in_3 = b"".join(said(node, 3) for node in nodes)
    in_2 = b"".join(said(node, 2) for node in nodes)
    assert read([in_3]) == ([heard(node) for node in nodes if node[0] is not resp.attribute], "end", None)
    values_of_3, values_of_2 = read_all(in_3)[0], read_all(in_2)[0]
    assert list(map(in_resp2, values_of_2)) == list(map(in_resp2, values_of_3))
    assert set().union(*map(types, values_of_2)) <= IN_RESP2
    assert not set().union(*map(types, values_of_3)) & NOT_IN_RESP3


@given(trees, st.data())
@examples(100)
def test_values_do_not_depend_on_how_the_input_is_split(nodes, data):
    whole = wire(nodes)
    places = data.draw(st.lists(st.integers(0, len(whole)), max_size=8))
    assert read(split(whole, places)) == read([whole])


@pytest.mark.parametrize("data", sorted({data for data, _ in VALUES} | {data for data, _, _ in HOSTILE}))
def test_no_split_of_a_short_input_changes_its_values_or_its_error(data):
    data = data[:60] + b"+x\r\n"
    whole = read([data])
    for pieces in every_split(data, most_pieces=4 if len(data) < 20 else 3):
        assert read(pieces) == whole


@pytest.mark.parametrize("limit", range(1, 40))
def test_no_split_changes_where_a_limit_is_passed_or_what_is_said(limit):
    data = b"+ab\r\n*3\r\n$2\r\nab\r\n|1\r\n:1\r\n+abcdefg\r\n*2\r\n:1\r\n$9\r\n123456789\r\n:7\r\n"
    for name in ("max_bulk", "max_elements", "max_size"):
        whole = read([data], Parser(**{name: limit}))
        for pieces in every_split(data, most_pieces=2):
            assert read(pieces, Parser(**{name: limit})) == whole


def test_no_split_changes_the_error_of_a_line_that_is_too_long(monkeypatch):
    monkeypatch.setattr(resp, "MAX_LINE", 12)
    for data in (b"*1\r\n+" + b"x" * size + end for size in range(10, 16) for end in (b"", b"\r", b"\r\n")):
        for max_size in range(1, 24):
            whole = read([data], Parser(max_size=max_size))
            for pieces in every_split(data, most_pieces=2):
                assert read(pieces, Parser(max_size=max_size)) == whole


# -- what Redis writes -----------------------------------------------------------

# What DEBUG PROTOCOL of Redis 7.0.15 answers: in RESP2, in RESP3, and the value of that.
DEBUG_PROTOCOL = {
    "string": (b"$11\r\nHello World\r\n", b"$11\r\nHello World\r\n", b"Hello World"),
    "integer": (b":12345\r\n", b":12345\r\n", 12345),
    "double": (b"$5\r\n3.141\r\n", b",3.141\r\n", 3.141),
    "null": (b"$-1\r\n", b"_\r\n", None),
    "array": (b"*3\r\n:0\r\n:1\r\n:2\r\n", b"*3\r\n:0\r\n:1\r\n:2\r\n", [0, 1, 2]),
    "set": (b"*3\r\n:0\r\n:1\r\n:2\r\n", b"~3\r\n:0\r\n:1\r\n:2\r\n", [0, 1, 2]),
    "map": (b"*6\r\n:0\r\n:0\r\n:1\r\n:1\r\n:2\r\n:0\r\n", b"%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n",
            [[0, False], [1, True], [2, False]]),
    "attrib": (b"$39\r\nSome real reply following the attribute\r\n",
               b"|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n"
               b"$39\r\nSome real reply following the attribute\r\n", b"Some real reply following the attribute"),
    "verbatim": (b"$25\r\nThis is a verbatim\nstring\r\n", b"=29\r\ntxt:This is a verbatim\nstring\r\n",
                 b"This is a verbatim\nstring"),
    "true": (b":1\r\n", b"#t\r\n", True),
    "false": (b":0\r\n", b"#f\r\n", False),
    "bignum": (b"$37\r\n1234567999999999999999999999999999999\r\n", b"(1234567999999999999999999999999999999\r\n",
               1234567999999999999999999999999999999),
}
OURS = {
    "string": lambda protocol: resp.bulk(b"Hello World"),
    "integer": lambda protocol: resp.integer(12345),
    "double": lambda protocol: resp.double(3.141, protocol),
    "null": resp.null,
    "array": lambda protocol: resp.array([resp.integer(i) for i in range(3)]),
    "set": lambda protocol: resp.members([resp.integer(i) for i in range(3)], protocol),
    "map": lambda protocol: resp.mapping(
        [(resp.integer(i), resp.boolean(i == 1, protocol)) for i in range(3)], protocol),
    "attrib": lambda protocol: resp.attribute(
        [(resp.bulk(b"key-popularity"), resp.array([resp.bulk(b"key:123"), resp.integer(90)]))],
        protocol) + resp.bulk(b"Some real reply following the attribute"),
    "verbatim": lambda protocol: resp.verbatim(b"This is a verbatim\nstring", protocol),
    "true": lambda protocol: resp.boolean(True, protocol),
    "false": lambda protocol: resp.boolean(False, protocol),
    "bignum": lambda protocol: resp.big_number(1234567999999999999999999999999999999, protocol),
}


@pytest.mark.parametrize("kind", DEBUG_PROTOCOL)
def test_every_type_is_written_and_read_as_redis_does(kind):
    in_2, in_3, value = DEBUG_PROTOCOL[kind]
    assert (OURS[kind](2), OURS[kind](3)) == (in_2, in_3)
    assert [shape(one) for one in values(in_3)] == [shape(value)]


def test_a_push_that_redis_sends_comes_before_the_reply():
    assert values(b">2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n$5\r\nreply\r\n") == [
        Push([b"server-cpu-usage", 42]), b"reply"]


@needs_redis
def test_redis_itself_answers_as_these_tests_say():
    def ask(protocol):
        sock.sendall(b"".join(resp.command("debug", "protocol", kind) for kind in DEBUG_PROTOCOL))
        expected = b"".join(answers[protocol - 2] for answers in DEBUG_PROTOCOL.values())
        found = b""
        while len(found) < len(expected):
            found += sock.recv(len(expected) - len(found)) or b"the end"
        assert found == expected

    with Redis() as redis, redis.connect() as sock:
        ask(2)
        sock.sendall(resp.command("hello", 3))
        parser = Parser()
        while parser.get() is INCOMPLETE:
            parser.feed(sock.recv(1 << 16))
        ask(3)


# -- against the naive reader ------------------------------------------------

def agree(data):
    """Both readers make the same values of `data` and end in the same way at the same byte."""
    naive_values, naive_ending, naive_pos = read_all(data, **LIMITS)
    shapes, ending, why = read([data], Parser(**LIMITS))
    assert shapes == [as_read(value) for value in naive_values]
    assert ending == naive_ending
    if ending == "invalid":
        assert why.startswith(f"Protocol error at byte {naive_pos}: ")


# Bytes out of which RESP is made come up often enough to make some.
resp_like = st.lists(
    st.sampled_from([
        b"\r\n", b"\r", b"\n", b"*", b"$", b":", b"%", b"|", b">", b"~", b"=", b"!", b"(", b",", b"#", b"_",
        b"+", b"-", b"0", b"1", b"2", b"3", b"9", b"e", b".", b"t", b"inf", b"-1", b"txt:",
        b"*0\r\n", b"*1\r\n", b"*2\r\n", b"%1\r\n", b"|0\r\n", b"|1\r\n", b"*41\r\n", b"$301\r\n",
        b"$0\r\n\r\n", b"$1\r\na\r\n", b":1\r\n", b"$-1\r\n", b"*-1\r\n", b"+OK\r\n", b",1.5e3\r\n"]),
    max_size=40).map(b"".join)
# A place, how many bytes go there, and what comes instead.
change = st.tuples(st.integers(0, 10 ** 6), st.integers(0, 4), st.binary(max_size=3) | resp_like)


@given(st.binary(max_size=60) | resp_like)
@examples(300)
def test_random_bytes_are_judged_as_the_naive_reader_judges_them(data):
    agree(data)


@given(trees, st.lists(change, min_size=1, max_size=3))
@examples(150)
def test_valid_bytes_with_some_replaced_are_judged_as_the_naive_reader_judges_them(nodes, changes):
    data = wire(nodes)
    for place, dropped, put in changes:
        place %= len(data) + 1
        data = data[:place] + put + data[place + dropped:]
    agree(data)
    agree(data[:len(data) // 2])


def test_every_byte_of_a_value_changed_to_any_other_is_judged_as_the_naive_reader_judges_it():
    data = b"*4\r\n$2\r\nab\r\n%1\r\n+k\r\n:-1\r\n=5\r\ntxt:a\r\n|1\r\n#t\r\n,1.5e1\r\n_\r\n"
    agree(data)
    for place in range(len(data)):
        for byte in range(256):
            agree(data[:place] + bytes([byte]) + data[place + 1:])


@given(st.lists(st.binary(max_size=30) | resp_like, max_size=6))
@examples(100)
def test_random_bytes_raise_nothing_but_a_protocol_error_of_the_server(pieces):
    requests = Requests()
    for piece in pieces:
        requests.feed(piece)
        for one in requests.take():
            assert isinstance(one, (tuple, list, BadRequest, ProtocolError))
    assert take_all(Requests(), [b"".join(pieces)]) == take_all(Plain(), pieces)


# What a client says that waits for each reply, and what may come in between.
set_ab = st.binary(min_size=2, max_size=3).map(lambda data: resp.command("set", "a", "b", data))
one_of_few = set_ab | st.sampled_from([
    resp.command("set", "a", "b", b"\r\n"), resp.command("SET", "a", "b", b"xx"), resp.command("set", "a", "c", b"xx"),
    resp.command("set", "a", "b", b"xx")[:-2] + b"\n\r", resp.command("set", "bad", "b", b"xx"),
    resp.command("get", "a"), b"*0\r\n", b"*1\r\n", b""])


@given(st.lists(one_of_few | st.tuples(one_of_few, one_of_few).map(b"".join), max_size=12), st.integers(0, 300))
@examples(300)
def test_commands_that_come_alone_are_taken_as_the_plain_path_takes_them(pieces, cut):
    at = list(itertools.accumulate(map(len, pieces), initial=0))
    fast, plain = Requests(), Plain()
    assert take_all(fast, pieces) == take_all(plain, pieces)
    assert (fast.size, fast.pending, fast.mid_value) == (plain.size, plain.pending, plain.mid_value)
    cut_once = split(b"".join(pieces), {*at[1:-1], min(cut, at[-1])})
    assert take_all(Requests(), cut_once) == take_all(Plain(), cut_once)


# -- limits ------------------------------------------------------------------

def test_a_string_may_be_as_long_as_the_limit_and_no_longer():
    assert values(b"$5\r\nhello\r\n", max_bulk=5) == [b"hello"]
    assert error_of(b"$6\r\n", Parser(max_bulk=5)) == (
        "Protocol error at byte 0: found 6 bytes, expected no more than 5")
    assert error_of(b"*2\r\n:1\r\n=6\r\n", Parser(max_bulk=5)) == (
        "Protocol error at byte 8: found 6 bytes, expected no more than 5")


def test_a_value_may_hold_as_many_elements_as_the_limit_and_no_more():
    assert values(b"*3\r\n:1\r\n:2\r\n:3\r\n" * 2, max_elements=3) == [[1, 2, 3]] * 2
    assert error_of(b"*4\r\n", Parser(max_elements=3)) == (
        "Protocol error at byte 0: found 4 elements in one value, expected no more than 3")


def test_elements_of_nested_arrays_maps_and_attributes_count():
    nested = b"*3\r\n|1\r\n:1\r\n:2\r\n:3\r\n%1\r\n:4\r\n:5\r\n*1\r\n:6\r\n"
    assert values(nested * 2, max_elements=8) == [[3, [[4, 5]], [6]]] * 2
    assert error_of(nested, Parser(max_elements=7)) == (
        "Protocol error at byte 32: found 8 elements in one value, expected no more than 7")
    assert error_of(b"%2\r\n", Parser(max_elements=3)) == (
        "Protocol error at byte 0: found 4 elements in one value, expected no more than 3")


def test_scalars_and_top_level_attributes_count_for_no_later_value():
    parser = Parser(max_elements=2, max_size=20)
    for _ in range(30):
        parser.feed(b"|1\r\n:1\r\n:2\r\n|0\r\n:3\r\n*2\r\n:4\r\n:5\r\n")
        assert list(parser.values()) == [3, [4, 5]]


def test_limits_that_nobody_sets_are_those_of_redis_and_a_gibibyte():
    parser = Parser()
    assert (parser.max_bulk, parser.max_elements, parser.max_size) == (2 ** 29, 2 ** 24, 2 ** 30)
    assert error_of(b"$536870913\r\n") == (
        "Protocol error at byte 0: found 536870913 bytes, expected no more than 536870912")


def test_a_value_may_have_as_many_bytes_as_the_limit_and_no_more():
    data = b"*3\r\n:1\r\n$3\r\nabc\r\n*0\r\n"
    assert values(data * 3, max_size=len(data)) == [[1, b"abc", []]] * 3
    assert values(b"*1\r\n$3\r\nabc\r\n", max_size=13) == [[b"abc"]]
    assert error_of(data, Parser(max_size=len(data) - 1)) == (
        f"Protocol error at byte 17: found more than {len(data) - 1} bytes in one value")
    assert error_of(data[:12], Parser(max_size=16)) == (
        "Protocol error at byte 8: found more than 16 bytes in one value")


def test_a_value_that_is_still_coming_is_refused_at_the_first_byte_past_the_limit():
    parser = Parser(max_size=10)
    parser.feed(b"*2\r\n+abcde")
    assert parser.get() is INCOMPLETE
    parser.feed(b"f")
    with pytest.raises(ProtocolError) as caught:
        parser.get()
    assert str(caught.value) == "Protocol error at byte 4: found more than 10 bytes in one value"


@pytest.mark.parametrize("kind", [b"+", b"-"])
def test_a_line_may_be_as_long_as_the_limit_and_no_longer(kind):
    at_limit = kind + b"x" * resp.MAX_LINE + b"\r\n"
    for places in ([], [1], [resp.MAX_LINE], [resp.MAX_LINE + 1], [resp.MAX_LINE + 2]):
        assert len(read(split(at_limit, places))[0]) == 1
        assert read(split(kind + b"x" + at_limit[1:], places)) == (
            [], "invalid", "Protocol error at byte 0: no end of line within 65536 bytes")


def test_a_line_without_end_is_refused_when_no_end_can_save_it():
    parser = Parser()
    parser.feed(b"+" + b"x" * resp.MAX_LINE + b"\r")
    assert parser.get() is INCOMPLETE
    parser.feed(b"x")
    with pytest.raises(ProtocolError) as caught:
        parser.get()
    assert str(caught.value) == "Protocol error at byte 0: no end of line within 65536 bytes"


def test_arrays_may_be_nested_as_deep_as_the_limit_and_no_deeper():
    assert repr(values(b"*1\r\n" * resp.MAX_DEPTH + b":1\r\n")) == "[" * 9 + "1" + "]" * 9
    assert values(b"*1\r\n" * 7 + b"*0\r\n") == [[[[[[[[[]]]]]]]]]
    assert error_of(b"*1\r\n" * 8 + b"*1\r\n") == "Protocol error at byte 32: arrays nested more than 8 deep"


# -- what waits --------------------------------------------------------------

def test_an_empty_feed_changes_nothing():
    parser = Parser()
    parser.feed(b"")
    parser.feed(b"$1\r\n")
    parser.feed(b"")
    assert parser.get() is INCOMPLETE
    parser.feed(b"")
    parser.feed(b"a\r\n")
    parser.feed(b"")
    assert list(parser.values()) == [b"a"]
    assert not parser.mid_value


def test_feeds_that_were_not_read_in_between_are_all_read():
    parser = Parser()
    for byte in b":1\r\n$3\r\nabc\r\n:2\r\n":
        parser.feed(bytes([byte]))
    assert list(parser.values()) == [1, b"abc", 2]


def test_pending_is_what_no_value_was_made_of():
    parser = Parser()
    parser.feed(b":1\r\n*2\r\n$4\r\na")
    assert parser.get() == 1
    assert parser.pending == 9
    assert parser.get() is INCOMPLETE
    assert parser.pending == 5
    parser.feed(b"b")
    assert (parser.get(), parser.pending, parser.mid_value) == (INCOMPLETE, 6, True)
    parser.feed(b"cd\r\n")
    assert (parser.get(), parser.pending, parser.mid_value) == (INCOMPLETE, 0, True)
    parser.feed(b":2\r\n")
    assert (parser.get(), parser.pending, parser.mid_value) == ([b"abcd", 2], 0, False)


@pytest.mark.parametrize("kind", [Requests, Plain])
def test_a_command_is_never_withheld_for_what_an_earlier_one_waited_for(kind):
    long, short = resp.command("set", "a", "b", "x" * 50), resp.command("set", "a", "b", "y")
    commands = [long, short, short, strings(1), long, b"*0\r\n", short]
    whole = b"".join(commands)
    ends = list(itertools.accumulate(map(len, commands)))
    for cut, (count, end) in itertools.product(range(len(whole)), enumerate(ends)):
        requests = kind()
        taken = take_all(requests, split(whole[:end - 1], [cut] if cut < end else []))
        assert len(taken) == count
        assert len(take_all(requests, [whole[end - 1:end]])) == 1


def test_a_value_is_never_withheld_for_what_the_last_one_waited_for():
    parser = Parser()
    parser.feed(b"$50\r\n")
    assert parser.get() is INCOMPLETE
    parser.feed(b"x" * 50 + b"\r\n")
    assert parser.get() == b"x" * 50
    parser.feed(b":1\r\n")
    assert parser.get() == 1


def test_what_was_read_is_not_kept_by_an_idle_parser():
    requests, parser = Requests(), Parser()
    for one in (requests, parser):
        one.feed(resp.command("set", "a", "b", b"x" * 1000))
    assert len(requests.take()) == len(list(parser.values())) == 1
    assert (requests._buffer, parser._buffer) == (b"", b"")


# -- work and memory ---------------------------------------------------------

class Counted(Requests):
    """Counts its turns, and the bytes that it copies to read on behind what was fed before."""

    turns = 0
    copied = 0

    def _read_one(self):
        self.turns += 1
        return super()._read_one()

    def feed(self, data):
        super().feed(data)
        if self._buffer is not data:
            self.copied += len(self._buffer)


@pytest.fixture
def moved(monkeypatch):
    """The bytes that were copied to a larger place, one number for each time."""
    moved = []
    make_room = resp._Coming._make_room

    def counting(coming, have):
        moved.append(coming.have)
        make_room(coming, have)

    monkeypatch.setattr(resp._Coming, "_make_room", counting)
    return moved


def test_a_long_string_in_small_pieces_is_put_together_as_it_comes_and_looked_at_once_a_piece(moved):
    data = resp.command("set", "orders", "created", b"x" * (16 << 20))
    pieces = [data[start:start + 4096] for start in range(0, len(data), 4096)]
    requests = Counted()
    (taken,) = take_all(requests, pieces)
    assert len(taken[-1]) == 16 << 20
    assert requests.turns <= len(pieces) + 6
    assert requests.copied <= 3 * 4096
    assert sum(moved) <= len(data) * 4 / 3


def test_a_long_string_in_tiny_pieces_costs_four_times_as_much_memory_as_came_at_most():
    parser = Parser()
    parser.feed(b"$1000000\r\n")
    for came in range(2, 100_000, 2):
        assert parser.get() is INCOMPLETE
        parser.feed(b"xy")
        assert len(parser._coming.data) <= max(4096, 4 * came)
    assert parser.pending == 10 + came


ANNOUNCED = resp.command("publish", "orders", "created", bytes(60 << 20))


def test_strings_that_are_only_announced_cost_no_memory():
    many = [Requests() for _ in range(300)]
    tracemalloc.start()
    try:
        for requests in many:
            requests.feed(ANNOUNCED[:100])
            assert requests.take() == []
            assert requests.room() is None
        assert tracemalloc.get_traced_memory()[1] < 300 * 6000
    finally:
        tracemalloc.stop()


def test_there_is_never_room_for_more_than_four_times_what_came():
    requests = Requests()
    came = 100_000
    requests.feed(ANNOUNCED[:came])
    while not requests.take():
        room = requests.room()
        if room is None:        # the end of it isn't worth a receive of its own
            requests.feed(ANNOUNCED[came:])
        else:
            assert came + len(room) <= 4 * came
            count = min(len(room), 100_000)
            requests.received(count)
            came += count
    assert came > len(ANNOUNCED) - resp.LONG


def test_a_long_argument_is_not_copied_once_it_is_received():
    data = bytes(range(256)) * 4096
    request = resp.command("set", "orders", "created", data)
    requests = Requests()
    requests.feed(request[:300_000])
    assert requests.take() == []
    room = requests.room()
    room[:] = request[300_000:]
    requests.received(len(room))
    (([(first, second, (last,))], count, size),) = requests.take()
    assert (first, second, count, size) == (b"orders", b"created", 1, len(request))
    assert (type(last), last.readonly, last.obj) == (memoryview, True, room.obj)
    assert last == data
    assert (requests.pending, requests.room()) == (0, None)


@pytest.mark.parametrize("parts", [
    (b"a", bytes(1 << 18), b"b"), (b"get", b"b", b"c", bytes(1 << 18)), (bytes(1 << 18),),
    (b"set", b"bad", b"c", bytes(1 << 18)), (b"set", bytes(1 << 18), b"b", b"c", bytes(1 << 18))])
def test_a_command_that_does_not_come_in_runs_holds_no_view(parts):
    taken = receive_all(Requests(), resp.command(*parts), [1 << 16])
    assert taken == [parts]
    assert {type(one) for one in taken[0]} == {bytes}


def test_a_command_that_comes_in_runs_holds_a_view_in_its_last_place_alone():
    parts = [bytes(1 << 18), b"b" * (1 << 18), b"c" * (1 << 18)]
    (taken,) = receive_all(Requests(), resp.command("set", *parts), [1 << 16])
    assert taken == ("run", *parts)
    assert [type(one) for one in taken[1:]] == [bytes, bytes, memoryview]


@pytest.mark.parametrize("kind, value", [
    (b"$", b"txt:" + bytes(199_996)), (b"=", bytes(199_996)), (b"!", ErrorReply("txt:" + "\0" * 199_996))])
def test_a_long_string_of_any_kind_that_came_in_parts_is_what_it_is_as_a_whole(kind, value):
    parser = Parser()
    data = kind + b"200000\r\ntxt:" + bytes(199_996) + b"\r\n"
    parser.feed(data[:100_000])
    assert parser.get() is INCOMPLETE
    room = parser.room()
    room[:] = data[100_000:]
    parser.received(len(room))
    parser.feed(b":1\r\n")
    found = list(parser.values())
    assert found == [value, 1]
    assert type(found[0]) is type(value)


def test_what_was_fed_after_an_error_in_a_string_that_came_in_parts_is_not_kept():
    for rest in (b"cdXX", b"cdXX:1\r\n"):
        parser = Parser()
        parser.feed(b":1\r\n$4\r\nab")
        assert list(parser.values()) == [1]
        parser.feed(rest)
        before = parser.pending
        for _ in range(2):
            with pytest.raises(ProtocolError, match="^Protocol error at byte 12: a string of 4 bytes is not"):
                parser.get()
            parser.feed(b":1\r\n")
        assert parser.pending <= before


def test_a_command_of_many_arguments_in_small_pieces_is_read_in_one_turn_an_argument_and_a_piece():
    count = 100_000
    data = strings(count)
    pieces = [data[start:start + 5] for start in range(0, len(data), 5)]
    requests = Counted()
    (taken,) = take_all(requests, pieces)
    assert len(taken) == count
    assert requests.turns <= count + len(pieces) + 3
    assert requests.copied <= 3 * len(data)


@pytest.fixture
def looks(monkeypatch):
    """Where the head of a single command was looked for."""
    class Head:
        def match(self, buffer, pos):
            looks.append(pos)
            return head.match(buffer, pos)

    looks, head = [], resp._HEAD
    monkeypatch.setattr(resp, "_HEAD", Head())
    return looks


def test_alike_commands_cost_one_look_at_their_head(looks):
    requests = Requests()
    data = resp.command("set", "orders", "created", "x" * 100) * 100
    requests.feed(data)
    assert requests.take() == [([(b"orders", b"created", [b"x" * 100] * 100)], 100, len(data))]
    assert looks == [0, len(data)]


def test_a_command_that_comes_again_costs_no_look_at_its_head(looks):
    requests = Requests()
    assert requests.take_again(resp.command("set", "orders", "created", "one")) is None
    requests.feed(resp.command("set", "orders", "created", "one"))
    assert len(requests.take()) == 1
    for data in (b"two", b"\r\n3", b"", b"longer", b"x" * 999):
        run = requests.take_again(resp.command("set", "orders", "created", data))
        assert run[:2] == (b"orders", b"created")
        assert resp.lasts_of(run) == [data]
    assert looks == [0]


def test_a_command_to_another_stream_that_is_known_costs_no_look_at_its_head_either(looks):
    requests = Requests()
    for arguments in [("orders", "created"), ("carts", "changed")]:
        requests.feed(resp.command("set", *arguments, "one"))
        assert len(requests.take()) == 1
    assert looks == [0, 0]
    for first, second in itertools.product([b"orders", b"carts"], [b"created", b"changed"]):
        for data in (b"two", b"\r\n$3\r\n3", b"", b"x" * 999):
            run = requests.take_again(resp.command("set", first, second, data))
            assert run[:2] == (first, second)
            assert resp.lasts_of(run) == [data]
    assert looks == [0, 0]


@pytest.mark.parametrize("other", [
    b"", b"\r\n", resp.command("set", "orders", "changed", "one"), resp.command("set", "carts", "created", "one"),
    resp.command("get", "orders", "created", "one"), resp.command("set", "orders", "one"),
    resp.command("set", "orders", "created", "one", "more"), resp.command("set", "orders", "created", "x" * 1000),
    resp.command("set", "orders", "created", "one") * 2, resp.command("set", "orders", "created", "one")[:-1],
    resp.command("set", "orders", "created", "one")[:-6], resp.command("set", "orders", "created", "one")[:-2] + b"x\n",
    resp.command("set", "orders", "created", "one").replace(b"$3\r\none", b"$03\r\none"),
    resp.command("set", "orders", "created", "one").replace(b"$3\r\none", b"$4\r\none"),
    resp.command("set", "orders", "created", "x" * 90)])
def test_what_isnt_a_command_like_the_one_before_is_not_taken_again(other):
    requests = Requests(max_last=80)
    requests.feed(resp.command("set", "orders", "created", "one"))
    assert len(requests.take()) == 1
    assert requests.last is not None
    assert requests.take_again(other) is None
    assert requests.last is None
    assert requests.take_again(resp.command("set", "orders", "created", "one")) is None


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize("cut", [1, 6, -4, -1])
def test_a_command_is_not_taken_again_behind_part_of_another(cut, read):
    whole = resp.command("set", "a", "b", "c")
    requests = Requests()
    requests.feed(whole)
    assert len(requests.take()) == 1
    requests.feed(whole[:cut])
    if read:
        assert requests.get() is INCOMPLETE
    assert requests.take_again(whole) is None
    requests.feed(whole[cut:])
    assert requests.take() == [([(b"a", b"b", [b"c"])], 1, len(whole))]


def test_commands_that_differ_cost_one_look_at_a_head(looks):
    requests = Requests()
    commands = [resp.command("set", f"s{i}", "created", "\r\n" * i) for i in range(100)]
    requests.feed(b"".join(commands))
    (runs, count, size), = requests.take()
    assert as_told([(runs, count, size)]) == [("run", b"s%d" % i, b"created", b"\r\n" * i) for i in range(100)]
    assert (count, size) == (100, sum(map(len, commands)))
    assert looks == [0, size]


@pytest.mark.parametrize("cut", [1, 2, 3, 6, 7])
def test_the_last_command_of_what_was_split_may_be_cut(looks, cut):
    commands = [resp.command("set", f"s{i}", "created", "data") for i in range(100)]
    requests = Requests()
    requests.feed(b"".join(commands)[:-cut])
    (runs, count, size), = requests.take()
    assert (len(runs), count, size) == (99, 99, sum(map(len, commands[:99])))
    assert looks == [0, size]


class CountingSplits(Requests):
    """Counts the bytes that it splits commands out of."""

    split = split_alike = 0

    def _take_alike(self, taken, tried):
        pos = self._pos
        after = super()._take_alike(taken, tried)
        self.split_alike += max(0, min(after, len(self._buffer)) - max(pos, tried))
        return after

    def _split_commands(self, pos, limit, between, runs):
        self.split += min(limit, len(self._buffer)) - pos
        end = super()._split_commands(pos, limit, between, runs)
        assert pos <= end <= limit
        return end


INNER = resp.command("set", "s", "n", "inner")


@pytest.mark.parametrize("made", [
    lambda i: resp.command("set", f"s{i}", "n", b"x" + CRLF + INNER[:-2]),      # splits where none ends
    lambda i: resp.command("set", f"s{i}", "n", b"x") + resp.command("ping") * (i % 2),
    lambda i: resp.command("set", f"s{i}", "n", b"x") + b"*0\r\n" * (i % 3),
    lambda i: resp.command("set", f"bad{i}" if i % 2 else "s", "n", b"x"),
    lambda i: resp.command("set", f"s{i}", "n", b"x" * (1010 if i % 9 == 0 else 90))])
def test_no_byte_is_split_twice_whatever_the_commands_are(made):
    data = b"".join(map(made, range(2000)))
    requests = CountingSplits()
    assert take_all(requests, [data]) == take_all(Plain(), [data])
    assert 0 < requests.split <= len(data)
    assert requests.split_alike <= len(data)


OTHER = (b"add", b"orders", b"any", b"created", b"{}", b"", b"")


def test_other_commands_of_one_name_and_count_are_split_together(monkeypatch):
    monkeypatch.setattr(resp.Parser, "get", None)      # the plain path
    data = b"".join(resp.command(*OTHER[:4], b"x" * i, b"id-%d" % i, b"") for i in range(100))
    requests = CountingSplits()
    assert take_all(requests, [data]) == [(*OTHER[:4], b"x" * i, b"id-%d" % i, b"") for i in range(100)]
    assert requests.split_alike == len(data)


@pytest.mark.parametrize("others", [[OTHER], [OTHER, (*OTHER[:-2], b"another", OTHER[-1])]])
def test_of_the_commands_that_are_split_together_no_other_than_the_first_is_read_by_itself(monkeypatch, others):
    usual, read = resp.Requests._strings_at, []
    monkeypatch.setattr(resp.Requests, "_strings_at", lambda *arguments: read.append(1) or usual(*arguments))
    monkeypatch.setattr(resp.Parser, "get", None)
    data = b"".join([resp.command(*one) for one in others])
    assert take_all(Requests(), [data * 50]) == others * 50
    assert len(read) == 1


@pytest.mark.parametrize("strings", [2, 3, 7, resp._FEW, resp._FEW + 1])
def test_commands_that_repeat_one_are_the_same_wherever_they_are_cut(strings):
    """... and by whatever they are followed."""
    def taken(requests, pieces):
        return [list(one) if type(one) is tuple else repr(one) for one in take_all(requests, pieces)]

    lasts = b"aa", b"\r\n", b"$1", b"*3", b"aa", b"x", b"y", b"", b"", b"zz"
    commands = [[b"other", *[b"1"] * (strings - 2), last] for last in lasts]
    data = b"".join([resp.command(*one) for one in commands])
    assert taken(Requests(together={b"other": None}), [data]) == commands
    for place in range(1, len(data)):
        pieces = split(data, [place])
        assert taken(Requests(together={b"other": None}), pieces) == commands
        odd = [pieces[0] + b"x" + pieces[1]]
        assert taken(Requests(together={b"other": None}), odd) == taken(Plain(together={b"other": None}), odd)


def test_commands_that_are_wanted_together_come_together(monkeypatch):
    monkeypatch.setattr(resp.Parser, "get", None)      # the plain path
    commands = [(*OTHER[:4], data, b"id", b"") for data in (b"x", b"", b"a\r\nb", b"x" * 999, b"x" * 5000, b"\r\n")]
    data = b"".join(resp.command(*one) for one in commands)
    requests = Requests()
    requests.feed(data)
    assert requests.take() == [Alike(commands, len(data))]
    requests.feed(resp.command(*OTHER[:-1]) * 2)
    assert requests.take() == [[*OTHER[:-1]]] * 2


def test_commands_of_the_runs_name_and_another_count_may_be_wanted_together(monkeypatch):
    monkeypatch.setattr(resp.Parser, "get", None)      # the plain path
    requests = Requests(together={b"set": 3})
    for command in (b"set", b"SET"):
        data = resp.command(command, "a", "1") * 3
        requests.feed(data)
        assert requests.take() == [Alike([(command, b"a", b"1")] * 3, len(data))]


def test_commands_that_are_wanted_together_are_the_same_wherever_they_are_cut():
    data = b"".join(resp.command(*OTHER[:-3], last, b"", b"m") for last in (b"x", b"\r\n", b"$1\r\n", b"*7\r\n"))
    whole = take_all(Plain(), [data])
    assert len(whole) == 4
    for place in range(1, len(data)):
        assert take_all(Requests(), split(data, [place])) == whole
        assert take_all(Requests(), [data[:place] + b"x" + data[place:]]) == take_all(
            Plain(), [data[:place] + b"x" + data[place:]])
        assert take_all(Requests(), [data[:place] + data[place + 1:]]) == take_all(
            Plain(), [data[:place] + data[place + 1:]])


@pytest.mark.parametrize("cut", [1, 2, 3, 40])
def test_the_last_of_other_commands_may_be_cut(cut):
    data = resp.command(*OTHER) * 10
    requests = Requests()
    assert take_all(requests, [data[:-cut]]) == [OTHER] * 9
    assert take_all(requests, [data[-cut:]]) == [OTHER]


@pytest.mark.parametrize("last", [b"x\r\n", b"\r\n$1\r\n", resp.command(*OTHER), CRLF + resp.command(*OTHER)[:-2],
                                  b"y" * 999, b"y" * 1000, b"z" * 20_000])
@pytest.mark.parametrize("name", [b"add", b"ADD", b"a" * 99, b"a" * 100])
def test_what_other_commands_hold_does_not_matter(name, last):
    commands = [(name, *OTHER[1:-1], last), (name, *OTHER[1:]), OTHER[:-1], (b"set", b"s", b"n", b"data")]
    data = b"".join(resp.command(*one) for one in commands) * 3
    assert take_all(Requests(), [data]) == take_all(Plain(), [data])


@pytest.mark.parametrize("made", [
    lambda i: resp.command(*OTHER[:-2], b"%d" % (i % 2), b"x" + CRLF + resp.command(*OTHER)[:-2]),
    lambda i: resp.command(*OTHER[:-2], b"%d" % (i % 2), b"") + resp.command("set", "s", "n", "d") * (i % 2),
    lambda i: resp.command(*OTHER[:2 + i % 5])])
def test_no_byte_of_other_commands_is_split_twice(made):
    data = b"".join(map(made, range(2000)))
    requests = CountingSplits()
    assert take_all(requests, [data]) == take_all(Plain(), [data])
    assert 0 < requests.split_alike <= len(data)


def test_commands_are_split_a_window_at_a_time():
    data = b"".join(resp.command("set", f"s{i}", "n", b"x" * 100) for i in range(500))
    requests = CountingSplits()
    assert take_all(requests, [data]) == take_all(Plain(), [data])
    assert requests.split > 2 * resp._WINDOW


@pytest.mark.parametrize("size, splits", [(999, True), (1000, False)])
def test_commands_with_long_data_are_not_split(size, splits):
    data = b"".join(resp.command("set", f"s{i}", "n", b"x" * size) for i in range(10))
    requests = CountingSplits()
    assert take_all(requests, [data]) == take_all(Plain(), [data])
    assert (requests.split > 0) == splits


def test_a_bad_request_holds_no_frames():
    requests = Requests()
    requests.feed(b"_\r\n" * 3)
    assert [bad.__traceback__ for bad in requests.take()] == [None] * 3


# -- requests ----------------------------------------------------------------

@pytest.mark.parametrize("data, why", [
    (b"$4\r\nPING\r\n", "a request is an array of strings"),
    (b"+PING\r\n", "a request is an array of strings"),
    (b"*-1\r\n", "a request is an array of strings"),
    (b"_\r\n", "a request is an array of strings"),
    (b"%1\r\n+a\r\n+b\r\n", "a request is an array of strings"),
    (b">1\r\n$4\r\nPING\r\n", "a request is an array of strings"),
    (b"*0\r\n", "a request without a command"),
    (b"*1\r\n:1\r\n", "the arguments of a command are strings"),
    (b"*2\r\n$4\r\nPING\r\n$-1\r\n", "the arguments of a command are strings"),
    (b"*1\r\n*1\r\n$4\r\nPING\r\n", "the arguments of a command are strings"),
    (b"*1\r\n-ERR\r\n", "the arguments of a command are strings"),
    (b"*4\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$-1\r\n", "the arguments of a command are strings"),
    (b"*4\r\n$1\r\na\r\n$1\r\na\r\n:1\r\n$1\r\na\r\n", "the arguments of a command are strings"),
])
def test_a_request_that_is_no_command_is_told_and_the_next_one_is_read(data, why):
    assert take_all(Requests(), [data + strings(2)]) == [("bad", why), (b"a", b"a")]


def test_a_command_inside_an_array_is_no_command_wherever_it_is_split():
    inner = resp.command("set", "a", "b", "c")
    for pieces in every_split(b"*2\r\n" + inner * 2 + inner, most_pieces=2):
        assert take_all(Requests(), pieces) == [
            ("bad", "the arguments of a command are strings"), ("run", b"a", b"b", b"c")]


def test_a_command_may_be_made_of_simple_strings():
    assert take_all(Requests(), [b"*4\r\n+set\r\n+a\r\n$1\r\nb\r\n+c\r\n"]) == [("run", b"a", b"b", b"c")]


def test_commands_alike_but_for_their_last_argument_come_as_one():
    requests = Requests()
    lasts = [b"one", b"\r\n1", b"two"]
    data = (b"".join(resp.command("set", "orders", "created", last) for last in lasts)
            + resp.command("set", "orders", "created", "four")
            + resp.command("set", "orders", "shipped", "four"))
    requests.feed(data)
    runs = [(b"orders", b"created", lasts), (b"orders", b"created", [b"four"]), (b"orders", b"shipped", [b"four"])]
    assert requests.take() == [(runs, 5, len(data))]


@pytest.mark.parametrize("kind", [Requests, Plain])
@pytest.mark.parametrize("arguments", [
    ["get", "a", "b", "c"], ["set", "a", "b"], ["set", "a", "b", "c", "d"], ["set"],
    ["set", "bad", "b", "c"], ["set", "a", "bad", "c"], ["set", "a", "b", "x" * 101]])
def test_a_command_that_is_for_no_run_comes_alone(arguments, kind):
    good = resp.command("set", "a", "b", "x" * 100)
    requests = kind(max_last=100)
    requests.feed(good + resp.command(*arguments) + good)
    before, alone, behind = requests.take()
    assert alone == [argument.encode() for argument in arguments]
    assert [(b"a", b"b", [b"x" * 100])] == list(before[0]) == list(behind[0])


@pytest.mark.parametrize("kind", [Requests, Plain])
def test_a_command_for_runs_may_be_in_upper_case(kind):
    data = b"".join(resp.command(name, stream, "b", "c") for name in ("set", "SET", "Set") for stream in "aaxyzxyz")
    for pieces in ([data], split(data, range(len(data)))):
        assert take_all(kind(), pieces) == [("run", stream.encode(), b"b", b"c") for stream in "aaxyzxyz" * 3]


def test_commands_in_upper_case_come_as_one_run():
    requests = Requests()
    requests.feed(resp.command("SET", "a", "b", "c") * 3)
    assert [runs for runs, _, _ in requests.take()] == [[(b"a", b"b", [b"c"] * 3)]]


@pytest.mark.parametrize("end", [b"xx", b"\r\r", b"\n\r", b"x\r\n"])
def test_the_last_of_commands_that_differ_must_end_as_any_other(end):
    data = b"".join(resp.command("set", f"s{i}", "n", "data") for i in range(9))[:-2] + end
    *_, error = take_all(Requests(), [data])
    assert error == take_all(Plain(), [data])[-1]
    assert error[0] == "the end" and error[1].endswith("a string of 4 bytes is not followed by CR LF")


@pytest.mark.parametrize("kind", [Requests, Plain])
def test_the_size_of_runs_is_that_of_their_commands(kind):
    chance = random.Random(11)
    data = b"".join(resp.command("set", chance.choice("ab"), "b", "x" * chance.choice([5, 9, 1500])) * times
                    for times in [1, 1, 3, 1, 1, 1] * 20)
    for places in ([], chance.sample(range(len(data)), 50)):
        requests = kind()
        take_all(requests, split(data, places))
        assert requests.size == len(data)


@pytest.mark.parametrize("bad, pos", [(b"PING\r\n", 34), (b"=3\r\ntxt\r\n", 38)])
def test_the_error_that_ends_reading_is_all_that_comes_from_then_on(bad, pos):
    good = resp.command("set", "a", "b", "c")
    requests = Requests()
    requests.feed(good + bad + good)
    command, error = requests.take()
    assert command == ([(b"a", b"b", [b"c"])], 1, len(good))
    assert (type(error), error.pos, error.__traceback__) == (ProtocolError, pos, None)
    for _ in range(2):
        assert [str(one) for one in requests.take()] == [str(error)]
        requests.feed(good)


NASTY = [b"", b"\r\n", b"\r", b"x\r\n", b"\r\nx", b"*4\r\n$3\r\nset\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n",
         b"\r\n*4\r\n$3\r\nset\r\n$1\r\na\r\n$1\r\nb\r\n$24\r\n", b"$1\r\n", b"\0\xff"]


@pytest.mark.parametrize("kind", [Requests, Plain])
@pytest.mark.parametrize("data", NASTY)
def test_data_that_looks_like_a_head_or_an_end_of_line_is_kept_as_it_is(data, kind):
    pipeline = resp.command("set", "a", "b", data) * 3
    for pieces in every_split(pipeline, most_pieces=2):
        assert take_all(kind(), pieces) == [("run", b"a", b"b", data)] * 3


# What the fast path could take for a head, with a length that isn't so.
@pytest.mark.parametrize("parts", [
    b"$3\r\norders\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n",
    b"$1\r\na\r\n$3\r\norders\r\n$1\r\na\r\n$1\r\na\r\n",
    b"$1\r\na\r\n$1\r\na\r\n$3\r\norders\r\n$1\r\na\r\n",
    b"$9\r\norders\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n",
    b"$7\r\na\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n",
    b"$1\r\na\r\n$8\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n$1\r\ne\r\n",
    b"$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$2\r\na\r\n",
    b"$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\naaa\r\n",
    b"$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\n\r",
    b"$01\r\na\r\n$001\r\na\r\n$000000001\r\na\r\n$000000001\r\na\r\n",
    b"$" + b"0" * 18 + b"1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n",
    b"$1\r\na\r\n$" + b"0" * 18 + b"1\r\na\r\n$1\r\na\r\n$1\r\na\r\n",
    b"$1\r\na\r\n$1\r\na\r\n$" + b"0" * 18 + b"1\r\na\r\n$1\r\na\r\n",
    b"$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$" + b"0" * 9 + b"1\r\na\r\n",
    b"$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$" + b"0" * 18 + b"1\r\na\r\n",
    b"$1\r\na\r\n$1\r\n\n\r\n$1\r\na\r\n$1\r\na\r\n",
    b"$0\r\n\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n",
    b"$1\r\na\r\n$-1\r\na\r\n$1\r\na\r\n$1\r\na\r\n",
    b"$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$-1\r\na\r\n",
    b"$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$999999999\r\na\r\n",
])
def test_a_wrong_length_in_a_head_is_judged_as_on_the_plain_path(parts):
    good = resp.command("a", "a", "a", "a")
    data = good + b"*4\r\n" + parts + good * 2
    for _ in range(2):      # with the head unknown, and then perhaps known
        for pieces in ([data], split(data, range(len(data)))):
            assert take_all(Requests(b"a"), pieces) == take_all(Plain(b"a"), [data])


@pytest.mark.parametrize("size", [1, 200, 250, 252, 253, 990, 1000, 1024, 1025, 5000])
def test_arguments_of_any_size_are_taken(size):
    pipeline = resp.command("set", "k" * size, "b", "c") * 3 + resp.command("set", "a", "k" * size, "c") * 3
    assert take_all(Requests(), [pipeline]) == (
        [("run", b"k" * size, b"b", b"c")] * 3 + [("run", b"a", b"k" * size, b"c")] * 3)


# How a first or second argument may stand on the wire; wrong, but for the first.
@pytest.mark.parametrize("wire", [
    b"2\r\nab", b"02\r\nab", b"+2\r\nab", b" 2\r\nab", b"2 \r\nab", b"1_0\r\nabcdefghij", b"-1\r\nab", b"\r\nab",
    b"2\r\na", b"2\r\nabc", b"2", b"4\r\na\r\nb", b"2\r\nab\r\n$2\r\nab", b"5\r\na\r\n$b", b"0" * 18 + b"2\r\nab",
    "\u0662\r\nab".encode(), b"0\r\n", b"-0\r\n", b"3\r\nbad"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_strange_argument_between_commands_is_judged_as_on_the_plain_path(place, wire):
    good = [b"*4\r\n$3\r\nset\r\n$1\r\n%b\r\n$1\r\nn\r\n$1\r\nd\r\n" % name for name in (b"a", b"b", b"c", b"d")]
    parts = [b"1\r\ns", b"1\r\nn", b"1\r\nd"]
    parts[place] = wire
    strange = b"*4\r\n$3\r\nset\r\n$%b\r\n$%b\r\n$%b\r\n" % tuple(parts)
    for at in range(5):
        data = b"".join([*good[:at], strange, *good[at:], *good])
        assert take_all(Requests(), [data]) == take_all(Plain(), [data])


def test_strings_that_are_kept_are_bounded_in_number_and_size(monkeypatch):
    monkeypatch.setattr(resp, "_MAX_KNOWN", 10)
    requests = Requests()
    known = requests._firsts
    for number in range(35):
        for size in (1, 251, 252, 2000):
            name = f"{number}".rjust(size, "x")
            pipeline = resp.command("set", name, "b", "c") * 2
            assert take_all(requests, [pipeline]) == [("run", name.encode(), b"b", b"c")] * 2
        assert len(known) <= 10
        assert max(map(len, known)) <= resp._LONGEST_KNOWN
    assert len(known) == 10
    assert requests._seconds == {b"1\r\nb": b"b"}


def test_what_is_not_in_order_is_checked_each_time_and_never_kept():
    requests = Requests()
    for _ in range(3):
        assert take_all(requests, [resp.command("set", "bad", "b", "c")]) == [(b"set", b"bad", b"b", b"c")]
    assert not requests._firsts


def test_threads_that_share_the_known_strings_take_each_its_own_commands(monkeypatch):
    monkeypatch.setattr(resp, "_MAX_KNOWN", 3)
    known = Known(refuse)
    wrong = []

    def take_own(name):
        requests = Requests()
        requests._firsts = requests._seconds = known
        for number in range(300):
            commands = [(b"set", name, b"%d" % ((number + i) % 7), b"x" * i) for i in range(5)]
            taken = take_all(requests, [b"".join(resp.command(*one) for one in commands)])
            if taken != [("run", *one[1:]) for one in commands]:
                wrong.append(taken)

    threads = [threading.Thread(target=take_own, args=(b"%d" % number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(known) <= 3 + len(threads)


# Limits that four parts may pass in each of their places.
TIGHT = [{name: limit} for name, limits in {
    "max_arguments": [3, 4], "max_bulk": [3, 7, 1023, 1024, 1025], "max_size": [36, 37, 38, 2048, 2049, 3000],
    "max_last": [0, 3, 4, 1023],
}.items() for limit in limits]


@pytest.mark.parametrize("limits", TIGHT, ids=str)
def test_the_fast_path_takes_nothing_past_a_limit(limits):
    for place, size in itertools.product(range(4), [0, 3, 4, 7, 8, 950, 1023, 1024, 1025, 2030, 2960, 2970]):
        parts = [b"aa", b"bb", b"cc", b"dd"]
        parts[place] = b"x" * size
        others = b"".join(resp.command(b"aa", b"b%d" % i, b"cc", b"d" * i) for i in range(9))
        data = resp.command(*parts) * 2 + others + resp.command(*parts)
        assert take_all(Requests(b"aa", **limits), [data]) == take_all(Plain(b"aa", **limits), [data])


def test_arguments_may_be_as_many_as_the_limit_and_no_more():
    assert take_all(Requests(max_arguments=5), [strings(5)]) == [(b"a",) * 5]
    assert take_all(Requests(max_arguments=5), [strings(4) + strings(6)]) == [
        (b"a",) * 4,
        ("the end", "Protocol error at byte 32: found 6 elements in one value, expected no more than 5")]


names = st.sampled_from([b"orders", b"users", b"u$2", b"s" * 300, b"", b"\n", b"\r", b"a\r\nb", b"a\r\n$1", b"\xc3\xa9",
                         b"bad"])
long = st.integers(0, 1200).map(lambda size: b"x" * size)
payloads = st.binary(max_size=10) | st.sampled_from([*NASTY, INNER, CRLF + INNER, INNER[:-2]]) | long
sets = st.tuples(st.sampled_from([b"set", b"set", b"set", b"SET"]), names,
                 st.sampled_from([b"created", b"shipped", b"bad"]), payloads)
command = st.one_of(sets, st.lists(payloads, min_size=1, max_size=6))
alike = st.tuples(command, st.integers(1, 5)).map(lambda pair: resp.command(*pair[0]) * pair[1])


@st.composite
def strangely_encoded(draw):
    """A command with a length that isn't as it should be, or a null in it."""
    parts = [b"$%d\r\n%b\r\n" % (len(part), part) for part in draw(sets)]
    place = draw(st.integers(0, 3))
    digits, rest = parts[place][1:].split(CRLF, 1)
    parts[place] = draw(st.sampled_from([
        b"$-1\r\n", b"_\r\n", b"+%b" % rest, b"$00%b\r\n%b" % (digits, rest), b"$+%b\r\n%b" % (digits, rest),
        b"$%b1\r\n%b" % (digits, rest), b"$%b\r\n" % digits, b"*1\r\n$%b\r\n%b" % (digits, rest)]))
    return b"*4\r\n" + b"".join(parts)


differing = st.lists(sets.map(lambda parts: resp.command(*parts)) | sets.map(lambda parts: resp.command(*parts))
                     | st.integers(1, 900).map(lambda size: resp.command("set", "s", "n", b"y" * size))
                     | strangely_encoded(), min_size=4, max_size=12).map(b"".join)
no_command = st.sampled_from([data for data, _ in VALUES] + [b"*0\r\n", b"*1\r\n:1\r\n"])
hostile = st.sampled_from([data for data, _, _ in HOSTILE])
others = st.lists(st.tuples(*[payloads] * 6).map(lambda parts: resp.command("add", *parts)), min_size=2,
                  max_size=9).map(b"".join)
pipelines = st.lists(st.integers(0, 19).flatmap(lambda dice: (
    differing if dice < 4 else others if dice < 7 else alike if dice < 15 else no_command if dice < 19 else hostile)),
    max_size=12).map(b"".join)
limits = st.sampled_from([{}, {}, {}, *TIGHT])
windows = st.sampled_from([60, 200, 700, resp._WINDOW])


@given(pipelines, limits, windows, st.data())
@examples(400)
def test_the_fast_path_takes_the_same_commands_as_the_plain_one_however_they_are_split(data, limits, window, draw):
    places = draw.draw(st.lists(st.integers(0, len(data)), max_size=6))
    whole = take_all(Plain(**limits), [data])
    assert take_all(Plain(**limits), split(data, places)) == whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resp, "_WINDOW", window)
        assert take_all(Requests(**limits), split(data, places)) == whole
        assert take_all(Requests(**limits), [data]) == whole


@pytest.fixture
def short_is_long(monkeypatch):
    """Strings of 6 bytes are worth a receive of their own, and room grows from 2."""
    monkeypatch.setattr(resp, "LONG", 6)
    monkeypatch.setattr(resp, "_FIRST_ROOM", 2)


@given(pipelines, limits, st.lists(st.integers(1, 300), min_size=1, max_size=6))
@settings(examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_what_is_received_to_its_place_is_what_is_fed_however_it_is_split(short_is_long, data, limits, sizes):
    whole = take_all(Plain(**limits), [data])
    assert receive_all(Requests(**limits), data, sizes) == whole
    assert receive_all(Plain(**limits), data, sizes) == whole


def test_long_commands_in_pieces_of_any_size_are_received_whole():
    chance = random.Random(6480)
    commands = [(b"s", b"n", bytes([i]) * chance.choice([10, 60_000, 70_000, 300_000, 1_000_000]))
                for i in range(40)]
    data = b"".join(resp.command("set", *one) for one in commands)
    for _ in range(5):
        sizes = [chance.choice([3, 5000, 262_144, 1 << 20, 5 << 20]) for _ in range(7)]
        assert receive_all(Requests(), data, sizes) == [("run", *one) for one in commands]


def test_a_pipeline_split_at_any_two_bytes_gives_the_same_commands():
    data = (resp.command("set", "a", "b", "1") * 3 + b"*0\r\n"
            + b"".join(resp.command("set", name, "c", "\r\n") for name in "abcde"))
    whole = take_all(Plain(), [data])
    assert len(whole) == 9
    for pieces in every_split(data):
        assert take_all(Requests(), pieces) == whole


def test_a_long_pipeline_in_pieces_of_any_size_gives_the_same_commands():
    chance = random.Random(6480)
    commands = [(b"set", b"s%d" % chance.randrange(30), chance.choice([b"made", b"sent"]),
                 chance.choice(NASTY + [bytes(chance.randrange(300))])) for _ in range(2000)]
    data = b"".join(resp.command(*one) * chance.choice([1, 1, 3]) for one in commands)
    whole = take_all(Plain(), [data])
    for longest in (30, 1000, 100_000):
        places = [chance.randrange(len(data)) for _ in range(2 * len(data) // longest)]
        assert take_all(Requests(), split(data, places)) == whole


# -- one request at a time, for limits that change -------------------------------

def test_the_first_request_is_taken_alone_and_the_others_stay():
    requests = Requests()
    requests.feed(resp.command("set", "a", "b", "1") * 2 + resp.command("x", "y") + b"*1\r\n")
    [(runs, count, _)] = requests.take_first()
    assert (runs, count) == ([(b"a", b"b", [b"1"])], 1)
    [(runs, count, _)] = requests.take_first()
    assert (runs, count) == ([(b"a", b"b", [b"1"])], 1)
    assert requests.take_first() == [[b"x", b"y"]]
    assert requests.take_first() == []
    requests.feed(b"$1\r\nz\r\n")
    assert requests.take_first() == [[b"z"]]


def test_the_first_request_may_be_the_end():
    requests = Requests()
    requests.feed(resp.command("x") + b"GET / HTTP/1.1\r\n")
    assert requests.take_first() == [[b"x"]]
    for _ in range(2):
        [error] = requests.take_first()
        assert isinstance(error, resp.ProtocolError)


def test_limits_that_change_are_those_of_what_is_taken_next():
    requests = Requests()
    requests.limit(4, 4, 4, 100)
    requests.feed(resp.command("x", "yyyy") + resp.command("x", "yyyyy") + resp.command("set", "a", "b", "12345") * 2)
    assert requests.take_first() == [[b"x", b"yyyy"]]
    requests.limit(10, 10, 10, 1000)
    assert requests.take()[0] == [b"x", b"yyyyy"]
    requests.limit(4, 4, 4, 100)
    requests.feed(resp.command("x", "yyyyy"))
    [error] = requests.take()
    assert "found 5 bytes, expected no more than 4" in str(error)
