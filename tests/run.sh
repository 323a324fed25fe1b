#!/usr/bin/env bash
# Runs every check of the project: form, lints, dependencies, then all tests against release programs and packages.
#
#   tests/run.sh [FILTER]...      FILTER is handed to the test runner: only tests whose name contains it
#
# Installs what is missing. Root or sudo is needed: the lab makes network namespaces and boots a Debian.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly cargo_deny=0.20.2
readonly cargo_deb=3.8.0

fail() {
    echo "run.sh: $*" >&2
    exit 1
}

say() {
    echo "=== $*"
}

# Installs a cargo tool of exactly this version, once.
tool() {
    local name=$1 version=$2
    case "$("$name" --version 2>/dev/null || true)" in *"$version"*) return 0 ;; esac
    say "installing $name $version"
    cargo install --quiet --locked --version "$version" "$name" ||
        fail "$name could not be installed; look at the network, or install it by hand: cargo install --locked $name"
}

check_form() {
    say "form: cargo fmt, shellcheck"
    cargo fmt --all --check || fail "run: cargo fmt --all"
    shellcheck packaging/*.sh packaging/deb/*/* tests/*.sh .ci/run
}

check_lints() {
    say "lints: cargo clippy"
    cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
}

check_dependencies() {
    say "dependencies: cargo deny"
    cargo deny --offline --log-level error check bans licenses sources ||
        fail "a dependency breaks deny.toml; cargo deny check says which"
    local said
    if said=$(timeout 120 cargo deny --log-level error check advisories 2>&1); then
        echo "advisories ok"
    elif grep -q "failed to fetch advisory database" <<<"$said"; then
        echo "advisories NOT CHECKED: the database of RustSec cannot be fetched from here"
    else
        echo "$said" >&2
        fail "an advisory concerns a dependency; update it, or add a dated reason to deny.toml"
    fi
}

build() {
    say "build: release programs and Debian packages"
    cargo build --quiet --release --locked --workspace --bins
    local package
    for package in vedetta-agent vedetta-collector vedetta-cosc; do
        cargo deb --quiet --locked --no-build --package "$package" --output target/debian/ >/dev/null ||
            fail "no package of $package; cargo deb -p $package says why"
    done
    ls -l target/debian/*.deb
}

run_tests() {
    say "tests: the workspace, with the lab"
    local bin=${CARGO_TARGET_DIR:-$PWD/target}/release
    local -a test=(cargo test --quiet --locked --workspace --no-fail-fast -- --test-threads=1 "$@")
    if cargo nextest --version >/dev/null 2>&1; then
        test=(cargo nextest run --locked --workspace "$@")
    fi
    if [ "$(id -u)" -ne 0 ]; then
        # Cargo stays the caller's; only the test programs, which the lab needs to be root, run by sudo.
        local host
        host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
        export "CARGO_TARGET_${host}_RUNNER=sudo --preserve-env"
    fi
    VEDETTA_BIN_DIR="$bin" "${test[@]}"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        command -v sudo >/dev/null || fail "the lab needs root: run this as root, or install sudo"
        sudo --preserve-env "$@"
    fi
}

main() {
    packaging/setup.sh build demo tests
    export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    tool cargo-deny "$cargo_deny"
    tool cargo-deb "$cargo_deb"
    check_form
    check_lints
    check_dependencies
    build
    say "footprint of the agent"
    as_root tests/footprint.sh
    as_root env VEDETTA_INDICATORS=1000000 tests/footprint.sh
    run_tests "$@"
}

main "$@"
