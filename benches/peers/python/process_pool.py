"""One call of a ProcessPoolExecutor of one process, the next when the last is answered.

The arguments are the warm-up and the measured window in ms. What it found is one line, as the harness reads it.
CPU is that of both processes: each tells its own.
"""

import ctypes
import resource
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor

BATCH = 16
PR_SET_PDEATHSIG = 1


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def same(number):
    return number


def usage():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, used.ru_nvcsw + used.ru_nivcsw


def main():
    warmup, window = (int(text) / 1000 for text in sys.argv[1:])
    with ProcessPoolExecutor(max_workers=1, initializer=die_with_parent) as pool:

        def call(number):
            assert pool.submit(same, number).result() == number

        def usage_of_both():
            return [own + its for own, its in zip(usage(), pool.submit(usage).result())]

        warm = time.monotonic() + warmup
        while time.monotonic() < warm:
            call(1)
        before = usage_of_both()
        start = time.monotonic()
        calls = 0
        while time.monotonic() - start < window:
            for number in range(calls, calls + BATCH):
                call(number)
            calls += BATCH
        wall = time.monotonic() - start
        cpu, switches = (late - early for late, early in zip(usage_of_both(), before))
    print(
        "sample",
        f"ns_per_op={wall * 1e9 / calls}",
        f"cpu_ns_per_op={cpu * 1e9 / calls}",
        f"switches_per_op={switches / calls}",
    )


if __name__ == "__main__":
    main()
