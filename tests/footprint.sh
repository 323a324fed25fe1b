#!/usr/bin/env bash
# Prints the size of the release agent and its resident memory when idle with 10,000 indicators in force, and what
# building the index takes and how long a start with it; fails above the limits of size and memory. A real collector and a real signed
# bundle on loopback; needs root to capture.
#
#   VEDETTA_INDICATORS=1000000 tests/footprint.sh      another number of indicators, invented by vedetta-lab
#   VEDETTA_IDLE_FILES=1000 tests/footprint.sh         logs that nobody writes to are followed beside
set -euo pipefail

BINARY_BYTES_MAX=$((12 * 1000 * 1000))
INDICATORS=${VEDETTA_INDICATORS:-10000}
RESIDENT_KIB_MAX=$((24 * 1024))
if [ "$INDICATORS" -gt 1000000 ]; then RESIDENT_KIB_MAX=$((48 * 1024)); fi
BUILD_KIB_MAX=$((128 * 1024))
START_MILLISECONDS_MAX=200

cd "$(dirname "$0")/.."
bin=${VEDETTA_BIN_DIR:-target/release}
if [ ! -x "$bin/vedetta-agent" ]; then
    echo "footprint: $bin/vedetta-agent is missing; run: cargo build --release" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "footprint: capturing needs root; run: sudo tests/footprint.sh" >&2
    exit 1
fi

# The first port from the given one on that nobody listens on.
free_port() {
    local port=$1
    while [ -n "$(ss -Hltun "sport = :$port")" ]; do port=$((port + 1)); done
    echo "$port"
}
port=$(free_port 14740)

folder=$(mktemp -d)
children=()
clean_up() {
    for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

cat >"$folder/collector.toml" <<TOML
state_dir = "$folder/collector"
[ingest]
listen = "127.0.0.1:$port"
public_addresses = ["127.0.0.1:$port"]
[console]
listen = "127.0.0.1:$(free_port 18443)"
TOML
cat >"$folder/agent.toml" <<TOML
state_dir = "$folder/agent"
control_socket = "$folder/control.sock"
home_networks = ["192.0.2.0/24"]
[capture]
interfaces = ["lo"]
[logs]
files = ["$folder/town.log", "$folder/idle/*.log"]
TOML
touch "$folder/town.log"
IDLE_FILES=${VEDETTA_IDLE_FILES:-0}
mkdir "$folder/idle"
for file in $(seq "$IDLE_FILES"); do echo "gw sshd[$file]: ready" >"$folder/idle/$file.log"; done
echo "una frase abbastanza lunga" >"$folder/password"

collector() { "$bin/vedetta-collector" "$@" --config "$folder/collector.toml"; }
agent() { "$bin/vedetta-agent" "$@" --config "$folder/agent.toml"; }
{
    "$bin/vedetta-cosc" keygen --out "$folder/keys"
    collector init --host 127.0.0.1 --operator turno --operator-password-file "$folder/password" \
        --cosc-root "$folder/keys/1.root.json"
    "$bin/vedetta-cosc" request --name cosc-esempio --out "$folder/desk"
    collector admit-desk "$folder/desk/desk.req.pem" --name cosc-esempio >"$folder/desk/chain.pem"
    "$bin/vedetta-lab" bundle --indicators "$INDICATORS" --serial 1 --out "$folder/b.zst"
    "$bin/vedetta-cosc" sign --keys "$folder/keys" --repository "$folder/repository" "$folder/b.zst"
} >"$folder/set-up.log" 2>&1 || { cat "$folder/set-up.log" >&2; exit 1; }
"$bin/vedetta-collector" run --config "$folder/collector.toml" >"$folder/collector.log" 2>&1 &
children+=($!)
for _ in $(seq 50); do
    if "$bin/vedetta-cosc" push --collector "127.0.0.1:$port" --identity "$folder/desk" \
        --repository "$folder/repository" >"$folder/push.log" 2>&1; then break; fi
    sleep 0.2
done
agent enrol "$(collector invite --istat 999001 --comune "Borgo Chiaro" 2>/dev/null | tail -n 1)" >"$folder/enrol.log" 2>&1 ||
    { cat "$folder/push.log" "$folder/enrol.log" >&2; exit 1; }
start() {
    "$bin/vedetta-agent" run --config "$folder/agent.toml" >>"$folder/agent.log" 2>&1 &
    pid=$!
    children+=("$pid")
}

# Waits until the bundle is in force, looking so many times, so far apart.
wait_in_force() {
    for _ in $(seq "$1"); do
        if agent status --json 2>/dev/null | tr -d ' \n' | grep -q '"bundle":{"serial":1,'; then return 0; fi
        sleep "$2"
    done
    echo "footprint: the bundle did not come into force; the agent said:" >&2
    tail -n 20 "$folder/agent.log" >&2
    exit 1
}

kib() { awk -v key="$1:" '$1 == key { print $2 }' "/proc/$pid/status"; }

started=$(date +%s)
start
wait_in_force $((100 + INDICATORS / 2000)) 0.2
built=$(($(date +%s) - started))
peak=$(kib VmHWM)
kill "$pid"
wait "$pid" || true

started=$(date +%s%N)
start
wait_in_force 5000 0
start_milliseconds=$((($(date +%s%N) - started) / 1000000))
IDLE_SECONDS=${VEDETTA_IDLE_SECONDS:-5}
# Processor time since its start, in ticks of a hundredth of a second.
ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$pid/stat"; }
sleep 1
ticks=$(ticks)
sleep "$IDLE_SECONDS"
ticks=$(($(ticks) - ticks))

ring=$(awk '/^[0-9a-f]+-/ { socket = $6 ~ /^socket:/ } /^Rss:/ && socket { sum += $2 } END { print sum + 0 }' "/proc/$pid/smaps")
bytes=$(stat -c %s "$bin/vedetta-agent")
resident=$(kib VmRSS)
index=$(du -k --apparent-size -s "$folder/agent/bundles" 2>/dev/null | cut -f 1)
echo "agent binary, stripped:             $bytes bytes (limit $BINARY_BYTES_MAX)"
echo "agent resident, idle, $INDICATORS indicators: $resident KiB (limit $RESIDENT_KIB_MAX);" \
    "anonymous $(kib RssAnon) KiB, capture ring $ring KiB," \
    "program and libraries $(($(kib RssFile) - ring)) KiB"
echo "index of $INDICATORS indicators:      fetched and built within $built s, peak $peak KiB resident (limit $BUILD_KIB_MAX);" \
    "bundle and index ${index:-0} KiB on disk"
echo "processor time, idle:                $((ticks * 10)) ms in $IDLE_SECONDS s with $IDLE_FILES more files followed"
echo "start with the index, until status answers: $start_milliseconds ms (limit $START_MILLISECONDS_MAX)"
over=no
# The start is told, not judged: machines are noisy, and the bench of the index judges what it takes to open one.
for pair in "$bytes $BINARY_BYTES_MAX" "$resident $RESIDENT_KIB_MAX" "$peak $BUILD_KIB_MAX"; do
    if [ "${pair% *}" -gt "${pair#* }" ]; then over=yes; fi
done
if [ "$over" = yes ]; then
    echo "footprint: above the limit" >&2
    exit 1
fi
