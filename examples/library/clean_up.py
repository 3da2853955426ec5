"""Delete images by their tags; then keep the newest of the others, and those that match, with what they need.

clean_up.py registry.example.com/team/app broken-build
"""

import sys

import imgpkg

repository, *tags = sys.argv[1:]
with imgpkg.Session(imgpkg.Settings.from_environment()) as session:
    for tag in tags:
        deleted = imgpkg.delete_image(f"{repository}:{tag}", session=session)
        print(deleted.outcome.value, *deleted.tags, deleted.digest)
    plan = imgpkg.prune_plan(repository, keep=["latest*", "v*.0.0"], keep_newest=2, session=session)
    for manifest in plan.removed:
        print("not needed:", *manifest.tags, manifest.digest)
    result = imgpkg.prune(plan, session=session)
    sys.exit("\n".join([result.problem, *result.hints]) if result.problem else 0)
