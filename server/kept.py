"""What was made of a name and may be needed again soon, in a dict with a bound."""


class Kept(dict):
    """What `make(name)` returned for names that were asked for lately; what it raises isn't kept.

    Any thread may ask: adding one and clearing all are single dict operations, and a lost one is made again.
    """

    LONGEST = 256
    MOST = 1 << 16

    def __init__(self, make):
        super().__init__()
        self._make = make

    def __missing__(self, name):
        made = self._make(name)
        if len(name) <= self.LONGEST:
            if len(self) >= self.MOST:
                self.clear()
            self[name] = made
        return made
