#!/usr/bin/env bash
# Vedetta from a captured attack to an operator's screen, on this machine: a collector, a desk and two invented
# towns. Ctrl-C stops everything and leaves nothing behind.
#
#   packaging/demo.sh [--seconds N] [--once] [--console ADDRESS] [--indicators FILE]... [FILE]...
#
#   FILE                 captures are played to Borgo Chiaro's sensor, anything else is appended to the log that
#                        Pieve Serena's sensor follows
#   --indicators FILE    look for these values too (plain text, a table with headers, JSON Lines)
#   --console ADDRESS    where the console listens, default 127.0.0.1; 0.0.0.0 lets other machines see it
#   --seconds N          stop after so long
#   --once               stop when hits of both towns have arrived; fails after 120 seconds without
#
# VEDETTA_BIN_DIR names a folder of programs that are built already.
set -euo pipefail

readonly centre_address=198.51.100.1
readonly -A town_name=([borgo]="Borgo Chiaro" [pieve]="Pieve Serena")
# Codes from 999 are invented.
readonly -A town_istat=([borgo]=999001 [pieve]=999002)
readonly -A uplink_here=([borgo]=$centre_address/30 [pieve]=198.51.100.5/30)
readonly -A uplink_there=([borgo]=198.51.100.2/30 [pieve]=198.51.100.6/30)
readonly -A gateway=([borgo]=$centre_address [pieve]=198.51.100.5)
readonly towns=(borgo pieve)

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
seconds=0
once=no
console_address=127.0.0.1
indicator_files=()
files=()
captures=()
logs=()
work=
pids=()

fail() {
    echo "demo.sh: $*" >&2
    exit 1
}

say() {
    echo "--- $*"
}

main() {
    local all=("$@")
    read_arguments "$@"
    build
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "capturing needs root: run this as root, or install sudo"
        exec sudo --preserve-env=PATH env VEDETTA_BIN_DIR="$bin" "$repository/packaging/demo.sh" "${all[@]}"
    fi
    only_one
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    sort_files
    work=$(mktemp -d /tmp/vedetta-demo.XXXXXX)
    local town
    for town in "${towns[@]}"; do
        raise_town "$town"
    done
    start_centre
    push_bundle
    for town in "${towns[@]}"; do
        start_sensor "$town"
    done
    feed
    invite_people
    watch_hits
}

read_arguments() {
    while [ "$#" -gt 0 ]; do
        case "$1" in
        --seconds) seconds=${2:?--seconds needs a number} && shift ;;
        --once) once=yes ;;
        --console) console_address=${2:?--console needs an address} && shift ;;
        --indicators) indicator_files+=("$(realpath -e -- "${2:?--indicators needs a file}")") && shift ;;
        -h | --help)
            sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
            exit 0
            ;;
        -*)
            echo "demo.sh: no option $1; --help lists them" >&2
            exit 2
            ;;
        *)
            [ -r "$1" ] || fail "cannot read $1"
            files+=("$(realpath -e -- "$1")")
            ;;
        esac
        shift
    done
    case "$seconds" in *[!0-9]*) fail "--seconds needs a whole number, not $seconds" ;; esac
}

# Programs in $bin: those that the caller names, or built here.
build() {
    bin=${VEDETTA_BIN_DIR:-}
    if [ -z "$bin" ]; then
        "$repository/packaging/setup.sh" build demo
        export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
        say "building (the first time takes some minutes)"
        cargo build --quiet --release --locked --manifest-path "$repository/Cargo.toml" --bins ||
            fail "the build failed; what cargo says above is the reason"
        bin=${CARGO_TARGET_DIR:-$repository/target}/release
    fi
    local program
    for program in vedetta-agent vedetta-collector vedetta-cosc vedetta-lab; do
        [ -x "$bin/$program" ] || fail "$bin/$program is missing; run without VEDETTA_BIN_DIR to build it"
    done
    bin=$(cd "$bin" && pwd)
}

# One demo at a time on a machine; what a killed one left behind is removed.
only_one() {
    exec 9<"${BASH_SOURCE[0]}"
    flock --nonblock 9 || fail "a demo runs already; stop it with Ctrl-C where it was started"
    local town folder pid
    for town in "${towns[@]}"; do
        fell_town "$town"
    done
    for folder in /tmp/vedetta-demo.??????; do
        [ -d "$folder" ] || continue
        while read -r pid; do
            if tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$folder/"; then
                kill -KILL "$pid" 2>/dev/null || true
            fi
        done < <(cat "$folder/pids" 2>/dev/null)
        rm -rf "$folder"
    done
}

