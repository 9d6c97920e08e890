"""Followers of a stream: those who are up to date, those who catch up, and the
way between.

                    .-- refused by its socket --.
                    v                           |
    follower ──> behind ──── join ────> pool of its Feed ──> live events
                 (a worker reads        (one step serves all of them:
                  the log for it)        whoever committed, or the feed's thread)

A Feed is of one stream, or of `$all`; followers of a prefix are in that of `$all`.
Those with equal filters share what a step finds for them, and one that finds
nothing costs it a look at each record.
What makes it whole, without gap or repeat:

    join   under the feed's lock: a follower whose `next` isn't below `sent` enters
           the pool; any other reads the log up to `visible`, and asks again
    step   under the feed's lock: a, b = sent, visible; sent = b.  Then, without
           it: each of the pool gets [max(a, its next), b).  One step at a time
           (`send_at_once` is a step with the frames of a batch at hand)
    wake   whoever moves `visible` calls it afterwards, so every event is in a step

A step may come later than the commit.  While requests keep the poller busy, the frames
of a feed gather (`due`), and one send takes them all: it costs more than all that was
done for its frames before.  `Feeds.deliver` says for how long they do.

A follower's `next`, and what it is told of that (follower.py), belongs to the step
while it is in the pool, and to the worker that serves its connection while it is
behind.  Who has notices joins when it was told that it caught up, which is what
keeps that in front of the first live event.

Locks: a feed's `lock` guards `sent`, `pool`, `members` and who steps; it is taken
before an outbox's and never held over a send.  Feeds' own `lock` guards which
feeds there are, and is taken before a feed's.
"""

import logging
import threading
from collections import deque
from math import inf
from time import monotonic

import resp
from store import StoreError
from store.names import ALL
from store.reading import Selection, page

from .channels import Channels
from .chunk import chunk_at_hand, chunk_of, chunk_of_found, chunk_of_frames

log = logging.getLogger("meilies.feed")

# Up to so many live followers are served by whoever committed the batch.
FEW = 8

# Bytes of one turn: of a replay, and of what a step sends to all before the next.
SLICE = 256 * 1024

# Events of one turn of a replay that is filtered; what they take, and what is passed over, is bounded as well.
_PAGE = 1000

# A follower this many events from the end joins a pool that is empty, and the
# pool begins there; it would never get there while others publish faster.
_NEAR = 1024

# Seconds for which frames gather at most, and bytes of the batches that they came in.
_LATE = 0.05
_MOST_DUE = 4 << 20


