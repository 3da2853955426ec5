"""The locations record: written byte for byte as by the original, and read in any valid form."""

from __future__ import annotations

import pytest

from imgpkg.bundle.locations import ImageLocations, Location
from imgpkg.errors import InvalidLock

H, J = "a" * 64, "b" * 64
A, B, C = f"localhost:5201/app/b@sha256:{H}", f"localhost:5201/bundles/inner@sha256:{J}", f"z.io/c@sha256:{H}"
HEAD = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImageLocations\n"


def parse(text):
    return ImageLocations.parse(text.encode())


def refusal(text):
    with pytest.raises(InvalidLock) as caught:
        parse(text)
    return str(caught.value)


class TestARecord:
    def test_is_written_sorted(self):
        record = ImageLocations((Location(B, is_bundle=True), Location(A, is_bundle=False)))
        assert record.to_bytes().decode() == (
            "---\n"
            "apiVersion: imgpkg.carvel.dev/v1alpha1\n"
            "images:\n"
            f"- image: {A}\n"
            "  isBundle: false\n"
            f"- image: {B}\n"
            "  isBundle: true\n"
            "kind: ImageLocations\n"
        )

    def test_of_nothing_has_null_for_images(self):
        text = b"---\napiVersion: imgpkg.carvel.dev/v1alpha1\nimages: null\nkind: ImageLocations\n"
        assert ImageLocations().to_bytes() == text
        assert ImageLocations.parse(text) == ImageLocations()

    def test_has_one_entry_for_each_digest_the_first(self):
        record = ImageLocations(
            (Location(C, is_bundle=False), Location(A, is_bundle=True), Location(B, is_bundle=False))
        )
        assert ImageLocations.parse(record.to_bytes()).images == (
            Location(B, is_bundle=False),
            Location(C, is_bundle=False),
        )

    def test_is_stable_when_it_is_read_and_written(self):
        data = ImageLocations((Location(B, is_bundle=True), Location(A, is_bundle=False))).to_bytes()
        assert ImageLocations.parse(data).to_bytes() == data

    def test_of_several_repositories_has_a_field_that_the_original_ignores(self):
        place = f"inside.example/mirror/app/b@sha256:{H}"
        record = ImageLocations((Location(A, is_bundle=False, place=place), Location(B, is_bundle=True)))
        assert f"- image: {A}\n  isBundle: false\n  location: {place}\n" in record.to_bytes().decode()
        read = ImageLocations.parse(record.to_bytes())
        assert read == record
        assert read.is_spread
        assert {str(digest): str(found) for digest, found in read.places().items()} == {f"sha256:{H}": place}

    @pytest.mark.parametrize(
        ("place", "message"),
        [
            ("inside.example/app:v1", "a digest must contain exactly one"),
            (f"inside.example/app@sha256:{J}", "is another image"),
        ],
    )
    def test_with_the_place_of_another_image_is_refused(self, place, message):
        with pytest.raises(InvalidLock, match=f"^Location of {A}: .*{message}"):
            ImageLocations((Location(A, is_bundle=False, place=place),)).places()

    def test_knows_which_images_are_no_bundles(self):
        record = ImageLocations((Location(B, is_bundle=True), Location(A, is_bundle=False)))
        assert record.plain_images() == {A}

    def test_is_read_without_looking_at_references_or_other_fields(self):
        text = (
            f"{HEAD}kind: ImageLocations\nmore: [x]\nimages: [{{image: what ever, isBundle: yes, x: y}}, ~]\n"
        )
        assert parse(text).images == (Location("what ever", is_bundle=True), Location("", is_bundle=False))

    def test_takes_null_for_no(self):
        assert parse(f"{HEAD}images: [{{isBundle: ~}}]").images == (Location("", is_bundle=False),)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a: b: c", "converting YAML to JSON: yaml: mapping values are not allowed in this context"),
            (
                "x",
                (
                    "unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into "
                    "Go value of type bundle.ImageLocationsConfig"
                ),
            ),
            (
                "images: {}",
                (
                    "unmarshaling JSON: while decoding JSON: json: cannot unmarshal object into "
                    "Go struct field ImageLocationsConfig.images of type []bundle.ImageLocation"
                ),
            ),
            (
                "images: [{isBundle: 'true'}]",
                (
                    "unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into "
                    "Go struct field ImageLocation.images.isBundle of type bool"
                ),
            ),
            (
                "images: [{isBundle: []}]",
                (
                    "unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into "
                    "Go struct field ImageLocation.images.isBundle of type bool"
                ),
            ),
        ],
    )
    def test_that_does_not_fit_is_refused(self, text, message):
        assert refusal(text) == f"Unmarshaling image locations config: error {message}"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "Validating apiVersion: Unknown version (known: imgpkg.carvel.dev/v1alpha1)"),
            (
                "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock",
                "Validating kind: Unknown kind (known: ImageLocations)",
            ),
        ],
    )
    def test_of_another_kind_is_refused(self, text, message):
        assert refusal(text) == message
