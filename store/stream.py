"""One stream in memory: how far it goes, and who waits for it to go further.

    visible <= next        visible   readers see the events before it
                           next      the number that the next event gets

       first <= visible    first     readers see the events from there on (see retention.py)
       deleted             the number that the next event had when the stream was
                           deleted, 0 if it never was

Between the two are events that were written and, under `always`, are not yet
on disk.  Both only go up, but for a failed sync, which takes `visible` back to
what is on disk.

A store has one of these for each stream, a million if need be: so no lock and
no Condition of their own until somebody waits.  (A Condition is 1.2 KB.)
"""

import threading


class _Waiters(threading.Condition):
    """Who waits for a stream: threads on the Condition, and functions.

    calls   {function: how often it watches}, replaced and never changed, so that it is read without a lock
    """

    def __init__(self):
        super().__init__(threading.Lock())
        self.calls = {}


class Stream:
    """`next`, `visible` and `condition` are written under the append lock, and read without.

    `first` and `deleted` belong to retention.py.
    """

    __slots__ = ("name", "next", "visible", "first", "deleted", "condition", "_held")

    def __init__(self, name, number):
        self.name = name
        self.next = number
        self.visible = number
        self.first = 0
        self.deleted = 0
        self.condition = None       # made for the first who waits, dropped with the last who holds
        self._held = 0

    def attend(self, waiting):
        """Somebody holds this stream, and perhaps waits on `condition`; under the append lock.

        Whoever moves `visible` does so under that lock and looks for a
        Condition afterwards, so no move goes unnoticed.
        """
        if waiting and self.condition is None:
            self.condition = _Waiters()
        self._held += 1

    def leave(self):
        """One who called `attend` is done; under the append lock.  True for the last."""
        self._held -= 1
        if self._held:
            return False
        self.condition = None
        return True

    def notify(self):
        """Wake those who wait; called without the append lock, after `visible` moved.

        Each of `calls` has to be short, and may not wait for anything.
        """
        condition = self.condition
        if condition is not None:
            with condition:
                condition.notify_all()
            for call in condition.calls:
                call(self)

    def watch(self, call):
        """Have `notify` call call(self), too; under the append lock, by who has called `attend` to wait."""
        calls = self.condition.calls
        self.condition.calls = {**calls, call: calls.get(call, 0) + 1}

    def unwatch(self, call):
        """End what one call of `watch` began; under the append lock."""
        calls = dict(self.condition.calls)
        calls[call] -= 1
        if not calls[call]:
            del calls[call]
        self.condition.calls = calls
