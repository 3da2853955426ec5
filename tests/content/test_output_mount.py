"""A pull into a mount point, and one that is killed at any step: the old content or the new, never less."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

OLD = {"a": "old a", "d/deep/x": "old x", "both": "old both", "swap/f": "a folder that becomes a file"}
NEW = {"b": "new b", "d/y": "new y", "both": "new both", "swap": "a file that was a folder"}

PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from imgpkg.content.output import remove_tree
from imgpkg.content.output import output_folder, replacing
from imgpkg.content.output import put_back, recover, swap_entries
from imgpkg.content.temporary import new_folder
from imgpkg.errors import LocalIOError, UnpackError

OUTPUT, OLD, NEW = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
STEPS = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.listdir", "os.scandir", "os.chmod")

def write(folder, files):
    for name, text in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

def read():
    return {
        path.relative_to(OUTPUT).as_posix(): path.read_text() if path.is_file() else "folder"
        for path in OUTPUT.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }

def shown():
    return {name: text for name, text in read().items() if not name.startswith(".imgpkg-")}

def pull():
    with replacing(str(OUTPUT)) as fresh:
        write(fresh, NEW)

def failing_pull():
    try:
        with replacing(str(OUTPUT)) as fresh:
            raise UnpackError("bad")
    except UnpackError:
        pass

def entry_by_entry():
    # What a pull into a mount point does, on a folder that is none.
    recover(str(OUTPUT), str(OUTPUT), OUTPUT.name)
    holder, descriptor = new_folder(str(OUTPUT), OUTPUT.name)
    write(holder, {"new/" + name: text for name, text in NEW.items()})
    try:
        swap_entries(str(OUTPUT), holder, "out")
    except BaseException:
        put_back(str(OUTPUT), holder)
        raise
    finally:
        remove_tree(holder)

def report(value):
    print(json.dumps(value))

def interrupt():
    raise KeyboardInterrupt

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def in_a_child(act, step, end):
    # `end` comes before the operating system is asked for the step of this number.
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    left = step
    def hook(event, arguments):
        nonlocal left
        left -= event in STEPS
        if event in STEPS and not left:
            end()
    sys.addaudithook(hook)
    try:
        act()
    except KeyboardInterrupt:
        os._exit(1)
    os._exit(0)

def at_each_step(act, end, afterwards):
    seen = []
    step, status = 0, 1
    while status:
        step += 1
        OUTPUT.mkdir(exist_ok=True)
        for path in OUTPUT.iterdir():
            remove_tree(str(path))
        write(OUTPUT, OLD)
        status = in_a_child(act, step, end)
        if status:
            afterwards()
        found = read()
        act()
        seen.append([found, read(), sorted(os.listdir(OUTPUT.parent))])
    report(seen)

def clear():
    recover(str(OUTPUT), str(OUTPUT), OUTPUT.name)
"""


