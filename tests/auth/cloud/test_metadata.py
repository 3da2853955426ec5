"""The metadata service of a machine is looked for once, for all keychains, and not for long."""

from __future__ import annotations

import pytest
from tests.servers.cloud import measured
from tests.servers.raw import RawServer

from imgpkg.auth.cloud.aks import AksSource
from imgpkg.auth.cloud.ecr import EcrSource
from imgpkg.auth.cloud.gke import GkeSource
from imgpkg.auth.cloud.metadata import SECONDS, MetadataService
from imgpkg.auth.keychain import Outcome
from imgpkg.oci.reference import Repository
from imgpkg.transport.pool import Pool

pytestmark = pytest.mark.measured

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


def silent(conversation):
    conversation.receive()
    conversation.pause()


def hung_up(conversation):
    conversation.receive()


def found(conversation):
    while conversation.receive():
        conversation.respond(status="404 Not Found")


@pytest.mark.parametrize("nobody", [silent, hung_up])
def test_what_says_nothing_is_absent_for_a_minute(nobody, clock):
    with RawServer(nobody) as server:
        service = MetadataService(clock, host="127.0.0.1", port=server.port)
        assert [service.is_absent for _ in range(3)] == [True] * 3
        assert server.connections == 1
        clock.now += 61
        assert service.is_absent
        assert server.connections == 2


def test_connecting_and_answering_take_less_than_two_seconds_together():
    assert 2 * SECONDS < 2


def test_any_answer_shows_that_it_is_there_for_good(clock):
    with RawServer(found) as server:
        service = MetadataService(clock, host="127.0.0.1", port=server.port)
        assert not service.is_absent
        assert [request.target for request in server.requests] == ["/"]
    clock.now += 3600
    assert not service.is_absent


def test_nobody_listening_is_absent(clock):
    with RawServer(found) as server:
        port = server.port
    assert MetadataService(clock, host="127.0.0.1", port=port).is_absent


def test_the_keychains_of_all_clouds_wait_for_it_once_together(tmp_path, clock):
    environ = {**measured(), "HOME": str(tmp_path), "PATH": ""}
    with RawServer(silent) as server, Pool() as pool:
        metadata = MetadataService(clock, host="127.0.0.1", port=server.port)
        options = {"clock": clock, "metadata": metadata}
        sources = [
            GkeSource(environ, lambda _: None, **options),
            EcrSource(environ, lambda _: None, **options),
            AksSource(environ, pool, lambda _: None, **options),
        ]
        findings = [
            source.lookup(Repository(host, f"team/app{n}"))
            for n in range(10)
            for source, host in zip(sources, ["gcr.io", ECR, "my.azurecr.io"], strict=True)
        ]
        assert {finding.outcome for finding in findings} == {Outcome.FAILED}
        assert server.connections == 1


def test_where_it_is_there_a_cloud_is_asked_for_the_role_of_the_machine(tmp_path, clock):
    environ = {**measured(), "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    with RawServer(found) as server:
        metadata = MetadataService(clock, host="127.0.0.1", port=server.port)
        source = EcrSource(environ, lambda _: None, clock=clock, metadata=metadata)
        finding = source.lookup(Repository(ECR, "team/app"))
        assert len(server.requests) == 1
    assert (finding.outcome, finding.detail) == (Outcome.FAILED, "Unable to locate credentials")
