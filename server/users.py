"""Who may do what: users, their rights, and the file that they are kept in.

    # meilies users, version 1
    user alice on scrypt:16384:8:5:SALT:KEY +@read +@append ~orders-* %R~invoices-*
    user ops on scrypt:16384:8:5:SALT:KEY +@all ~*
         |   |  |                          |      '-- streams: ~ both ways, %R~ to read, %W~ to append to;
         |   |  '-- the password, see below       '   a name, or with * at its end all that begin so
         name   '-- or off: nobody logs in     '-- rights, of those in RIGHTS

The words behind the name are the rules that ACL SETUSER takes, but for the password,
which the file doesn't hold: the key is made of its SHA-512 by scrypt with the n, r and p
before it and the random salt, both in base64.  `%` and two digits stand for a byte of a stream's
name that isn't printable ASCII, and for `%` and space.

A user may do what rights and streams both allow, and a new one nothing.  Users are
immutable: whoever holds one asks it without a lock, and gets a new one when the
file changes (`Users.watch`).

Lock: `Users._changing` is held while the file is read and written, and over nothing
that a client waits for but its own change.  Between processes the lock is that of
the folder (flock), so a change begins with what the file holds by then.
"""

import base64
import contextlib
import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import threading
import urllib.parse
from typing import NamedTuple

from store.names import ALL

from .attempts import Attempts, TooManyAttempts
from .text import printable

log = logging.getLogger("meilies.users")

READ, APPEND, GROUP, ADMIN = "read", "append", "group", "admin"
RIGHTS = (READ, APPEND, GROUP, ADMIN)

HEADER = "# meilies users, version 1"
FILE_MODE = 0o600
MAX_FILE = 16 << 20
# Bytes of a password; more than anybody types.
MAX_PASSWORD = 4096
# Derivations at once, each of which takes a core and 16 MiB, and how many may wait for their turn.
AT_ONCE = 2
WAITING = 64

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}\Z")
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")
_NUMBER = re.compile("[0-9]{1,9}\\Z")


class UsersError(ValueError):
    """A users file, or a change of it, that can't be used; the text is for whoever wrote it."""


class Cost(NamedTuple):
    """What scrypt takes for one password: 128 * n * r bytes, and a time that grows with n * r * p."""

    n: int
    r: int
    p: int


# 16 MiB and a fifth of a second: what OWASP asks for at this n.
COST = Cost(2 ** 14, 8, 5)


class Secret:
    """A password that can be recognised, and not read."""

    __slots__ = ("cost", "salt", "key")

    def __init__(self, cost, salt, key):
        self.cost = cost
        self.salt = salt
        self.key = key

    @classmethod
    def of(cls, password, cost):
        """The Secret of a password (bytes)."""
        salt = secrets.token_bytes(16)
        return cls(cost, salt, _derived(password, salt, cost))

    def is_of(self, password):
        """Whether it is of this password (bytes); takes as long either way."""
        return hmac.compare_digest(_derived(password, self.salt, self.cost), self.key)

    def __eq__(self, other):
        return (isinstance(other, Secret) and self.cost == other.cost and self.salt == other.salt
                and hmac.compare_digest(self.key, other.key))

    def __hash__(self):
        return hash(self.salt)

    def __str__(self):
        """As it stands in the file."""
        salt, key = (base64.b64encode(part).decode() for part in (self.salt, self.key))
        return f"scrypt:{self.cost.n}:{self.cost.r}:{self.cost.p}:{salt}:{key}"

    def __repr__(self):
        return "<Secret>"


# Any password will do.
NOPASS = "nopass"


def _derived(password, salt, cost):
    n, r, p = cost
    password = hashlib.sha512(password).digest()    # to scrypt itself, one that ends with NULs is the same without
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=256 * r * (n + p + 2), dklen=32)