def run(code, output, *, prefix=(), new=NEW):
    """Run `code` after PROGRAM in a process of its own; return what it reports."""
    done = subprocess.run(
        [*prefix, sys.executable, "-c", PROGRAM + code, str(output), json.dumps(OLD), json.dumps(new)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def nothing_is_lost(seen):
    """Check what was there after each broken pull, after the next one, and beside the output."""
    assert len(seen) > 8
    assert all(found in (OLD, NEW) for found, _, _ in seen)
    assert [seen[0][0], seen[-1][0]] == [OLD, NEW]
    assert all(after == NEW and beside == ["data"] for _, after, beside in seen)


@pytest.fixture
def output():
    """A folder with nothing beside it, which any user can reach."""
    parent = tempfile.mkdtemp()
    os.chmod(parent, 0o755)
    os.mkdir(f"{parent}/data")
    yield Path(parent, "data")
    shutil.rmtree(parent)


@pytest.fixture(scope="session")
def namespace():
    """Give the command that runs another one where it may mount without anybody noticing."""
    if shutil.which("unshare") is not None:
        for command in (["unshare", "-m"], ["unshare", "-r", "-m"]):
            probe = [*command, "mount", "-t", "tmpfs", "none", "/mnt"]
            if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
                return command
    pytest.skip("mounting is not allowed here")


@pytest.fixture
def mounted(namespace, output):
    """Run code with a file system mounted at the output."""

    def run_mounted(code, *, mount=TMPFS, **options):
        shell = [*namespace, "sh", "-c", f'{mount} && exec "$@"', str(output)]
        return run(code, output, prefix=shell, **options)

    return run_mounted


TMPFS = 'mount -t tmpfs none "$0"'
BIND = 'mkdir "$0/x" && mount --bind "$0/x" "$0"'


class TestAPullThatIsStoppedAtAnyStep:
    def test_by_a_kill_has_lost_nothing_after_the_next_one_failed(self, output):
        nothing_is_lost(run("at_each_step(pull, kill, failing_pull)", output))

    def test_by_an_interrupt_has_lost_nothing(self, output):
        nothing_is_lost(run("at_each_step(pull, interrupt, lambda: None)", output))

    def test_by_a_kill_has_lost_nothing_where_entries_are_exchanged(self, output):
        nothing_is_lost(run("at_each_step(entry_by_entry, kill, clear)", output))

    def test_by_an_interrupt_has_lost_nothing_where_entries_are_exchanged(self, output):
        nothing_is_lost(run("at_each_step(entry_by_entry, interrupt, clear)", output))


def test_two_pulls_that_end_at_once_both_succeed(output):
    code = """
def intrude():
    write(OUTPUT, {"theirs": "finished first"})

write(OUTPUT, OLD)
steps = range(1, 30)
before = [in_a_child(pull, step, intrude) for step in steps]
report([before, read(), os.listdir(OUTPUT.parent)])
"""
    assert run(code, output) == [[0] * 29, NEW, ["data"]]


class TestAMountPoint:
    @pytest.mark.parametrize("mount", [TMPFS, BIND], ids=["another file system", "a folder of the same"])
    def test_gets_the_new_content_and_stays_mounted(self, mounted, mount):
        code = """
write(OUTPUT, OLD)
before = os.stat(OUTPUT)
pull()
report([read(), os.path.samestat(before, os.stat(OUTPUT)), os.listdir(OUTPUT.parent)])
"""
        assert mounted(code, mount=mount) == [NEW, True, ["data"]]

    def test_has_its_old_content_until_the_new_one_is_whole_and_when_that_fails(self, mounted):
        code = """
write(OUTPUT, OLD)
failing_pull()
after = read()
with replacing(str(OUTPUT)) as fresh:
    write(fresh, NEW)
    during = shown()
report([after, during, read()])
"""
        assert mounted(code) == [OLD, OLD, NEW]

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
    def test_may_be_in_a_folder_that_the_user_may_not_write_to(self, mounted):
        code = """
os.chmod(OUTPUT, 0o777)
os.mkdir(OUTPUT / "lost+found", 0o700)
os.setresuid(65534, 65534, 65534)
write(OUTPUT, OLD)
os.chmod(OUTPUT / "d", 0o500)
pull()
report(sorted(os.listdir(OUTPUT)))
"""
        assert mounted(code) == ["b", "both", "d", "lost+found", "swap"]

    def test_keeps_what_its_file_system_keeps_for_itself(self, mounted):
        code = """
os.mkdir(OUTPUT / "lost+found")
write(OUTPUT, OLD)
pull()
report(read())
"""
        assert mounted(code) == {**NEW, "lost+found": "folder"}
        assert mounted(code, new={"lost+found": "an entry"}) == {"lost+found": "an entry"}

    def test_that_is_read_only_is_an_error(self, mounted, output):
        code = """
try:
    pull()
except LocalIOError as error:
    report(str(error))
"""
        text = mounted(code, mount='mount -t tmpfs -o ro none "$0"')
        assert text == f"Creating output directory: mkdir {output}: read-only file system"

    def test_below_the_output_is_refused_before_anything_is_touched(self, mounted, output):
        code = """
write(OUTPUT, OLD)
try:
    output_folder(str(OUTPUT.parent))
except LocalIOError as error:
    report([str(error), error.hints[0], read()])
"""
        text, hint, files = mounted(code)
        assert text == f"Removing output directory: {output} is a mount point below {output.parent}"
        assert hint.startswith("Unmount it, or pull into another folder")
        assert files == OLD

    def test_whose_name_has_blanks_is_known_as_one(self, mounted, output):
        code = """
try:
    output_folder(str(OUTPUT))
except LocalIOError as error:
    report(str(error))
"""
        text = mounted(code, mount='mkdir "$0/a b" && mount -t tmpfs none "$0/a b"')
        assert text == f"Removing output directory: {output}/a b is a mount point below {output}"

    @pytest.mark.parametrize("end", ["kill, failing_pull", "interrupt, lambda: None"])
    def test_where_a_pull_was_stopped_at_any_step_has_lost_nothing(self, mounted, end):
        nothing_is_lost(mounted(f"at_each_step(pull, {end})"))

    def test_that_two_pulls_share_has_the_content_of_one(self, mounted):
        code = """
with replacing(str(OUTPUT)) as first:
    write(first, {"first": "1"})
    with replacing(str(OUTPUT)) as second:
        write(second, {"second": "2"})
    between = shown()
report([between, read()])
"""
        assert mounted(code) == [{"second": "2"}, {"first": "1"}]
