#!/bin/sh
# Install the real servers and clients that the tests run against, where they are missing.
set -eu
missing=
command -v docker-registry >/dev/null || missing="$missing docker-registry"
command -v htpasswd >/dev/null || missing="$missing apache2-utils"
command -v skopeo >/dev/null || missing="$missing skopeo"
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null || { echo "please install:$missing" >&2; exit 1; }
root=; [ "$(id -u)" = 0 ] || root=sudo
$root apt-get update -qq
# shellcheck disable=SC2086 - a list of names
DEBIAN_FRONTEND=noninteractive $root apt-get install -qq -y --no-install-recommends $missing >/dev/null