class Streams(NamedTuple):
    """Some streams: those with these names, and those that begin with these prefixes."""

    names: frozenset = frozenset()
    prefixes: tuple = ()

    def have(self, stream):
        if stream == ALL:
            return self.have_prefix(b"")
        return stream.startswith(self.prefixes) or stream in self.names

    def have_prefix(self, prefix):
        """Whether all streams that begin with `prefix` are among them; b"" is every stream."""
        return prefix.startswith(self.prefixes)

    def and_those_of(self, pattern):
        """These and those of a pattern, a name or a prefix and `*`."""
        if pattern.endswith(b"*"):
            return self._replace(prefixes=tuple(sorted({*self.prefixes, pattern[:-1]})))
        return self._replace(names=self.names | {pattern})

    def patterns(self):
        return sorted([*self.names, *(prefix + b"*" for prefix in self.prefixes)])


EVERY_STREAM = Streams(prefixes=(b"",))


class User(NamedTuple):
    """See the top of this file.

    secret   a Secret, NOPASS, or None: nobody knows the password
    """

    name: str
    enabled: bool = False
    secret: object = None
    rights: frozenset = frozenset()
    reads: Streams = Streams()
    appends: Streams = Streams()

    def may(self, right):
        """Whether it has a right, one of RIGHTS; "" needs none but to be a user."""
        return not right or right in self.rights

    def may_read(self, stream):
        return READ in self.rights and self.reads.have(stream)

    def may_append(self, stream):
        return APPEND in self.rights and self.appends.have(stream)

    def may_read_prefix(self, prefix):
        """Whether it may read all streams that begin with `prefix`; b"" is every stream there is and will be."""
        return READ in self.rights and self.reads.have_prefix(prefix)

    def may_see(self, stream):
        """Whether lists show it this stream."""
        return self.reads.have(stream) or self.appends.have(stream)

    def reaches(self, how, kind, name):
        """Whether a stream, or all of a prefix, is among those that it may read or append to, whatever its rights.

        how    "read" or "append"
        kind   "stream" or "prefix"
        """
        streams = self.reads if how == READ else self.appends
        return streams.have(name) if kind == "stream" else streams.have_prefix(name)

    @property
    def appends_everywhere(self):
        return APPEND in self.rights and self.appends.have_prefix(b"")

    @property
    def sees_everything(self):
        return self.reads.have_prefix(b"") or self.appends.have_prefix(b"")


# Everybody, while no users are kept.
EVERYTHING = User("default", True, NOPASS, frozenset(RIGHTS), EVERY_STREAM, EVERY_STREAM)


