"""Copy one platform of an image to another repository, as an image of its own.

one_platform.py registry.example.com/team/app:v1 linux/arm64 registry.inside.example/team/app-arm64
"""

import sys

import imgpkg

name, platform, to = sys.argv[1:]
with imgpkg.Session(imgpkg.Settings.from_environment()) as session:
    image = imgpkg.read_image(name, platform=platform, session=session)
    print(image.config.platform, *image.config.entrypoint, *image.config.command)
    copied = imgpkg.copy(
        imgpkg.CopySource(image=str(image.reference)),
        to_repo=to,
        options=imgpkg.CopyOptions(to_tags=("latest",)),
        session=session,
    )
    print(copied.images[0].destination)
