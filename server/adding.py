"""XADD: an entry of Redis's becomes an event, and joins the poller's batch as publishes and appends do.

    XADD key * field value ...                    ──>  Entries ──> the batch ──> ids
    XADD key MAXLEN ~ 1000 * field value ...             '──> trimmed for readers, on disk soon
    XADD key NOMKSTREAM ... | MINID ... | an id   ──>  a worker, which looks first

The server gives an entry its id; one that the client gives has to be what comes next: see entries.py.
"""

import re
from typing import NamedTuple

import resp
from store import ANY, NONE, StoreError, WrongVersion
from store.append import Append, Run, Singles

from .appending import ALIKE, BATCHED, event_names
from .committer import error_reply
from .entries import event_of, format_id, id_at, metadata_of, number_from, parse_id
from .keys import exists, has_events, stream_of, touches_key
from .table import COMMANDS, MAX_NUMBER, CommandError, command, why_not
from .users import ADMIN, APPEND

# With `~` a stream is trimmed when so many events more are there, and of no more than so many if nothing else is said.
_ABOUT = 100
_LIMIT = 10_000
# Microseconds that an entry's time may be ahead of the clock: its own clock may be, a little.
_AHEAD = 60_000_000
# Numbers that are given up at once where each takes its place in a chain of digests.
_GIVEN_UP = 1000
# Tries to store an entry with an id of its own, while others append to its stream.
_TRIES = 100

_INTEGER = re.compile(rb"(0|-?[1-9][0-9]{0,18})\Z")
_EQUAL_OR_SMALLER = "ERR The ID specified in XADD is equal or smaller than the target stream top item"
_TOO_SMALL = "ERR The ID specified in XADD must be greater than 0-0"


class Trim(NamedTuple):
    """What a stream is to keep.

    threshold    of MAXLEN, how many events; of MINID, the (ms, seq) to begin with
    by_id        it is MINID
    about        it is `~`: when it is worth it
    limit        and then no more events at once than so many; 0: any number
    """

    threshold: object
    by_id: bool
    about: bool
    limit: int


class Addition(NamedTuple):
    """An XADD, taken apart.

    id      None for `*`; else (ms, seq), with None for the seq of `ms-*`
    pairs   [field, value, …]
    """

    key: bytes
    creates: bool
    trim: Trim
    id: tuple
    pairs: list


