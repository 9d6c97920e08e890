"""What of a stream readers still see: rules, cuts, deletions and redactions.

    0 1 2 3 4 5 6 7 8 9 10 11          a rule, a cut or a deletion moves `first` up, never back;
    '-----------' ^                    numbers and positions of what is left stay as they were
     not shown    first
                        ~              event 9 was redacted: it is there, without its data

What isn't shown is gone for every reader at once, and from the disk once the
segment that it is in is rewritten; see compaction.py.

All of it is kept as entries in the log:

    "retention"   s STREAM or p PREFIX -> a Rule, as JSON
    "cut"         STREAM               -> a Cut
    "redacted"    u64 number, STREAM   -> nothing; 1 once the segment is rewritten, until the event is cut

A rule of a stream counts alone, else the one of the longest prefix.  An event that
is older than its stream may keep isn't shown, whether or not anybody came by to
move `first`; the clock that this goes by never goes back while a store is open.

A trim is a cut that readers see at once and the log has soon: who writes event after event
and keeps the last so many doesn't wait for an entry each time.  A crash may undo it.

Locks: `changing` is held over what changes any of this, and over the write of it:
only those wait who change it too.  `_raising` guards the streams' `first`, `_cuts`, `_deleted`, `_trimmed`
and `_missing`, and is held over nothing.  Readers take no lock.
"""

import json
import struct
import threading
from bisect import bisect_left
from typing import NamedTuple

from . import record
from .append import encoded
from .errors import StreamDeleted
from .filter import Prefix
from .names import ALL, check_stream
from .record import Passed

RULES, CUTS, REDACTED = "retention", "cut", "redacted"

# The `first` of a stream that was deleted for good: nothing comes there.
FOREVER = (1 << 64) - 1

_CUT = struct.Struct("<QQQ")
_NUMBER = struct.Struct("<Q")
_GONE = b"1"        # of a redacted event: its data is not in the log any more

# Bytes of a stream that are looked at in one go, for the first event that isn't too old.
_STEP = 64 * 1024
# Entries that are put in one go.
_PUT = 1000
# Streams, and prefixes, that frames are searched for: with more, all records are looked at one by one.
_MOST_SOUGHT = 16


class Rule(NamedTuple):
    """What a stream keeps.

    max_count   so many events, the last ones; None: any number
    max_age     seconds; None: for ever
    """

    max_count: int = None
    max_age: int = None

    def check(self):
        """Raise ValueError unless it can be."""
        for what, value in self._asdict().items():
            if value is not None and not (type(value) is int and 0 < value < 1 << 53):
                raise ValueError(f"{what} is {value!r:.60}, expected a number from 1 on")


class Cut(NamedTuple):
    """Where a stream begins.

    first     the number of the first event that readers see
    deleted   the number that its next event had when it was deleted: its ids below are forgotten, and
              it has no event as long as it goes no further.  0 if it never was
    forever   no event comes any more
    """

    first: int = 0
    deleted: int = 0
    forever: bool = False

    def encode(self):
        return _CUT.pack(*self)

    @classmethod
    def decode(cls, value):
        first, deleted, forever = _CUT.unpack(value)
        return cls(first, deleted, bool(forever))

    def with_more(self, other):
        """What both cut."""
        return Cut(*map(max, self, other))


