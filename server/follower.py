"""One subscription: how far it is, and what its client was told of that.

             told              next                       stop
    events     |  passed over    |  to be sent              |
    -----------+-----------------+--------------------------+---
               '- checkpoint ───>|

`next` goes up with what is looked at, `told` with what is sent.  Between the two
are events that a filter doesn't pass, and such that are no more.  What `follow`
promises of them:

    checkpoint   each EVERY events passed over, and before an event behind any
                 where no filter says that they are missing: so its client goes on
                 from here after an outage, and knows a jump from a fault.  Also at
                 `stop`, unless the event before it was sent: it is the end
    caught-up    once, when all is sent that was there when it looked; and again
                 after its socket refused, and it caught up again

A notice is offered to the outbox as events are, and is due until that takes it.
`subscribe` has none of this, as MeiliES has not.
"""

from store.following import EVERY

from .chunk import CAUGHT_UP, CHECKPOINT, notice


class Follower:
    """See the top of this file.

    selector   what it follows, as its connection knows it: (kind, key)
    next       the key (number or position) of the next event to send
    stop       the key to end before
    ended      set once; nothing is sent from then on
    alone      a step failed: it reads the log for itself until it needs nothing from there
    notices    it is told more than events
    told       the key behind all that its client knows of
    live       caught-up was sent since it last fell behind; or it has no notices
    """

    __slots__ = ("connection", "outbox", "selector", "feed", "next", "stop", "form", "ended", "alone",
                 "notices", "told", "live")

    def __init__(self, connection, selector, stop, form, notices=False):
        self.connection = connection
        self.outbox = connection.outbox
        self.selector = selector
        self.feed = None
        self.next = 0
        self.stop = stop
        self.form = form
        self.ended = False
        self.alone = False
        self.notices = notices
        self.told = 0
        self.live = not notices

    def begin(self, first):
        """Its first event is to be `first`."""
        self.next = self.told = first

    @property
    def done(self):
        """Whether it has all that it asked for."""
        return self.next >= self.stop and (not self.notices or self.told >= self.stop)

    def send(self, chunk):
        """Send what it needs of `chunk`.  True if it has all of it, False if the socket refused.

        Notices are for `give`.
        """
        if self.ended or self.next >= chunk.stop:
            return True
        if self.next != chunk.first or self.stop < chunk.stop:
            chunk = chunk.between(self.next, self.stop)
        begun = self.outbox.offer(chunk, self) if chunk.count else 0
        self.next = chunk.stop if begun == chunk.count else chunk.key_after(begun)
        return begun == chunk.count

    def give(self, chunk):
        """`send`, and the notices that are due then."""
        if not self.notices:
            return self.send(chunk)
        if self.ended or self.next >= chunk.stop:
            return True
        if not self._send_with_checkpoints(chunk.between(self.next, self.stop)):
            # Where only its form changed since the chunk was made it didn't fall behind: no socket refused.
            self.live = self.live and self.form != chunk.form
            return False
        return True

    def _send_with_checkpoints(self, chunk):
        if chunk.count:
            if self.told < self.next and self.form.filter is None and not self._tell(CHECKPOINT):
                return False
            begun = self.outbox.offer(chunk, self)
            if begun:
                self.told = chunk.told_by(begun)
            self.next = chunk.key_after(begun)
            if begun < chunk.count:
                return False
        else:
            self.next = chunk.stop
        due = self.next - self.told >= EVERY or self.told < self.next >= self.stop
        return not due or self._tell(CHECKPOINT)

    def greet(self):
        """Say that it caught up, unless it was said.  False: the socket refused, it is due still."""
        if not self.live:
            self.live = self._tell(CAUGHT_UP)
        return self.live

    def finish(self):
        """Say that all up to `stop` was looked at, unless that is known.  True if it has all that it asked for."""
        return self.done or self._tell(CHECKPOINT)

    def _tell(self, kind):
        """Send a notice that all before `next` was looked at.  False: the socket refused."""
        if not self.outbox.offer(notice(kind, self.selector[1], self.next, self.form), self):
            return False
        self.told = self.next
        return True
