"""TLS by OpenSSL, which never touches the socket: it is given what came, and asked what is to go.

    socket ──recv──> incoming ──> OpenSSL ──> requests
    socket <──send── outgoing <── OpenSSL <── replies, events
                 '── unsent: encrypted, and refused by the socket

So a record that the socket took a part of stays here, and is never encrypted twice;
one `recv` takes what it can get, where OpenSSL itself would ask for the head and the
body of each record; and after `receive` nothing that is whole is left inside, where
epoll wouldn't see it.

OpenSSL's state is for one thread at a time: once a Connection has a TLSSocket, all use
of it is under that connection's outbox lock.
"""

import contextlib
import logging
import os
import ssl

log = logging.getLogger("meilies.tls")

# A record holds no more, and what OpenSSL's buffers grew to they keep: no more is put in at once.
_RECORD = 16 * 1024
# Records that are encrypted before the socket is asked to take them: what waits here of a stuck client.
_RECORDS = 4
# Bytes that may wait for a client that asks for more answers of TLS's own than it reads.
_MOST_UNSENT = 2 * _RECORDS * _RECORD

# For TLS 1.2: authenticated encryption under keys that are gone with the connection.  1.3 has no other.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

_SAYINGS = {
    "HTTP_REQUEST": "it speaks HTTP, without TLS",
    "WRONG_VERSION_NUMBER": "what it sent isn't TLS",
    "BAD_RECORD_TYPE": "what it sent isn't TLS",
    "UNSUPPORTED_PROTOCOL": "it has no TLS 1.2 or newer",
    "NO_SHARED_CIPHER": "it has no cipher that is taken here",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate",
}


class TLSSocket:
    """A connected socket that speaks TLS, as its server; see the top of this file.

    ended   no more will come: the peer said so, or closed
    """

    def __init__(self, sock, context):
        sock.setblocking(False)
        self.ended = False
        self._socket = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._unsent = b""
        self.fileno, self.family, self.setsockopt = sock.fileno, sock.family, sock.setsockopt

    def setblocking(self, blocking):
        """It never blocks."""
        assert not blocking

    def handshake(self):
        """Go on with what the peer has sent.  True: it is done.

        Raises    OSError   it failed; ssl.SSLError if TLS says so
        """
        with contextlib.suppress(BlockingIOError):
            data = self._socket.recv(_RECORD)
            if not data:
                raise ConnectionAbortedError("it left")
            self._incoming.write(data)
        done = False
        try:            # it may be done but for what the socket refused before
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()
                done = True
        finally:
            self._pass_on()     # an alert as well
        return done and not self._unsent

    def receive(self, buffer):
        """What the peer sent, of the next bytes that fit `buffer`, which is overwritten; b"" if nothing is whole.

        Raises    BlockingIOError   nothing has come
                  OSError           the connection is broken, or what came isn't what the peer sent
        """
        size = self._socket.recv_into(buffer)
        if not size:
            self.ended = True
            return b""
        if size <= _RECORD:
            return self.decrypted(buffer[:size])
        return b"".join([self.decrypted(buffer[i:min(i + _RECORD, size)]) for i in range(0, size, _RECORD)])

    def decrypted(self, data=b""):
        """`data` and what came before it, as far as it is whole."""
        self._incoming.write(data)
        parts = []
        try:
            while self._incoming.pending and not self.ended:
                part = self._tls.read(_RECORD)
                if part:
                    parts.append(part)
                else:
                    self.ended = True
        except ssl.SSLWantReadError:
            pass
        if self._outgoing.pending:      # TLS's own answers
            self._pass_on()
            if len(self._unsent) > _MOST_UNSENT:
                raise ConnectionAbortedError("it doesn't read what it asked for")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def send(self, data):
        """Encrypt and send; return how many bytes of `data` were taken, those that are `unsent` yet among them.

        Raises    BlockingIOError   none: some are unsent since an earlier call
        """
        if self._unsent:
            self._flush()
            if self._unsent:
                raise BlockingIOError
        if len(data) <= _RECORD:
            if data:
                self._tls.write(data)
                self._pass_on()
            return len(data)
        view = memoryview(data)
        taken = 0
        while taken < len(data) and not self._unsent:
            records = []
            for _ in range(_RECORDS):
                taken += self._tls.write(view[taken:taken + _RECORD])
                records.append(self._outgoing.read())
                if taken == len(data):
                    break
            self._unsent = b"".join(records)
            self._flush()
        return taken

    def unsent(self):
        """Encrypted bytes that wait for the socket; `send` of nothing sends them."""
        return len(self._unsent)

    def close(self):
        """Say that no more comes, if the socket takes that, and close it."""
        with contextlib.suppress(OSError):
            self._tls.unwrap()          # says so, and raises SSLWantReadError, for the peer hasn't
        with contextlib.suppress(OSError):
            self._pass_on()
        self._socket.close()

    def _pass_on(self):
        encrypted = self._outgoing.read()
        self._unsent = self._unsent + encrypted if self._unsent else encrypted
        self._flush()

    def _flush(self):
        if self._unsent:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return
            self._unsent = self._unsent[sent:]


def why(error):
    """Why a handshake failed, in words for the log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate isn't taken: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return _SAYINGS.get(error.reason) or error.reason.lower().replace("_", " ")
    return error.strerror or str(error)


class Certificates:
    """What the server shows and whom it believes, as files say.

    certificate   PEM: its own, and those between it and the authority
    key           PEM, without a passphrase; None: it is in `certificate` as well
    client_ca     PEM: the authorities that vouch for clients; None: clients show nothing
    required      whether a client must show a certificate
    context       the ssl.SSLContext for connections from now on
    Raises        OSError   a file can't be used; it is named
    """

    def __init__(self, certificate, key=None, client_ca=None, required=True):
        self._certificate = certificate
        self._key = key or certificate
        self._client_ca = client_ca
        self._required = required
        self.context = self._load()

    def read_again(self):
        """Show from now on what the files hold now; if they can't be used, that is logged and all stays as it was."""
        try:
            self.context = self._load()
        except OSError as error:
            log.error("%s: %s; new connections still get the certificates from before", error.filename, error.strerror)
        else:
            log.info("certificates were read again, for connections from now on")

    def _load(self):
        for path in filter(None, (self._certificate, self._key, self._client_ca)):
            with open(path, "rb"):
                pass        # OpenSSL doesn't say which of them it couldn't read
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.options |= ssl.OP_NO_RENEGOTIATION
        self._load_own(context)
        if self._client_ca:
            with _naming(self._client_ca, "expected certificates in PEM"):
                context.load_verify_locations(self._client_ca)
            context.verify_mode = ssl.CERT_REQUIRED if self._required else ssl.CERT_OPTIONAL
        return context

    def _load_own(self, context):
        with _naming(self._certificate, "expected a certificate in PEM"):
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(self._certificate)
        with _naming(self._key, "expected the certificate's private key in PEM, without a passphrase"):
            context.load_cert_chain(self._certificate, self._key, password=_no_passphrase)


def _no_passphrase():
    """Without this, OpenSSL would ask whoever sits at the terminal."""
    return b""


@contextlib.contextmanager
def _naming(path, expected):
    try:
        yield
    except (ssl.SSLError, ValueError) as error:
        reason = (getattr(error, "reason", None) or "").lower().replace("_", " ")
        raise OSError(0, f"{expected}{reason and f' ({reason})'}", os.fspath(path)) from None
