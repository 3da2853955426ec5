#!/bin/sh
# Install the real servers and clients that the tests run against, where they are missing; with `slow` also the
# browser and the formatters of manual pages that only slow tests use; with `docs` only what draws flowcharts.
set -eu
missing=
command -v dot >/dev/null || missing="$missing graphviz"
if [ "${1:-}" != docs ]; then
    command -v docker-registry >/dev/null || missing="$missing docker-registry"
    command -v htpasswd >/dev/null || missing="$missing apache2-utils"
    command -v skopeo >/dev/null || missing="$missing skopeo"
    command -v jq >/dev/null || missing="$missing jq"
fi
if [ "${1:-}" = slow ]; then
    command -v chromium >/dev/null || missing="$missing chromium"
    command -v groff >/dev/null || missing="$missing groff-base"
    command -v mandoc >/dev/null || missing="$missing mandoc"
fi
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null || { echo "please install:$missing" >&2; exit 1; }
root=; [ "$(id -u)" = 0 ] || root=sudo
$root apt-get update -qq
# shellcheck disable=SC2086 - a list of names
DEBIAN_FRONTEND=noninteractive $root apt-get install -qq -y --no-install-recommends $missing >/dev/null
