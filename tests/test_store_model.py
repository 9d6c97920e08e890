"""A store does what a list in memory does, through any sequence of appends, closings and crashes."""

import shutil
import tempfile
from pathlib import Path

import pytest
from disk import Disk, crash, cut, drop_index, flip, quick_index, segments
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (RuleBasedStateMachine, invariant, precondition, rule,
                                 run_state_machine_as_test)

from store import ANY, EXISTS, NONE, Append, Change, Event, NewEvent, Store, WrongVersion
from store.append import append_of

__all__ = ["quick_index"]

EXAMPLES = 15       # of each test; 500 take 8 minutes

STREAMS = st.sampled_from(["a", "b", "c"])
NUMBERS = st.integers(0, 40)
DATA = st.one_of(st.binary(max_size=30), st.integers(100, 900).map(lambda n: b"long" * n))
SHORT = st.one_of(st.just(b""), st.binary(max_size=4))
TAGS = st.lists(st.sampled_from([b"a", b"b c"]), max_size=2).map(tuple)
NEW = st.builds(NewEvent, st.sampled_from(["n", "name"]), DATA, SHORT, SHORT, TAGS)
MANY = st.lists(NEW, min_size=1, max_size=6)
EXPECTED = st.one_of(st.sampled_from([ANY, NONE, EXISTS]), st.integers(0, 9))
CHANGES = st.lists(st.builds(Change, STREAMS, NEW, EXPECTED), min_size=1, max_size=4)


