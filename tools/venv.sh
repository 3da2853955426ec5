#!/bin/sh
# Make the virtual environment .venv and install the project into it, with the extras named in $1.
set -eu
cd "$(dirname "$0")/.."
extras=${1:-}

install_debian() {
    command -v apt-get >/dev/null || { echo "please install: $*" >&2; exit 1; }
    root=; [ "$(id -u)" = 0 ] || root=sudo
    $root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $root apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

# Debian's python3 comes without ensurepip, which a virtual environment needs.
python3 -c 'import ensurepip, venv' 2>/dev/null || install_debian python3-venv
[ -x .venv/bin/python ] || python3 -m venv .venv

# The tests compare the readable encoder with the one in C; without a compiler there is only the first.
case "$extras" in *test*)
    headers=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
    command -v cc >/dev/null || install_debian gcc libc6-dev
    [ -e "$headers" ] || install_debian python3-dev ;;
esac

stamp=.venv/installed-${extras:-base}
if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ setup.py -nt "$stamp" ] \
    || [ src/imgpkg/content/deflate/_deflate.c -nt "$stamp" ]; then
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".${extras:+[$extras]}"
    touch "$stamp"
fi
