# shellcheck shell=bash disable=SC2034 # variables are for those who source it
#
# common.sh - helpers for the scripts in script/; sourced, never run by itself.
#
# Every script starts with
#     . "$(dirname "$(readlink -f "$0")")/lib/common.sh"
# and then has $root (the checkout), $cache (where servers and clients are kept), $python and the
# functions below. Messages for people go to standard error, so that a script's standard
# output can be used by another program.

set -euo pipefail
umask 022

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# Servers refuse to run as root and are then started as another user, who must be able to read
# the cache: a directory below root's home would not do.
# An ordinary user may also use what root has brought; caches lists all places to look at.
# (tests/lib/servers.py knows the same places.)
if [ -n "${PGTANDEM_CACHE:-}" ]; then
    cache=$PGTANDEM_CACHE
    caches=("$cache")
elif [ "$(id -u)" = 0 ]; then
    cache=/var/cache/pgtandem
    caches=("$cache")
else
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/pgtandem
    caches=("$cache" /var/cache/pgtandem)
fi

# Debian's own Python, the one that Debian's pytest and psycopg2 belong to; a python3 found
# first in PATH (pyenv, conda) would not see them.
python=/usr/bin/python3

say() { printf '%s\n' "$*" >&2; }

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# have PROGRAM: is it in PATH?
have() { command -v "$1" >/dev/null 2>&1; }

# as_root COMMAND…: runs it as root, with sudo when we are somebody else.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "this needs root: run as root (or install sudo): $*"
    fi
}

# apt_missing PACKAGE…: prints those of them that are not installed.
apt_missing() {
    have dpkg-query ||
        die "this is not a Debian system; please install yourself what these packages hold: $*"
    local installed
    installed=" $(dpkg-query -W -f='${db:Status-Status}:${Package} ' "$@" 2>/dev/null || true)"
    local package
    for package in "$@"; do
        [[ $installed == *" installed:$package "* ]] || printf '%s\n' "$package"
    done
}

apt_updated=

# apt_need PACKAGE…: installs those of them that are missing; says so, and does nothing (and
# needs no root) when all are there. Package lists are fetched once per run.
apt_need() {
    local missing
    mapfile -t missing < <(apt_missing "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ] && ! have sudo; then
        die "these Debian packages are missing, please have them installed: ${missing[*]}"
    fi
    say "installing ${missing[*]}"
    if [ -z "$apt_updated" ]; then
        as_root apt-get update -qq >/dev/null
        apt_updated=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