class Users:
    """The users of a file, which any thread may ask and change.

    path   of the file, which must be there; None: there are no users, and everybody may do everything
    cost   of the passwords that are set here
    Raises    UsersError, OSError
    """

    def __init__(self, path=None, cost=COST):
        self.path = path
        self.attempts = Attempts()
        self._cost = cost
        self._changing = threading.Lock()
        self._users = {}            # name -> User; replaced, never changed
        self._watchers = []
        self._turns = _Turns(AT_ONCE, WAITING)
        self._recent = {}           # name -> (Secret, what `_quick` makes of its password) of those who logged in
        self._quick_key = secrets.token_bytes(32)
        self._nobody = Secret(cost, secrets.token_bytes(16), secrets.token_bytes(32))
        if path is not None:
            self._users = self._read()

    # -- asking --------------------------------------------------------------

    @property
    def required(self):
        """Whether clients have to say who they are."""
        return self.path is not None

    @property
    def anonymous(self):
        """The User of those who didn't say who they are, or None: they must."""
        if not self.required:
            return EVERYTHING
        default = self._users.get(EVERYTHING.name)
        return default if default is not None and default.enabled and default.secret is NOPASS else None

    def get(self, name):
        """The User of a name as it is now, or None."""
        return self._users.get(name)

    def __iter__(self):
        return iter(sorted(self._users.values(), key=lambda user: user.name))

    def check(self, name, password, peer):
        """The User who has this password, or None; it blocks while the password is looked at.

        name      str
        password  bytes
        peer      the address that it came from, as logs show it
        Raises    TooManyAttempts

        What there isn't, what is off and what is wrong take equally long.  A password that
        was right before is known again without scrypt, so that a thousand clients that
        come back at once don't wait for each other, nor for somebody who guesses.
        """
        known = self.recall(name, password, peer)
        if known is not None:
            return known
        with self._turns:
            self.attempts.admit(name, peer)     # others may have failed while it waited
            user = self._users.get(name)
            if not self._is_right(user, password) or not user.enabled:
                self.attempts.failed(name, peer)
                return None
        self.attempts.succeeded(name, peer)
        self._recent[name] = user.secret, self._quick(name, password)
        return user

    def recall(self, name, password, peer):
        """The User who had this password when it was looked at last, or None; it never blocks.

        Raises    TooManyAttempts
        """
        self.attempts.admit(name, peer)
        user = self._users.get(name)
        quick = self._quick(name, password)
        secret, known = self._recent.get(name, (None, b""))
        if hmac.compare_digest(known, quick) and user is not None and user.enabled and secret == user.secret:
            return user
        return None

    def _quick(self, name, password):
        return hmac.digest(self._quick_key, name.encode("utf-8", "replace") + b"\0" + password, "sha256")

    def _is_right(self, user, password):
        secret = user.secret if user else None
        if secret is NOPASS:
            return True
        right = (secret or self._nobody).is_of(password[:MAX_PASSWORD])
        return right and secret is not None and len(password) <= MAX_PASSWORD

    # -- changing ------------------------------------------------------------

    def watch(self, callback):
        """Have `callback()` called, in the thread that changes something, after each change."""
        self._watchers.append(callback)

    def change(self, name, rules):
        """Make a user or change one by rules (str) as in ACL SETUSER; all or none of them; the User.

        Raises    UsersError, OSError: nothing was changed
        """
        check_user_name(name)
        secret_of = self._secret_of
        changes = [parse_rule(rule, secret_of) for rule in rules]

        def change(users):
            user = users.get(name) or User(name)
            for one in changes:
                user = one(user)
            users[name] = user
        self._change(change)
        return self._users[name]

    def remove(self, names):
        """Forget users; how many there were.  Raises OSError."""
        gone = []
        self._change(lambda users: gone.extend(name for name in names if users.pop(name, None)))
        return len(gone)

    def reload(self):
        """Take what the file holds now.  Raises UsersError, OSError: what was known before goes on."""
        self._check_required()
        with self._changing:
            self._users = self._read()
        self._tell()

    def reload_and_log(self):
        """`reload`, for those who only read the log."""
        try:
            self.reload()
        except (UsersError, OSError) as error:
            log.error("the users stay as they were: %s", error)
        else:
            log.info("%d users read from %s", len(self._users), self.path)

    def save(self):
        """Write what is known; it was written when it changed, so this is for a file that was lost."""
        self._check_required()
        with self._changing, _only_process(self.path):
            _write(self.path, self._users.values())

    def _check_required(self):
        if not self.required:
            raise UsersError("there is no file of users; the server is started with --users FILE")

    def _change(self, change):
        self._check_required()
        with self._changing, _only_process(self.path):
            users = self._read()
            change(users)
            _write(self.path, users.values())
            self._users = users
        self._tell()

    def _tell(self):
        for watcher in self._watchers:
            watcher()

    def _secret_of(self, password):
        with self._turns:
            return Secret.of(password, self._cost)

    def _read(self):
        try:
            with open(self.path, encoding="utf-8") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read(MAX_FILE + 1)
        except UnicodeDecodeError:
            raise UsersError(f"{self.path}: it isn't UTF-8, expected '{HEADER}' and users; it isn't used") from None
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UsersError(f"{self.path}: others than its owner may write to it, and so give themselves rights; "
                             f"expected mode 0600, it isn't used")
        if mode & (stat.S_IRGRP | stat.S_IROTH):
            log.warning("%s: others than its owner may read it, and try passwords; expected mode 0600", self.path)
        return parse_users(text, self.path)


class _Turns:
    """A few may do something at the same time, and some wait; a context manager.

    Raises    TooManyAttempts   too many wait already
    """

    def __init__(self, at_once, waiting):
        self._free = threading.Semaphore(at_once)
        self._lock = threading.Lock()
        self._there = 0             # those who do it, and those who wait; guarded by `_lock`
        self._most = at_once + waiting

    def __enter__(self):
        with self._lock:
            if self._there >= self._most:
                raise TooManyAttempts(1)
            self._there += 1
        self._free.acquire()

    def __exit__(self, *exc_info):
        self._free.release()
        with self._lock:
            self._there -= 1


# -- rules ---------------------------------------------------------------------

