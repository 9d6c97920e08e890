"""The disk's answers: a call that fails, once or for good, loses nothing and lies to nobody.

    a program of steps, the n-th call of the disk answered with EIO, ENOSPC or EDQUOT  ──> after each step: is all
    that was acknowledged readable, nothing that was refused, and nothing acknowledged after a failed sync?
    then another opening with a good disk, or after a loss of power                     ──> is all of it there?

A round is one kind of answer to one program: every call of it in turn.
"""

import errno
import itertools
import os
import random
import time

from store import ALWAYS, EVERYSEC, NO, Store, StoreError

from .platter import Platter, Short, sampled
from .power import FOLDER, ROOM, SEGMENT_SIZE, Client, check, found_in
from .still import Shelf, still

NAME = "answers"
GOALS = {"answers": 50_000, "crashes after": 100_000}

POLICIES = (ALWAYS, EVERYSEC, NO)
ROOMLESS = (errno.ENOSPC, errno.EDQUOT)
# What needs room on the disk.
NEEDS_ROOM = {"write", "create", "make_folder", "lock", "rename"}
# What of a write that fails is stored: a fraction, or all but so many bytes.
PARTS = (0, 0.5, -1)
TIMES = ("once", "all of its kind", "for good")
PROGRAMS = ("abgwct", "bbbbt", "gexab", "wwcsta", "xbxbgx", "mam", "amxg")

KINDS = list(itertools.product(PROGRAMS, POLICIES, (errno.EIO, *ROOMLESS), PARTS, TIMES))
# Crashes after each answer.
CRASHES = 3


class Answer:
    """Refuses the n-th call, and perhaps later ones.

    refused   the verb of the call that was refused, None until then
    calls     how many calls were seen
    """

    def __init__(self, nth, code, part, times):
        self.refused = None
        self.calls = 0
        self.over = False
        self._unsynced = None
        self._nth = nth
        self._code = code
        self._part = part
        self._times = times

    def __call__(self, verb, path):
        self.calls += 1
        if verb == "lock" or verb == "remove" and path == self._unsynced:
            self._unsynced = None       # another opening; or its bytes matter no more, and the next file is another
        if self.over or not self._refuses(verb, path):
            return
        self.refused = self.refused or verb
        if verb == "sync" and path.endswith(".segment"):
            self._unsynced = path
        raise Short(self._code, self._part)

    @property
    def sync_failed(self):
        """Whether a sync of a segment that is there failed since the store was opened."""
        return self._unsynced is not None

    def _refuses(self, verb, path):
        if self._code in ROOMLESS and verb not in NEEDS_ROOM and verb != "sync":
            return False
        if self.calls - 1 == self._nth:
            return True
        if self.refused is None or self._times == "once":
            return False
        # What is written over without growing goes to memory, and succeeds: that a loss can be signed rests on this.
        if (verb, os.path.basename(path)) == ("write", "lock"):
            return False
        if self._times == "all of its kind":
            return verb == self.refused
        if self._code in ROOMLESS:
            return verb in NEEDS_ROOM
        return verb not in ("read", "open")     # a disk that takes nothing more


class Trial:
    """A program with one call refused."""

    def __init__(self, policy, program, answer, draw):
        self._shelf = Shelf()
        self._shelf.keeping = True
        self._platter = Platter()
        self._client = Client(policy, random.Random(0), self._platter, self._shelf)
        self._policy = policy
        self._answer = answer
        self._draw = draw
        self._program = program

    def run(self):
        """Run the program, whatever fails; return how many crashes were tried after it."""
        client = self._client
        self._platter.on_change = self._answer
        for step in ("open", *self._program):
            try:
                self._step(step)
            except (StoreError, OSError):
                pass
            if client.store is not None and not client.store.closed:
                self._look(client.store)
        return self._afterwards()

    def _step(self, step):
        client = self._client
        if client.store is None or client.store.closed:
            self._shelf.put(self._shelf.versions[-1] if self._shelf.versions else None)
            client.open()
            if step == "open":
                return
        failed, written = self._answer.sync_failed, client.acknowledged
        try:
            client.run(step)
        finally:
            if failed and self._answer.sync_failed:
                assert client.acknowledged == written, f"step {step!r} was acknowledged after a failed sync"

    def _look(self, store):
        """Reading goes on, and shows what was acknowledged."""
        now = self._client.moment()
        self._answer.over, was = True, self._answer.over
        try:
            found = found_in(store)
        finally:
            self._answer.over = was
        assert len(found) >= now.must, f"{now.must} events were promised, {len(found)} are readable"
        assert found == list(now.events[:len(found)])

    def _afterwards(self):
        """The disk is well again: everything promised is there, with the power on and after it went."""
        client = self._client
        self._answer.over = True
        moment = client.moment()
        self._platter.on_done = lambda: None
        if client.store is not None and not client.store.closed:
            try:
                client.store.close()
            except StoreError:
                pass
        lost = self._platter.loss()
        self._open(self._platter.restarted(), moment)
        states = list(sampled(moment.loss, self._draw, CRASHES)) + list(sampled(lost, self._draw, CRASHES))
        for state in states:
            self._open(Platter(state, boot="2"), moment)
        return len(states)

    def _open(self, platter, moment):
        shelf_version = self._shelf.versions[moment.versions - 1] if moment.versions else None
        self._shelf.put(self._draw.choice((shelf_version, None)))
        with Store(FOLDER, self._policy, 0, SEGMENT_SIZE, platter) as store:
            check(store, moment, self._policy)


def run(seed, until, folder):
    """Every call of a program answered in one way."""
    program, policy, code, part, times = KINDS[seed * 101 % len(KINDS)]      # coprime: each has its turn
    draw = random.Random(seed)
    answers = crashes = 0
    for nth in itertools.count():
        answer = Answer(nth, code, part, times)
        trial = Trial(policy, program, answer, draw)
        with still(trial._shelf, room=ROOM):
            try:
                crashes += trial.run()
            except Exception as error:
                raise AssertionError(f"{policy} {program!r}, call {nth} ({answer.refused}) answered with "
                                     f"{errno.errorcode[code]} {times}: {error}") from error
        if answer.refused is None and answer.calls <= nth:
            break
        answers += answer.refused is not None
        if time.monotonic() > until:
            break
    return {"answers": answers, "crashes after": crashes}
