"""List the tags of a private repository with requests; imgpkg logs in.

tags_with_requests.py https://registry.example.com/v2/team/app/tags/list
"""

import sys
from urllib.parse import urlsplit

import requests

import imgpkg
from imgpkg.adaptors.requests import RegistryAuth

(url,) = sys.argv[1:]
with imgpkg.Session(imgpkg.Settings.from_environment()) as session, requests.Session() as client:
    client.auth = RegistryAuth(session, urlsplit(url).netloc)
    response = client.get(url, timeout=30)
    response.raise_for_status()
    print(*response.json()["tags"], sep="\n")