class Entries(Singles):
    """XADDs that get their ids from the server, one behind the other, each stored or refused by itself.

    store   the Store, if streams are trimmed
    trims   of each a Trim by count, or None
    """

    __slots__ = ("store", "trims")

    command = "xadd"
    ascending = True

    def __init__(self, events, store=None, trims=()):
        super().__init__(events)
        self.store = store
        self.trims = trims

    def replies(self, stored):
        """The replies, once they are in `stored`, the store's Batch."""
        head = b"%d-" % (stored.clock // 1000)
        return b"".join([_id_reply(head, one[0]) if type(one) is tuple else error_reply(one) for one in self.outcomes])

    def trim(self):
        """Trim what is to be trimmed, once they are stored."""
        lasts = {}
        for (stream, *_), outcome, trim in zip(self.events, self.outcomes, self.trims):
            if trim is not None and type(outcome) is tuple:
                lasts[stream, trim] = outcome[0]
        for (stream, trim), last in lasts.items():
            trim_behind(self.store, stream, trim, last)


class EntryRun(Run):
    """Entries that differ in nothing but the value of their only field, and all trim their stream alike, or not.

    store      the Store, if the stream is trimmed
    trimming   a Trim by count, or None
    """

    __slots__ = ("store", "trimming")

    command = "xadd"
    ascending = True

    def __init__(self, run, store=None, trimming=None):
        super().__init__(run)
        self.store = store
        self.trimming = trimming

    def replies(self, stored):
        """See Entries."""
        if self.error is not None:
            return error_reply(self.error) * self.count
        number, _ = self.place
        stop = number + self.count
        ms = b"%d-" % (stored.clock // 1000)
        found = []
        while number < stop:
            digits = len(b"%d" % number)
            behind = min(stop, 10 ** digits)
            line = b"$%d\r\n%b%%d\r\n" % (len(ms) + digits, ms)
            found.append(line * (behind - number) % tuple(range(number, behind)))
            number = behind
        return b"".join(found)

    @property
    def trims(self):
        return [self.trimming] if self.trimming is not None else ()

    def trim(self):
        """See Entries."""
        if self.error is None:
            trim_behind(self.store, self.run[0], self.trimming, self.place[0] + self.count - 1)


def trim_behind(store, stream, trim, number):
    """Trim a stream by count, if it is worth it, whose event `number` was just added."""
    first = first_kept(store, stream, trim, number + 1)
    if first is not None:
        store.trim(stream, first)


def _id_reply(head, number):
    digits = b"%d" % number
    return b"$%d\r\n%b%b\r\n" % (len(head) + len(digits), head, digits)


# -- what is asked -------------------------------------------------------------

def parse_add(arguments):
    """The Addition of a request.  Raises CommandError."""
    trim, creates, at = _options(arguments, 2, adds=True)
    id_, pairs = None, arguments[at + 1:]
    if at < len(arguments) and arguments[at] != b"*":
        id_ = _parse_own_id(arguments[at])
    if not pairs or len(pairs) % 2:
        raise CommandError(f"ERR wrong number of arguments for 'xadd' command; usage: xadd {COMMANDS[b'xadd'].usage}")
    if id_ == (0, 0):
        raise CommandError(_TOO_SMALL)
    return Addition(arguments[1], creates, trim, id_, pairs)


def parse_trim(arguments):
    """The Trim of XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT count].  Raises CommandError."""
    trim, _, _ = _options(arguments, 2, adds=False)
    if trim is None:
        raise CommandError("ERR syntax error, XTRIM must be called with a trimming strategy")
    return trim


def _parse_own_id(text):
    if text.endswith(b"-*"):
        ms, _ = parse_id(text[:-2] + b"-0")
        return ms, None
    return parse_id(text)


def _options(words, at, adds):
    """(Trim or None, whether a stream may be made, where the options end)."""
    threshold = limit = None
    by_id = about = False
    creates = True
    while at < len(words):
        word, more = words[at].upper(), len(words) - 1 - at
        if adds and word == b"*":
            break
        if word in (b"MAXLEN", b"MINID") and more:
            if threshold is not None:
                raise CommandError("ERR syntax error, MAXLEN and MINID options at the same time are not compatible")
            by_id, about = word == b"MINID", False
            if more >= 2 and words[at + 1] in (b"~", b"="):
                at += 1
                about = words[at] == b"~"
            at += 1
            threshold = parse_id(words[at]) if by_id else _count(words[at], "MAXLEN")
        elif word == b"LIMIT" and more:
            at += 1
            limit = _count(words[at], "LIMIT")
        elif adds and word == b"NOMKSTREAM":
            creates = False
        elif adds:
            break
        else:
            raise CommandError("ERR syntax error")
        at += 1
    if limit and threshold is None:
        raise CommandError("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
    if limit is not None and not about:
        raise CommandError("ERR syntax error, LIMIT cannot be used without the special ~ option")
    if threshold is None:
        return None, creates, at
    return Trim(threshold, by_id, about, _LIMIT if limit is None else limit), creates, at


def _count(text, what):
    if not _INTEGER.match(text) or abs(int(text)) > MAX_NUMBER >> 1:
        raise CommandError("ERR value is not an integer or out of range")
    if int(text) < 0:
        raise CommandError(f"ERR The {what} argument must be >= 0.")
    return int(text)


# -- those that need no look ---------------------------------------------------

def entries_of(server, connection, commands):
    """The Entries of XADDs, or their EntryRun; None if something is wrong with one of them, or needs a look at its
    stream.

    commands   [(name, argument, …), …], of as many arguments each
    """
    if len(commands[0]) < 5:
        return None
    try:
        if _are_alike(commands):
            return _entry_run(commands, connection.user, server)
        return _entries(commands, connection.user, server)
    except CommandError:
        return None


def _are_alike(commands):
    """Whether they differ in nothing but their last arguments."""
    _, *heads, _ = zip(*commands)
    return all(column.count(column[0]) == len(commands) for column in heads)


def _entry_run(commands, user, server):
    """`entries_of` those that are alike, in one go if they have one field.  Raises CommandError."""
    first = commands[0]
    trim, creates, at = (None, True, 2) if len(first) == 5 else _options(first, 2, adds=True)
    if len(first) - at != 3:
        return _entries(commands, user, server)
    values = [one[-1] for one in commands]
    if (first[at] != b"*" or not creates or trim is not None and not is_simple(trim, user)
            or max(map(len, values)) > server.limits.max_event_size):
        return None
    return EntryRun((stream_of(first[1]), event_names[first[at + 1]], values), server.store, trim)


def _entries(commands, user, server):
    """`entries_of` any.  Raises CommandError."""
    if len(commands[0]) == 5:       # one pair, and no options
        most = server.limits.max_event_size
        events = [(stream_of(key), ANY, event_names[field], value, b"", b"", b"")
                  for _, key, id_, field, value in commands if id_ == b"*" and len(value) <= most]
        if len(events) == len(commands):
            return Entries(events)
    return _entries_with_options(commands, user, server)


def _entries_with_options(commands, user, server):
    """`entries_of` those with options, or with several fields.  Raises CommandError."""
    events, trims = [], []
    most, most_metadata = server.limits.max_event_size, server.limits.max_metadata_size
    words = at = trim = None        # of the one before: options are much the same
    for one in commands:
        if words is None or one[2:at + 1] != words:
            trim, creates, at = _options(one, 2, adds=True)
            words = one[2:at + 1]
            pairs, odd = divmod(len(one) - at - 1, 2)
            if odd or pairs < 1 or one[at] != b"*" or not creates or trim is not None and not is_simple(trim, user):
                return None
        name, data, metadata = one[at + 1], one[at + 2], metadata_of(one[at + 3:])
        if len(data) > most or len(metadata) > most_metadata:
            return None
        events.append((stream_of(one[1]), ANY, event_names[name], data, b"", metadata, b""))
        trims.append(trim)
    return Entries(events, server.store, trims if any(trims) else ())


def _alone(server, connection, arguments):
    entries = entries_of(server, connection, [arguments])
    if entries is None:
        raise CommandError("ERR it is answered by itself")
    return entries, sum(map(len, arguments))


BATCHED[b"xadd"] = _alone
ALIKE[b"xadd"] = entries_of


def is_simple(trim, user):
    """Whether a user may trim so, and nothing has to be read for it."""
    return not trim.by_id and user.may(ADMIN)


def event_to_add(key, pairs, limits, expected=ANY):
    """What an Append has of an entry.  Raises CommandError."""
    name, data, metadata = event_of(pairs)
    if len(data) > limits.max_event_size:
        raise CommandError(f"ERR the first value has {len(data)} bytes, expected no more than "
                           f"{limits.max_event_size}")
    if len(metadata) > limits.max_metadata_size:
        raise CommandError(f"ERR the fields and values behind the first take {len(metadata)} bytes, expected no more "
                           f"than {limits.max_metadata_size}")
    return stream_of(key), expected, name, data, b"", metadata, b""


# -- those that do -------------------------------------------------------------

@command("xadd", -5, "key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]] *|id field value [field value ...]",
         "Store an entry, as an event: its name and data are the first field and value; the reply is its id",
         APPEND, touches_key("append"), slow=True)
def xadd(server, connection, arguments):
    """What can be stored without a look at its stream doesn't come here but goes to the store in batches."""
    addition = parse_add(arguments)
    if addition.trim is not None:
        why = why_not(connection.user, "xadd with MAXLEN or MINID", ADMIN, ())
        if why:
            raise CommandError(why)
    event = event_to_add(addition.key, addition.pairs, server.limits)
    store, stream = server.store, event[0]
    if not addition.creates and not exists(store, stream):
        return resp.null(connection.protocol)
    try:
        batch, id_ = _store_at_once(store, event) if addition.id is None else _store_as(store, event, *addition.id)
    except StoreError as error:
        return error_reply(error)
    server.call_soon(lambda: server.feeds.committed(batch))
    if addition.trim is not None:
        trim(store, stream, addition.trim)
    return resp.bulk(format_id(*id_))


def _store_at_once(store, event):
    """Store an event with an id of the server's; the Batch and its (ms, seq)."""
    entries = Entries([event])
    batch = store.write([entries], [entries])
    store.commit(batch)
    [outcome] = entries.outcomes
    if type(outcome) is not tuple:
        raise outcome
    return batch, (batch.clock // 1000, outcome[0])


def _store_as(store, event, ms, seq):
    """Store an event with the client's id, if that is what comes next; see `_store_at_once`, `store_as`."""
    check_time(store, ms)
    stream = event[0]
    if not has_events(store, stream):
        following, _ = _end_of(store, stream)
        wanted = _wanted(ms, seq, following)
        if wanted > following:
            give_up(store, stream, wanted)
    batch, append = store_as(store, [event], {0: (ms, seq)})
    return batch, (ms, append.places[0][0])


def store_as(store, events, ids):
    """Store events all or none, some with the client's ids, each of which has to be what comes next.

    ids   {which of the events: (ms, seq)}, with None for the seq of `ms-*`; the others have the server's clock, or
          the time of the last event of their stream if that is later
    Returns   the Batch and the Append
    Raises    CommandError, StoreError
    """
    before = None
    for _ in range(_TRIES):
        append = _append_as(store, events, ids)
        batch = store.write([append], [append])
        store.commit(batch)
        if append.error is None:
            return batch, append
        if type(append.error) is not WrongVersion or append.events == before:
            raise append.error
        before = append.events      # if somebody else was there first, the numbers are others now
    raise CommandError("ERR others append to the stream all the time; nothing was stored, try again, or let the server "
                       "choose the ID")


def _append_as(store, events, ids):
    """The Append of `store_as`, as the streams are now.  Raises CommandError."""
    now = store.clock()
    ends = {}       # of each stream: what `_end_of` tells once the events so far are stored
    numbered, clocks = [], []
    for i, event in enumerate(events):
        stream = event[0]
        number, last = ends.get(stream) or _end_of(store, stream)
        if i in ids:
            ms, seq = ids[i]
            wanted = _wanted(ms, seq, number)
            if wanted < number or ms < last // 1000:
                raise CommandError(_EQUAL_OR_SMALLER)
            if wanted > number:
                raise CommandError(f"ERR the sequence of an explicit ID is the event's number, which is {number} now; "
                                   f"found {wanted}, nothing was stored")
            event = stream, number - 1 if number else NONE, *event[2:]
            clock = ms * 1000
        else:
            clock = max(now, last)
        ends[stream] = number + 1, clock
        numbered.append(event)
        clocks.append(clock)
    return Append(numbered, clocks)


def _end_of(store, stream):
    """(the next number of a stream, the clock of its last event to the millisecond, 0 if that isn't there)."""
    known = store.find(stream)
    following = known.visible if known is not None else 0
    last = id_at(store, stream, following - 1) if following else None
    return following, last[0] * 1000 if last is not None else 0


def _wanted(ms, seq, following):
    """The number that an id asks for; 0-0 is none."""
    wanted = following if seq is None else seq
    return wanted if ms or wanted else 1


def check_time(store, ms):
    """Raise CommandError if an id is too far ahead of the clock."""
    now = store.clock()
    if ms * 1000 > now + _AHEAD:
        raise CommandError(f"ERR the time of the ID is {ms} ms, which is ahead of the server's clock, "
                           f"{now // 1000}; nothing was stored")


def give_up(store, stream, number):
    """Have a stream without events go on with a later number.  Raises CommandError, StoreError."""
    _, following = store.bounds(stream)
    if store.hash_chain is not None and number - following > _GIVEN_UP:
        raise CommandError(f"ERR {number - following} numbers would be given up, expected no more than {_GIVEN_UP}, "
                           f"for the chain of digests has each of them; nothing was stored")
    try:
        store.skip([(stream, number)])
    except ValueError as error:
        raise CommandError(f"ERR the sequence of an ID is the event's number: {error}") from None
    store.truncate(stream, number)      # otherwise those before would count as events


# -- trimming ------------------------------------------------------------------

def trim(store, stream, wanted):
    """Cut a stream as a Trim says, on disk when this returns; how many events that took.  Raises StoreError."""
    known = store.find(stream)
    if known is None:
        return 0
    begin, stop = store.bounds(stream)
    first = first_kept(store, stream, wanted, stop)
    if first is None or first <= begin:
        return 0
    taken = store.retention.kept(stream, begin, first)
    store.truncate(stream, first)
    return taken


def first_kept(store, stream, wanted, stop):
    """The number that a stream of events up to `stop` begins with by a Trim, None where it isn't worth it yet."""
    retention = store.retention
    begin = retention.first_of(store.find(stream))
    if wanted.by_id:
        first = min(stop, number_from(store, stream, *wanted.threshold))
    else:
        first = retention.first_of_last(stream, wanted.threshold, stop)
    if not wanted.about:
        return first
    if first - begin < _ABOUT:
        return None
    return min(first, begin + wanted.limit) if wanted.limit else first
