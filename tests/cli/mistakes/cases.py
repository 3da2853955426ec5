"""Mistakes that people make, and trouble that they meet: the command, its variables, the files beside it."""

from __future__ import annotations

from dataclasses import dataclass, field

KEY = (
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEKgwqcJgkqwx6EBnVqLc2TZUztzPS\n"
    "z5XXysfMDDn881aeMmS50Nawe9p449/G+JkZ4FOOVXUOHKdkk7E8DGmSTA==\n"
    "-----END PUBLIC KEY-----\n"
)
# A comma is missing between its entries.
BROKEN_CONFIG = (
    '{\n  "auths": {\n    "registry.example.com": {"auth": "Y2k6eA=="}\n    "other.example.com": {}\n  }\n}\n'
)
LOCK = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n"


@dataclass(frozen=True)
class Mistake:
    """A command line as it is typed, with its variables and standard input, and the files that are there."""

    title: str
    typed: str
    variables: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    stdin: str = ""


M = Mistake
CASES = (
    # The command line.
    M("a mistyped command", "pul -i registry.example.com/team/app:v1 -o out"),
    M("a mistyped command below a group", "tag lst -i registry.example.com/team/app"),
    M("a group without a command", "tag"),
    M("a mistyped flag", "pull --imge registry.example.com/team/app:v1 -o out"),
    M(
        "a flag of another command",
        "pull -i registry.example.com/team/app:v1 --to-repo registry.example.com/x",
    ),
    M("the flag of docker for a tag", "push -t registry.example.com/team/app:v1 -f config"),
    M("a flag without its value", "pull -i registry.example.com/team/app:v1 -o"),
    M("no output folder", "pull -i registry.example.com/team/app:v1"),
    M("no file to push", "push -i registry.example.com/team/empty:v1"),
    M("a reference without its flag", "pull registry.example.com/team/app:v1 -o out"),
    M("a folder without its flag", "push -i registry.example.com/team/app:v1 config"),
    M("neither image nor bundle", "pull -o out"),
    M(
        "image and bundle",
        "pull -i registry.example.com/team/app:v1 -b registry.example.com/team/app:v1 -o out",
    ),
    M("a copy to nowhere", "copy -i registry.example.com/team/app:v1"),
    M("a copy from nowhere", "copy --to-repo registry.example.com/team/copy"),
    M(
        "a number in words",
        "copy -i registry.example.com/team/app:v1 --to-repo registry.example.com/x/y --concurrency many",
    ),
    M(
        "a time without a unit",
        "pull -i registry.example.com/team/app:v1 -o out --registry-response-header-timeout 5",
    ),
    M("a switch with a word", "pull -i registry.example.com/team/app:v1 -o out --recursive yes"),
    M("an unknown form of output", "describe -b registry.example.com/team/bundle:v1 -o table"),
    # References.
    M("a scheme of docker", "pull -i docker://registry.example.com/team/app:v1 -o out"),
    M("a scheme of https", "pull -i https://registry.example.com/team/app:v1 -o out"),
    M("a scheme of Helm", "pull -i oci://registry.example.com/team/app:v1 -o out"),
    M("a login in a reference", "pull -i me:s3cret@registry.example.com/team/app:v1 -o out"),
    M("an upper-case repository", "pull -i registry.example.com/Team/App:v1 -o out"),
    M("a digest that was cut off", "pull -i registry.example.com/team/app@sha256:0123456789abcdef -o out"),
    M("a digest without its algorithm", "pull -i registry.example.com/team/app@0123456789abcdef -o out"),
    M("a missing port", "pull -i registry.example.com:/team/app:v1 -o out"),
    M("a port that is none", "pull -i registry.example.com:70000/team/app:v1 -o out"),
    M("a plus in a tag", "pull -i registry.example.com/team/app:v1.0+build.7 -o out"),
    M("two tags", "pull -i registry.example.com/team/app:v1:v2 -o out"),
    M("a space in a reference", "pull -i 'registry.example.com/team/app :v1' -o out"),
    M("a registry without a repository", "pull -i registry.example.com -o out"),
    M("a registry without a dot", "pull -i registry/team/app:v1 -o out --registry-retry-count 1"),
    M(
        "a tag where a repository is expected",
        "copy -i registry.example.com/team/app:v1 --to-repo registry.example.com/team/copy:v1",
    ),
    M("a URL of the API", "pull -i registry.example.com/v2/team/app/manifests/v1 -o out"),
    # What a registry has.
    M("a tag that is not there", "pull -i registry.example.com/team/app:1.2 -o out"),
    M("a tag that is not there, to resolve", "tag resolve -i registry.example.com/team/app:latest"),
    M("a repository that is not there", "pull -i registry.example.com/team/ap:v1 -o out"),
    M("the tags of a repository that is not there", "tag list -i registry.example.com/team/ap"),
    M("a digest that is not there", f"pull -i registry.example.com/team/app@sha256:{'0' * 64} -o out"),
    M("an image that is pulled as a bundle", "pull -b registry.example.com/team/app:v1 -o out"),
    M("a bundle that is pulled as an image", "pull -i registry.example.com/team/bundle:v1 -o out"),
    M("an image that is described", "describe -b registry.example.com/team/app:v1"),
    M("an image that is copied as a bundle", "copy -b registry.example.com/team/app:v1 --to-tar x.tar"),
    M("a bundle that is copied as an image", "copy -i registry.example.com/team/bundle:v1 --to-tar x.tar"),
    M("an artifact that is pulled", "pull -i registry.example.com/team/report:v1 -o out"),
    M("an index that is pulled", "pull -i registry.example.com/team/app:multi -o out"),
    # What a registry refuses.
    M("no login", "pull -i private.example.com/team/app:v1 -o out"),
    M(
        "a wrong password",
        "pull -i private.example.com/team/app:v1 -o out",
        {"IMGPKG_USERNAME": "ci", "IMGPKG_PASSWORD": "wrong"},
    ),
    M(
        "a wrong password for a token",
        "pull -i tokens.example.com/team/app:v1 -o out --registry-username ci --registry-password-stdin",
        stdin="wrong\n",
    ),
    M("a registry that forbids everything", "pull -i hidden.example.com/team/app:v1 -o out"),
    M("a quota that is used up", "push -i quota.example.com/team/quota:v1 -f config"),
    M("a limit of pulls", "pull -i busy.example.com/team/app:v1 -o out"),
    M("a registry that is read-only", "push -i readonly.example.com/team/readonly:v1 -f config"),
    M(
        "a proxy that limits uploads",
        "push -i behind-nginx.example.com/team/behind-nginx:v1 -f config --registry-retry-count 1",
    ),
    M("a registry that does not take the media type", "push -i old.example.com/team/old:v1 -f config"),
    M("a registry that cannot delete", "tag delete -i keeping.example.com/team/app:v1"),
    M(
        "a registry that is down",
        "pull -i overloaded.example.com/team/app:v1 -o out --registry-retry-count 1",
    ),
    M("a registry with a fault", "pull -i broken.example.com/team/app:v1 -o out --registry-retry-count 1"),
    M("a web page in place of an image", "pull -i portal.example.com/team/app:v1 -o out"),
    M("a web page in place of tags", "tag list -i portal.example.com/team/app"),
    M("a web page in place of an upload", "push -i portal.example.com/team/app:v1 -f config"),
    # The network.
    M("a registry without TLS", "pull -i plain.example.com/team/app:v1 -o out"),
    M("nothing listens", "pull -i 127.0.0.1:5000/team/app:v1 -o out --registry-retry-count 1"),
    M(
        "nothing listens on this machine",
        "pull -i localhost:CLOSED/team/app:v1 -o out --registry-retry-count 1",
    ),
    M(
        "a proxy that is down",
        "pull -i registry.example.com/team/app:v1 -o out --registry-retry-count 1",
        {"HTTPS_PROXY": "http://127.0.0.1:3129"},
    ),
    M(
        "a proxy that wants a login",
        "pull -i registry.example.com/team/app:v1 -o out --registry-retry-count 1",
        {"HTTPS_PROXY": "http://127.0.0.1:3128"},
    ),
    M(
        "a proxy that does not reach the registry",
        "pull -i down.example.com/team/app:v1 -o out --registry-retry-count 1",
    ),
    M(
        "a proxy with a scheme that is none",
        "pull -i registry.example.com/team/app:v1 -o out",
        {"HTTPS_PROXY": "socks5://proxy.example.com:1080"},
    ),
    M(
        "a host name that is none",
        "pull -i registry..example.com/team/app:v1 -o out --registry-retry-count 1",
    ),
    M(
        "no answer in time",
        "pull -i slow.example.com/team/app:v1 -o out --registry-response-header-timeout 100ms "
        "--registry-retry-count 1",
    ),
    M("a connection that ends", "pull -i hanging-up.example.com/team/app:v1 -o out --registry-retry-count 1"),
    # Certificates.
    M("a certificate that has expired", "pull -i expired.example.com/team/app:v1 -o out"),
    M("a certificate that is not valid yet", "pull -i tomorrow.example.com/team/app:v1 -o out"),
    M("a certificate for other hosts", "pull -i renamed.example.com/team/app:v1 -o out"),
    M("a certificate of an unknown authority", "pull -i strange.example.com/team/app:v1 -o out"),
    M(
        "no file with authorities",
        "pull -i registry.example.com/team/app:v1 -o out --registry-ca-cert-path ca.crt",
    ),
    M(
        "a file without a certificate",
        "pull -i registry.example.com/team/app:v1 -o out --registry-ca-cert-path config/app.yml",
    ),
    # Credentials.
    M(
        "an unknown keychain",
        "pull -i registry.example.com/team/app:v1 -o out",
        {"IMGPKG_ACTIVE_KEYCHAINS": "gcr"},
    ),
    M(
        "an unknown variable",
        "pull -i registry.example.com/team/app:v1 -o out",
        {"IMGPKG_REGISTRY_USER_0": "ci"},
    ),
    M(
        "a docker config that is not JSON",
        "pull -i registry.example.com/team/app:v1 -o out",
        files={"~/.docker/config.json": BROKEN_CONFIG},
    ),
    M(
        "a docker config with a login that cannot be decoded",
        "pull -i private.example.com/team/app:v1 -o out",
        files={"~/.docker/config.json": '{"auths": {"private.example.com": {"auth": "?"}}}\n'},
    ),
    M(
        "a helper that is not installed",
        "pull -i private.example.com/team/app:v1 -o out",
        files={"~/.docker/config.json": '{"credsStore": "desktop"}\n'},
    ),
    M(
        "a user name without a password",
        "pull -i private.example.com/team/app:v1 -o out --registry-username ci",
    ),
    M(
        "a password file that is not there",
        "pull -i private.example.com/team/app:v1 -o out --registry-username ci "
        "--registry-password-file /run/secrets/password",
    ),
    M(
        "nothing on standard input",
        "pull -i private.example.com/team/app:v1 -o out --registry-username ci --registry-password-stdin",
    ),
    M(
        "a login without a terminal",
        "auth login private.example.com --username ci",
    ),
    M(
        "a login that is refused",
        "auth login private.example.com --username ci --password-stdin",
        stdin="wrong\n",
    ),
    # Files and folders.
    M("a folder that is not there", "push -i registry.example.com/team/app:v1 -f confg"),
    M("a bundle without images.yml", "push -b registry.example.com/team/bundle:v2 -f config"),
    M(
        "an images.yml that is not there",
        "copy --lock eb/.imgpkg/images.yml --to-repo registry.example.com/team/copy",
    ),
    M(
        "a bundle that is pushed as an image",
        "push -i registry.example.com/team/app:v1 -f bundle",
        files={"bundle/.imgpkg/images.yml": LOCK},
    ),
    M(
        "a lock with a mistake in its YAML",
        "copy --lock images.yml --to-repo registry.example.com/team/copy",
        files={"images.yml": f"{LOCK}images:\n- image: x\n  annotations: {{a: b\n"},
    ),
    M(
        "a lock with a tag",
        "copy --lock images.yml --to-repo registry.example.com/team/copy",
        files={"images.yml": f"{LOCK}images:\n- image: registry.example.com/team/app:v1\n"},
    ),
    M(
        "a lock of another kind",
        "copy --lock app.yml --to-repo registry.example.com/team/copy",
        files={"app.yml": "apiVersion: apps/v1\nkind: Deployment\n"},
    ),
    M(
        "an images lock where a bundle lock is expected",
        "pull --lock images.yml -o out",
        files={"images.yml": f"{LOCK}images: []\n"},
    ),
    M("a tar file that is not there", "copy --tar bundle.tar --to-repo registry.example.com/team/copy"),
    M("a file that is no tar file", "copy --tar config/app.yml --to-repo registry.example.com/team/copy"),
    M("a folder where a tar file is expected", "copy --tar config --to-repo registry.example.com/team/copy"),
    M("a folder that is no layout", "copy --from-oci-layout config --to-repo registry.example.com/team/copy"),
    M(
        "a tar file in a folder that is not there",
        "copy -i registry.example.com/team/app:v1 --to-tar dist/app.tar",
    ),
    M(
        "a disk that is full",
        "push -b registry.example.com/team/full -f bundle --lock-output /dev/full",
        files={"bundle/.imgpkg/images.yml": f"{LOCK}images: []\n"},
    ),
    M("the working directory as output", "pull -i registry.example.com/team/app:v1 -o ."),
    M("an output below a file", "pull -i registry.example.com/team/app:v1 -o config/app.yml/out"),
    M(
        "a policy that is not there",
        "pull -b registry.example.com/team/bundle:v1 -o out --verify-policy policy.yml",
    ),
    M(
        "no signature",
        "pull -i registry.example.com/team/app:v1 -o out --verify-key key.pub",
        files={"key.pub": KEY},
    ),
    M(
        "an output with files of somebody else",
        "pull -i registry.example.com/team/app:v1 -o notes",
        files={"notes/todo.txt": "x", "notes/plan.txt": "y"},
    ),
)
