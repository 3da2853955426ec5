"""The file that docker-credential-ecr-login keeps too: what is read, written and forgiven."""

from __future__ import annotations

import json
import os
import stat

import pytest

from imgpkg.auth.cloud.ecr import CachedToken, EcrCache, EcrRegistry

REGISTRY = EcrRegistry("123456789012", "eu-west-1")
PUBLIC = EcrRegistry("", "us-east-1")
TOKEN = CachedToken("QVdTOnB3", 1_700_000_000.0, 1_700_043_200.0)
OLD_CHECK = "QUtJRFRFU1TUHYzZjwCyBOmACZjs+EJ+"
ENTRY = {
    "AuthorizationToken": "QVdTOnB3",
    "RequestedAt": "2023-11-14T22:13:20.123456789Z",
    "ExpiresAt": "2023-11-15T11:13:20+01:00",
    "ProxyEndpoint": "https://x",
    "Service": "ecr",
}


def cache(folder, **more):
    return EcrCache({"HOME": str(folder), **more}, "AKIDTEST")


def write(folder, document):
    (folder / ".ecr").mkdir(exist_ok=True)
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / ".ecr" / "cache.json").write_text(text)


def test_what_is_put_is_there_for_the_same_key_and_registry_only(tmp_path):
    cache(tmp_path).put(REGISTRY, TOKEN)
    assert cache(tmp_path).get(REGISTRY) == TOKEN
    assert cache(tmp_path).get(PUBLIC) is None
    assert cache(tmp_path).get(EcrRegistry("123456789012", "us-east-1")) is None
    assert EcrCache({"HOME": str(tmp_path)}, "AKIDOTHER").get(REGISTRY) is None


@pytest.mark.parametrize(
    ("registry", "key"),
    [(REGISTRY, f"eu-west-1-{OLD_CHECK}-123456789012"), (PUBLIC, f"ecr-public-{OLD_CHECK}")],
)
def test_keys_of_older_helpers_are_read(registry, key, tmp_path):
    write(tmp_path, {"Version": "1.0", "Registries": {key: ENTRY}})
    found = cache(tmp_path).get(registry)
    assert found.token == "QVdTOnB3"
    assert (round(found.requested_at), round(found.expires_at)) == (1_700_000_000, 1_700_043_200)


def test_entries_of_others_stay_in_the_file(tmp_path):
    write(tmp_path, {"Version": "1.0", "Registries": {"theirs": ENTRY}})
    cache(tmp_path).put(REGISTRY, TOKEN)
    document = json.loads((tmp_path / ".ecr" / "cache.json").read_text())
    assert document["Registries"]["theirs"] == ENTRY
    assert len(document["Registries"]) == 2


@pytest.mark.parametrize("thing", ["pipe", "device"])
def test_what_is_no_file_counts_as_empty_and_is_replaced(thing, tmp_path):
    """Reading it would not end."""
    path = tmp_path / ".ecr" / "cache.json"
    path.parent.mkdir()
    if thing == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    assert cache(tmp_path).get(REGISTRY) is None
    cache(tmp_path).put(REGISTRY, TOKEN)
    assert cache(tmp_path).get(REGISTRY) == TOKEN


def test_a_link_is_replaced_and_what_it_leads_to_is_left_alone(tmp_path):
    (tmp_path / "else").write_text("something else")
    (tmp_path / ".ecr").mkdir()
    (tmp_path / ".ecr" / "cache.json").symlink_to(tmp_path / "else")
    cache(tmp_path).put(REGISTRY, TOKEN)
    assert (tmp_path / "else").read_text() == "something else"
    written = (tmp_path / ".ecr" / "cache.json").lstat()
    assert stat.S_IMODE(written.st_mode) == 0o600
    assert stat.S_ISREG(written.st_mode)


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "[" * 100_000,
        [],
        {"Version": "0.9", "Registries": {"x": ENTRY}},
        {"Version": "1.0"},
        {"Version": "1.0", "Registries": []},
    ],
)
def test_a_file_that_is_none_of_ours_counts_as_empty_and_is_replaced(document, tmp_path):
    write(tmp_path, document)
    assert cache(tmp_path).get(REGISTRY) is None
    cache(tmp_path).put(REGISTRY, TOKEN)
    assert cache(tmp_path).get(REGISTRY) == TOKEN


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "text",
        {},
        {**ENTRY, "ExpiresAt": "tomorrow"},
        {**ENTRY, "ExpiresAt": 5},
        {**ENTRY, "AuthorizationToken": 5},
    ],
)
def test_an_entry_that_is_no_token_counts_as_none(entry, tmp_path):
    key = f"eu-west-1-{OLD_CHECK}-123456789012"
    write(tmp_path, {"Version": "1.0", "Registries": {key: entry}})
    assert cache(tmp_path).get(REGISTRY) is None


@pytest.mark.parametrize(
    ("named", "folder"), [("{0}/elsewhere", "elsewhere"), ("~/below", "below"), ("", ".ecr")]
)
def test_the_folder_is_the_named_one_or_the_home(named, folder, tmp_path):
    cache(tmp_path, AWS_ECR_CACHE_DIR=named.format(tmp_path)).put(REGISTRY, TOKEN)
    assert (tmp_path / folder / "cache.json").exists()


def test_without_a_home_there_is_no_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nowhere = EcrCache({}, "AKIDTEST")
    nowhere.put(REGISTRY, TOKEN)
    assert nowhere.get(REGISTRY) is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_given_up_in_silence(tmp_path):
    (tmp_path / ".ecr").write_text("a file")
    cache(tmp_path).put(REGISTRY, TOKEN)
    assert cache(tmp_path).get(REGISTRY) is None


def test_a_target_that_cannot_be_replaced_leaves_no_temporary_file(tmp_path):
    (tmp_path / ".ecr" / "cache.json").mkdir(parents=True)
    cache(tmp_path).put(REGISTRY, TOKEN)
    assert [one.name for one in (tmp_path / ".ecr").iterdir()] == ["cache.json"]


def test_no_token_is_printed():
    assert "QVdTOnB3" not in repr(TOKEN)