class Feed:
    """The followers of one stream; see the top of this file.

    stream   held by the store as long as the feed is
    due      (key of the first, frames, monotonic() when that came) of what gathers here, the frames None if
             it is noted, or None; only the thread of `Feeds.gather` looks at it
    """

    __slots__ = ("feeds", "store", "stream", "by_position", "lock", "sent", "pool", "members", "thread", "due",
                 "_form", "_stepping", "_recent", "_recent_size")

    def __init__(self, feeds, store, stream):
        self.feeds = feeds
        self.store = store
        self.stream = stream
        self.by_position = stream is store.all
        self.lock = threading.Lock()
        self.sent = stream.visible      # all below was given to the pool
        self.pool = {}                  # live followers, as keys
        self.members = set()            # these and those behind
        self.thread = None              # serves the pool when it is large
        self.due = None
        self._form = None               # the Form of all in the pool, if `send_at_once` can serve them
        self._stepping = False
        self._recent = deque()          # records lately committed, to spare reading them
        self._recent_size = 0

    # -- coming and going ----------------------------------------------------

    def join(self, follower, near):
        """Take a follower into the pool, if it needs nothing before `sent`.

        near   a pool that is empty may begin a little before `visible`
        True if it is there, or has ended: its worker is done with it.  Somebody
        calls `nudge` then, for `sent` may be below `visible`.
        """
        with self.lock:
            if follower.ended:
                return True
            if not self.pool and not self._stepping:
                visible = self.stream.visible
                near = near and not follower.alone and follower.next > visible - _NEAR
                self.sent = min(follower.next, visible) if near else visible
            if follower.next < min(self.sent, self.stream.visible):     # a failed sync takes `visible` back
                return False
            follower.alone = False
            self.pool[follower] = None
            self._look_at_forms()
            crowded = len(self.pool) > FEW and self.thread is None
            if crowded:
                self.thread = threading.Thread(target=self._run, name="meilies-feed", daemon=True)
        if crowded:
            self._start_thread()
        return True

    def leave(self, follower):
        """Forget a follower.  True if there are no more."""
        with self.lock:
            self.pool.pop(follower, None)
            self._look_at_forms()
            self.members.discard(follower)
            return not self.members

    def _look_at_forms(self):
        """The pool has changed; a form that changes later is refused by the outbox, so its follower leaves."""
        forms = {one.form for one in self.pool} if len(self.pool) <= FEW else ()
        self._form = None
        if len(forms) == 1:
            form = forms.pop()
            if not (form.recorded or form.filter or form.glob):
                self._form = form

    @property
    def takes_frames(self):
        """Whether `send_at_once` may serve it, but for what happens meanwhile."""
        return self._form is not None or not self.pool

    # -- live ----------------------------------------------------------------

    def note(self, one):
        """A record of this stream was committed: `step` needn't read it again."""
        with self.lock:
            if not self.pool:
                self._forget_recent()   # a run of records: what follows this one wouldn't follow those
                return
            if self._recent and not self._follows(one, self._recent[-1]):
                self._forget_recent()   # a worker committed, too
            self._recent.append(one)
            self._recent_size += one.size
            while self._recent_size > SLICE and len(self._recent) > 1:
                self._recent_size -= self._recent.popleft().size

    def _follows(self, one, before):
        if self.by_position:
            return one.position == before.position + before.count
        return one.number == before.stop

    def _forget_recent(self):
        if self._recent_size:
            self._recent.clear()
            self._recent_size = 0

    def wake(self):
        """`visible` moved: serve the pool, unless a thread does, which the store wakes."""
        if self.thread is None and self.pool:
            self.step()

    def nudge(self):
        """`sent` may have moved back, for one who joined: serve it."""
        if self.thread is None:
            self.step()
        else:
            self.stream.notify()

    def send_at_once(self, frames, first):
        """A step for frames that were just committed, the first with the key `first`.  False: it takes `step`.

        It is the short way of what is common: nobody else serves the pool, which needs
        these frames next and no others, all in one form that has nothing but frames.
        """
        stop = first + len(frames)
        with self.lock:
            if not self.pool:
                self._forget_recent()
                return True
            form = self._form
            if (form is None or self._stepping or self.thread is not None
                    or self.sent != first or self.stream.visible != stop):
                return False
            followers = list(self.pool)
            self._stepping = True
            self.sent = stop
        try:
            chunk = chunk_at_hand(frames, first, form)
            for follower in followers:
                if not follower.send(chunk) or follower.next >= follower.stop:
                    self._let_go(follower)
        except Exception as error:
            self._give_up(followers, error)
        with self.lock:
            if self.sent == self.stream.visible and self.thread is None and not self._recent_size:
                self._stepping = False
                return True
        self._go_on_stepping()
        return True

    def step(self):
        """Send the pool everything up to `visible`, unless another thread is doing so."""
        with self.lock:
            if self._stepping:
                return
            self._stepping = True
        self._go_on_stepping()

    def _go_on_stepping(self):
        while True:
            with self.lock:
                a, b = self.sent, self.stream.visible
                others = self.thread is not None and self.thread is not threading.current_thread()
                if a >= b or others:
                    self._stepping = False
                    if a >= b:
                        self._forget_recent()   # all of it was sent; there may be many feeds
                    break
                followers = [one for one in self.pool if one.next < b]
                self.sent = b
            try:
                self._serve(followers, a, b)
            except Exception as error:
                self._give_up(followers, error)
        if others:      # it waits for the end of this step
            self.stream.notify()

    def _serve(self, followers, a, b):
        """Give each of `followers` the events [a, b), as far as its socket takes them."""
        while a < b and followers:
            make = self._chunks(followers, a, b)
            chunks = {}
            going_on = []
            for follower in followers:
                if follower.ended:      # meanwhile: a form that nobody else wants isn't made for it
                    continue
                form = follower.form        # HELLO may change it meanwhile
                chunk = chunks.get(form)
                if chunk is None:
                    chunk = chunks[form] = make(form)
                if not follower.give(chunk) or follower.done:
                    self._let_go(follower)
                else:
                    going_on.append(follower)
            followers = going_on
            if followers:
                a = chunk.stop

    def _let_go(self, follower):
        """It has all that it asked for, or its socket refused."""
        if follower.done:
            follower.connection.end(follower)
        else:
            self._fall_behind(follower)

    def _chunks(self, followers, a, b):
        """What makes a Chunk of a Form, each with the same events from `a` on, of [a, b)."""
        records = None
        if not self.store.retention.is_hidden_at_once(self.stream, a):
            records = self._lately_committed(a)
        if records is None and all(one.form.as_stored for one in followers):
            frames = self.store.frames(self.stream, a, b, SLICE)
            if frames is not None:
                return lambda form: chunk_of_frames(frames, a, b, form)
        if records is None:
            records = self.store.records(self.stream, a, b, SLICE)
        return lambda form: chunk_of(records, a, b, self.by_position, form)

    def _lately_committed(self, a):
        """Records with the keys from `a` on that are at hand, or None."""
        with self.lock:
            while self._recent:
                first = self._recent[0]
                base = first.position if self.by_position else first.number
                if base > a:
                    break
                if base + first.count > a:
                    return list(self._recent)
                self._recent_size -= self._recent.popleft().size
        return None

    def _fall_behind(self, follower):
        """Its socket refused: it leaves the pool, and catches up when it can."""
        with self.lock:
            if self.pool.pop(follower, self) is self:
                return      # it isn't there: it has ended, or a worker has it already
            self._look_at_forms()
        follower.connection.catch_up(follower)

    def _give_up(self, followers, error):
        """The log can't be read: each catches up by itself, and is told there."""
        if not isinstance(error, StoreError):
            log.exception("serving the followers of %r failed; each reads the log by itself", self.stream.name)
        for follower in followers:
            follower.alone = True
            self._fall_behind(follower)

    # -- the feed's own thread -----------------------------------------------

    def _start_thread(self):
        try:
            self.feeds.start(self.thread)
        except RuntimeError as error:       # no more threads: whoever commits serves them all
            log.warning("no thread for the followers of %r (%s); publishers serve them", self.stream.name, error)
            self.thread = None
            self.step()

    def _run(self):
        """The thread of a feed that had many followers, until it has none."""
        stream = self.store.attend(self.stream.name)
        condition = stream.condition
        while self.members:
            self.step()
            with condition:
                while self.members and (self.sent >= stream.visible or self._stepping):
                    condition.wait()
        self.store.leave(stream)
        self.feeds.ended(threading.current_thread())


