#!/usr/bin/env bash
# Installs what Vedetta needs on Debian 12 and is missing: Debian packages, and a Rust toolchain when there is none.
#
#   packaging/setup.sh [build] [demo] [tests]      without a group: build demo
#
# Works as root or with sudo; a second run installs nothing.
set -euo pipefail

readonly rust_version=1.95.0
readonly -A packages=(
    [build]="gcc libc6-dev libpcap-dev pkg-config ca-certificates curl"
    [demo]="curl iproute2 jq procps util-linux"
    [tests]="iproute2 nftables procps jq python3 python3-venv chromium chromium-driver mmdebstrap systemd-container debian-archive-keyring dpkg-dev shellcheck util-linux mount e2fsprogs logrotate"
)

fail() {
    echo "setup.sh: $*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "\"$*\" needs root: run this as root, or install sudo"
    fi
}

install_packages() {
    local missing=() name
    for name in $(printf '%s\n' "$@" | sort -u); do
        if [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" != installed ]; then
            missing+=("$name")
        fi
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    echo "setup.sh: installing ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update ||
        fail "apt-get update failed; look at the network and at /etc/apt/sources.list"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "${missing[@]}" >/dev/null ||
        fail "apt-get could not install ${missing[*]}; run it by hand to see why"
}

install_rust() {
    export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    local have
    have=$(rustc --version 2>/dev/null | cut -d' ' -f2 || true)
    if [ -n "$have" ] && [ "$(printf '%s\n' "$rust_version" "$have" | sort -V | head -n1)" = "$rust_version" ]; then
        return 0
    fi
    echo "setup.sh: installing Rust $rust_version for $(id -un)"
    if command -v rustup >/dev/null; then
        rustup toolchain install "$rust_version" --profile minimal --component clippy --component rustfmt
        rustup default "$rust_version"
        return 0
    fi
    local triple folder
    triple=$(uname -m)-unknown-linux-gnu
    folder=$(mktemp -d)
    # shellcheck disable=SC2064  # the folder's name is fixed now
    trap "rm -rf '$folder'" EXIT
    local from=https://static.rust-lang.org/rustup/dist/$triple/rustup-init
    if curl --proto '=https' --tlsv1.2 -sSf --output-dir "$folder" -O "$from" -O "$from.sha256" &&
        echo "$(cut -c1-64 "$folder/rustup-init.sha256")  $folder/rustup-init" | sha256sum --check --quiet &&
        chmod +x "$folder/rustup-init" &&
        "$folder/rustup-init" -y --quiet --profile minimal \
            --default-toolchain "$rust_version" --component clippy --component rustfmt; then
        return 0
    fi
    fail "Rust could not be installed; see https://rustup.rs and run this again"
}

# python-tuf, which the tests hold our signed bundles against: a virtual environment in the target folder, by hash.
install_python_tuf() {
    local workspace venv wanted
    workspace=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    wanted=$workspace/tests/tuf_requirements.txt
    venv=${CARGO_TARGET_DIR:-$workspace/target}/python-tuf
    cmp -s "$wanted" "$venv/requirements.txt" && return 0
    echo "setup.sh: installing python-tuf into $venv"
    rm -rf "$venv"
    python3 -m venv "$venv" || fail "no virtual environment in $venv; is python3-venv installed?"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r "$wanted" ||
        fail "python-tuf could not be installed; look at the network, then run this again"
    cp "$wanted" "$venv/requirements.txt"
}

main() {
    command -v apt-get >/dev/null || fail "this is not Debian; install by hand: ${packages[build]} ${packages[demo]}"
    local groups=("$@") group wanted=()
    [ "${#groups[@]}" -gt 0 ] || groups=(build demo)
    for group in "${groups[@]}"; do
        [ -n "${packages[$group]:-}" ] || fail "no group $group; there are build, demo and tests"
        read -ra names <<<"${packages[$group]}"
        wanted+=("${names[@]}")
    done
    install_packages "${wanted[@]}"
    case " ${groups[*]} " in *" build "*) install_rust ;; esac
    case " ${groups[*]} " in *" tests "*) install_python_tuf ;; esac
}

main "$@"