sort_files() {
    local file
    for file in "${files[@]}"; do
        if [ "$("$bin/vedetta-lab" tell "$file")" = capture ]; then
            captures+=("$file")
        else
            logs+=("$file")
        fi
    done
}

# A town is a network namespace: its gateway with an uplink to the centre and a LAN that the sensor watches.
raise_town() {
    local space=vedetta-demo-$1
    ip netns add "$space" || fail "cannot make a network namespace; is this kernel a container's?"
    ip netns exec "$space" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 2>/dev/null || true
    ip -netns "$space" link set lo up
    ip link add "vd-$1" type veth peer name up0 netns "$space"
    ip address add "${uplink_here[$1]}" dev "vd-$1"
    ip link set "vd-$1" up
    ip -netns "$space" address add "${uplink_there[$1]}" dev up0
    ip -netns "$space" link set up0 up
    ip -netns "$space" route add default via "${gateway[$1]}"
    ip -netns "$space" link add lan0 type veth peer name wire0
    ip -netns "$space" link set lan0 up
    ip -netns "$space" link set wire0 up
}

fell_town() {
    local space=vedetta-demo-$1
    [ -e "/run/netns/$space" ] || return 0
    ip netns pids "$space" | xargs --no-run-if-empty kill -KILL 2>/dev/null || true
    ip netns delete "$space" 2>/dev/null || true
    ip link delete "vd-$1" 2>/dev/null || true
}

# Runs a program in the background, with its words in a log, and without the lock.
start() {
    local log=$1
    shift
    "$@" >>"$work/$log" 2>&1 9<&- &
    pids+=("$!")
    echo "$!" >>"$work/pids"
}

collector() {
    "$bin/vedetta-collector" --config "$work/collector.toml" "$@"
}

# Says what a step was about and shows its log when it fails.
step() {
    local log=$1
    shift
    "$@" >>"$work/$log" 2>&1 || {
        tail -n 20 "$work/$log" >&2
        fail "\"${*##*/}\" failed"
    }
}

# Waits until a command succeeds.
await() {
    local what=$1 log=$2 deadline=$((SECONDS + 30))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            tail -n 20 "$work/$log" >&2
            fail "$what did not come up in 30 seconds; its log is above"
        fi
        sleep 0.2
    done
}

free_port() {
    local port
    for port in "$1" $(seq $((10000 + $1)) $((10020 + $1))); do
        if [ -z "$(ss -Hltun "sport = :$port")" ]; then
            echo "$port"
            return
        fi
    done
    fail "no free port near $1"
}

start_centre() {
    say "centre: keys of the COSC, a collector, the desk's admission"
    ingest_port=$(free_port 4740)
    console_port=$(free_port 8443)
    password=$(tr -dc 'a-z0-9' </dev/urandom | head -c 16 || true)
    echo "$password" >"$work/password"
    cat >"$work/collector.toml" <<TOML
state_dir = "$work/collector"
[ingest]
listen = "$centre_address:$ingest_port"
public_addresses = ["$centre_address:$ingest_port"]
[console]
listen = "$console_address:$console_port"
TOML
    step set-up.log collector init --host "$centre_address" --host localhost --host 127.0.0.1 --operator turno \
        --operator-password-file "$work/password"
    collector online-key 2>>"$work/set-up.log" >"$work/online-key.json" ||
        fail "the collector shows no online key: $(tail -n 3 "$work/set-up.log")"
    step set-up.log "$bin/vedetta-cosc" keygen --out "$work/keys" --online-key "$work/online-key.json"
    step set-up.log collector trust-root "$work/keys/1.root.json"
    step set-up.log "$bin/vedetta-cosc" request --name cosc-esempio --out "$work/desk"
    collector admit-desk "$work/desk/desk.req.pem" --name cosc-esempio 2>>"$work/set-up.log" >"$work/desk/chain.pem" ||
        fail "the desk was not admitted: $(tail -n 3 "$work/set-up.log")"
    start collector.log "$bin/vedetta-collector" --config "$work/collector.toml" run
    await "the collector" collector.log curl --silent --insecure --max-time 2 --output /dev/null "$(console_url)"
}

console_url() {
    local host=$console_address
    [ "$host" = 0.0.0.0 ] && host=localhost
    echo "https://$host:$console_port/"
}

push_bundle() {
    say "desk: indicators imported, signed and pushed"
    "$bin/vedetta-lab" indicators >"$work/indicators.csv"
    step desk.log "$bin/vedetta-cosc" bundle --issuer cosc-esempio --serial 1 --out "$work/1.jsonl.zst" \
        "$work/indicators.csv" "${indicator_files[@]}"
    step desk.log "$bin/vedetta-cosc" sign --keys "$work/keys" --repository "$work/repository" "$work/1.jsonl.zst"
    step desk.log "$bin/vedetta-cosc" push --collector "$centre_address:$ingest_port" --identity "$work/desk" \
        --repository "$work/repository"
}