class Retention:
    """See the top of this file.

    log        the store's
    streams    {name: Stream}, the store's
    all        its Stream of all
    clock      microseconds since 1970
    put_many, entries   the store's

    closed     names of streams that were deleted for good
    """

    def __init__(self, log, streams, all_, clock, put_many, entries):
        self.changing = threading.Lock()
        self.closed = frozenset()
        self._raising = threading.Lock()
        self._log = log
        self._streams = streams
        self._all = all_
        self._clock = clock
        self._put_many = put_many
        self._now = 0
        self._oldest = {}       # stream with a rule of age -> (the first number that is left, its clock)
        self._cuts = {}
        self._deleted = set()   # streams that were deleted, and perhaps went on
        self._trimmed = set()   # streams whose cut the log hasn't
        self.trimmed = threading.Event()    # set when there is one
        self._redacted = {}     # stream -> {number}, while their data is in the log
        self._missing = {}      # stream -> [number, …] of all that were redacted, ascending
        self._touched = 0       # what is hidden, but by rules, is below this position
        self._sought = None     # how frames begin that may be hidden; None: too many to search for
        self._take_rules({})
        self._entries = entries
        self.load()

    def load(self):
        """Take what the log's entries say."""
        with self.changing:
            self._take_rules({(key[:1], key[1:]): _rule_of(value) for key, value in self._entries(RULES)})
            for name, value in self._entries(CUTS):
                self._take(name, Cut.decode(value))
            for key, value in self._entries(REDACTED):
                self._note_redacted(key[_NUMBER.size:], _NUMBER.unpack_from(key)[0], value == _GONE)

    def _take_rules(self, rules):
        self._sought = None     # meanwhile: readers take no lock
        self._rules = rules
        self._prefixes = sorted((key for kind, key in rules if kind == b"p"), key=len, reverse=True)
        self._sought = self._begins_of({*self._cuts, *self._redacted})

    def _begins_of(self, names):
        """How the frames of these streams begin, and of those that have a rule; None if they are too many."""
        begins = {record.frame_of_prefix(key) if kind == b"p" else record.frame_of_stream(key)
                  for kind, key in self._rules}
        begins.update(record.frame_of_stream(name) for name in names if not name.startswith(tuple(self._prefixes)))
        return frozenset(begins) if len(begins) <= _MOST_SOUGHT else None

    def _seek(self, name):
        """Something of this stream will be hidden."""
        if self._sought is not None and not name.startswith(tuple(self._prefixes)):
            if record.frame_of_stream(name) not in self._sought:
                self._sought = self._begins_of({name, *self._cuts, *self._redacted})

    # -- what readers see ----------------------------------------------------

    def rule_of(self, name):
        """The Rule of a stream, or None."""
        if not self._rules:
            return None
        rule = self._rules.get((b"s", name))
        if rule is None:
            for prefix in self._prefixes:
                if name.startswith(prefix):
                    return self._rules[b"p", prefix]
        return rule

    def first_of(self, stream):
        """A number below which no event of `stream` is shown: the first that is, but for those that are too old."""
        if self._rules and stream is not self._all:
            rule = self.rule_of(stream.name)
            if rule is not None and rule.max_count is not None:
                return max(stream.first, stream.visible - rule.max_count)
        return stream.first

    def begin_of(self, stream):
        """The number of the first event of `stream` that is shown, or of its next one.

        It is looked for once; whoever asks again goes on from there.
        Raises    CorruptSegment, CannotRead, StoreClosed
        """
        first = self.first_of(stream)
        horizon = self._horizon(stream.name)
        if horizon and first < stream.visible:
            known, clock = self._oldest.get(stream.name, (first, 0))
            if known != first or clock < horizon:
                first = self._first_since(stream, first, horizon)
        if stream.first < first <= stream.visible:
            self._raise(stream, first)
        return first

    def _first_since(self, stream, first, horizon):
        """The number of the first event of `stream`, from `first` on, that isn't older; of its next one if all are."""
        while first < stream.visible:
            for run in self._log.runs(stream.name, first, stream.visible, _STEP):
                if run.kind != record.CUT and not run.lost:
                    for number in range(max(first, run.number), run.stop):
                        clock = run.clocks[number - run.number]
                        if clock >= horizon:
                            self._oldest[stream.name] = number, clock
                            return number
                first = run.stop
        return first

    def _raise(self, stream, first):
        with self._raising:
            stream.first = max(stream.first, first)

    def hides(self, stream, first):
        """Whether events of `stream` from `first` on may be hidden, or redacted; False is sure."""
        if stream is self._all:
            return bool(self._rules) or first < self._touched
        return (first < self.first_of(stream) or stream.name in self._redacted
                or self._horizon(stream.name) > 0)

    def may_concern(self, frames):
        """Whether something of these frames (bytes) may be hidden, or redacted; False is sure."""
        sought = self._sought
        return sought is None or any(begin in frames for begin in sought)

    def is_hidden_at_once(self, stream, first):
        """The same, but for rules: whether what was said a moment ago may be more than what may be told now."""
        if stream is self._all:
            return first < self._touched
        return first < stream.first or stream.name in self._redacted

    def shown(self, records, stream, first, stop, back=False):
        """What readers of [first, stop) get of Records, Losts and gaps: Passed where events are hidden, and markers for
        redacted ones.

        stream   whose numbers these are; for `all`, positions
        back     the last one comes first
        """
        found = []
        for one in records:
            if one.kind == record.CUT or one.lost or not self._concerns(one):
                found.append(one)
            else:
                some = [part for run in one.runs() for part in self._shown_of(run)
                        if _is_in(part, part.position if stream is self._all else part.number, first, stop)]
                found += reversed(some) if back else some
        return found

    def _concerns(self, one):
        if one.pack is None:
            return self._is_concerned(one.stream)
        return self.may_concern(one.body) and any(map(self._is_concerned, set(one.pack[0])))

    def _is_concerned(self, name):
        return name in self._cuts or name in self._redacted or self.rule_of(name) is not None

    def _shown_of(self, run):
        stream = self._streams.get(run.stream)
        first = self.first_of(stream) if stream is not None else 0
        horizon = self._horizon(run.stream)
        redacted = self._redacted.get(run.stream, ())
        hidden = [run.number + i < first or clock < horizon for i, clock in enumerate(run.clocks)]
        found = []
        begin = 0
        while begin < run.count:
            end = begin + 1
            while end < run.count and hidden[end] == hidden[begin]:
                end += 1
            if hidden[begin]:
                found.append(Passed(run.stream, run.number + begin, end - begin, run.position + begin))
            else:
                found += without_redacted(run if end - begin == run.count else run.part(begin, end), redacted)
            begin = end
        return found

    def _horizon(self, name):
        """Events of a stream before this time are too old; 0 if none are."""
        rule = self.rule_of(name)
        if rule is None or rule.max_age is None:
            return 0
        self._now = max(self._now, self._clock())
        return max(0, self._now - rule.max_age * 1_000_000)

    # -- what is known -------------------------------------------------------

    def forgotten(self, name):
        """Ids of events of a stream below this number don't count any more: it was deleted since."""
        cut = self._cuts.get(name)
        return cut.deleted if cut else 0

    def is_redacted(self, name, number):
        """Whether the data of an event is hidden, and not yet gone from the log."""
        return number in self._redacted.get(name, ())

    def shows(self, name, number):
        """Whether readers see an event that is in the log, data and all; but for its age."""
        stream = self._streams.get(name)
        return stream is not None and self.first_of(stream) <= number and not self.is_redacted(name, number)

    def rules(self):
        """[(stream's name or Prefix, Rule)], sorted; names as text."""
        found = []
        for (kind, key), rule in sorted(self._rules.items()):
            found.append((Prefix(key.decode()) if kind == b"p" else key.decode(), rule))
        return found

    def length(self, stream, first=0):
        """How many events of a Stream are shown from `first` on, with their data.

        Of those that were redacted before 0.4 all count.
        """
        first, stop = max(first, self.begin_of(stream)), stream.visible
        return self.kept(stream.name, first, stop) if first < stop else 0

    def kept(self, name, first, stop):
        """How many of the events [first, stop) of a stream weren't redacted."""
        missing = self._missing.get(name, ())
        return stop - first - (bisect_left(missing, stop) - bisect_left(missing, first))

    def first_kept(self, name, first):
        """The number of the first event of a stream from `first` on that wasn't redacted."""
        missing = self._missing.get(name, ())
        at = bisect_left(missing, first)
        while at < len(missing) and missing[at] == first:
            at, first = at + 1, first + 1
        return first

    def last_redacted(self, name):
        """The number of the last event of a stream that was redacted and not cut since, or None."""
        missing = self._missing.get(name)
        return missing[-1] if missing else None

    def first_of_last(self, name, count, stop):
        """The number that a stream begins with if of its events before `stop` the last `count` are kept.

        Those that were redacted don't count.
        """
        missing = self._missing.get(name, ())
        before = bisect_left(missing, stop)
        fewest, most = 0, before        # of them that are among those that are left
        while fewest < most:
            middle = (fewest + most) // 2
            kept = stop - 1 - missing[before - 1 - middle] - middle     # behind that one
            if kept < count:
                fewest = middle + 1
            else:
                most = middle
        return max(0, stop - count - fewest)

    # -- changing it ---------------------------------------------------------

    def retain(self, selector, rule):
        """Have what `selector` names keep what `rule` says; a Rule of nothing takes the rule out.

        What the rules so far hid stays hidden.
        """
        key = _rule_key(selector)
        rule.check()
        with self.changing:
            if self._rules:
                self.settle([stream for stream in list(self._streams.values())
                             if _is_of(key, stream.name) and self.rule_of(stream.name) is not None])
            kept = rule != Rule()
            value = json.dumps({what: value for what, value in rule._asdict().items() if value is not None}).encode()
            self._put_many([(RULES, b"".join(key), value if kept else None)])
            rules = dict(self._rules)
            rules.pop(key, None)
            if kept:
                rules[key] = rule
            self._take_rules(rules)

    def settle(self, streams):
        """Put into the log where these streams begin by now; the caller holds `changing`."""
        moved = []
        for stream in streams:
            cut = self._cuts.get(stream.name, Cut())
            first = self.begin_of(stream)
            if first > cut.first and not cut.forever:
                moved.append((stream.name, cut._replace(first=first)))
            if len(moved) >= _PUT:
                self._put_cuts(moved)
                moved = []
        self._put_cuts(moved)

    def truncate(self, name, number):
        """Have a stream begin with event `number`, or with its next one if it doesn't go so far.

        Returns the number that it begins with.
        """
        with self.changing:
            stream = self._stream(name)
            cut = self._cuts.get(name, Cut())
            first = max(min(number, stream.visible), cut.first)
            if first > cut.first or name in self._trimmed:
                self._put_cuts([(name, cut._replace(first=first))])
            return max(first, self.first_of(stream))

    def trim(self, name, number):
        """Have a stream begin with event `number`, or with its next one, for readers now and in the log soon.

        It waits for nobody, and is nothing where there is no such stream.
        """
        stream = self._streams.get(name)
        if stream is not None and name not in self.closed and stream.first < number:
            with self._raising:
                self._trimmed.add(name)
            self._take(name, Cut(min(number, stream.visible)))
            self.trimmed.set()

    def keep_trims(self):
        """Put into the log what was trimmed.  Raises    as `put`"""
        with self.changing:
            while self._trimmed:
                with self._raising:
                    names = [self._trimmed.pop() for _ in range(min(_PUT, len(self._trimmed)))]
                try:
                    self._put_cuts([(name, self._cuts[name]) for name in names])
                except BaseException:
                    with self._raising:
                        self._trimmed.update(names)
                    raise

    def delete(self, name, forever, also=()):
        """Take all events of a stream out, and forget their ids; `also` is put with that.

        forever   nothing is appended to it from now on; else it goes on with its next number
        """
        with self.changing:
            stream = self._stream(name)
            with self._log.lock:
                following = stream.next
                if forever:
                    self.closed = self.closed | {name}
            try:
                self._put_cuts([(name, Cut(following, following, forever))], also)
            except BaseException:
                self.closed = self.closed - {name}
                raise

    def redact(self, name, numbers):
        """Hide the data of some events; see `record.redacted`."""
        with self.changing:
            stream = self._stream(name)
            first = self.begin_of(stream)
            for number in numbers:
                if not first <= number < stream.visible:
                    raise ValueError(f"stream {name.decode()!r} has no event {number}")
            self._put_many([(REDACTED, _NUMBER.pack(number) + name, b"") for number in numbers])
            for number in numbers:
                self._note_redacted(name, number)

    def _stream(self, name):
        """The Stream called so, which must be open.  Raises ValueError, StreamDeleted."""
        check_stream(name)
        if name in self.closed:
            raise StreamDeleted(name.decode())
        stream = self._streams.get(name)
        if stream is None or not stream.visible:
            raise ValueError(f"there is no stream {name.decode()!r}")
        return stream

    def _put_cuts(self, cuts, also=()):
        gone = [(REDACTED, _NUMBER.pack(number) + name, None) for name, cut in cuts
                for number in self._gone_below(name, cut.first)]
        self._put_many([(CUTS, name, cut.encode()) for name, cut in cuts] + gone + list(also))
        for name, cut in cuts:
            self._take(name, cut)
            with self._raising:
                if self._cuts[name] == cut:     # otherwise it was trimmed meanwhile
                    self._trimmed.discard(name)

    def _gone_below(self, name, first):
        """The numbers of redacted events below `first` of which the log has no data any more."""
        missing = self._missing.get(name)
        if not missing:
            return []
        hidden = self._redacted.get(name, ())
        return [number for number in missing[:bisect_left(missing, first)] if number not in hidden]

    def _take(self, name, cut):
        """From now on a stream begins there."""
        with self._raising:
            self._cuts[name] = cut = self._cuts.get(name, Cut()).with_more(cut)
            if cut.deleted:
                self._deleted.add(name)
            if name in self._missing:
                missing = self._missing[name]
                self._missing[name] = missing[bisect_left(missing, cut.first):]
        self._seek(name)
        self._touched = max(self._touched, self._all.visible)
        if cut.forever:
            self.closed = self.closed | {name}
        stream = self._streams.get(name)
        if stream is not None:
            stream.deleted = cut.deleted
            self._raise(stream, FOREVER if cut.forever else cut.first)

    def _note_redacted(self, name, number, gone=False):
        with self._raising:
            missing = self._missing.setdefault(name, [])
            at = bisect_left(missing, number)
            if missing[at:at + 1] != [number] and number >= self.cut_of(name).first:
                missing.insert(at, number)
        if not gone:
            self._redacted.setdefault(name, set()).add(number)
            self._seek(name)
            self._touched = max(self._touched, self._all.visible)

    # -- for compaction ------------------------------------------------------

    def with_cuts(self, entries):
        """`entries` of another store, whose cuts take nothing back of those that are here."""
        return [(topic, key, self.cut_of(key).with_more(Cut.decode(value)).encode() if topic == CUTS else value)
                for topic, key, value in entries]

    @property
    def has_rules(self):
        return bool(self._rules)

    def cut_of(self, name):
        """The Cut of a stream as the log has it."""
        return self._cuts.get(name, Cut())

    def cut_names(self):
        """The streams that begin later than they began."""
        return list(self._cuts)

    def deleted_names(self):
        """The streams that were deleted, those that went on since among them."""
        with self._raising:
            return list(self._deleted)

    def concerned(self):
        """The streams of which something may be hidden."""
        if self._rules:
            return [stream for stream in list(self._streams.values()) if self._is_concerned(stream.name)]
        return [stream for stream in map(self._streams.get, self.cut_names()) if stream is not None]

    def redacted(self):
        """{name: numbers} of events whose data is still in the log."""
        return {name: frozenset(numbers) for name, numbers in list(self._redacted.items())}

    def forget_redacted(self, events):
        """The data of these (name, number) is gone from the disk: no need to hide it any more."""
        with self.changing:
            self._put_many([(REDACTED, _NUMBER.pack(number) + name,
                             _GONE if number >= self.cut_of(name).first else None) for name, number in events])
            for name, number in events:
                left = self._redacted.get(name, set())
                left.discard(number)
                if not left:
                    self._redacted.pop(name, None)


