#!/usr/bin/env bash
# A zero-copy send to an address of the same machine copies, and costs more than send(2).
#
# send(2) with MSG_ZEROCOPY, and SEND_ZC of io_uring, which is the same below, leave the bytes in the memory of the program, and
# tell by a notification when that is free again. A packet that stays on the machine would hold that memory until the
# other program reads; so the kernel copies after all (skb_orphan_frags_rx), and says SO_EE_CODE_ZEROCOPY_COPIED. What is
# left are the pinned pages and the notification.
#
# Versions: Linux 6.18; source: Documentation/networking/msg_zerocopy.rst. Author of a runtime: not without being asked.
# User: measure it with the network card; the notification says whether it copied.
#
# Usage: bash findings/zero_copy_send_on_loopback_copies.sh
set -euo pipefail
uname -sr
python3 --version
python3 - <<'PYTHON'
import select, socket, struct, threading, time

SO_ZEROCOPY, MSG_ZEROCOPY = 60, 0x4000000
COPIED = 1
ROUNDS = 3000


def take(far):
    buf = bytearray(1 << 20)
    while far.recv_into(buf):
        pass


def run(size, zero_copy):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    reader = threading.Thread(target=take, args=(far,))
    reader.start()
    near.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    data, copied, waiting = bytes(size), 0, 0
    begin = time.thread_time()
    for _ in range(ROUNDS):
        sent = 0
        while sent < size:
            sent += near.send(data[sent:] if sent else data, MSG_ZEROCOPY if zero_copy else 0)
            waiting += zero_copy
        while waiting:
            poll = select.poll()
            poll.register(near, 0)
            poll.poll()
            _, control, _, _ = near.recvmsg(0, 512, socket.MSG_ERRQUEUE)
            for _, _, error in control:
                code, first, last = error[6], *struct.unpack_from("II", error, 8)
                waiting -= last - first + 1
                copied += (code == COPIED) * (last - first + 1)
    cpu = time.thread_time() - begin
    near.close()
    reader.join()
    return cpu / ROUNDS * 1e6, copied


for size in 4096, 65536, 1 << 20:
    plain, _ = run(size, 0)
    zero, copied = run(size, 1)
    print(f"{size} bytes: send {plain:.1f} us, zero-copy {zero:.1f} us; {copied} of its sends were copied")
PYTHON
