"""Print one file of an image; of its layers, those are fetched that have to be looked at.

read_file.py registry.example.com/team/app:v1 etc/os-release [linux/arm64]
"""

import sys

import imgpkg

image, path, *platforms = sys.argv[1:]
with imgpkg.Session(imgpkg.Settings.from_environment()) as session:
    try:
        data = imgpkg.read_file(image, path, platform=platforms[0] if platforms else None, session=session)
    except imgpkg.errors.NotInImage as error:
        sys.exit(str(error))
sys.stdout.buffer.write(data)
