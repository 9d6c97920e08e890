"""The server's options: one table, read from four places.

    python3 meilies_server.py --db-path DIR      1  the command line
    MEILIES_DB_PATH=DIR                          2  the environment
    [server]                                     3  the file of --config or MEILIES_CONFIG
    db-path = DIR
    OPTIONS, below                               4  the default

The first place that has a value wins.  Every value begins as text and goes
through the same parser wherever it was found, so that an error can say where
that was: the option, the variable, or the file and line.
"""

import argparse
import configparser
import difflib
import ipaddress
import os
import re
import socket
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass

from server import __version__

PROGRAM = "meilies-server"
SECTION = "server"
PREFIX = "MEILIES_"
CONFIG_VARIABLE = "MEILIES_CONFIG"

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
UNITS = {"": 1, "K": KIB, "M": MIB, "G": GIB}

# The longest path of a Unix socket, less a NUL: sockaddr_un.
_SOCKET_PATH = 107 if sys.platform == "linux" else 103

# zlib's highest; MeiliES's zstd went on to 22, and its command lines still start.
MAX_COMPRESSION = 9

# Set for the commands that `meilies_cli.py inspect` runs, one of which may start a server.
INSPECT_VARIABLES = {"MEILIES_STREAM_NAME", "MEILIES_EVENT_NAME", "MEILIES_EVENT_NUMBER"}
# What that program itself reads.
CLIENT_VARIABLES = {"MEILIES_URL", "MEILIES_USER", "MEILIES_PASSWORD", "MEILIES_SRC_PASSWORD", "MEILIES_DST_PASSWORD"}

YES = ("yes", "true", "on", "1")
NO = ("no", "false", "off", "0")


class OptionError(ValueError):
    """An option that can't be used; the text is one line for the user."""


class Options(types.SimpleNamespace):
    """One attribute an option, named as in OPTIONS with _ for -, and `warnings`.

    warnings   lines about what was passed over, to be logged once logging is set up
    """


# -- text to values: each raises ValueError with what it expected -------------