def check_user_name(name):
    """Raise UsersError unless `name` (str) may name a user."""
    if not _NAME.match(name):
        raise UsersError(f"user name '{printable(name[:80])}', expected up to 64 of letters, digits and _ . @ + -, "
                         f"a letter, digit or _ first")


_WORDS = {
    "on": {"enabled": True},
    "off": {"enabled": False},
    "nopass": {"secret": NOPASS},
    "resetpass": {"secret": None},
    "resetkeys": {"reads": Streams(), "appends": Streams()},
    "allkeys": {"reads": EVERY_STREAM, "appends": EVERY_STREAM},
    "allcommands": {"rights": frozenset(RIGHTS)},
    "nocommands": {"rights": frozenset()},
    "reset": User("")._asdict(),
}
del _WORDS["reset"]["name"]

_SYNTAX = ("on, off, >password, <password, nopass, resetpass, +@RIGHT, -@RIGHT (all, " + ", ".join(RIGHTS) + "), "
           "allcommands, nocommands, ~STREAM, %R~STREAM, %W~STREAM (a name, or how names begin and *), allkeys, "
           "resetkeys or reset")


def parse_rule(rule, secret_of):
    """What a rule does: a function from a User to another.

    secret_of   makes a Secret of a password in bytes
    Raises    UsersError   the rule can't be used; its text has no password in it
    """
    word = rule.lower()
    if word in _WORDS:
        return lambda user: user._replace(**_WORDS[word])
    if rule[:1] == ">":
        secret = secret_of(_password(rule[1:]))
        return lambda user: user._replace(secret=secret)
    if rule[:1] == "<":
        return _without(_password(rule[1:]))
    if word[:2] in ("+@", "-@"):
        return _with_right(word)
    match = re.match("(~|%[rw]~|%rw~)(.+)", rule, re.I | re.S)
    if match:
        return _with_streams(match[1].lower(), match[2])
    if rule[:1] in ("#", "!"):
        raise UsersError("found the hash of a password, expected the password itself, as >password: "
                         "it is kept as salted scrypt, which can't be made of another hash")
    if rule[:1] in ("+", "-"):
        raise UsersError(f"found '{printable(rule[:80])}', expected a group of commands: +@{', +@'.join(RIGHTS)} "
                         f"or +@all, or these with -")
    raise UsersError(f"found '{printable(rule[:80])}', expected {_SYNTAX}")


def _password(text):
    password = text.encode("utf-8", "surrogateescape")
    if not 0 < len(password) <= MAX_PASSWORD:
        raise UsersError(f"a password of {len(password)} bytes, expected 1 to {MAX_PASSWORD}")
    return password


def _without(password):
    def change(user):
        if not isinstance(user.secret, Secret) or not user.secret.is_of(password):
            raise UsersError("the password to take out isn't the one that the user has")
        return user._replace(secret=None)
    return change


def _with_right(word):
    sign, name = word[0], word[2:]
    if name not in (*RIGHTS, "all"):
        raise UsersError(f"found '{printable(word[:80])}', expected {word[:2]} and one of {', '.join(RIGHTS)}, all")
    rights = frozenset(RIGHTS) if name == "all" else {name}
    return lambda user: user._replace(rights=user.rights | rights if sign == "+" else user.rights - rights)


def _with_streams(kind, text):
    try:
        pattern = text.encode()
    except UnicodeEncodeError:
        raise UsersError(f"found '{printable(text[:80])}', expected a stream's name in UTF-8") from None
    if b"*" in pattern[:-1]:
        raise UsersError(f"found '{printable(text[:80])}', expected a stream's name, or how names begin and one * at "
                         f"the end")
    if pattern == ALL:
        raise UsersError("found $all, expected ~* for every stream")
    if re.search(rb"[\r\n\0:]", pattern):
        raise UsersError(f"found '{printable(text[:80])}', expected a stream's name, which has no CR, LF, NUL or ':'")

    def change(user):
        if kind != "%w~":
            user = user._replace(reads=user.reads.and_those_of(pattern))
        return user if kind == "%r~" else user._replace(appends=user.appends.and_those_of(pattern))
    return change


