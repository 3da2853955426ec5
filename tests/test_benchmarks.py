"""The parts of the benchmarks work: numbers, tables, the picture, rows on servers. No time is asserted."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from benchmarks import bench, picture, plan_size, report, sampling, scale, scaling, scaling_picture
from benchmarks.material import IMGPKG, Material, one_file_layer
from benchmarks.measure import Spent
from benchmarks.plan_size import Size
from benchmarks.results import ABOVE, FLOOR, OTHER, OURS, Aim, Program, Results, Row, read
from benchmarks.rows import GROUPS, Group, Shape, Work
from benchmarks.scaling import Measured

from imgpkg.cli.arguments import Parser
from imgpkg.cli.commands import locate

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "benchmarks" / "README.md"
WORKS = [pytest.param(work, id=f"{group.key}: {work.name}") for group in GROUPS for work in group.works]
SHAPED_CARD = ROOT / "benchmarks" / "shaped_card.py"
SVG = "{http://www.w3.org/2000/svg}"


def ran(name, *cpu, **more):
    return Program(
        name, "words", list(cpu), [2 * each for each in cpu], [20.0] * len(cpu), [3] * len(cpu), **more
    )


@pytest.fixture
def results():
    """A row of each kind."""
    link = Program(FLOOR, wall=[5.0, 5.0])
    rows = [
        Row(
            "tag resolve", "start-up", [ran(OURS, 0.06, 0.08), ran(FLOOR, 0.04, 0.04)], [Aim("cpu", 2, FLOOR)]
        ),
        Row(
            "copy --to-tar, 3 × 200 MB",
            "loopback",
            [
                ran(OURS, 1.1, 1.3, start_cpu=[0.1, 0.1]),
                ran("skopeo, dir:", 2.0, 2.2, start_cpu=[0.0, 0.2]),
                Program("skopeo, oci-archive:", "words", failure="it ended with 1"),
            ],
            [Aim(ABOVE, 0.37, "skopeo, dir:"), Aim(ABOVE, 0.9, OTHER)],
            profile={"imports of imgpkg": 0.3, "imgpkg.oci.digest.of": 0.1},
        ),
        Row(
            "copy of 30 images, one registry",
            "80 ms",
            [ran(OURS, 2.0, 2.2), link],
            [Aim("wall", 1.2, FLOOR)],
            in_use={"0": 0.5, "5": 4.0},
        ),
        Row("describe of 30 images", "20 ms", [ran(OURS, 0.3, 0.5)], [Aim("wall", 1.0)]),
    ]
    return Results({"cores": "2", "memory": "a <lot>", "skopeo": ""}, rows)


class TestNumbers:
    def test_a_ratio_is_the_median_of_pairs_with_their_extremes(self, results):
        found = results.rows[0].ratio("cpu", FLOOR)
        assert (found.middle, found.least, found.most) == pytest.approx((1.75, 1.5, 2.0))

    def test_what_is_measured_once_has_no_pairs(self):
        row = Row("r", "g", [ran(OURS, 1.0, 3.0), ran("slow", 4.0)])
        found = row.ratio("cpu", "slow")
        assert (found.middle, found.least, found.most) == (0.5, 0.25, 0.75)

    def test_start_up_is_subtracted_round_by_round(self, results):
        found = results.rows[1].ratio(ABOVE, "skopeo, dir:")
        assert (found.least, found.most) == pytest.approx((0.5, 0.6))

    @pytest.mark.parametrize("name", ["skopeo, oci-archive:", "unknown"])
    def test_a_program_that_failed_has_no_ratio(self, results, name):
        assert results.rows[1].ratio("cpu", name) is None

    def test_memory_is_the_most_of_the_rounds_and_time_the_median(self):
        program = Program(OURS, "words", [1.0, 2.0, 9.0], peak=[20.0, 90.0, 30.0])
        assert (program.middle("cpu"), program.middle("peak"), program.middle("wall")) == (2.0, 90.0, None)

    def test_an_aim_without_what_it_is_beside_was_not_reached_for(self, results):
        assert [aim.beside for aim, _ in results.rows[1].reached()] == ["skopeo, dir:"]

    def test_they_are_the_same_after_a_file(self, results, tmp_path):
        results.write(tmp_path / "results.json")
        assert read(tmp_path / "results.json") == results
        assert '"cpu": [ 1.1, 1.3 ]' in (tmp_path / "results.json").read_text()

    def test_newer_rows_take_the_place_of_older_ones(self, results):
        again = Row("tag resolve", "start-up", [ran(OURS, 9.0)])
        more = Row("tag resolve", "loopback", [ran(OURS, 8.0)])
        merged = results.replaced(Results({"cores": "4"}, [more, again]))
        assert merged.rows == [again, *results.rows[1:], more]
        assert merged.machine == {"cores": "4"}


class TestTables:
    def test_what_missed_its_aim_stands_first(self, results):
        lines = report.tables(results)["aims"].splitlines()[2:]
        assert [("missed" in line, line.split("|")[1].strip()) for line in lines] == [
            (True, "copy --to-tar, 3 × 200 MB"),
            (False, "tag resolve"),
            (False, "describe of 30 images"),
            (False, "copy of 30 images, one registry"),
        ]
        assert lines[0] == (
            "| copy --to-tar, 3 × 200 MB | loopback | CPU above start-up 0.37 × that of skopeo, dir:"
            " | 0.55 (0.50–0.60) | **missed** |"
        )

    def test_each_program_has_a_line_with_its_ratios(self, results):
        lines = report.tables(results)["loopback"].splitlines()[2:]
        assert lines == [
            "| copy --to-tar, 3 × 200 MB | imgpkg | 1.20 |  | 2.40 |  | 20 |  | 3 |  |",
            "|  | skopeo, dir: | 2.10 | 0.57 (0.55–0.59) | 4.20 | 0.57 (0.55–0.59) | 20 | 1.00 | 3 | 1.00 |",
            "|  | skopeo, oci-archive: | failed |  |  |  |  |  |  |  |",
        ]

    def test_start_up_is_in_milliseconds_and_in_floors(self, results):
        assert report.tables(results)["start-up"].splitlines()[0::2] == [
            "| command | CPU ms | × floor | aim × floor | wall ms | peak MB | requests |",
            "| `tag resolve` | 70 | 1.75 (1.50–2.00) | 2 | 140 | 20 | 3 |",
        ]

    def test_what_missed_its_aim_has_a_profile(self, results):
        assert [row.is_missed() for row in results.rows] == [False, True, False, False]
        assert report.tables(results)["profiles"].splitlines()[2:] == [
            "| copy --to-tar, 3 × 200 MB | loopback | `imports of imgpkg` | 300 | 75% |",
            "|  |  | `imgpkg.oci.digest.of` | 100 | 25% |",
        ]

    def test_what_waits_for_a_link_has_the_connections_in_use(self, results):
        assert report.tables(results)["in use"].splitlines() == [
            "| seconds with so many connections in use | where | 0 | 5 |",
            "|--|--|--:|--:|",
            "| copy of 30 images, one registry | 80 ms | 0.50 | 4.00 |",
        ]

    def test_all_lines_of_a_table_have_as_many_cells(self, results):
        for table in report.tables(results).values():
            assert len({line.count("|") for line in table.splitlines()}) <= 1

    def test_the_page_has_a_mark_for_every_table(self, results):
        marks = re.findall(r"<!-- measured: (.*?) -->", PAGE.read_text())
        assert sorted(marks) == sorted(["picture", *report.tables(results), *scale.STUDIES])

    def test_pages_and_pictures_are_those_of_the_results(self):
        found = read(ROOT / "benchmarks" / "results.json")
        for page, folder in ((PAGE, ""), (ROOT / "README.md", "benchmarks/")):
            blocks = report.tables(found) | scale.tables(scale.read())
            blocks["picture"] = picture.element(found, folder)
            assert report.filled(page.read_text(), blocks) == page.read_text()
            assert blocks["picture"] in page.read_text()
        for theme in picture.THEMES:
            assert (ROOT / f"benchmarks/picture-{theme}.svg").read_text() == picture.drawn(found, theme)

    def test_what_is_between_the_marks_is_replaced(self):
        page = "a\n<!-- measured: aims -->\nold\n<!-- end -->\nb\n"
        once = report.filled(page, {"aims": "new\n"})
        assert once == "a\n<!-- measured: aims -->\nnew\n<!-- end -->\nb\n"
        assert report.filled(once, {"aims": "new\n"}) == once

    def test_a_terminal_sees_the_tables_that_have_rows(self, results):
        titles = re.findall(r"^## (.*)$", report.text(results), re.MULTILINE)
        assert titles[:4] == ["machine", "aims", "Start-up", "Traffic on loopback"]
        assert "Deflate" not in titles


def luminance(colour):
    parts = (int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, two):
    """The ratio of WCAG 2.2, section 1.4.3."""
    lighter, darker = sorted((luminance(one), luminance(two)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", picture.THEMES)
class TestPicture:
    def test_it_is_an_image_with_a_title_and_the_numbers_as_text(self, results, theme):
        root = ET.fromstring(picture.drawn(results, theme))
        assert (root.tag, root.get("role"), root.get("aria-labelledby")) == (f"{SVG}svg", "img", "title desc")
        assert root.find(f"{SVG}title").text == "Measured times of imgpkg"
        assert "tag resolve 1.8 ×" in root.find(f"{SVG}desc").text

    def test_bars_are_as_long_as_their_numbers_and_stay_inside(self, results, theme):
        root = ET.fromstring(picture.drawn(results, theme))
        bars = [float(each.get("width")) for each in root.findall(f"{SVG}rect")[1:]]
        assert bars[2] / bars[3] == pytest.approx(1.2 / 2.1, abs=0.01)
        assert all(each < int(root.get("width")) for each in bars)

    def test_no_text_leaves_the_picture(self, results, theme):
        root = ET.fromstring(picture.drawn(results, theme))
        for each in root.findall(f"{SVG}text"):
            # A letter of 15 px is 8.5 px wide at most, on average.
            assert float(each.get("x")) + 8.5 * len(each.text) < int(root.get("width")), each.text
            assert float(each.get("y")) < int(root.get("height"))

    def test_colours_can_be_told_from_the_ground(self, theme):
        colours = picture.THEMES[theme]
        assert min(contrast(colour, colours.ground) for colour in (colours.text, colours.quiet)) >= 4.5
        assert min(contrast(colour, colours.ground) for colour in (colours.ours, colours.theirs)) >= 3

    def test_results_without_the_rows_of_a_chart_are_drawn_without_it(self, results, theme):
        drawn = picture.drawn(Results({}, results.rows[:1]), theme)
        assert "Start-up" in drawn
        assert "600 MB" not in drawn


def test_a_page_shows_the_picture_that_fits_its_reader(results):
    element = ET.fromstring(picture.element(results, "benchmarks/"))
    source, image = element
    assert source.get("media") == "(prefers-color-scheme: dark)"
    assert (source.get("srcset"), image.get("src")) == (
        "benchmarks/picture-dark.svg",
        "benchmarks/picture-light.svg",
    )
    assert "tag resolve 1.8 ×" in image.get("alt")


class TestRows:
    def test_no_two_have_the_same_name(self):
        names = [(group.key, work.name) for group in GROUPS for work in group.works]
        assert len(set(names)) == len(names)

    @pytest.mark.parametrize("work", WORKS)
    def test_commands_are_commands_of_ours(self, work):
        first, *words = shlex.split(work.words)
        if first == "imgpkg":
            command, rest = locate(words)
            assert command.handler, work.words
            Parser(command.all_flags).parse(rest)

    @pytest.mark.parametrize("work", WORKS)
    def test_places_are_places_of_the_bench(self, work):
        simple = {"source", "safe", "target", "number", "out", "ca", "certs"}
        for words in (work.words, *work.others.values()):
            for place in re.findall(r"\{(.*?)\}", words):
                kind, _, name = place.partition(":")
                assert hasattr(Material, f"_{kind}") if name else kind in simple, place

    @pytest.mark.parametrize("work", WORKS)
    def test_aims_are_beside_programs_of_the_row(self, work):
        assert {aim.beside for aim in work.aims} <= {"", FLOOR, OTHER, *work.others}
        assert set(work.once) | set(work.long) <= {OTHER, *work.others}


def test_layers_have_their_size_and_the_digest_of_what_is_in_them():
    (small, one), (large, two) = one_file_layer(0, "a"), one_file_layer(1 << 20, "a")
    assert len(small) < 20_000
    assert (1 << 20) < len(large) < (1 << 20) + 20_000
    assert one != two
    assert one_file_layer(1 << 20, "a") == (large, two)


RESOLVE = "imgpkg tag resolve -i {image:small}"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A bench whose other program is ours too."""
    with bench.opened(tmp_path_factory.mktemp("bench"), IMGPKG) as found:
        yield found


