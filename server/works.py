"""Long work that clients asked for and wait for, and how far each is: INFO's section `work`.

    check, backup, verify ──progress(done, of)──> Works ──> INFO work ──> another connection of that client
    check_7:done=1048576,of=4194304               7 is the id of the connection that waits

Any thread may call any of it: what is kept is one entry a connection, put in place whole.
"""

from contextlib import contextmanager


class Works:
    """See the top of this file."""

    def __init__(self):
        self._works = {}        # connection's id -> (what it waits for, done, of)

    @contextmanager
    def under_way(self, name, connection):
        """For work that is named so; gives the function to call with how much is done, and of how much."""
        def progress(done, of):
            self._works[connection.id] = name, done, of

        progress(0, 0)
        try:
            yield progress
        finally:
            del self._works[connection.id]

    def fields(self):
        """[(name, value)] of what is under way now."""
        works = sorted(self._works.copy().items())
        return [(f"{name}_{id_}", f"done={done},of={of}") for id_, (name, done, of) in works]