class Feeds:
    """Which feeds there are.

    soon   calls a function in the thread that commits; a worker that nudged a
           feed itself might be kept by it for as long as others publish

    `_lock` guards the dict and the set of threads, and is taken before a feed's.
    What gathers is for one thread.
    """

    def __init__(self, store, soon):
        self._store = store
        self._soon = soon
        self._lock = threading.Lock()
        self._feeds = {}        # stream's name -> Feed
        self.channels = Channels()      # what is subscribed to in Redis's way; changed under `_lock`
        self._due = deque()             # feeds for which something gathers, the longest first
        self._due_size = 0              # bytes of the batches of this since there was nothing
        self._threads = set()   # of those feeds that had many followers

    def __len__(self):
        return len(self._feeds)

    def add(self, follower, name, first):
        """Begin to follow the stream `name`, or ALL; from event `first`, or None: from new ones on."""
        with self._lock:
            if follower.ended:      # its connection was closed meanwhile
                return
            feed = self._feeds.get(name)
            if feed is None:
                stream = self._store.attend(name, waiting=False)
                feed = self._feeds[name] = Feed(self, self._store, stream)
            follower.feed = feed
            follower.begin(self._store.next_of(feed.stream) if first is None else first)
            feed.members.add(follower)
            if follower.form.opening:
                self.channels.add(follower.selector)

    def remove(self, follower):
        """End a follower, and its feed with the last one."""
        with self._lock:
            feed = follower.feed
            if follower.form.opening and feed is not None and not follower.ended:
                self.channels.remove(follower.selector)
            follower.ended = True
            if feed is None or not feed.leave(follower) or self._feeds.get(feed.stream.name) is not feed:
                return
            del self._feeds[feed.stream.name]
        feed.stream.notify()        # its thread sees that nobody is left
        self._store.leave(feed.stream)

    def catch_up(self, follower, near=True):
        """One slice of a follower's way through the log, in a worker; `near` as in `join`.

        True if it needs no more: it is live, has all it wanted, or can't have it.
        """
        if follower.ended:
            return True
        if follower.next >= follower.stop:      # new events only, up to a number that is passed
            return self._finish(follower)
        feed = follower.feed
        visible = feed.stream.visible
        if follower.next >= visible and not follower.greet():
            return False
        if follower.live and feed.join(follower, near):
            self._soon(feed.nudge)
            return True
        stop = min(feed.stream.visible, follower.stop)
        if follower.next >= stop:       # a failed sync took `visible` back since: joining does now
            return False
        try:
            chunk = self._replayed(follower, stop)
        except StoreError as error:
            log.error("a follower of %r is cut off: %s", feed.stream.name, error)
            follower.connection.end(follower)
            follower.connection.outbox.put_and_flush(resp.error(f"CORRUPT {error}"))
            return True
        follower.give(chunk)
        if follower.next >= follower.stop:
            return self._finish(follower)
        if follower.next >= visible:
            follower.greet()
        return False

    def _replayed(self, follower, stop):
        """A slice of what `follower` is to be sent, from its next event on, of those before `stop`."""
        feed, first, form = follower.feed, follower.next, follower.form
        if form.as_stored:
            frames = self._store.frames(feed.stream, first, stop, SLICE)
            if frames is not None:
                return chunk_of_frames(frames, first, stop, form)
        if form.filter is not None:
            selection = Selection(None if feed.by_position else feed.stream.name, form.filter)
            found, following = page(self._store, selection, first, _PAGE)
            return chunk_of_found(found, first, stop if following is None else following, feed.by_position, form)
        begin = self._store.retention.first_of(feed.stream)     # what is below is no more
        records = self._store.records(feed.stream, max(first, begin), stop, SLICE) if begin < stop else []
        return chunk_of(records, first, stop, feed.by_position, form)

    def _finish(self, follower):
        """End a follower that has all that it asked for; False if its client can't be told yet."""
        if not follower.finish():
            return False
        follower.connection.end(follower)
        return True

    def committed(self, batch):
        """Serve the followers of what `batch` made visible."""
        if self._feeds and batch.drafts:
            self._serve(batch, self._addressed(batch.drafts))

    def _serve(self, batch, addressed):
        written = None
        for feed, (first, frames) in addressed.items():
            if not feed.send_at_once(frames, first):
                written = written or _Written(batch)
                written.tell(feed)
                feed.wake()

    def gather(self, batch):
        """`committed`, but that `deliver` serves those who have no thread for it: their sends may be fewer then."""
        if not self._feeds or not batch.drafts:
            return
        now = monotonic()
        written = None
        for feed, (first, frames) in self._addressed(batch.drafts).items():
            due = feed.due
            if due is None:
                feed.due = first, frames if feed.takes_frames else None, now
                self._due.append(feed)
            elif due[1] is not None:
                due[1].extend(frames)
            if feed.due[1] is None:
                written = written or _Written(batch)
                written.tell(feed)
        self._due_size += sum([draft.size for draft in batch.drafts])

    def deliver(self, until=inf):
        """Serve those for whom something gathers, the longest first, until time.monotonic() is `until`.

        Nothing is kept for longer than _LATE, nor is more than _MOST_DUE.
        """
        while self._due:
            feed = self._due.popleft()
            (first, frames, since), feed.due = feed.due, None
            if frames is None or not feed.send_at_once(frames, first):
                feed.wake()
            now = monotonic()
            if now >= until and since > now - _LATE and self._due_size < _MOST_DUE:
                return
        self._due_size = 0

    @property
    def due(self):
        """Whether `deliver` has something to do."""
        return bool(self._due)

    def _addressed(self, drafts):
        """{feed: (key of its first event, the frames of all)} of those that `drafts` are for."""
        feeds = self._feeds
        found = {}
        for draft in drafts:
            if draft.pack is None:
                feed = feeds.get(draft.stream)
                if feed is not None:
                    found.setdefault(feed, (draft.number, []))[1].extend(draft.frames)
            elif not feeds.keys().isdisjoint(draft.pack[0]):
                for stream, number, frame in zip(*draft.pack, draft.frames):
                    feed = feeds.get(stream)
                    if feed in found:
                        found[feed][1].append(frame)
                    elif feed is not None:
                        found[feed] = number, [frame]
        everything = feeds.get(ALL)
        if everything is not None:
            found[everything] = drafts[0].position, [frame for draft in drafts for frame in draft.frames]
        return found

    def threads(self):
        """How many feeds have a thread of their own."""
        return len(self._threads)

    def start(self, thread):
        """Start a feed's thread.  Raises RuntimeError if the system has none."""
        with self._lock:
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            self.ended(thread)
            raise

    def ended(self, thread):
        """A feed's thread has nothing more to do."""
        with self._lock:
            self._threads.discard(thread)

    def stop(self):
        """Return when all threads have ended; every follower was removed, and none is added."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join()


class _Written:
    """What a batch became: records, and runs of a stream each, which are made for whoever needs them."""

    def __init__(self, batch):
        self.records = [batch.record(i) for i in range(len(batch.drafts))]
        self._runs = None

    def tell(self, feed):
        """Tell a feed what is for it."""
        for one in self.records if feed.by_position else self._runs_of(feed.stream.name):
            feed.note(one)

    def _runs_of(self, stream):
        if self._runs is None:
            self._runs = {}
            for one in self.records:
                for run in one.runs():
                    self._runs.setdefault(run.stream, []).append(run)
        return self._runs[stream]
