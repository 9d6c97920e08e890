"""The append command: a request becomes an Append, which joins the poller's batch.

    append STREAM EXPECTED NAME DATA ID METADATA ...  ──>  Append ──> the batch, with publishes

Like a publish it is committed with what came before and behind it, and answered in
its turn; see committer.py.  Other commands that store events join it in the same way:
each has a function in BATCHED.
"""

from store import ANY, EXISTS, NONE
from store.append import Append, Singles
from store.names import check_name, check_stream
from store.record import MAX_ID

from .kept import Kept
from .table import MAX_NUMBER, CommandError, checked, command
from .text import printable
from .users import APPEND

_FIELDS = 6         # of each event
_USAGE = "stream expected name data id metadata [stream expected name data id metadata ...]"


# Lower-case name of a command -> make(server, connection, arguments), which gives (an Append, bytes of the request).
# It raises CommandError where the command's handler is to answer, in its turn.
BATCHED = {}
# The same for many that came together, of one name and as many strings each: make(server, connection, commands) gives
# Singles, or None where one of them has to be looked at alone.
ALIKE = {}


def _in_order(check):
    """What gives a name itself, or raises CommandError where check(name) raises ValueError."""
    def name_in_order(name):
        checked(check, name)
        return name
    return name_in_order


class _Expected(dict):
    """What EXPECTED may be: the words, and numbers, which aren't kept."""

    def __missing__(self, text):
        if text.isdigit() and len(text) <= 20 and int(text) <= MAX_NUMBER:
            return int(text)
        word = self.get(text.lower())
        if word is None:
            raise CommandError(f"ERR EXPECTED is '{printable(text[:60])}', expected any, none, exists or a number "
                               f"from 0 to {MAX_NUMBER}")
        return word


_streams, event_names = Kept(_in_order(check_stream)), Kept(_in_order(check_name))
_expected = _Expected({b"any": ANY, b"none": NONE, b"exists": EXISTS})


def _appends(server, arguments):
    return [("append", "stream", stream) for stream in arguments[1::_FIELDS]]


@command("append", -7, _USAGE,
         "Store events, all or none; expected is any, none, exists or the number of the stream's last event",
         APPEND, _appends)
def append(server, connection, arguments):
    """Says what is wrong; those that are right never come here but go to the store in batches."""
    append_of(arguments, server.limits)


BATCHED[b"append"] = lambda server, connection, arguments: append_of(arguments, server.limits)
ALIKE[b"append"] = lambda server, connection, commands: singles_of(commands, server.limits)


def append_of(arguments, limits):
    """(Append, bytes) of a request.

    limits    max_event_size, max_metadata_size: the server's options
    Raises    CommandError
    """
    if len(arguments) == 1 + _FIELDS:
        return Append([_event_of(arguments[1:], limits)]), sum(map(len, arguments))
    count, more = divmod(len(arguments) - 1, _FIELDS)
    if more or not count:
        raise CommandError(f"ERR wrong number of arguments for 'append' command; usage: append {_USAGE}")
    events = []
    for i in range(count):
        try:
            events.append(_event_of(arguments[1 + i * _FIELDS:1 + (i + 1) * _FIELDS], limits))
        except CommandError as error:
            raise CommandError(str(error).replace("ERR ", f"ERR event {i} of the append: ", 1)) from None
    return Append(events), sum(map(len, arguments))


def singles_of(commands, limits):
    """The Singles of requests of one event each, None if something is wrong with one of them; see `append_of`."""
    most, most_metadata = limits.max_event_size, limits.max_metadata_size
    try:
        events = [(_streams[stream], _expected[expected], event_names[name], data, id_, metadata, b"")
                  for _, stream, expected, name, data, id_, metadata in commands
                  if len(data) <= most and len(id_) <= MAX_ID and len(metadata) <= most_metadata]
    except CommandError:
        return None
    return Singles(events) if len(events) == len(commands) else None


def _event_of(fields, limits):
    """What an Append has of an event."""
    stream, expected, name, data, id_, metadata = fields
    if len(data) > limits.max_event_size:
        raise CommandError(f"ERR data of {len(data)} bytes, expected no more than {limits.max_event_size}")
    if len(id_) > MAX_ID:
        raise CommandError(f"ERR an id of {len(id_)} bytes, expected no more than {MAX_ID}")
    if len(metadata) > limits.max_metadata_size:
        raise CommandError(f"ERR metadata of {len(metadata)} bytes, expected no more than "
                           f"{limits.max_metadata_size}")
    return _streams[stream], _expected[expected], event_names[name], data, id_, metadata, b""