def test_a_row_counts_requests_of_each_program_and_subtracts_start_up(opened):
    skopeo = "skopeo inspect --raw --tls-verify=false docker://{image:small}"
    work = Work("r", RESOLVE, {"skopeo": skopeo}, start=("tag resolve -i {image:small}", "version"))
    row = opened.row(Group("g", "", 2, (work,)), work, 2)
    requests = {program.name: program.requests for program in row.programs}
    assert requests == {OURS: [1, 1], "skopeo": [2, 2], OTHER: [1, 1]}
    for program in row.programs:
        assert program.failure == ""
        assert min(program.cpu + program.wall + program.peak) > 0
        assert len(program.start_cpu) == 2


def test_a_profile_has_the_cpu_of_the_command_by_function(opened):
    work = Work("r", "imgpkg copy -i {image:three-small} --to-tar {out}")
    profile, in_use = opened.profile(Group("g", "", 1, (work,), Shape(0.01)), work)
    assert profile[sampling.START] > 0
    assert profile["imports of imgpkg"] > 0
    assert list(profile.values()) == sorted(profile.values(), reverse=True)
    # Two round trips at least: it connects, and asks.
    assert sum(seconds for number, seconds in in_use.items() if number != "0") > 0.02
    of_python = Work("r", "python -c pass")
    assert opened.profile(Group("g", "", 1, (of_python,)), of_python) == ({}, {})


