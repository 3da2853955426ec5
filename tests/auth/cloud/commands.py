"""The command as a process, and registries of clouds that it pulls from, under their real names."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys

from tests.servers.images import make_image, upload

from imgpkg.embedded.access import Account, LoginAccess, OpenAccess

ECR_HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIDTEST",
    "AWS_SECRET_ACCESS_KEY": "secret-key",
    "AWS_EC2_METADATA_DISABLED": "true",
}
SECRET = {
    "AZURE_TENANT_ID": "tenant-id",
    "AZURE_CLIENT_ID": "client-id",
    "AZURE_CLIENT_SECRET": "client-secret",
}


class Stocking:
    """Lets everything pass while the test fills the shelves, then leaves it to another access."""

    def __init__(self, access):
        self.access = access
        self.is_open = True

    def check(self, request, needs):
        (OpenAccess() if self.is_open else self.access).check(request, needs)

    def endpoint(self, request):
        return self.access.endpoint(request)


class Cloud:
    """A cloud on the internet of the test: its registries have an image `team/app:v1`."""

    def __init__(self, internet, registry, folder):
        self.internet, self.registry, self.folder = internet, registry, folder
        self.context = ssl.create_default_context(cafile=str(internet.ca_file))
        # The test puts its images in under the number of the host, not under its name.
        self.context.check_hostname = False

    def stock(self, host, access, image=None, **options):
        """Start a registry; what it is asked from now on is in `shown` and `statuses`."""
        stocking = Stocking(access)
        self.server = self.registry(host, access=stocking, **options)
        upload(image or make_image(), self.server.address, "team/app", "v1", context=self.context)
        stocking.is_open = False
        self.seen = len(self.server.requests)

    def demand(self, host, username, password):
        """Start a registry that wants a login."""
        self.stock(host, LoginAccess([Account(username, password)]))

    @property
    def requests(self):
        return self.server.requests[self.seen :]

    @property
    def shown(self):
        """Every Authorization that the registry has seen."""
        return {record.authorization for record in self.requests} - {""}

    @property
    def statuses(self):
        return [record.status for record in self.requests]

    def run(self, *arguments, **variables):
        """Run the command; only its flag tells it about the authority of the registries."""
        known = {name: value for name, value in self.internet.environ.items() if name != "SSL_CERT_FILE"}
        return subprocess.run(
            [sys.executable, "-m", "imgpkg", *arguments, "--registry-ca-cert-path", self.internet.ca_file],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**os.environ, **known, **variables},
            timeout=120,
            check=False,
        )

    def pull(self, host, keychains, **variables):
        active = {"IMGPKG_ACTIVE_KEYCHAINS": keychains} if keychains else {}
        return self.run("pull", "-i", f"{host}/team/app:v1", "-o", "out", **active, **variables)

    def has_arrived(self, done):
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        return {path.name: path.read_text() for path in (self.folder / "out").iterdir()} == {
            "hello.txt": "hello\n"
        }
