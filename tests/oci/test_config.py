"""Configurations of images: everything that real ones have, and never an error for what they have instead."""

from __future__ import annotations

import json
import pickle
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.oci.config import Healthcheck, HistoryEntry, ImageConfig
from imgpkg.oci.platform import Platform

# As docker build writes it, with a time of a zone.
DOCKER = {
    "architecture": "arm64",
    "author": "A Team",
    "variant": "v8",
    "os": "linux",
    "os.version": "10.0.17763",
    "os.features": ["win32k"],
    "created": "2024-02-03T04:05:06.123456789+01:00",
    "config": {
        "User": "app:app",
        "ExposedPorts": {"8080/tcp": {}, "53/udp": {}},
        "Env": ["PATH=/usr/bin:/bin", "OPTIONS=a=b c", "EMPTY=", "BARE", "PATH=/bin", "=C:=x"],
        "Entrypoint": ["/app", "--serve"],
        "Cmd": ["--port", "8080"],
        "Volumes": {"/data": {}},
        "WorkingDir": "/srv",
        "Labels": {"version": "1"},
        "StopSignal": "SIGQUIT",
        "Shell": ["/bin/bash", "-c"],
        "OnBuild": ["RUN make"],
        "Healthcheck": {
            "Test": ["CMD-SHELL", "curl localhost"],
            "Interval": 30_000_000_000,
            "Timeout": 1_500_000_000,
            "StartPeriod": 5_000_000_000,
            "StartInterval": 1_000_000_000,
            "Retries": 3,
        },
    },
    "rootfs": {"type": "layers", "diff_ids": ["sha256:one", "sha256:two"]},
    "history": [
        {"created": "2024-01-01T00:00:00Z", "created_by": "ADD rootfs /", "comment": "base"},
        {"created_by": "ENV A=b", "author": "somebody", "empty_layer": True},
    ],
}


def parse(document):
    return ImageConfig.parse(json.dumps(document).encode())


class TestAConfiguration:
    def test_has_everything(self):
        found = parse(DOCKER)
        assert found == ImageConfig(
            labels={"version": "1"},
            diff_ids=("sha256:one", "sha256:two"),
            os="linux",
            architecture="arm64",
            variant="v8",
            os_version="10.0.17763",
            os_features=("win32k",),
            created=datetime(2024, 2, 3, 4, 5, 6, 123456, timezone(timedelta(hours=1))),
            author="A Team",
            env={"PATH": "/bin", "OPTIONS": "a=b c", "EMPTY": "", "BARE": ""},
            entrypoint=("/app", "--serve"),
            cmd=("--port", "8080"),
            working_dir="/srv",
            user="app:app",
            exposed_ports=("8080/tcp", "53/udp"),
            volumes=("/data",),
            stop_signal="SIGQUIT",
            shell=("/bin/bash", "-c"),
            on_build=("RUN make",),
            healthcheck=Healthcheck(("CMD-SHELL", "curl localhost"), 30.0, 1.5, 5.0, 1.0, 3),
            history=(
                HistoryEntry(datetime(2024, 1, 1, tzinfo=timezone.utc), "ADD rootfs /", comment="base"),
                HistoryEntry(None, "ENV A=b", "somebody", empty_layer=True),
            ),
        )
        assert (found.platform, found.command) == (
            Platform("linux", "arm64", "v8"),
            ("/app", "--serve", "--port", "8080"),
        )

    def test_is_a_value(self):
        found = parse(DOCKER)
        assert pickle.loads(pickle.dumps(found)) == found
        assert len({found, parse(DOCKER)}) == 1

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"hello",
            b"[]",
            b"{}",
            b'{"config": "x", "rootfs": 1, "history": {}}',
            b'{"config": {}, "rootfs": {}, "history": []}',
            b'{"config": {"Labels": ["a"], "Env": {"A": "b"}, "Cmd": 1}, "rootfs": {"diff_ids": "x"}}',
            b'{"config": null, "rootfs": null, "history": null, "created": null, "os": null}',
            b'{"created": 5, "os": "linux", "os": true, "history": [null, 1]}',
        ],
    )
    def test_of_another_form_is_empty(self, data):
        """An artifact may have a configuration of its own form."""
        assert ImageConfig.parse(data) == ImageConfig()
        assert ImageConfig().platform is None

    @pytest.mark.parametrize(
        ("fields", "name", "value"),
        [
            ({"Cmd": "/bin/sh"}, "cmd", ("/bin/sh",)),
            ({"Entrypoint": ""}, "entrypoint", ()),
            ({"User": 1000}, "user", "1000"),
            ({"User": True}, "user", ""),
            ({"ExposedPorts": ["80/tcp"]}, "exposed_ports", ("80/tcp",)),
            ({"Env": ["A=1", None, 5]}, "env", {"A": "1"}),
            ({"Healthcheck": {"Test": ["NONE"]}}, "healthcheck", Healthcheck(("NONE",))),
            ({"Healthcheck": {"Retries": "3", "Interval": True}}, "healthcheck", Healthcheck()),
            ({"Healthcheck": {"Interval": 10**400}}, "healthcheck", Healthcheck()),
            ({"Healthcheck": None}, "healthcheck", None),
        ],
    )
    def test_is_read_as_tools_write_it(self, fields, name, value):
        assert getattr(parse({"config": fields}), name) == value

    def test_keeps_the_places_of_diff_ids(self):
        """They are found by the numbers of the layers."""
        assert parse({"rootfs": {"diff_ids": [None, "sha256:x"]}}).diff_ids[1] == "sha256:x"

    @pytest.mark.parametrize(
        ("text", "time"),
        [
            ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=timezone.utc)),
            ("1970-01-01t00:00:00.5z", datetime(1970, 1, 1, 0, 0, 0, 500_000, timezone.utc)),
            ("1970-01-01T00:00:00-23:59", datetime(1970, 1, 1, 23, 59, tzinfo=timezone.utc)),
            ("2024-13-01T00:00:00Z", None),
            ("2024-01-01T00:00:60Z", None),
            ("2024-01-01T00:00:00+24:00", None),
            ("2024-01-01T00:00:00", None),
            ("yesterday", None),
        ],
    )
    def test_has_its_time_or_none(self, text, time):
        assert parse({"created": text}).created == time

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["config", "Env", "Cmd", "Labels", "Healthcheck", "history", "created", "os"]
                    ),
                    inner,
                    max_size=4,
                )
            ),
        )
    )
    def test_may_be_any_json(self, document):
        hash(parse(document))
