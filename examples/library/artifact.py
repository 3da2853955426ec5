"""Store files of any kind in a registry, about an image of the same repository; get them back.

artifact.py push registry.example.com/team/app:v1 report.json sbom.json
artifact.py pull registry.example.com/team/app:v1 folder
"""

import sys

import imgpkg

TYPE = "application/vnd.example.report"

verb, name, *paths = sys.argv[1:]
with imgpkg.Session(imgpkg.Settings.from_environment()) as session:
    image = imgpkg.resolve(name, session=session)
    repository = image.repository
    if verb == "push":
        pushed = imgpkg.push_artifact(
            paths, image=str(repository), artifact_type=TYPE, subject=image, session=session
        )
        print(pushed.reference)
    elif image.digest is not None:
        for found in session.client.referrers(repository, image.digest, artifact_type=TYPE):
            report = str(repository.digest(found.digest))
            pulled = imgpkg.pull_artifact(paths[0], image=report, session=session)
            print(*(file.path for file in pulled.files), sep="\n")
