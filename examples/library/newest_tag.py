"""Print the newest version of an image with its digest, if it is not the one that is used.

newest_tag.py registry.example.com/team/app:v1.9.0 ["v1.*"]
"""

import sys

import imgpkg

name, *patterns = sys.argv[1:]
used = imgpkg.Reference.parse(name)
with imgpkg.Session(imgpkg.Settings.from_environment()) as session:
    for tag in imgpkg.list_tags(
        str(used.repository), match=patterns, newest=1, digests=True, session=session
    ).tags:
        if tag.name != used.tag:
            print(f"{used.repository}:{tag.name}@{tag.digest}")
