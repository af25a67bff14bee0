# shellcheck shell=sh
# Read by ./dev: sees to it that packages and a Rust toolchain are there, and says what it does.
# shellcheck disable=SC2154 # `oldest` and the functions say, die, need_root and as_root are ./dev's

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# candidate PACKAGE: the version that apt would install; empty when it knows none.
candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: *\([0-9].*\)/\1/p'; }

# set_up PACKAGE..: sees to it that they and a Rust toolchain are there.
set_up() {
    missing=''
    if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then
        for package; do installed "$package" || missing="$missing $package"; done
    else
        say "no apt here: what Debian calls $* has to be there already"
        find_rust || die "there is no rustc 1.$oldest or newer; https://rustup.rs has one"
    fi
    find_rust || missing="$missing $(rust_packages)" || exit 69
    [ -n "$missing" ] || return 0
    need_root
    say "installs by apt, as root, without recommended packages:$missing"
    case $missing in *" openssh-server"* | *" gammu-smsd"* | *" nginx-light"* | *" openvpn"* | *" postfix"* | *" rsyslog"*)
        say "(daemons for their programs alone: none will be started or enabled)" ;;
    esac
    log=$(mktemp)
    # shellcheck disable=SC2086 # package names have no spaces
    if ! as_root packaging/apt-install $missing >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        die "apt could not install them; the reason is above"
    fi
    rm -f "$log"
    find_rust || die "there is still no rustc 1.$oldest or newer; https://rustup.rs has one"
}

# rust_minor DIR: the 85 of 1.85.0; empty where DIR has no toolchain that runs.
rust_minor() {
    [ -x "$1/cargo" ] && "$1/cargo" --version >/dev/null 2>&1 || return 0
    "$1/rustc" --version 2>/dev/null | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p'
}

# Puts the first toolchain that is new enough before all others in PATH.
find_rust() {
    on_path=$(command -v cargo) || on_path=''
    for dir in "${on_path%/*}" "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin" /usr/local/bin /usr/bin; do
        minor=$(rust_minor "$dir")
        [ "${minor:-0}" -ge "$oldest" ] || continue
        PATH=$dir:$PATH
        return 0
    done
    return 1
}

# The packages of a toolchain that is new enough: Debian 12 has it under a name of its own.
rust_packages() {
    for lists in old new; do
        if [ $lists = new ]; then
            need_root
            as_root apt-get -q update >/dev/null || exit
        fi
        for set in "rustc cargo rustfmt rust-clippy" \
            "rustc-web cargo-web rustfmt-web rust-web-clippy"; do
            version=$(candidate "${set%% *}")
            dpkg --compare-versions "${version:-0}" ge "1.$oldest" || continue
            echo "$set"
            return
        done
    done
    die "neither this machine nor its apt sources have rustc 1.$oldest; https://rustup.rs has one"
}
