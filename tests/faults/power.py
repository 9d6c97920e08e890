"""Power: whatever a loss of power leaves on the disk, nothing that was promised is lost.

    program "abg"    ──> a store on a Platter; after each change, a Moment: what was promised by then
    each Moment      ──> the states that the disk may be in if the power goes there
    each state       ──> opened: are the promised events there, and those behind them without a gap?
    some of these    ──> the power goes again while it is opened, or later

A round with an even seed takes a short program, and every state that its last step may leave (a state has an
order of magnitude of 10 things that may go either way; those that have more ways than EVERY are sampled).
Programs of up to LENGTH steps are numbered; every one is taken once in 2 * len(PROGRAMS) rounds.  One with an odd
seed draws a long program and samples its states.
"""

import errno
import itertools
import random
import time
from contextlib import contextmanager
from typing import NamedTuple

from store import (
    ALWAYS,
    EVERYSEC,
    NO,
    NONE,
    Change,
    CorruptSegment,
    LogTooShort,
    NewEvent,
    Store,
    StoreError,
    WrongVersion,
)
from store.append import append_of

from .platter import Loss, Platter, Short, count, exhaustive, sampled
from .still import Clock, Shelf, still, tick

NAME = "power"
GOALS = {"states": 1_000_000, "openings": 1_000_000, "second crashes": 50_000}

FOLDER = "/db"

# What a client may do: append one short event, one that goes over several sectors, a group of several records; write
# events of two streams without waiting, and wait for all of these; have the threads work; sync; close and open
# again; append while the disk is full for a moment; fill a segment with small records, and have them joined; put an
# entry.
STEPS = "abgwctsxempvu"
LENGTH = 3
POLICIES = (ALWAYS, EVERYSEC, NO)
PROGRAMS = [(policy, "".join(steps)) for length in range(1, LENGTH + 1)
            for steps in itertools.product(STEPS, repeat=length) for policy in POLICIES]
# A Moment with at most so many states has all of them tried, one with more this many.
EVERY = 600
SOME = 150
# Of a long program's states.
FEW = 40

# Small enough for a program of a few steps to roll.
SEGMENT_SIZE = 2500
ROOM = 300
LIMIT = 1 << 30

TOPIC, KEY = "t", b"k"


class Moment(NamedTuple):
    """Between two changes of the disk.

    loss        what it may be if the power goes now
    events      [(stream, number, data)] written by now or being written, by position
    must        how many of them were promised
    told        how many somebody may have seen
    groups      [(first, stop)] of those that are there all or none
    puts        [(position, value)] of the entry that was put again and again
    puts_must   how many of those were promised
    epoch       of the store
    versions    of the index, any of which may be there
    """

    loss: Loss
    events: tuple
    must: int
    told: int
    groups: tuple
    epoch: int
    versions: int
    puts: tuple = ()
    puts_must: int = 0