def test_a_link_is_counted_and_has_a_floor(opened):
    work = Work("r", "imgpkg copy -b {bundle:small} --to-repo {target}/a/b", aims=(Aim("wall", 9, FLOOR),))
    row = opened.row(Group("g", "", 1, (work,), Shape(0.001, 1e8)), work, 1)
    ours, other, floor = row.programs
    assert ours.requests == other.requests
    assert 0 < ours.connections[0] <= 5
    # The bytes are more than nothing, and the round trips those of all requests.
    assert ours.requests[0] / 5 * 0.001 < floor.wall[0] < ours.wall[0]


def test_a_program_that_fails_is_said_to_and_ours_is_not_forgiven(opened, capfd):
    work = Work("r", RESOLVE, {"bad": "skopeo inspect --raw docker://{target}/nothing:here"}, once=("bad",))
    row = opened.row(Group("g", "", 2, (work,)), work, 2)
    assert "ended with 1" in row.programs[1].failure
    assert "skopeo inspect" in capfd.readouterr().err
    missing = Work("r", "imgpkg tag resolve -i {source}/not/there:v1")
    with pytest.raises(bench.CommandFailed, match="not/there"):
        opened.row(Group("g", "", 1, (missing,)), missing, 1)


def test_what_takes_long_is_measured_once_or_when_it_is_asked_for(opened):
    work = Work("r", "imgpkg version", {"slow": "python -c pass", "longer": "python -c pass"}, once=("slow",))
    work = Work(work.name, work.words, work.others, once=("slow", OTHER), long=("longer",))
    group = Group("g", "", 2, (work,))
    counts = [len(program.cpu) for program in opened.row(group, work, 2).programs]
    assert counts == [2, 1, 1]
    assert len(opened.row(group, work, 1, is_long=True).programs) == 4