start_sensor() {
    local town=$1 code
    say "${town_name[$town]}: a sensor is invited, enrolled and started"
    mkdir -p "$work/$town"
    touch "$work/$town/syslog"
    cat >"$work/$town/agent.toml" <<TOML
state_dir = "$work/$town/state"
control_socket = "$work/$town/control.sock"
home_networks = ["192.0.2.0/24", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]
[capture]
interfaces = ["lan0"]
[logs]
files = ["$work/$town/syslog"]
TOML
    code=$(collector invite --istat "${town_istat[$town]}" --comune "${town_name[$town]}" \
        2>>"$work/set-up.log") ||
        fail "no invitation: $(tail -n 3 "$work/set-up.log")"
    step set-up.log in_town "$town" "$bin/vedetta-agent" enrol "$code" --config "$work/$town/agent.toml"
    start "$town.log" ip netns exec "vedetta-demo-$town" \
        "$bin/vedetta-agent" run --config "$work/$town/agent.toml"
    await "the sensor of ${town_name[$town]}" "$town.log" has_bundle "$town"
}

in_town() {
    local space=vedetta-demo-$1
    shift
    ip netns exec "$space" "$@"
}

has_bundle() {
    "$bin/vedetta-agent" status --json --config "$work/$1/agent.toml" | jq --exit-status '.bundle.serial >= 1'
}

feed() {
    say "Borgo Chiaro: a captured attack is played on its LAN; Pieve Serena: its log grows"
    "$bin/vedetta-lab" capture --seed 1 --seconds 300 --out "$work/attack.pcap"
    start feed.log ip netns exec vedetta-demo-borgo \
        "$bin/vedetta-lab" play --interface wire0 --again "${captures[@]}" "$work/attack.pcap"
    local first=() file
    for file in "${logs[@]}"; do
        first+=(--first "$file")
    done
    start feed.log "$bin/vedetta-lab" grow-log --out "$work/pieve/syslog" "${first[@]}"
}

invite_people() {
    cat <<TEXT

    console    $(console_url)   (its certificate is the demo's own: accept it)
    operator   turno
    password   $password

    Ctrl-C stops the demo and removes everything.

TEXT
}

# Prints each hit as the collector stores it.
watch_hits() {
    local shown=0 began=$SECONDS pid
    while true; do
        collector hits --json >"$work/hits.jsonl" 2>>"$work/hits.log" || fail "no hits: $(tail -n 3 "$work/hits.log")"
        tail -n "+$((shown + 1))" "$work/hits.jsonl" |
            jq -r '"\(.received_at[11:19])  \(.comune)  \(.direction)  \(.seen_in)  \(.value)  \(.host // "-")"'
        shown=$(wc -l <"$work/hits.jsonl")
        if [ "$once" = yes ]; then
            if [ "$(jq -r .comune "$work/hits.jsonl" | sort -u | wc -l)" -ge "${#towns[@]}" ]; then
                say "hits of both towns have arrived"
                return
            fi
            [ $((SECONDS - began)) -lt 120 ] || fail "no hits of both towns in 120 seconds"
        fi
        if [ "$seconds" -gt 0 ] && [ $((SECONDS - began)) -ge "$seconds" ]; then
            return
        fi
        for pid in "${pids[@]}"; do
            kill -0 "$pid" 2>/dev/null || {
                tail -n 5 "$work"/*.log >&2
                fail "a program ended by itself; the ends of all logs are above"
            }
        done
        sleep 1
    done
}

# Stops from the front: what feeds, sensors, collector; then removes the towns and the folder.
clean_up() {
    local code=$? index pid deadline town
    trap '' INT TERM HUP
    echo
    say "stopping"
    for ((index = ${#pids[@]} - 1; index >= 0; index--)); do
        pid=${pids[$index]}
        kill -TERM "$pid" 2>/dev/null || continue
        deadline=$((SECONDS + 10))
        while kill -0 "$pid" 2>/dev/null && [ "$SECONDS" -lt "$deadline" ]; do
            sleep 0.05
        done
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    for town in "${towns[@]}"; do
        fell_town "$town"
    done
    if [ -n "$work" ]; then
        rm -rf "$work"
    fi
    say "stopped; nothing is left behind"
    [ "$code" -eq 130 ] && code=0 # Ctrl-C is how a demo ends
    exit "$code"
}

main "$@"
