"""The events of scattered streams that were written last, in memory, for whoever replays them.

    log        a b c d a b e c a …        an event of a stream each so many KB
    Recent     a: 1 2 3   b: 1 2   …      the frames of a stream that stand in the same piece of the log

To read such an event from the log takes 15 us the first time, for it is found in its pack, and all of that is read
and compared with a checksum.  Its frame was made when it was written; where that stays, whoever replays the stream
finds it in half a microsecond.  Publishers pay for it, most of all because memory that stays isn't in the caches of
the processor when the next frame is made: so it is done only where `limit` says so.  Pieces are those of blocks.py.
The oldest is forgotten stream by stream, as room is needed: all of it at once would have a publisher wait for
milliseconds.

Streams that don't need it take no room here: of a record that holds a long run, or follows one of the same stream,
nothing is kept, for those are read as they lie.
"""

import threading
from collections import OrderedDict, defaultdict

from . import blocks, record

# About what an event takes but for its bytes in the log, and a stream in a piece.
_EVENT = 40
_STREAM = 200


class Recent:
    """See the top of this file.

    limit   bytes that they may take; 0: nothing is kept

    Any thread may call it.  `_lock` guards everything here, and is held over operations of dicts and lists alone.
    """

    def __init__(self, limit):
        self._lock = threading.Lock()
        self._limit = limit
        self._added = None              # (Segment, byte, drafts) that isn't kept yet
        self._pieces = OrderedDict()    # (Segment, which) -> _Piece, the oldest first
        self._size = 0
        self._stream = None             # of the last record, if it was of one stream

    def add(self, segment, byte, drafts):
        """Take `drafts`, which were written to a segment from `byte` on; those of their events are kept that lie
        among others', by `note`, or when somebody looks or more is added.
        """
        if self._limit:
            with self._lock:
                self._keep_added()
                self._added = segment, byte, drafts

    def note(self):
        """Keep what was added last, for which nobody has to wait."""
        if self._limit:
            with self._lock:
                self._keep_added()

    def get(self, stream, segment, byte):
        """The frames of events of a stream that follow one another in number, those of the record at `byte` among
        them, if they are here; or None.  The list may grow.
        """
        if not self._limit:
            return None
        with self._lock:
            self._keep_added()
            piece = self._pieces.get((segment, byte // blocks.SIZE))
            return piece and piece.frames.get(stream)

    def forget(self):
        """A segment was replaced, and nobody reads meanwhile: what was taken from it may not be given any more."""
        with self._lock:
            self._added = None
            self._clear()

    # -- under the lock --------------------------------------------------------

    def _keep_added(self):
        added, self._added = self._added, None
        if added is not None:
            try:
                self._keep_all(*added)
            except MemoryError:     # some of it is kept, and what follows wouldn't follow that
                self._clear()

    def _keep_all(self, segment, byte, drafts):
        for draft in drafts:
            at = segment, byte // blocks.SIZE
            if draft.pack is not None:
                self._keep(at, draft.pack[0], draft.frames, draft.size)
                self._stream = None
            elif draft.count == 1 and draft.stream != self._stream and draft.size < record.LONG_BODY:
                self._keep(at, (draft.stream,), draft.frames, draft.size)
                self._stream = draft.stream
            else:
                self._begin_anew(at, draft.stream)
                self._stream = draft.stream
            byte += draft.size

    def _begin_anew(self, at, stream):
        """An event of a stream isn't kept: what is kept of it in a piece has to follow one another."""
        piece = self._pieces.get(at)
        if piece is not None:
            piece.frames.pop(stream, None)

    def _keep(self, at, streams, frames, size):
        piece = self._pieces.get(at)
        if piece is None:
            piece = self._pieces[at] = _Piece()
        kept = piece.frames
        before = len(kept)
        for stream, frame in zip(streams, frames):
            kept[stream].append(frame)
        size += _EVENT * len(frames) + _STREAM * (len(kept) - before)
        piece.size += size
        piece.count += len(frames)
        self._size += size
        while self._size > self._limit:
            self._forget_oldest()

    def _forget_oldest(self):
        """Some of the oldest piece, so that no publisher waits for all of it."""
        at, oldest = next(iter(self._pieces.items()))
        size = oldest.size
        if len(oldest.frames) > 1:
            _, frames = oldest.frames.popitem()
            size = size * len(frames) // oldest.count
            oldest.size -= size
            oldest.count -= len(frames)
        else:
            del self._pieces[at]
        self._size -= size

    def _clear(self):
        self._pieces.clear()
        self._size = 0


class _Piece:
    """frames   {stream: [frame, …]}

    size    bytes that they take, about
    count   of events
    """

    __slots__ = ("frames", "size", "count")

    def __init__(self):
        self.frames = defaultdict(list)
        self.size = self.count = 0
