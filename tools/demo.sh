#!/bin/sh
# Relocate a bundle with its images from one registry into another one, through a file.
#
# Every command is printed as it is typed. Two registries run meanwhile, and everything is in a temporary folder;
# what stays is one file, the page about the bundle. Logins, settings and variables of the user are not touched.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
page=$root/demo-bundle.html
work=$(mktemp -d)
servers=
PATH="$root/.venv/bin:$PATH"

finish() {
    trap '' INT TERM HUP
    for server in $servers; do kill "$server" 2>/dev/null || :; done
    for server in $servers; do wait "$server" 2>/dev/null || :; done
    cd /
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

for name in $(env | sed -n 's/^\(IMGPKG_[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$name"; done
unset DOCKER_CONFIG REGISTRY_AUTH_FILE XDG_CONFIG_HOME
export HOME="$work/home" XDG_RUNTIME_DIR="$work/home" NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
mkdir "$HOME"
cd "$work"
ln -s "$root/examples" examples

# To a pipe or a file imgpkg prints results alone, as the original does.
bold= dim= plain=
if [ -t 1 ]; then bold=$(printf '\033[1m') dim=$(printf '\033[36m') plain=$(printf '\033[0m'); fi
# An empty line stands in front of a command, or of the comment on it.
gap='\n'
say() { printf '\n%s# %s%s\n' "$dim" "$*" "$plain"; gap=; }
run() { printf "$gap%s\$ %s%s\n" "$bold" "$*" "$plain"; gap='\n'; eval "$*"; }

serve() { # a name, then further flags
    name=$1; shift
    run "imgpkg registry serve --address 127.0.0.1:0 --username $name --password-stdin${*:+ $*} <$name.txt >$name.log &"
    servers="$servers $!"
    for _ in $(seq 200); do
        address=$(grep -oE '127\.0\.0\.1:[0-9]+' "$name.log" | head -n 1) && [ -n "$address" ] && return
        kill -0 "$!" 2>/dev/null || { cat "$name.log" >&2; exit 1; }
        sleep 0.05
    done
    echo "$name: the registry does not start" >&2
    exit 1
}

say "Two registries, each with a login of its own: one outside, and one behind the air gap"
for name in outside inside; do
    python -c 'import secrets; print(secrets.token_urlsafe(12))' >"$name.txt"
done
serve outside
outside=$address
serve inside --token-service
inside=$address
echo "outside: $outside, inside: $inside"

say "The login outside; the password is not in the list of processes"
run "imgpkg auth login $outside -u outside --password-stdin <outside.txt"

say "The documents and images of a small shop; some layers are in several images"
run "python examples/shop/make_shop.py . $outside"
run "imgpkg copy --from-oci-layout images --to-repo $outside/shop/images --map registry.example.com/shop=$outside/shop"

say "Two bundles: documents with a lock of the images that they name. The shop contains the database"
run "imgpkg lock -f database/config -o database/.imgpkg/images.yml"
run "imgpkg push -b $outside/shop/database-bundle:v16 -f database"
run "imgpkg lock -f shop/config -i $outside/shop/database-bundle:v16 -o shop/.imgpkg/images.yml"
run "imgpkg push -b $outside/shop/shop:v1 -f shop"
run "imgpkg describe -b $outside/shop/shop:v1 -o tree"

say "All of it in one file, to be carried over"
run "imgpkg copy -b $outside/shop/shop:v1 --attachments --to-tar shop.tar"

say "Inside another login is wanted: the error says where one was looked for, and what to do"
run "imgpkg copy --tar shop.tar --to-repo $inside/apps/shop" && exit 1
run "imgpkg auth login $inside -u inside --password-stdin <inside.txt"
run "imgpkg copy --tar shop.tar --to-repo $inside/apps/shop --lock-output shop.lock.yml"

say "The lock of the bundle that is pulled inside names the images inside"
run "imgpkg pull --lock shop.lock.yml -o pulled"
run "grep image: pulled/.imgpkg/images.yml"

say "A page about it: tree, sizes, shared layers"
run "imgpkg describe -b $inside/apps/shop:v1 -o html >shop.html"
mv shop.html "$page"
printf '\nOpen it in a browser: %s\n' "$page"
