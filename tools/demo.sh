#!/bin/sh
# Push a folder to a password-protected registry and pull it back, printing every command as a user would type it.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
work=$(mktemp -d)
log=$work/registry.log
server=
trap '[ -z "$server" ] || { kill "$server" && wait "$server" 2>/dev/null || :; }; rm -rf "$work"' EXIT

show() { printf '\n$ %s\n' "$*"; }
run() { show "$@"; "$@"; }

password=$(python -c 'import secrets; print(secrets.token_urlsafe(12))')
show "imgpkg registry serve --address 127.0.0.1:0 --username demo --password-stdin <password.txt &"
printf '%s\n' "$password" >"$work/password.txt"
imgpkg registry serve --address 127.0.0.1:0 --username demo --password-stdin <"$work/password.txt" >"$log" 2>&1 &
server=$!

address=
for _ in $(seq 100); do
    address=$(grep -oE '127\.0\.0\.1:[0-9]+' "$log" | head -n 1) && [ -n "$address" ] && break
    kill -0 "$server" 2>/dev/null || { cat "$log" >&2; exit 1; }
    sleep 0.1
done
cat "$log"

show "export IMGPKG_REGISTRY_HOSTNAME_0=$address IMGPKG_REGISTRY_USERNAME_0=demo"
show 'export IMGPKG_REGISTRY_PASSWORD_0=$(cat password.txt)'
export IMGPKG_REGISTRY_HOSTNAME_0="$address" IMGPKG_REGISTRY_USERNAME_0=demo
export IMGPKG_REGISTRY_PASSWORD_0="$password"

run imgpkg push -i "$address/demo/hello:v1" -f examples/hello --tty
run imgpkg tag list -i "$address/demo/hello" --tty
run imgpkg tag resolve -i "$address/demo/hello:v1" --tty
run imgpkg auth explain "$address/demo/hello:v1"
show "imgpkg pull -i $address/demo/hello:v1 -o hello --tty"
imgpkg pull -i "$address/demo/hello:v1" -o "$work/hello" --tty
show "diff -r examples/hello hello && echo equal"
diff -r examples/hello "$work/hello" && echo equal
