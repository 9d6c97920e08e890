"""How the poller waits: asleep, or for a moment by asking again and again.

    asleep, woken soon ──> asks, for up to `longest` ──something──> asks the next time, too
            ^                       |
            '─────────── asleep <───'  nothing: for this wait, then for 3, 7, 15, … of them

A client that waits for each reply sends its next request some 30 us after it.  To sleep
for so short a time takes longer than the time: on a virtual machine a processor that has
nothing to do takes 40 us to come back, and then works with cold caches.  So where waits
are short the processor is kept, but for others who want it: each time that nothing is
there it is offered to them.  Where waits are long, nothing is asked in vain more than now and then.
"""

import os
import time

# Seconds after which to be woken is soon: a client's way to its next request, and our own way back.
_SOON = 0.0002
# So many waits at most are slept through before asking is tried again.
_MOST = 63

_give_way = getattr(os, "sched_yield", lambda: None)


def processors():
    """How many of them we may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Waiting:
    """The waits of one thread.

    poll      poll(seconds) returns events, at once if there are any; -1 is for ever
    longest   seconds to ask for, 0 to sleep at once, always
    """

    def __init__(self, poll, longest, clock=time.perf_counter):
        self._poll = poll
        self._longest = longest
        self._clock = clock
        self._missed = 0        # waits to sleep through after asking last failed, 0 if it didn't
        self._left = 1          # of them, before it is tried again

    def wait(self, timeout, alone=True):
        """The events that come within `timeout` seconds.

        alone   no other thread of ours is at work, which would wait for the interpreter while we ask
        """
        if self._longest and alone:
            if not self._left:
                events = self._ask()
                if events:
                    return events
            self._left -= 1
        began = self._clock()
        events = self._poll(timeout)
        if self._clock() - began > _SOON:
            self._left = max(self._left, 1)
        return events

    def _ask(self):
        clock, poll = self._clock, self._poll
        until = clock() + self._longest
        while True:
            events = poll(0)
            if events:
                self._missed = 0
                return events
            if clock() >= until:
                break
            _give_way()
        self._left = self._missed = min(_MOST, 2 * self._missed + 1)
        return events
