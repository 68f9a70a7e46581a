#!/usr/bin/env bash
# A connection that is to be aborted ends as if everything had been sent, unless it is "connected" to no address.
#
# SO_LINGER with 0 s makes close(2) a reset. But a descriptor that somebody else holds too (a duplicate, the other half
# of a split stream, an operation of a ring) is not closed by close(2), and so shutdown(2) is what one reaches for. It
# sends a FIN, whatever SO_LINGER says: the peer reads what the kernel had, and then a clean end, and takes a part for the
# whole. What resets at once, with every other holder still there, is connect(2) with AF_UNSPEC. It also wakes the readers
# of this end.
#
# Versions: Linux 6.18; source: connect(2), tcp_shutdown and tcp_disconnect in net/ipv4/tcp.c of the kernel. Author of a
# runtime: abort a stream by connect(2) to AF_UNSPEC. User: an end that comes without a length or a mark in the protocol
# proves nothing.
#
# Usage: bash findings/reset_of_a_connection_that_others_hold.sh
set -euo pipefail
uname -sr
python3 --version
python3 - <<'PYTHON'
import ctypes, errno, socket, struct

libc = ctypes.CDLL(None, use_errno=True)
AF_UNSPEC = struct.pack("HHIII", socket.AF_UNSPEC, 0, 0, 0, 0)


def connected():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    far.settimeout(10)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    near.sendall(b"the first half of a message")
    return near, far


def what_the_peer_sees(end):
    near, far = connected()
    # Another holder: it stays open.
    other = near.dup()
    end(near)
    near.close()
    seen = b""
    try:
        while data := far.recv(100):
            seen += data
        result = "a clean end"
    except OSError as error:
        result = errno.errorcode[error.errno]
    other.close()
    return f"{result} after {len(seen)} bytes"


def disconnect(near):
    if libc.connect(near.fileno(), AF_UNSPEC, len(AF_UNSPEC)) != 0:
        raise OSError(ctypes.get_errno(), "connect")


by_shutdown = what_the_peer_sees(lambda near: near.shutdown(socket.SHUT_RDWR))
by_connect = what_the_peer_sees(disconnect)
print("SO_LINGER 0, then shutdown:          ", by_shutdown)
print("SO_LINGER 0, then connect to nowhere:", by_connect)
assert by_shutdown == "a clean end after 27 bytes", by_shutdown
assert by_connect.startswith("ECONNRESET"), by_connect
PYTHON