class Client:
    """Runs programs on a store, and remembers what it was promised.

    moments   those of the last step
    """

    def __init__(self, policy, draw, platter, shelf, compression=0):
        self.policy = policy
        self.platter = platter
        self.shelf = shelf
        self.moments = []
        self.store = None
        self._draw = draw
        self._clock = Clock(draw)
        self._compression = compression
        self._waiting = []          # batches that were written and not committed
        self._events = ()
        self._groups = ()
        self._puts = ()
        self._puts_must = 0
        self._written = 0
        self._must = 0
        self._told = 0
        self._epoch = 1
        self._nexts = {}
        platter.on_done = self._remember

    @property
    def acknowledged(self):
        """How many events were, by the policy's own measure."""
        return self._must if self.policy == ALWAYS else self._told

    def moment(self):
        """How things stand."""
        return Moment(self.platter.loss(), self._events, self._must, self._told, self._groups, self._epoch,
                      len(self.shelf.versions), self._puts, self._puts_must)

    def _remember(self):
        self.moments.append(self.moment())

    def open(self):
        self.store = Store(FOLDER, self.policy, self._compression, SEGMENT_SIZE, self.platter, self._clock)
        self._take_up()
        self._remember()

    def _take_up(self):
        """Go on with what the store has, which is what was promised."""
        have = check(self.store, self.moment(), self.policy)
        self._events = self._events[:have]
        self._puts = self._puts[:puts_in(self.store, self._puts)]
        self._puts_must = len(self._puts)
        self._groups = tuple(one for one in self._groups if one[1] <= have)
        self._nexts = {stream: number + 1 for stream, number, _ in self._events}
        self._waiting = []
        self._epoch = self.store.epoch
        self._written = self._must = self._told = have

    def run(self, steps):
        for step in steps:
            self.moments = []
            self._remember()
            self._STEPS[step](self)
            self._remember()

    def _promise(self, position):
        self._must = max(self._must, position)
        self._told = max(self._told, position)

    def _promise_all(self):
        self._promise(self._written)
        self._puts_must = len(self._puts)

    # -- steps ---------------------------------------------------------------

    def _short(self):
        self._append([("s", b"short")])

    def _long(self):
        self._append([("l", b"long" * 300)])

    def _group(self):
        self._append([("g", b"group" * 30)] * 5)

    def _make_room(self):
        """Move ids to the disk where an append would wait for the thread that does: there are no threads here."""
        if self.store._log.lookup.is_full:
            self._tick()

    def _across(self):
        """An append of two streams that takes more than a record, as it expects them; and one that is refused."""
        self._make_room()
        events = [("gh"[i % 2], b"across %d " % i + b"x" * 900) for i in range(6)]
        changes = self._changes(events)
        done = self._attempt(events, True, lambda: self.store.append_all(changes))
        if done and self.policy == ALWAYS:
            self._promise(self._written)
        try:
            self.store.append("g", "n", b"refused", expected=self._nexts.get("g", 0) + 5)
        except StoreError as error:
            if self.store.failed:
                raise
            assert isinstance(error, WrongVersion), f"{error!r} in place of a refusal"

    def _changes(self, events):
        """Changes that expect what the streams have, and what those before them make of it."""
        nexts = dict(self._nexts)
        changes = []
        for stream, data in events:
            number = nexts.get(stream, 0)
            nexts[stream] = number + 1
            changes.append(Change(stream, NewEvent("n", data, id=b"%d" % number), number - 1 if number else NONE))
        return changes

    def _append(self, events):
        stream = events[0][0]
        done = self._attempt(events, True, lambda: self.store.append_many(stream, [("n", data) for _, data in events]))
        if done and self.policy == ALWAYS:
            self._promise(self._written)

    def _put(self):
        value = b"%d " % len(self._puts) + b"x" * self._draw.choice((0, 600))
        self._puts += ((len(self._events), value),)
        try:
            self.store.put(TOPIC, KEY, value)
        except StoreError:
            if self.store.failed:
                raise
            self._puts = self._puts[:-1]
            return
        if self.policy == ALWAYS:
            self._puts_must = len(self._puts)

    def _write(self):
        runs = [(b"w", b"n", [b"one", b"two" * 50]), (b"v", b"n", [b"three"]), (b"w", b"n", [b"four" * 100])]
        events = [(stream.decode(), data) for stream, _, datas in runs for data in datas]
        batch = self._attempt(events, False, lambda: self.store.write(runs))
        if batch:
            self._waiting.append(batch)

    def _write_units(self):
        """Publishes and appends in one write, one of which is refused."""
        self._make_room()
        runs = [(b"w", b"n", [b"run one", b"run two" * 50]), (b"g", b"n", [b"run three"])]
        events = [(stream.decode(), data) for stream, _, datas in runs for data in datas]
        whole = [("h", b"unit" * 20), ("w", b"unit" * 40), ("h", b"unit")]
        self._plan(events, False)
        append, refused = append_of(self._changes(whole)), append_of([Change("h", NewEvent("n", b"refused"), 1 << 40)])
        self._plan(whole, True)
        try:
            batch = self.store.write([*runs, refused, append])
        except StoreError:
            if self.store.failed:
                raise
            self._give_up(len(whole), True)
            self._give_up(len(events), False)
            return
        assert isinstance(refused.error, WrongVersion) and append.error is None
        self._wrote()
        self._waiting.append(batch)

    def _attempt(self, events, whole, write):
        """Write events, and return what `write` does; None if it was refused and may be tried again."""
        self._plan(events, whole)
        try:
            done = write()
        except StoreError:
            if self.store.failed:
                raise           # whether they are there is known after the next opening
            self._give_up(len(events), whole)
            return None
        self._wrote()
        return done

    def _commit(self):
        while self._waiting:
            batch = self._waiting.pop()         # the last first: one sync covers them all
            self.store.commit(batch)
            if self.policy == ALWAYS:
                self._promise(batch.position)

    def _tick(self):
        tick(self.store)
        if self.policy == EVERYSEC and not self.store.failed:
            self._promise_all()

    def _merge(self):
        for _ in range(6):
            self._append([("m", b"merge" * 90)])
        self._sync()
        self._tick()

    def _sync(self):
        self.store.sync()
        self._promise_all()

    def _reopen(self):
        self._commit()
        self.store.close()
        self._promise_all()
        self.shelf.put(self.shelf.versions[-1] if self.shelf.versions else None)
        self.open()

    def _full(self):
        """An append that the disk has no room for: half of the write, or a segment's file, can't be stored."""
        refused = []
        usual = self.platter.on_change

        def refuse(verb, path):
            usual(verb, path)
            if verb in ("write", "create") and path.endswith(".segment") and not refused:
                refused.append(verb)
                raise Short(errno.ENOSPC)

        self.platter.on_change = refuse
        try:
            self._group()
        finally:
            self.platter.on_change = usual
        self._short()

    _STEPS = {"a": _short, "b": _long, "g": _group, "w": _write, "c": _commit, "t": _tick, "s": _sync,
              "x": _reopen, "e": _full, "m": _merge, "p": _put,
              "v": _across, "u": _write_units}

    # -- what is expected ----------------------------------------------------

    def _plan(self, events, whole):
        """These are about to be written."""
        first = len(self._events)
        for stream, data in events:
            number = self._nexts.get(stream, 0)
            self._nexts[stream] = number + 1
            self._events += ((stream, number, data),)
        if whole:
            self._groups += ((first, len(self._events)),)

    def _wrote(self):
        self._written = len(self._events)
        if self.policy != ALWAYS:
            self._told = self._written

    def _give_up(self, count, whole):
        """The last so many were refused."""
        for stream, number, _ in reversed(self._events[-count:]):
            self._nexts[stream] = number
        self._events = self._events[:-count]
        if whole:
            self._groups = self._groups[:-1]