def run(*words):
    argv = [sys.executable, "-m", "benchmarks.run", *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_part_is_measured_and_printed_and_no_file_changes():
    before = PAGE.read_text()
    done = run("--only", "start-up: version", "--repetitions", "1", "--against", IMGPKG)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\| `version` \| \d+ \|", done.stdout, re.MULTILINE)
    assert "× other" in done.stdout
    assert PAGE.read_text() == before


def test_a_name_that_no_row_has_is_said_to():
    done = run("--only", "nothing has this name")
    assert (done.returncode, done.stdout) == (1, "")
    assert "--list" in done.stderr
    assert "start-up: version" in run("--list").stdout


@pytest.mark.slow
def test_what_a_core_can_do_is_measured_for_both_registries_and_both_schemes():
    words = [sys.executable, "-m", "benchmarks.capacity"]
    flags = ["--requests", "40", "--megabytes", "1", "--clients", "2"]
    done = subprocess.run([*words, *flags], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in done.stdout.splitlines()
        if "|--" not in line
    ]
    numbers = {cells[0]: cells[1:] for cells in lines if cells}
    registries = numbers["`imgpkg registry serve`"], numbers["docker-registry"]
    assert all(float(cell.replace(",", "")) > 0 for cells in registries for cell in cells)
    # A copy of a megabyte may take no more time than the start that is subtracted.
    assert {"http", "https"} < numbers.keys()


class TestScaling:
    COPIES = (Measured(1, 80.0, 384_000_000), Measured(2, 41.0, 384_000_000), Measured(8, 11.0, 384_000_000))

    def test_the_table_has_what_is_linear(self):
        lines = scaling.text(list(self.COPIES)).splitlines()
        assert lines[2:] == [
            "| 1 | 80.0 | 4.8 | 1.00 | 1.00 |",
            "| 2 | 41.0 | 9.4 | 1.95 | 0.98 |",
            "| 8 | 11.0 | 34.9 | 7.27 | 0.91 |",
        ]

    @pytest.mark.parametrize("theme", picture.THEMES)
    def test_the_picture_has_a_point_for_each_copy_and_its_numbers_as_text(self, theme):
        root = ET.fromstring(scaling_picture.drawn(self.COPIES, theme))
        assert len(root.findall(f"{SVG}circle")) == len(self.COPIES)
        assert root.find(f"{SVG}desc").text.endswith("8 7.27 ×, 11.0 s.")


class TestStudies:
    def test_are_listed_and_named_in_the_help_and_not_measured_by_default(self):
        assert "scale: plan size: by a plan" in run("--list").stdout.splitlines()
        assert set(scale.STUDIES) <= set(re.findall(r"(\w[\w ]*): ", run("--help").stdout))
        assert not {group.key for group in GROUPS} & {"scale"}

    def test_have_a_record_of_each_part_that_was_measured(self):
        names = [record.name for record in scale.read()]
        assert names == [name for name in (scale.name_of(*part) for part in scale.parts()) if name in names]
        for record in scale.read():
            assert record.numbers
            assert {"measured", "processor", "cores", "Python", "imgpkg"} <= record.machine.keys()
            assert "benchmark" in record.command

    def test_a_newer_record_takes_the_place_of_the_older_one(self, tmp_path):
        one, two, newer = (
            scale.Record(study, part, {"imgpkg": commit}, "make benchmark", [])
            for study, part, commit in (
                ("scaling", "1, 2, 4 and 8 workers", "a"),
                ("capacity", "copies", "a"),
                ("scaling", "1, 2, 4 and 8 workers", "b"),
            )
        )
        found = scale.replaced([two, one], [newer])
        assert found == [newer, two]
        scale.write(found, tmp_path / "scale.json")
        assert scale.read(tmp_path / "scale.json") == found

    def test_tables_and_pictures_are_those_of_the_records(self):
        records, page = scale.read(), PAGE.read_text()
        for study, shown in scale.tables(records).items():
            assert f"<!-- measured: {study} -->\n{shown}<!-- end -->" in page
        drawn = scale.pictures(records)
        assert drawn
        for name, picture_of in drawn.items():
            assert (PAGE.parent / name).read_text() == picture_of

    def test_growth_is_what_more_images_need(self):
        spent = [Spent(1.0, 2.0, 30.0), Spent(101.0, 300.0, 430.0)]
        sizes = [
            Size("copy", images, used, {"GET manifests": images, "GET tags": 1}, first)
            for images, used, first in zip((1000, 101_000), spent, (0.5, None), strict=True)
        ]
        assert plan_size.text(sizes).splitlines()[2:] == [
            "| `copy` | 1,000 | 1.0 s |  | 30 MB |  | 0.5 s | 1 GET manifests |",
            "| `copy` | 101,000 | 101.0 s | 1.00 ms | 430 MB | 4.2 kB |  | 1 GET manifests |",
        ]


@pytest.mark.slow
def test_a_study_is_measured_and_printed_with_its_machine():
    done = run("--only", "capacity: registries")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\| docker-registry \|", done.stdout, re.MULTILINE)
    assert """`make benchmark ARGS='--only "capacity: registries"'`""" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(b"CONNECT away.example:80 HTTP/1.1\r\n\r\n", id="tunnel"),
        pytest.param(
            b"GET http://away.example:80/v2/ HTTP/1.1\r\nHost: away.example\r\n\r\n", id="whole URL"
        ),
    ],
)
def test_a_card_leads_to_what_a_name_stands_for_and_counts_bytes(words, docker_registry):
    """Whether it is as slow as it should be is for a quiet machine."""
    argv = [sys.executable, SHAPED_CARD, "5e6", f"away.example:80={docker_registry.address}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        host, _, port = process.stdout.readline().strip().rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(words)
            answer = connection.recv(1 << 16)
        process.terminate()
        said = process.communicate(timeout=10)[0]
    out, back = map(int, re.findall(r"\d+", said))
    assert answer.startswith(b"HTTP/1.1 200")
    assert (out > 0, back > 0) == ((False, False) if words.startswith(b"CONNECT") else (True, True))
