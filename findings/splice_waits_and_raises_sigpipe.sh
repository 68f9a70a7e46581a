#!/usr/bin/env bash
# splice(2) and sendfile(2) are no drop-in for recv(2) and send(2) on sockets: three traps.
#
# 1. SPLICE_F_NONBLOCK is not for the socket. Where somebody with a copy of its descriptor has made a TCP socket blocking,
#    a splice waits, both ways. MSG_DONTWAIT of recv(2) and send(2) has no counterpart.
# 2. To a socket whose peer is gone they raise SIGPIPE. There is no MSG_NOSIGNAL.
# 3. At the mark of urgent data a splice says EAGAIN, with bytes behind the mark, for ever; recv(2) goes past it.
#
# Versions: Linux 6.18; source: tcp_splice_read and tcp_read_sock in net/ipv4/tcp.c, splice_to_socket in fs/splice.c. Author of
# a runtime: ask for O_NONBLOCK where there may be copies, and for the disposition of SIGPIPE; after a second EAGAIN of a socket
# that is readable, recv(2).
#
# Usage: bash findings/splice_waits_and_raises_sigpipe.sh
set -euo pipefail
uname -sr
python3 --version
python3 - <<'PYTHON'
import os, signal, socket

NONBLOCK = 2


def connected():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    return near, far


def late(*_):
    raise TimeoutError


signal.signal(signal.SIGALRM, late)


def attempt(what, call):
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        print(f"{what}: {call()}")
    except TimeoutError:
        print(f"{what}: it waits")
    except OSError as error:
        print(f"{what}: {error.strerror}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


reader, writer = os.pipe()
near, far = connected()
for blocking in False, True:
    near.setblocking(blocking)
    attempt(f"from a socket, blocking={blocking}", lambda: os.splice(near.fileno(), writer, 65536, flags=NONBLOCK))

far.send(b"before")
far.send(b"!", socket.MSG_OOB)
far.send(b"behind")
near.setblocking(False)
for _ in range(3):
    attempt("at urgent data", lambda: os.splice(near.fileno(), writer, 65536, flags=NONBLOCK))
attempt("recv", lambda: near.recv(100))

near, far = socket.socketpair()
far.close()
os.write(writer, b"bytes")
raised = []
signal.signal(signal.SIGPIPE, lambda *_: raised.append("SIGPIPE"))
attempt("send with MSG_NOSIGNAL to nobody", lambda: near.send(b"x", socket.MSG_NOSIGNAL))
print(f"... and {raised or 'no signal'}")
attempt("splice to nobody", lambda: os.splice(reader, near.fileno(), 65536, flags=NONBLOCK))
print(f"... and {raised or 'no signal'}")
PYTHON