def found_in(store):
    """[(stream, number, data)] by position; read in every way, all of which must agree."""
    by_position = store.read_all(limit=LIMIT)
    assert [event.position for event in by_position] == list(range(store.position))
    streams = {}
    for event in by_position:
        streams.setdefault(event.stream, []).append(event)
    assert store.stream_names() == sorted(streams)
    for stream, events in streams.items():
        assert store.read(stream, limit=LIMIT) == events
        assert [event.number for event in events] == list(range(len(events)))
        assert store.last_number(stream) == len(events) - 1
    return [(event.stream, event.number, event.data) for event in by_position]


def puts_in(store, puts):
    """How many of `puts` were done, by the value that is there."""
    value = store.get(TOPIC, KEY)
    assert store.entries(TOPIC) == ([] if value is None else [(KEY, value)])
    return 0 if value is None else [value for _, value in puts].index(value) + 1


def check(store, moment, policy):
    """Fail unless the store has what was promised at `moment`; return how many events it has."""
    found = found_in(store)
    assert moment.must <= len(found), f"{moment.must} events were promised, {len(found)} are there"
    assert found == list(moment.events[:len(found)])
    for first, stop in moment.groups:
        assert not first < len(found) < stop, f"{len(found)} events cut the append [{first}, {stop}) in two"
    if policy != ALWAYS and len(found) < moment.told:
        assert store.epoch > moment.epoch, f"{moment.told} events were visible, {len(found)} are there, no new epoch"
    assert store.epoch >= moment.epoch
    puts = puts_in(store, moment.puts)
    must = max([moment.puts_must] + [i for i, (position, _) in enumerate(moment.puts, 1) if position < len(found)])
    assert must <= puts, f"{must} puts were promised or came before an event that is there, {puts} are there"
    return len(found)


def behind(moment, have, epoch):
    """The Moment when a store with the first `have` of the events was opened."""
    puts = tuple((position if position < have else LIMIT, value) for position, value in moment.puts)
    return moment._replace(events=moment.events[:have], must=have, told=have, epoch=epoch, puts=puts,
                           groups=tuple(one for one in moment.groups if one[1] <= have))


