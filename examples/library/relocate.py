"""Copy a bundle with all its images and what is attached to them, and show a bar.

relocate.py registry.example.com/team/bundle:v1 registry.inside.example/apps/bundle
"""

import sys
import threading

import imgpkg


def draw(_event: imgpkg.Event) -> None:
    with one_at_a_time:
        now = counter.progress
        if now.fraction is not None:
            bar = "#" * round(30 * now.fraction)
            print(f"\r[{bar:30}] {now.done} of {now.total} bytes", end="", file=sys.stderr)


bundle, to = sys.argv[1:]
source = imgpkg.CopySource(bundle=bundle)
options = imgpkg.CopyOptions(attachments=True)
counter, one_at_a_time = imgpkg.ProgressCounter(draw), threading.Lock()
with imgpkg.Session(imgpkg.Settings.from_environment()) as session:
    result = imgpkg.copy(source, to_repo=to, options=options, session=session, on_event=counter)
print(file=sys.stderr)
for image in result.images:
    print(image.destination, image.tag)
