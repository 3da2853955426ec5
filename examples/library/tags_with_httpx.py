"""List the tags of several private repositories at once with httpx and asyncio; imgpkg logs in.

tags_with_httpx.py https://registry.example.com team/app team/database
"""

import asyncio
import sys

import httpx

import imgpkg
from imgpkg.adaptors.httpx import RegistryAuth


async def main(url: str, *repositories: str) -> None:
    """Print a line for each repository."""
    with imgpkg.Session(imgpkg.Settings.from_environment()) as session:
        auth = RegistryAuth(session, httpx.URL(url).netloc.decode())
        async with httpx.AsyncClient(base_url=url, auth=auth) as client:
            requests = [client.get(f"/v2/{repository}/tags/list") for repository in repositories]
            for response in await asyncio.gather(*requests):
                answer = response.raise_for_status().json()
                print(answer["name"], *answer["tags"])


asyncio.run(main(*sys.argv[1:]))