class Trial:
    """States of a program's Moments, opened one after the other."""

    def __init__(self, policy, shelf, foreign, draw):
        self.states = set()
        self.openings = 0
        self.second = 0
        self.refusals = 0
        self._policy = policy
        self._shelf = shelf
        self._foreign = foreign
        self._draw = draw
        self._tried = set()

    def counts(self):
        return {"states": self.states, "openings": self.openings, "second crashes": self.second,
                "refusals": self.refusals}

    def moment(self, moment, states):
        """Open the store as each of `states` leaves it."""
        for state in states:
            this = hash(tuple(state.items()))
            if (this, moment.must, moment.told) not in self._tried:
                self._tried.add((this, moment.must, moment.told))
                self.states.add(this)
                self._try(state, moment)

    def _try(self, state, moment):
        """Open one state, with the index that goes with it, and now and then with another, or twice."""
        luck = self._draw.randrange(64)
        version = moment.versions - 1
        if luck % 4 == 1:
            version = -1                                                # it is lost
        elif luck % 4 == 2:
            version = self._draw.randrange(-1, moment.versions)         # it is stale
        index = self._shelf.versions[version] if version >= 0 else None
        if luck == 8:
            self._with_wrong_index(state, moment, self._foreign, LogTooShort)
        elif luck == 24 and moment.versions < len(self._shelf.versions):
            future = self._shelf.versions[-1]
            self._with_wrong_index(state, moment, future, (LogTooShort, CorruptSegment))
        if luck % 16 == 0:
            self._crash_again(state, moment, index)
        else:
            self._open(state, moment, index, and_again=luck % 16 == 5)

    def _with_wrong_index(self, state, moment, index, refusals):
        """An index that no loss of power leaves there: somebody put it there, or an older log beside it.

        By what it says was on disk, the log is too short, or its tear is damage.
        """
        try:
            self._open(state, moment, index)
        except refusals:
            self.refusals += 1

    def _open(self, state, moment, index, boot="second", and_again=False):
        """Open a state, check it, perhaps append to it and open it again."""
        platter = Platter(state, boot)
        with self._opened(platter, index) as store:
            have = check(store, moment, self._policy)
            if and_again:
                self._append(store, have)
                after = found_in(store)
        if and_again:
            with self._opened(platter, None) as store:
                assert found_in(store) == after

    @contextmanager
    def _opened(self, platter, index):
        self.openings += 1
        self._shelf.put(index)
        store = Store(FOLDER, self._policy, 0, SEGMENT_SIZE, platter, lambda: 7)
        yield store
        store.close()

    def _append(self, store, have):
        """What is appended goes behind what is there."""
        last = store.last_number("s")
        appended = store.append("s", "n", b"after")
        assert appended == ((0 if last is None else last + 1), have)

    def _crash_again(self, state, moment, index):
        """The power goes, or the process dies, while the store is opened, or used, or closed after that."""
        platter = Platter(state, boot="second")
        now = moment
        visible = 0                     # events that were read from the store now opened
        crashes = []                    # (Moment, what was there, events that only a loss of power may take)

        def remember():
            crashes.append((now._replace(loss=platter.loss()), platter.restarted(), max(now.must, visible)))

        platter.on_done = remember
        with self._opened(platter, index) as store:
            have = check(store, moment, self._policy)
            last = store.last_number("s")
            visible = have
            now = behind(moment, have, store.epoch)
            now = now._replace(events=(*now.events, ("s", 0 if last is None else last + 1, b"after")))
            self._append(store, have)
            visible = have + 1
            now = now._replace(must=have + (self._policy == ALWAYS), told=visible)
        for one, disk, must in self._draw.sample(crashes, min(len(crashes), 4)):
            self.second += 1
            if self._draw.randrange(2):
                self._lose_power(disk, one, "third", index)
            else:
                with self._opened(disk, self._draw.choice((index, None))) as store:
                    have = check(store, one._replace(must=must), self._policy)
                    one = behind(one, have, store.epoch)
                self._lose_power(disk, one, "third", index)

    def _lose_power(self, platter, moment, boot, index):
        """The power goes; what a state of the disk then has is as promised at `moment`."""
        [state] = sampled(platter.loss(), self._draw, 1)
        self.states.add(hash(tuple(state.items())))
        self._open(state, moment, self._draw.choice((index, None)), boot)


def every_state(moment, draw):
    return exhaustive(moment.loss) if count(moment.loss) <= EVERY else sampled(moment.loss, draw, SOME)


def short_round(seed, until):
    """Every state that the last step of a short program may leave."""
    policy, steps = PROGRAMS[seed % len(PROGRAMS)]
    shelf, draw = Shelf(), random.Random(seed)
    foreign = foreign_index()
    with still(shelf, room=ROOM):
        shelf.keeping = True
        client = Client(policy, random.Random(0), Platter(), shelf)
        client.open()
        opening = client.moments
        client.run(steps)
        shelf.keeping = False
        trial = Trial(policy, shelf, foreign, draw)
        for moment in (opening if len(steps) == 1 else []) + client.moments:
            if time.monotonic() > until:
                break
            trial.moment(moment, every_state(moment, draw))
        client.store.close()
    return trial.counts()


def long_round(seed, until):
    """Some of the states that a long program may leave."""
    draw = random.Random(seed)
    policy = draw.choice(POLICIES)
    shelf = Shelf()
    foreign = foreign_index()
    with still(shelf, salt=seed, room=ROOM):
        trial = Trial(policy, shelf, foreign, draw)
        client = Client(policy, draw, Platter(), shelf, compression=draw.choice((0, 0, 0, 6)))
        shelf.keeping = True
        client.open()
        for step in draw.choices(STEPS, k=20):
            shelf.keeping = True
            client.run(step)
            shelf.keeping = False
            for moment in client.moments:
                if time.monotonic() < until:
                    trial.moment(moment, sampled(moment.loss, draw, FEW))
        client.store.close()
    return trial.counts()


def foreign_index():
    """The index of another store."""
    shelf = Shelf()
    with still(shelf, salt=b"foreign", room=ROOM):
        shelf.keeping = True
        client = Client(NO, random.Random(0), Platter(), shelf)
        client.open()
        client.run("aab")
        client.store.close()
    return shelf.versions[-1]


def run(seed, until, folder):
    return long_round(seed, until) if seed % 2 else short_round(seed // 2, until)