def number(low, high):
    def parse(text):
        if not re.fullmatch("[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ValueError(f"a number from {low} to {high}")
        return int(text)
    return parse


def number_or_none(low, high):
    """A number, or None for the word none."""
    def parse(text):
        if text.lower() == "none":
            return None
        try:
            return number(low, high)(text)
        except ValueError as error:
            raise ValueError(f"{error}, or none") from None
    return parse


def number_or_never(low, high):
    """A number, or -1."""
    def parse(text):
        try:
            return -1 if text == "-1" else number(low, high)(text)
        except ValueError as error:
            raise ValueError(f"{error}, or -1") from None
    return parse


def size(low, high):
    """Bytes, as in 4096, 64K, 64KiB, 16M or 1G; units are powers of 1024, in any case."""
    def parse(text):
        match = re.fullmatch("([0-9]{1,18}) ?(?:([KMG])(?:IB)?)?", text.upper())
        if match:
            count = int(match.group(1)) * UNITS[match.group(2) or ""]
        if not match or not low <= count <= high:
            raise ValueError(f"a size from {shown_size(low)} to {shown_size(high)}, "
                             "such as 64K, 64KiB or 65536")
        return count
    return parse


def shown_size(count):
    """`count` bytes in the longest unit that needs no fraction: 67108864 is 64M."""
    unit = max((unit for unit in UNITS if count % UNITS[unit] == 0), key=UNITS.get)
    return f"{count // UNITS[unit]}{unit}"


def choice(*words):
    def parse(text):
        if text.lower() not in words:
            raise ValueError(f"{', '.join(words[:-1])} or {words[-1]}")
        return text.lower()
    parse.words = words         # for completion
    return parse


def flag(text):
    if text.lower() not in YES + NO:
        raise ValueError("yes or no")
    return text.lower() in YES


def path(text):
    if not text or "\0" in text:
        raise ValueError("a path")
    return text


def socket_path_or_none(text):
    """A path that fits the address of a Unix socket."""
    if len(os.fsencode(text)) > _SOCKET_PATH:
        raise ValueError(f"a path of at most {_SOCKET_PATH} bytes, which is what the system takes for a socket")
    return path_or_none(text)


def path_or_none(text):
    return path(text) if text else ""


def hostname(text):
    if "\0" in text:  # where getaddrinfo would stop reading
        raise ValueError("a name or an address")
    return text


def compression(text):
    return min(number(0, 22)(text), MAX_COMPRESSION)


# -- the table ----------------------------------------------------------------

@dataclass(frozen=True)
class Option:
    """One option.

    name      on the command line and in the file; MEILIES_NAME in the environment
    parse     text -> value, or ValueError with what was expected
    default   as a user would write it
    unit      stands for the value in --help; "" for a flag, which takes none there
    """

    group: str
    name: str
    parse: Callable
    default: str
    unit: str
    help: str
    short: tuple[str, ...] = ()

    @property
    def attribute(self):
        return self.name.replace("-", "_")

    @property
    def variable(self):
        return PREFIX + self.attribute.upper()


PLACE = "where it listens and writes"
DISK = "how it writes"
LIMITS = "limits, past which a client is refused or made to wait"
WATCH = "how it is watched"
REST = "the rest"

OPTIONS = (
    Option(PLACE, "db-path", path, "/var/lib/meilies", "DIR", "directory of the events; made if missing"),
    Option(PLACE, "backup-path", path_or_none, "", "DIR",
           "where the backup command writes; without it there are no backups while the server runs"),
    Option(PLACE, "hostname", hostname, "127.0.0.1", "HOST", "address to listen on", ("-h",)),
    Option(PLACE, "port", number_or_none(0, 65535), "6480", "N",
           "port to listen on; 0 takes a free one, none is for those who use another way"),
    Option(PLACE, "tls-port", number_or_none(0, 65535), "none", "N",
           "port to listen on for clients that speak TLS; 0 takes a free one"),
    Option(PLACE, "tls-certificate", path_or_none, "", "FILE",
           "what the server shows them: PEM, its own certificate first; read again at SIGHUP"),
    Option(PLACE, "tls-key", path_or_none, "", "FILE",
           "the certificate's private key, without a passphrase; if not given, it is in that file as well"),
    Option(PLACE, "tls-client-ca", path_or_none, "", "FILE",
           "certificates of the authorities that vouch for clients; without it clients show none"),
    Option(PLACE, "tls-clients", choice("required", "optional"), "required", "WHEN",
           "with --tls-client-ca, whether a client without a certificate is let in (optional) or not"),
    Option(PLACE, "unix-socket", socket_path_or_none, "", "PATH",
           "listen at a Unix socket as well, which the server's own user alone can connect to"),
    Option(PLACE, "users", path_or_none, "", "FILE",
           "who may log in, and what they may do: see 'meilies_server.py user --help'; without it everybody may do "
           "everything"),
    Option(PLACE, "http-port", number_or_none(0, 65535), "none", "N",
           "show a web console there, see docs/console.md; 0 takes a free port"),
    Option(PLACE, "http-hostname", hostname, "127.0.0.1", "HOST", "address of the console"),
    Option(PLACE, "allow-anyone", flag, "no", "",
           "listen on a HOST that other machines can reach; "
           "whoever reaches it can read and publish everything"),

    Option(DISK, "sync", choice("always", "everysec", "no"), "always", "WHEN",
           "always: a publish is answered once it is on disk; everysec: up to a second of "
           "answered publishes can be lost with the power; no: the system decides"),
    Option(DISK, "compression-factor", compression, "0", "N",
           "compress what is stored, 1 (fast) to 9 (small), 0 not; up to 22 is taken and means 9"),
    Option(DISK, "segment-size", size(64 * KIB, 4 * GIB), "256M", "SIZE",
           "begin a new file of the log at this size"),
    Option(DISK, "hash-chain", flag, "no", "",
           "keep a chain of SHA-256 over all events, by which it shows that none was changed; it goes on from then on"),

    Option(LIMITS, "max-request-size", size(KIB, 2 * GIB), "64M", "SIZE",
           "one request with all its arguments"),
    Option(LIMITS, "max-event-size", size(1, GIB), "16M", "SIZE", "the data of one event"),
    Option(LIMITS, "max-metadata-size", size(0, GIB // 4), "1M", "SIZE", "the metadata of one event"),
    Option(LIMITS, "max-arguments", number(4, 10 ** 7), "100000", "N", "arguments of one request"),
    Option(LIMITS, "max-connections", number(1, 10 ** 6), "10000", "N", "clients at once"),
    Option(LIMITS, "max-pending-input", size(KIB, GIB), "1M", "SIZE",
           "received from one client and not yet carried out"),
    Option(LIMITS, "max-pending-output", size(KIB, GIB), "1M", "SIZE",
           "not yet taken by one client; above it, nothing more is read from that client"),
    Option(LIMITS, "max-unread", size(KIB, 64 * GIB), "1G", "SIZE",
           "not yet taken by all clients together; above it, the one that owes most is cut off"),
    Option(LIMITS, "max-subscriptions", number(1, 10 ** 7), "20000", "N", "subscriptions of one client"),

    Option(WATCH, "metrics-port", number_or_none(0, 65535), "none", "N",
           "answer /metrics (for Prometheus) and /healthz over HTTP; 0 takes a free port"),
    Option(WATCH, "metrics-hostname", hostname, "127.0.0.1", "HOST",
           "address for that; there is no login, so who reaches it may read the figures, but no event"),
    Option(WATCH, "slowlog-log-slower-than", number_or_never(0, 10 ** 12), "10000", "N",
           "keep commands that take so many microseconds in the slow log; -1 keeps none"),
    Option(WATCH, "slowlog-max-len", number(0, 10 ** 6), "128", "N", "commands that the slow log keeps"),
    Option(WATCH, "log-level", choice("debug", "info", "warning", "error"), "info", "LEVEL",
           "debug, info, warning or error"),
    Option(WATCH, "log-file", path_or_none, "", "FILE", "log to FILE, opened again at SIGHUP, instead of to stderr"),

    Option(REST, "workers", number(1, 64), "4", "N", "threads for replays and long commands"),
    Option(REST, "replay-memory", size(0, 64 * GIB), "128M", "SIZE",
           "at most, for scattered streams that are replayed again and again; 0 reads them from the log each time"),
    Option(REST, "recent-memory", size(0, 64 * GIB), "0", "SIZE",
           "at most, for what was written last to scattered streams: their first replays are ten times as fast, and "
           "publishes to many streams cost a quarter more"),
    Option(REST, "busy-poll", number(0, 10_000), "100", "N",
           "microseconds to go on asking for the next request before sleeping, where they come as soon as that"),
    Option(REST, "no-vigil", flag, "no", "", "send no heartbeat, even if the VIGIL_ variables are set"),
    Option(REST, "no-sentry", flag, "no", "",
           "does nothing: taken because MeiliES has it; nothing is ever reported to Sentry"),
)

BY_NAME = {option.name: option for option in OPTIONS}

DESCRIPTION = """\
An event store: keeps streams of events for ever, and sends them to whoever
follows, over the protocol of Redis."""

EPILOG = f"""\
Defaults are in brackets.  SIZE is in bytes, or with K, M or G (KiB, MiB, GiB):
65536 and 64K are the same.

Each option can also be a variable of the environment, {BY_NAME["db-path"].variable} for
--db-path, or a line of the file given with --config or {CONFIG_VARIABLE}:

    [server]
    db-path = /srv/events
    allow-anyone = no

The command line goes before the environment, and that before the file.

Its users, see python3 meilies_server.py user --help:

  python3 meilies_server.py user add ann +@read '~orders-*' --users my-users

More commands, for a store that no server has open; each has a --help:

  python3 meilies_server.py check --db-path my-db
  python3 meilies_server.py repair --db-path my-db --dry-run
  python3 meilies_server.py export --db-path my-db --file my-db.jsonl
  python3 meilies_server.py import --db-path new-db --file my-db.jsonl
  python3 meilies_server.py completion bash

examples:
  python3 meilies_server.py --db-path my-db
  python3 meilies_server.py --db-path my-db --port 0 --sync everysec
  python3 meilies_server.py --config /etc/meilies.ini --log-level debug
"""


UPKEEP = {
    "check": """\
Reads the whole store and names everything that is bad in it: which bytes, and
which events of which streams are lost.  Changes nothing.""",
    "repair": """\
Makes a damaged store one that opens.  Events that can be read keep their number
and position; a gap stands where others were, and readers that come to it are
told what is lost.  All that is taken out or written over is kept in DIR/cut.
It can be run again after a crash.""",
    "export": """\
Writes the store as lines of JSON: events with their numbers, times, ids,
metadata and tags, and what is kept beside them; see docs/backup.md.""",
    "import": """\
Appends what an export has to a store, which is made if it is missing.  Events
that are there already are passed over, so it can be run again after a crash.""",
}

UPKEEP_STATUS = {
    "check": "exit status: 0 sound, 1 damaged, 2 it couldn't be checked",
    "repair": "exit status: 0 the store is sound now, 1 it isn't, 2 nothing was tried;\n"
              "with --dry-run 0 nothing to repair, 1 something",
    "export": "exit status: 0 done, 2 it couldn't be done",
    "import": "exit status: 0 done, 2 not all of it",
}

COMPLETION = "completion"
# What may stand first on the command line, in place of an option.
COMMANDS = (*UPKEEP, "user", COMPLETION)


USER = {
    "add": "Adds a user, who may do what the rules say and nothing else.  The file is made if it is missing.",
    "set": "Changes a user by rules, and with --password the password.",
    "remove": "Forgets a user.",
    "list": "Shows the users and their rules.",
}

USER_EPILOG = """\
The password is asked for, or is the first line of standard input.

RULE is one of
  on, off             whether the user may log in; a user that is added is on
  +@RIGHT, -@RIGHT    read, append, group (to take part in consumer groups), admin, or all
  ~STREAM             a stream to read and append to, or with * at its end all that begin so: '~orders-*'
  %R~STREAM           ... to read; %W~STREAM to append to
  resetkeys           no stream any more; reset: nothing any more, and off
  nopass              any password will do; resetpass: none will

A server that runs takes the file over when it gets SIGHUP, or ACL LOAD.

exit status: 0 done, 1 there is no such user, or one already, 2 it couldn't be done"""


# -- four places, one set of values -------------------------------------------

def parse(argv, environ):
    """Return the Options that `argv` (without the program's name) and `environ` ask for.

    Raises    SystemExit   2 after one line on stderr for what can't be used;
                           0 after --help or --version
    """
    try:
        return _options(argv, environ)
    except OptionError as error:
        print(f"{PROGRAM}: not started: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def parse_upkeep(command, argv, environ):
    """The Options of a command of UPKEEP: db_path, dry_run, json, and the file to write or read, None for a pipe.

    Raises    SystemExit   2 after one line on stderr for what can't be used;
                           0 after --help
    """
    try:
        arguments = _known_arguments(_upkeep_parser(command), argv)
        dry_run, as_json = (bool(arguments.pop(name, False)) for name in ("dry-run", "json"))
        file = arguments.pop("file", "-")
        return Options(db_path=_value(BY_NAME["db-path"], *_found(arguments, environ)["db-path"]), dry_run=dry_run,
                       file=None if file == "-" else file, json=as_json)
    except OptionError as error:
        print(f"{PROGRAM} {command}: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def parsers():
    """{command: (what it does, its ArgumentParser)}, with "" for the server itself; for completion."""
    return {"": (DESCRIPTION, _parser()), **{name: (text, _upkeep_parser(name)) for name, text in UPKEEP.items()},
            "user": ("Adds, changes, removes and lists the users of a server.", _user_parser("set"))}


def parse_user(argv, environ):
    """The Options of `user`: action, users (the path), name, rules and password (whether a new one is wanted).

    Raises    SystemExit   as parse_upkeep
    """
    try:
        action = argv[0] if argv else "nothing"
        if action not in USER and action != "--help":
            raise OptionError(f"found {action!r}, expected {', '.join(USER)}")
        given, words = _user_parser(action).parse_known_args(argv[1:] if action in USER else ["--help"])
        arguments = vars(given)
        password = bool(arguments.pop("password", False))
        path = _value(BY_NAME["users"], *_found(arguments, environ)["users"])
        _check_user_words(action, words)
        if not path:
            raise OptionError("--users is missing, expected the file of the users")
        return Options(action=action, users=path, name=words[0] if words else None, rules=words[1:], password=password)
    except OptionError as error:
        print(f"{PROGRAM} user: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _check_user_words(action, words):
    """Raise OptionError unless they are a name and rules, as far as `action` takes them."""
    for word in words:
        if word.startswith("-") and not word.startswith("-@"):
            raise OptionError(f"{word.split('=', 1)[0]}: no such option")
        if word[0:1] in ("<", ">"):
            raise OptionError("found a password among the arguments, where everybody on the machine can see it; "
                              "expected it on standard input, or leave it out to be asked")
    least, most = {"list": (0, 0), "remove": (1, 1)}.get(action, (1, len(words)))
    if not least <= len(words) <= max(least, most):
        raise OptionError(f"expected {'a NAME' if least else 'no NAME'}{' and no rules' if most == 1 else ''}: "
                          f"{action} {' '.join(words)}".rstrip())


def is_loopback(host):
    """Whether only this machine can reach a server that listens on `host`.

    A name is resolved, and each of its addresses must be a loopback address.
    Raises    ValueError   the name can't be resolved
    """
    return all(_is_loopback_address(address) for address in _addresses(host))


def _options(argv, environ):
    found = _found(_known_arguments(_parser(), argv), environ)
    options = Options(warnings=_unknown_variables(environ))
    for name, (text, place) in found.items():
        setattr(options, BY_NAME[name].attribute, _value(BY_NAME[name], text, place))
    if options.tls_port is not None and not options.tls_certificate:
        raise OptionError(f"{found['tls-port'][1]}: TLS takes a certificate, expected --tls-certificate as well")
    for name, port in (("http-hostname", options.http_port), ("metrics-hostname", options.metrics_port)):
        if port is not None:
            _is_alone(*found[name])
    if not options.allow_anyone and not options.users:
        _refuse_strangers(*found["hostname"])
        if options.http_port is not None:
            _refuse_strangers(*found["http-hostname"])
    return options


def _found(arguments, environ):
    """{name: (text, place)} of every option: what is on the command line, or else in the other places."""
    config = arguments.pop("config", environ.get(CONFIG_VARIABLE))
    places = (
        {name: (text, f"--{name}") for name, text in arguments.items()},
        {option.name: (environ[option.variable], f"{option.variable} in the environment")
         for option in OPTIONS if option.variable in environ},
        {} if config is None else _config_file(config),
        {option.name: (option.default, f"default of --{option.name}") for option in OPTIONS},
    )
    return {option.name: next(place[option.name] for place in places if option.name in place)
            for option in OPTIONS}


def _value(option, text, place):
    try:
        return option.parse(text)
    except ValueError as error:
        raise OptionError(f"{place}: found {text!r}, expected {error}") from None


def _is_alone(host, place):
    """`is_loopback`, where a name that can't be resolved is a wrong option."""
    try:
        return is_loopback(host)
    except ValueError as error:
        raise OptionError(f"{place}: found {host!r}, expected an address of this machine ({error})") from None


def _refuse_strangers(host, place):
    if not _is_alone(host, place):
        raise OptionError(
            f"{place}: {host!r} can be reached from other machines, and clients aren't asked who they are; "
            f"expected a loopback address such as 127.0.0.1, --users, or --allow-anyone as well")


def _addresses(host):
    if not host:
        return ["0.0.0.0", "::"]  # what bind() makes of it
    try:
        return [found[4][0] for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, ValueError) as error:
        raise ValueError(getattr(error, "strerror", None) or str(error)) from None


def _is_loopback_address(text):
    address = ipaddress.ip_address(text)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


# -- the command line ---------------------------------------------------------

class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as the other places do, without the usage before it."""

    def error(self, message):
        raise OptionError(re.sub("^argument (-h/)?", "", message))


def _known_arguments(parser, argv):
    """{name: text} of what is on the command line; `config` may be among the names."""
    given, strangers = parser.parse_known_args(argv)
    if strangers:
        name = strangers[0].split("=", 1)[0]
        if not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            raise OptionError(f"{name}: no such command" + (f"; did you mean {near[0]}?" if near else ""))
        raise OptionError(f"{name}: no such option" + _did_you_mean(name.lstrip("-"), "--{0.name}"))
    return {name.replace("_", "-"): text for name, text in vars(given).items()}


def _parser():
    parser = _Parser(
        prog=PROGRAM, usage="python3 meilies_server.py [OPTION]...", description=DESCRIPTION, epilog=EPILOG,
        add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS, formatter_class=_formatter)
    groups = {}
    for option in OPTIONS:
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        _add(groups[option.group], option)
    rest = groups[REST]
    rest.add_argument("--config", metavar="FILE", help="read options from FILE")
    rest.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}",
                      help="show the version and exit")
    rest.add_argument("--help", action="help", help="show this and exit")
    return parser


def _upkeep_parser(command):
    parser = _Parser(prog=f"{PROGRAM} {command}", usage=f"python3 meilies_server.py {command} [OPTION]...",
                     description=UPKEEP[command], epilog=UPKEEP_STATUS[command], add_help=False, allow_abbrev=False,
                     argument_default=argparse.SUPPRESS, formatter_class=_formatter)
    parser.add_argument("--db-path", metavar="DIR", help=f"directory of the events [{BY_NAME['db-path'].default}]")
    if command == "repair":
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    if command in ("check", "repair"):
        parser.add_argument("--json", action="store_true", help="say what was found as one JSON object")
    if command in ("export", "import"):
        parser.add_argument("--file", metavar="FILE", help="of the lines [standard output, or input]")
    parser.add_argument("--config", metavar="FILE", help="read the directory from FILE, as the server does")
    parser.add_argument("--help", action="help", help="show this and exit")
    return parser


def _user_parser(action):
    rules = " [RULE]..." if action in ("add", "set") else ""
    usage = f"{action}{'' if action == 'list' else ' NAME'}{rules}" if action in USER else "|".join(USER) + " ..."
    parser = _Parser(prog=f"{PROGRAM} user", usage=f"python3 meilies_server.py user {usage} --users FILE",
                     description=USER.get(action, "The users of a server, in the file that it is started with."),
                     epilog=USER_EPILOG, add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS,
                     formatter_class=_formatter)
    if action == "set":
        parser.add_argument("--password", action="store_true", help="set a new password")
    parser.add_argument("--users", metavar="FILE", help="the file; MEILIES_USERS in the environment")
    parser.add_argument("--config", metavar="FILE", help="read its name from FILE, as the server does")
    parser.add_argument("--help", action="help", help="show this and exit")
    return parser


def _formatter(prog):
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=29, width=80)


def _add(group, option):
    names = (*option.short, f"--{option.name}")
    if option.unit:
        group.add_argument(*names, metavar=option.unit, help=f"{option.help} [{option.default}]")
    else:
        group.add_argument(*names, action="store_const", const="yes", help=option.help)


def _did_you_mean(name, form):
    """A hint to the option that `name` is nearest to, written as in `form`; "" if none is near."""
    near = difflib.get_close_matches(_option_name(name), BY_NAME, n=1)
    return f"; did you mean {form.format(BY_NAME[near[0]])}?" if near and near[0] != name else ""


# -- the environment ----------------------------------------------------------

def _unknown_variables(environ):
    """A warning for each variable that looks like ours and isn't.

    They are no errors: MEILIES_ is a prefix that others use as well, Kubernetes
    among them, which sets MEILIES_SERVICE_HOST for a service called meilies.
    """
    known = {option.variable for option in OPTIONS} | {CONFIG_VARIABLE} | INSPECT_VARIABLES | CLIENT_VARIABLES
    return [f"{name} in the environment: no such option"
            f"{_did_you_mean(name[len(PREFIX):], '{0.variable}')}; passed over"
            for name in sorted(environ) if name.startswith(PREFIX) and name not in known]


# -- the file -----------------------------------------------------------------

def _config_file(path):
    """{name: (text, place)} of section [server] in the INI file at `path`."""
    text = _config_text(path)
    config = _config_sections(path, text)
    for section in config.sections():
        if section != SECTION:
            raise OptionError(f"{path}: found section [{section}], expected [{SECTION}] alone")
    found = {}
    for name, value in config.items(SECTION) if config.has_section(SECTION) else ():
        place = f"{path}:{_line_of(name, text)}: {name}"
        if name not in BY_NAME:
            raise OptionError(f"{place}: no such option{_did_you_mean(name, '{0.name}')}")
        found[name] = (value, place)
    return found


def _config_text(path):
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise OptionError(f"{path}: can't read the configuration: "
                          f"{getattr(error, 'strerror', None) or error}") from None


def _config_sections(path, text):
    # Without interpolation a % is a %, and no section lends its keys to others.
    config = configparser.RawConfigParser(default_section=None)
    config.optionxform = _option_name
    try:
        config.read_string(text, source=path)
    except configparser.Error as error:
        raise OptionError(f"{path}: expected lines such as port = 6480 below [{SECTION}]: "
                          f"{' '.join(str(error).split())}") from None
    return config


def _option_name(key):
    """db_path and DB-Path are db-path as well."""
    return key.lower().replace("_", "-")


def _line_of(name, text):
    """The line that sets `name`, counted from 1."""
    keys = (re.split("[=:]", line, maxsplit=1)[0].strip() for line in text.split("\n"))
    return next(line for line, key in enumerate(keys, start=1) if _option_name(key) == name)
