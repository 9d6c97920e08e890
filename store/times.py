"""How long something took, so many times: counts in buckets whose bounds are the same everywhere.

    bounds   10 us      25 us                 10 s
    ------+---------+----------+-- … --+-------------
    counts[0]   [1]       [2]               [-1]         a time at a bound is below it
"""

from bisect import bisect_left

BOUNDS = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
          0.5, 1.0, 2.5, 5.0, 10.0)


class Times:
    """See the top of this file.  Whoever adds sees to it that nobody else does at the same moment.

    seconds   all of them together
    """

    __slots__ = ("counts", "seconds")

    def __init__(self):
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def add(self, seconds):
        """It took so long, once more."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def copy(self):
        """These, as they are now."""
        found = Times()
        found.counts, found.seconds = self.counts.copy(), self.seconds
        return found

    @property
    def count(self):
        """How many times."""
        return sum(self.counts)

    def within(self, share):
        """Seconds within which this share (0 to 1) of all were done: a bound, or 0.0 if there were none.

        Those that took longer than the last bound count as if they had taken that long.
        """
        counts = self.counts.copy()
        left = share * sum(counts)
        if not left:
            return 0.0
        for bound, count in zip(BOUNDS, counts):
            left -= count
            if left <= 0:
                return bound
        return BOUNDS[-1]