def check_entry(topic, key, value):
    """Raise ValueError unless this is an entry as this file puts them."""
    try:
        if topic == RULES:
            rule = _rule_of(value)
            if key[:1] not in (b"s", b"p") or rule == Rule():
                raise ValueError(f"found a rule {value[:60]!r} of {key[:60]!r}")
            rule.check()
        elif topic == CUTS:
            Cut.decode(value)
        else:
            _NUMBER.unpack_from(key)
    except (TypeError, struct.error) as error:
        raise ValueError(f"it can't be read: {error}") from None


def _rule_of(value):
    """The Rule in an entry."""
    return Rule(**json.loads(value))


def _is_in(part, key, first, stop):
    """Whether a part that begins with `key` has any of the events [first, stop)."""
    return key < stop and key + part.count > first


def without_redacted(run, numbers):
    """[Records] of a run, with a marker in place of the data of those events of it."""
    found = []
    begin = 0
    if len(numbers) > run.count:
        numbers = [number for number in range(run.number, run.stop) if number in numbers]
    for number in sorted(numbers):
        at = number - run.number
        if 0 <= at < run.count:
            if begin < at:
                found.append(run.part(begin, at))
            found.append(record.redacted(run.part(at, at + 1)))
            begin = at + 1
    if not begin:
        return [run]
    return found + ([run.part(begin, run.count)] if begin < run.count else [])


def _is_of(key, name):
    """Whether a stream is one of those that a key of `_rule_key` is about."""
    kind, text = key
    return name == text if kind == b"s" else name.startswith(text)


def _rule_key(selector):
    """(b"s" or b"p", name).  Raises ValueError."""
    if isinstance(selector, Prefix):
        prefix = encoded(selector.text)
        if prefix:
            check_stream(prefix)
        return b"p", prefix
    name = encoded(selector)
    if name == ALL:
        return b"p", b""
    check_stream(name)
    return b"s", name