class StoreAndList(RuleBasedStateMachine):
    """events   what the store should hold, in the order of positions"""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.events = []
        self.ids = 0
        self.epoch = 1
        self.old_index = None
        self.open()

    def open(self):
        self.disk = Disk()
        self.disk.fills = self.fills
        self.store = Store(str(self.folder / "db"), files=self.disk, clock=lambda: 7, **self.options)

    def teardown(self):
        crash(self.store, self.disk)
        shutil.rmtree(self.folder)

    # -- what the list says ---------------------------------------------------------

    def of(self, stream):
        return [event for event in self.events if event.stream == stream]

    def note(self, stream, new):
        for one in new:
            self.events.append(Event(stream, len(self.of(stream)), len(self.events), 7, *one))

    # -- appending --------------------------------------------------------------------

    @rule(stream=STREAMS, new=MANY)
    def append(self, stream, new):
        new = list(map(self.named, new))
        expected = len(self.of(stream)), len(self.events)
        assert self.store.append_many(stream, new) == expected
        self.note(stream, new)

    def named(self, new):
        """A NewEvent whose id, if it has one, no other has."""
        self.ids += 1
        return new._replace(id=b"%b %d" % (new.id, self.ids)) if new.id else new

    def judge(self, changes):
        """Note an append as the list would take it: where its events are, or the WrongVersion that it gets."""
        before = len(self.events)
        for stream, new, expected in changes:
            count = len(self.of(stream))
            if not {ANY: True, NONE: not count, EXISTS: count > 0}.get(expected, count - 1 == expected):
                del self.events[before:]
                return stream, expected, count - 1 if count else None
            self.note(stream, [new])
        return [(event.number, event.position) for event in self.events[before:]]

    @rule(changes=CHANGES)
    def append_all(self, changes):
        changes = [one._replace(event=self.named(one.event)) for one in changes]
        expected = self.judge(changes)
        try:
            found = self.store.append_all(changes)
        except WrongVersion as error:
            found = error.stream, error.expected, error.actual
        assert found == expected

    @rule(parts=st.lists(st.one_of(CHANGES, st.tuples(STREAMS, st.lists(DATA, min_size=1, max_size=3))),
                         min_size=1, max_size=8))
    def write_and_commit(self, parts):
        units, expected = [], []
        for part in parts:
            if type(part) is list:
                part = [one._replace(event=self.named(one.event)) for one in part]
                units.append(append_of(part))
                expected.append(self.judge(part))
            else:
                stream, datas = part
                units.append((stream.encode(), b"n", datas))
                self.note(stream, [NewEvent("n", data) for data in datas])
        self.store.commit(self.store.write(units))
        appends = [unit for unit in units if type(unit) is Append]
        assert expected == [(one.error.stream, one.error.expected, one.error.actual) if one.error else one.places
                            for one in appends]

    # -- reading ------------------------------------------------------------------------

    @rule(stream=STREAMS, first=NUMBERS, stop=st.one_of(st.none(), NUMBERS), limit=st.integers(1, 50))
    def read(self, stream, first, stop, limit):
        assert self.store.read(stream, first, stop, limit) == self.of(stream)[first:stop][:limit]

    @rule(first=NUMBERS, stop=st.one_of(st.none(), NUMBERS), limit=st.integers(1, 50))
    def read_all(self, first, stop, limit):
        assert self.store.read_all(first, stop, limit) == self.events[first:stop][:limit]

    @rule(stream=st.one_of(st.none(), STREAMS), first=NUMBERS, limit=st.sampled_from([1, 1000, 1 << 20]))
    def replay(self, stream, first, limit):
        events = self.of(stream) if stream else self.events
        found = self.store.find(stream.encode()) if stream else self.store.all
        while first < len(events):
            frames = self.store.frames(found, first, len(events), limit)
            expected = b"".join(
                b"*5\r\n+event\r\n+%b\r\n:%d\r\n+%b\r\n$%d\r\n%b\r\n" % (
                    one.stream.encode(), one.number, one.name.encode(), len(one.data), one.data)
                for one in events[frames.first:frames.stop])
            assert (frames.data, frames.first <= first < frames.stop) == (expected, True)
            first = frames.stop

    @invariant()
    def heads_agree(self):
        assert not self.store._log._rebuilt
        assert self.store.stream_names() == sorted({event.stream for event in self.events})
        for stream in "abc":
            assert self.store.last_number(stream) == (len(self.of(stream)) - 1 if self.of(stream) else None)
        assert (self.store.position, self.store.synced) == (len(self.events), len(self.events))
        assert (self.store.epoch, self.store.failed) == (self.epoch, None)

    # -- closing, crashing, opening ---------------------------------------------------------

    @rule(index=st.sampled_from(["kept", "dropped", "copied"]))
    def close_and_open(self, index):
        self.store.close()
        path = self.folder / "db" / "index.sqlite3"
        if index == "copied":
            self.old_index = path.read_bytes()
        elif index == "dropped":
            drop_index(self.folder / "db")
        self.open()

    @precondition(lambda self: self.old_index)
    @rule()
    def open_with_an_old_index(self):
        self.store.close()
        drop_index(self.folder / "db")
        (self.folder / "db" / "index.sqlite3").write_bytes(self.old_index)
        self.open()

    @rule(drop=st.booleans())
    def crash_and_open(self, drop):
        crash(self.store, self.disk)
        if drop:
            drop_index(self.folder / "db")
        self.open()

    @rule(new=st.lists(st.tuples(STREAMS, NEW), min_size=1, max_size=6), share=st.floats(0, 1),
          how=st.sampled_from(["cut", "zeros", "flip"]))
    def crash_during_an_append_and_open(self, new, share, how):
        new = [(stream, self.named(one)) for stream, one in new]
        batch = self.store.write([append_of(new)])
        crash(self.store, self.disk)
        path = segments(self.folder / "db")[-1]
        size = self.store._log._segments[-1].end
        start = size - sum(draft.size for draft in batch.drafts)
        whole = path.read_bytes()[:size]
        byte = start + round(share * (size - start))
        if how == "flip":
            flip(path, min(byte, size - 1), bit=3)
        else:
            cut(path, byte)
            if how == "zeros":
                cut(path, size)
        found = path.read_bytes()[:size]
        if found == whole:
            for stream, one in new:
                self.note(stream, [one])
        elif any(found[start:]):
            self.epoch += 1
        self.open()


def machine(fills=False, **options):
    return type("StoreAndList", (StoreAndList,), {"fills": fills, "options": options})


def check(**options):
    run_state_machine_as_test(machine(**options), settings=settings(
        max_examples=EXAMPLES, stateful_step_count=30, deadline=None))


def test_a_store_of_small_segments_does_what_a_list_does():
    check(segment_size=1500)


def test_a_store_of_one_segment_does_what_a_list_does():
    check()


@pytest.mark.parametrize("segment_size", [1500, 1 << 20])
def test_a_store_that_writes_zeros_ahead_does_what_a_list_does(monkeypatch, segment_size):
    monkeypatch.setattr("store.segment.AHEAD", 700)
    check(segment_size=segment_size, fills=True)


def test_a_compressed_store_does_what_a_list_does():
    check(segment_size=1500, compression=6)


def test_a_store_with_a_segment_for_each_write_does_what_a_list_does():
    check(segment_size=1)
