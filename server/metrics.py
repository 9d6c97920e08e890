"""What the server counts as it happens, always.

    a command that isn't published in a batch ──> executed    times of each, errors, the slow log
    a batch of publishes and appends ──────────> committed    errors, the slow log; see Committer for the times

It costs a publish nothing, its batch one of the counts of times, and any other
command a microsecond.  What can be read when somebody asks isn't counted:
see figures.py.

Lock: `_lock` guards `commands`, their times and `errors`.  What batches count is the poller's own.
"""

import re
import threading
from typing import NamedTuple

from store import Times

from .slowlog import shown

_CODE = re.compile(rb"-([A-Z]{1,20}) ")


class Executed:
    """How often a command was executed, how long that took, and how often its reply was an error."""

    __slots__ = ("times", "failed")

    def __init__(self):
        self.times = Times()
        self.failed = 0


class Row(NamedTuple):
    """What is known of one command.

    times   a Times; of publish and append those of their batches
    """

    name: str
    calls: int
    failed: int
    times: Times


class Metrics:
    """See the top of this file.

    slow_log   a SlowLog
    """

    def __init__(self, slow_log):
        self.slow_log = slow_log
        self.commands = {}          # name -> Executed; publish and append aren't here
        self.errors = {}            # the word that an error begins with -> how often
        # Of batches, from the write until they are as safe as the policy says: of publishes alone, and others.
        self.commits = Times()
        self.append_commits = Times()
        self.failed_publishes = 0
        self.appends = {}           # name of a command that appends -> [calls, of them failed]
        self.appended_events = 0
        self._lock = threading.Lock()

    def executed(self, connection, command, arguments, reply, seconds):
        """A command was executed in so many seconds.

        reply   None: it comes later, when there is something
        """
        with self._lock:
            executed = self.commands.get(command.name)
            if executed is None:
                executed = self.commands[command.name] = Executed()
            executed.times.add(seconds)
            if reply is not None and reply[:1] == b"-":
                executed.failed += 1
                self._count(reply, 1)
        if seconds >= self.slow_log.seconds:
            self.slow_log.add(shown(command.name, arguments), seconds, connection.peer, connection.name)

    def failed(self, reply, count=1):
        """So many requests were answered with an error and executed by nobody."""
        with self._lock:
            self._count(reply, count)

    def _count(self, reply, count):
        match = _CODE.match(reply)
        code = match[1].decode() if match else "ERR"
        self.errors[code] = self.errors.get(code, 0) + count

    def committed(self, batch):
        """A batch was committed that has appends, was refused or was slow: others need nothing to be said of them."""
        if batch.appends:
            self._appended(batch)
        if batch.refused:
            self.failed_publishes += batch.published
            self.failed(batch.refused, batch.published + batch.appended)
        if batch.slow:
            what = b"append" if batch.appends and not batch.published else b"publish"
            self.slow_log.add([what, b"(a batch of %d, of %d clients)" % (batch.published + batch.appended,
                                                                        len(batch.owed))], batch.slow)

    def _appended(self, batch):
        """Count its appends, and of a batch that wasn't refused those that were."""
        self.appended_events += batch.stored - batch.published if not batch.refused else 0
        for name, calls, errors in batch.appends_by_command():
            counts = self.appends.setdefault(name, [0, 0])
            counts[0] += calls
            counts[1] += calls if batch.refused else len(errors)
            for reply in errors:
                self.failed(reply)

    def rows(self, events):
        """[Row of each command that was ever executed], by name.

        events   that were published and appended: who publishes is counted by them
        """
        with self._lock:
            rows = {name: Row(name, one.times.count, one.failed, one.times.copy())
                    for name, one in self.commands.items()}
        appends = dict(self.appends)
        messages, failed_messages = appends.pop("publish", (0, 0))
        publishes = max(0, events - self.appended_events) + self.failed_publishes
        # What was wrong with them before they came into a batch was executed by itself.
        for name, calls, failed, times in (
                ("publish", publishes + messages, self.failed_publishes + failed_messages, self.commits),
                *((name, *counts, self.append_commits) for name, counts in appends.items())):
            alone = rows.get(name, Row(name, 0, 0, None))
            rows[name] = Row(name, calls + alone.calls, failed + alone.failed, times.copy())
        return [rows[name] for name in sorted(rows) if rows[name].calls]

    def codes(self):
        """[(the word that an error begins with, how often)], sorted."""
        with self._lock:
            return sorted(self.errors.items())
