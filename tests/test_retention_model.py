"""A store of which events are cut, deleted and redacted does what a list does, whatever compactions and kills do."""

import shutil
import tempfile
from pathlib import Path

from disk import Disk, crash, drop_index, quick_index
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from store import Event, NewEvent, Prefix, Store, StoreError, StreamDeleted, log, record
from store.check import check

__all__ = ["quick_index"]

EXAMPLES = 12       # of each test; 300 take 8 minutes
SECOND = 1_000_000

STREAMS = st.sampled_from(["a", "ab", "b"])
NUMBERS = st.integers(0, 30)
NEW = st.builds(lambda name, data: NewEvent(name, data), st.sampled_from(["n", "m"]), st.binary(max_size=40))
MANY = st.lists(NEW, min_size=1, max_size=6)
RULED = st.sampled_from(["a", "ab", Prefix("a"), "$all"])


class StoreAndList(RuleBasedStateMachine):
    """events   all that there ever were, by position; firsts, rules, redacted, closed: what hides some of them"""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.events = []
        self.firsts = {}
        self.rules = {}
        self.redacted = set()
        self.closed = set()
        self.now = 1000 * SECOND
        self.open()

    def open(self):
        self.disk = Disk()
        self.store = Store(str(self.folder / "db"), files=self.disk, clock=lambda: self.now, **self.options)

    def teardown(self):
        crash(self.store, self.disk)
        shutil.rmtree(self.folder)

    # -- what the list says ---------------------------------------------------------

    def of(self, stream):
        return [event for event in self.events if event.stream == stream]

    def rule_of(self, stream):
        known = [(len(key.text) if isinstance(key, Prefix) else 0 if key == "$all" else 1000, rule)
                 for key, rule in self.rules.items()
                 if key in (stream, "$all") or isinstance(key, Prefix) and stream.startswith(key.text)]
        return max(known, key=lambda one: one[0])[1] if known else (None, None)

    def first(self, stream):
        events = self.of(stream)
        if stream in self.closed:
            return len(events)
        count, age = self.rule_of(stream)
        first = max(self.firsts.get(stream, 0), len(events) - count if count else 0)
        while age and first < len(events) and events[first].time < self.now - age * SECOND:
            first += 1
        return first

    def settle(self):
        """What the rules hide by now stays hidden."""
        for stream in ("a", "ab", "b"):
            if stream not in self.closed:
                self.firsts[stream] = self.first(stream)

    def shown(self, stream=None):
        firsts = {name: self.first(name) for name in ("a", "ab", "b")}
        return [event._replace(data=b"", metadata=record.REDACTED)
                if (event.stream, event.number) in self.redacted else event
                for event in self.events if event.number >= firsts[event.stream] and stream in (None, event.stream)]

    def exists(self, stream):
        return self.of(stream) and stream not in self.closed

    # -- changing it ------------------------------------------------------------------

    @rule(stream=STREAMS, new=MANY)
    def append(self, stream, new):
        if stream in self.closed:
            try:
                self.store.append_many(stream, new)
            except StreamDeleted:
                return
            raise AssertionError("it was stored")
        assert self.store.append_many(stream, new) == (len(self.of(stream)), len(self.events))
        for one in new:
            self.events.append(Event(stream, len(self.of(stream)), len(self.events), self.now, *one))

    @rule(streams=st.lists(STREAMS, min_size=2, max_size=12))
    def publish(self, streams):
        streams = [stream for stream in streams if stream not in self.closed]
        self.store.commit(self.store.write([(stream.encode(), b"n", [b"p"]) for stream in streams] or
                                           [(b"c", b"n", [b"p"])])) if streams else None
        for stream in streams:
            self.events.append(Event(stream, len(self.of(stream)), len(self.events), self.now, "n", b"p"))

    @rule(seconds=st.integers(1, 20))
    def time_goes_by(self, seconds):
        self.now += seconds * SECOND

    @rule(stream=STREAMS, number=NUMBERS)
    def truncate(self, stream, number):
        if self.exists(stream):
            self.store.truncate(stream, number)
            self.firsts[stream] = max(self.firsts.get(stream, 0), min(number, len(self.of(stream))))

    @rule(stream=STREAMS, number=NUMBERS)
    def trim(self, stream, number):
        self.store.trim(stream, number)
        self.store.retention.keep_trims()       # otherwise a crash may undo it
        if self.exists(stream):
            self.firsts[stream] = max(self.firsts.get(stream, 0), min(number, len(self.of(stream))))

    @rule(stream=STREAMS, forever=st.sampled_from([False, False, False, True]))
    def delete(self, stream, forever):
        if self.exists(stream):
            self.store.delete(stream, forever)
            self.firsts[stream] = len(self.of(stream))
            if forever:
                self.closed.add(stream)

    @rule(stream=STREAMS, number=NUMBERS)
    def redact(self, stream, number):
        if self.exists(stream) and self.first(stream) <= number < len(self.of(stream)):
            self.store.redact(stream, number)
            self.redacted.add((stream, number))

    @rule(stream=STREAMS, numbers=st.lists(NUMBERS, max_size=8))
    def redact_many(self, stream, numbers):
        if self.exists(stream) and all(self.first(stream) <= number < len(self.of(stream)) for number in numbers):
            self.store.redact_many(stream, numbers)
            self.redacted.update((stream, number) for number in numbers)

    @rule(selector=RULED, count=st.sampled_from([None, 1, 5]), age=st.sampled_from([None, 10, 30]))
    def retain(self, selector, count, age):
        self.settle()
        self.store.retain(selector, count, age)
        self.rules.pop(selector, None)
        if count or age:
            self.rules[selector] = count, age

    # -- what changes nothing -----------------------------------------------------------

    @rule()
    def compact(self):
        self.store.compact()
        self.settle()

    @rule()
    def tidy(self):
        self.store._log.tidy()
        self.store._compaction.look()

    @rule(changes=st.integers(1, 25), drop=st.booleans())
    def die_while_compacting(self, changes, drop):
        self.disk.die_in(changes)
        try:
            self.store.compact()
        except StoreError:
            pass
        self.crash_and_open(drop)

    @rule(drop=st.booleans())
    def crash_and_open(self, drop):
        crash(self.store, self.disk)
        if drop:
            drop_index(self.folder / "db")
        self.open()

    @rule(drop=st.booleans())
    def close_and_open(self, drop):
        self.store.close()
        assert check(str(self.folder / "db")).problems == []
        if drop:
            drop_index(self.folder / "db")
        self.open()

    # -- reading --------------------------------------------------------------------------

    @invariant()
    def readers_see_what_is_left(self):
        expected = self.shown()
        assert self.store.read_all(limit=1000) == expected
        assert self.store.read_all_back(limit=1000) == expected[::-1]
        for stream in ("a", "ab", "b"):
            some = [event for event in expected if event.stream == stream]
            assert self.store.read(stream, limit=1000) == some
            assert self.store.read_back(stream, limit=1000) == some[::-1]
            left = [event.number for event in some if (stream, event.number) not in self.redacted]
            assert self.store.length(stream) == len(left)
            ever = self.of(stream)
            assert self.store.last_number(stream) == (len(ever) - 1 if ever else None)
        assert self.store.position == len(self.events) and not self.store._log._rebuilt

    @precondition(lambda self: self.events)
    @rule(first=NUMBERS, limit=st.integers(1, 10))
    def read_some(self, first, limit):
        assert self.store.read_all(first, limit=limit) == [
            event for event in self.shown() if event.position >= first][:limit]
        assert self.store.select(Prefix("a"), first, limit).events == [
            event for event in self.shown() if event.position >= first and event.stream != "b"][:limit]


def machine(**options):
    return type("StoreAndList", (StoreAndList,), {"options": options})


def run(monkeypatch, **options):
    monkeypatch.setattr(log, "_PAUSE", 0)
    run_state_machine_as_test(machine(**options), settings=settings(
        max_examples=EXAMPLES, stateful_step_count=25, deadline=None))


def test_a_store_of_small_segments_shows_what_a_list_does(monkeypatch):
    run(monkeypatch, segment_size=1500)


def test_a_compressed_store_shows_what_a_list_does(monkeypatch):
    run(monkeypatch, segment_size=1500, compression=6)
