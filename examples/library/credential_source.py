"""Log in with a store of secrets of your own; here that is a file, {"registry": ["username", "password"]}.

credential_source.py secrets.json registry.example.com/team/app
"""

import json
import sys
from pathlib import Path

import imgpkg


class SecretsFile:
    """A source that is asked before all others; after NO_MATCH the next one is."""

    name = "secrets file"

    def __init__(self, path: str) -> None:
        self.logins: dict[str, tuple[str, str]] = json.loads(Path(path).read_text())

    def lookup(self, repository: imgpkg.Repository) -> imgpkg.Finding:
        if repository.registry not in self.logins:
            return imgpkg.Finding(self.name, imgpkg.Outcome.NO_MATCH, "does not know the registry")
        login = imgpkg.Credential(*self.logins[repository.registry])
        return imgpkg.Finding(self.name, imgpkg.Outcome.MATCHED, "has a login", repository.registry, login)


with imgpkg.Session(imgpkg.Settings.from_environment(), sources=[SecretsFile(sys.argv[1])]) as session:
    print(imgpkg.explain(sys.argv[2], session=session).summary())
    print(*(tag.name for tag in imgpkg.list_tags(sys.argv[2], session=session).tags))
