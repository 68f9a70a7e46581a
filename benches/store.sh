#!/usr/bin/env bash
# CPU per request of the example `store` and of its twin on tokio, by redis-benchmark: GET and SET, without and with
# pipelining. The server has the first cores, the client the last. Rounds are interleaved; a figure is the median.
# Usage: bash benches/store.sh [WORKERS [ROUNDS [REQUESTS]]]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

workers=${1:-1} rounds=${2:-5} requests=${3:-400000}
command -v redis-benchmark >/dev/null || {
    echo "redis-benchmark is not here: bash .ci/services" >&2
    exit 1
}
cargo build --release --example store
cargo build --release -p ringloop-benches --bin store_tokio
target=${CARGO_TARGET_DIR:-target}/release
figures=$(mktemp)
log=$(mktemp)
server=
cleanup() {
    if [ -n "$server" ]; then kill -KILL "$server" 2>/dev/null || true; fi
    rm -f "$figures" "$log"
}
trap cleanup EXIT

ticks=$(getconf CLK_TCK)
cores=$(nproc)
# cpu: the CPU time of the server so far, in ticks: user and system.
cpu() { awk '{ print $14 + $15 }' "/proc/$server/stat"; }

# measure NAME PIPELINE COMMAND...: starts the server, and appends the figures of GET and SET.
measure() {
    local name=$1 pipeline=$2 before after rate kind port
    shift 2
    taskset -c "0-$((workers - 1))" "$@" >"$log" &
    server=$!
    until grep -q "listening on" "$log"; do sleep 0.05; done
    port=$(sed -n 's/^listening on [^:]*:\([0-9]*\).*/\1/p' "$log")
    for kind in set get; do
        before=$(cpu)
        rate=$(taskset -c "$((cores - 1))" redis-benchmark -p "$port" -q -t "$kind" -n "$requests" -c 50 \
            -P "$pipeline" -d 64 -r 10000 | tr '\r' '\n' | awk '/requests per second/ { print $2 }' | tail -n 1)
        after=$(cpu)
        awk -v name="$name" -v kind="$kind" -v pipeline="$pipeline" -v ticks="$((after - before))" -v hz="$ticks" \
            -v n="$requests" -v rate="$rate" \
            'BEGIN { printf "%s %s -P%s %.0f %.0f\n", name, kind, pipeline, ticks * 1e9 / hz / n, rate }' >>"$figures"
    done
    kill -KILL "$server"
    wait "$server" 2>/dev/null || true
    server=
}

for _ in $(seq "$rounds"); do
    for pipeline in 1 16; do
        measure ringloop "$pipeline" "$target/examples/store" --addr 127.0.0.1:0 --workers "$workers"
        measure tokio "$pipeline" "$target/store_tokio" "$workers"
    done
done

printf '%s workers, %s rounds of %s requests: CPU per request (ns), requests per second\n' "$workers" "$rounds" "$requests"
for kind in get set; do
    for pipeline in 1 16; do
        for name in ringloop tokio; do
            rows=$(grep "^$name $kind -P$pipeline " "$figures")
            middle=$(((rounds + 1) / 2))
            cpu=$(cut -d ' ' -f 4 <<<"$rows" | sort -n | sed -n "${middle}p")
            rate=$(cut -d ' ' -f 5 <<<"$rows" | sort -n | sed -n "${middle}p")
            printf '%-9s %s -P%-3s %7s ns %9s/s\n' "$name" "$kind" "$pipeline" "$cpu" "$rate"
        done
    done
done