def rules_of(user):
    """The rules that make a user of a new one, as a list of str, but for its password."""
    both = set(user.reads.patterns()) & set(user.appends.patterns())
    streams = [("~", pattern) for pattern in sorted(both)]
    streams += [("%R~", pattern) for pattern in user.reads.patterns() if pattern not in both]
    streams += [("%W~", pattern) for pattern in user.appends.patterns() if pattern not in both]
    return (["on" if user.enabled else "off"] + (["nopass"] if user.secret is NOPASS else [])
            + [f"+@{right}" for right in RIGHTS if right in user.rights]
            + [kind + pattern.decode() for kind, pattern in streams])


# -- the file ------------------------------------------------------------------

def parse_users(text, path):
    """{name: User} of the text of a file.  Raises UsersError, which names the line."""
    users = {}
    lines = text.split("\n")
    if len(text) > MAX_FILE:
        raise UsersError(f"{path}: more than {MAX_FILE} characters; it isn't used")
    if lines[0].strip() != HEADER:
        raise UsersError(f"{path}:1: found '{printable(lines[0][:80])}', expected '{HEADER}'; it isn't used")
    for i, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            user = _parse_user(words)
            if user.name in users:
                raise UsersError(f"user {user.name} a second time")
        except UsersError as error:
            raise UsersError(f"{path}:{i}: {error}; the file isn't used") from None
        users[user.name] = user
    return users


def _parse_user(words):
    if words[0] != "user" or len(words) < 2:
        raise UsersError(f"found '{printable(words[0][:80])}', expected user NAME and rules")
    check_user_name(words[1])
    user = User(words[1])
    for word in words[2:]:
        if word.startswith("scrypt:"):
            user = user._replace(secret=_parse_secret(word))
        else:
            user = parse_rule(_unquoted(word), _no_password)(user)
    return user


def _no_password(password):
    raise UsersError("found a password, which the file never holds; 'meilies_server.py user' sets one")


def _parse_secret(word):
    fields = word.split(":")
    try:
        if len(fields) != 6 or not all(map(_NUMBER.match, fields[1:4])):
            raise ValueError
        cost = Cost(*map(int, fields[1:4]))
        salt, key = (base64.b64decode(field, validate=True) for field in fields[4:])
    except ValueError:
        raise UsersError("a password that can't be read, expected scrypt:N:R:P:SALT:KEY") from None
    if cost.n < 2 or cost.n & (cost.n - 1) or not cost.r or not cost.p or len(salt) < 16 or len(key) != 32:
        raise UsersError("a password that can't be read, expected scrypt:N:R:P:SALT:KEY with N a power of two, a salt "
                         "of 16 bytes or more and a key of 32")
    if cost.n * cost.r * 128 > 1 << 30 or cost.n * cost.r * cost.p > 1 << 26:
        raise UsersError(f"a password whose scrypt takes too much, expected no more than a GiB: "
                         f"{cost.n}:{cost.r}:{cost.p}")
    return Secret(cost, salt, key)


def _unquoted(word):
    """A rule of the file as ACL SETUSER takes it."""
    kind, tilde, pattern = word.partition("~")
    try:
        return kind + tilde + urllib.parse.unquote(pattern, errors="strict")
    except UnicodeDecodeError:
        raise UsersError(f"found '{printable(word[:80])}', expected a stream's name in UTF-8") from None


def _quoted(rule):
    kind, tilde, pattern = rule.partition("~")
    return kind + tilde + urllib.parse.quote(pattern, safe=_PRINTABLE)


def _line_of(user):
    secret = [str(user.secret)] if isinstance(user.secret, Secret) else []
    first, *rest = map(_quoted, rules_of(user))
    return " ".join(["user", user.name, first, *secret, *rest])


def _write(path, users):
    """Put a new file in the place of the one at `path`, durable; a crash leaves one of the two."""
    path = os.path.realpath(path)
    text = "\n".join([HEADER, *(_line_of(user) for user in sorted(users, key=lambda user: user.name)), ""])
    new = path + ".new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)
    os.replace(new, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def _only_process(path):
    """Hold what other processes wait for that change the file: its folder's lock."""
    fd = os.open(os.path.dirname(os.path.realpath(path)), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def create(path):
    """Make a file without users.  Raises FileExistsError, OSError."""
    with _only_process(path):
        if os.path.lexists(path):
            raise FileExistsError(path)
        _write(path, [])
