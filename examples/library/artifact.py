"""Attach files of any kind to an image in its registry; get them back.

artifact.py push registry.example.com/team/app:v1 report.json sbom.json
artifact.py pull registry.example.com/team/app:v1 folder
"""

import sys

import imgpkg

TYPE = "application/vnd.example.report"

verb, image, *paths = sys.argv[1:]
with imgpkg.Session(imgpkg.Settings.from_environment()) as session:
    if verb == "push":
        pushed = imgpkg.attach(paths, image=image, artifact_type=TYPE, session=session)
        print(pushed.reference)
    else:
        for found in imgpkg.referrers(image, artifact_type=TYPE, session=session).referrers:
            pulled = imgpkg.pull_artifact(paths[0], image=str(found.reference), session=session)
            print(*(file.path for file in pulled.files), sep="\n")
