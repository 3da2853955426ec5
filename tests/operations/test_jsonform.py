"""Every result has a JSON form, which holds no secret, and so has every error."""

from __future__ import annotations

import json

import pytest
from tests.test_values import DIGEST, INFO, REFERENCE, SECRET, VALUES

import imgpkg
from imgpkg import errors
from imgpkg.operations.jsonform.form import _FORMS

KINDS = {form.rpartition(".")[2] for form in _FORMS}
# A step, a part or a value of another one.
SHOWN = [value for value in VALUES if type(value).__name__ in KINDS]


def of(value):
    return type(value).__name__


@pytest.mark.parametrize("value", SHOWN, ids=of)
def test_a_result_has_a_form_of_plain_json_with_keys_in_camel_case(value):
    text = json.dumps(imgpkg.as_json(value))
    assert (SECRET in text) is isinstance(value, imgpkg.IssuedToken)
    assert not any("_" in key for key in imgpkg.as_json(value))


def test_every_result_of_the_library_has_one():
    results = {name for name in imgpkg.__all__ if name.endswith(("Result", "Report", "Preview", "Plan"))}
    # It has lines of its own: docs/json/plan-line.json.
    results.remove("CopyPlan")
    assert {"PushResult", "PrunePlan", "AccessReport"} <= results <= KINDS


@pytest.mark.parametrize("form", _FORMS)
def test_every_form_is_that_of_a_class(form):
    module, _, name = form.rpartition(".")
    found = __import__(f"imgpkg.{module}", fromlist=[name])
    assert isinstance(getattr(found, name), type)


@pytest.mark.parametrize("value", [{}, "text", None, imgpkg.Planned(1, 2)], ids=repr)
def test_other_values_have_none(value):
    with pytest.raises(TypeError, match="has no JSON form"):
        imgpkg.as_json(value)


def test_an_error_of_a_subclass_has_the_form_of_errors():
    class Special(errors.NotFound):
        """An error of a program."""

    error = Special("text", method="get", url="https://me:word@r.example/v2/", status=404)
    form = imgpkg.as_json(error)
    assert (form["class"], form["kind"], form["method"]) == ("Special", "notFound", "GET")
    assert form["url"] == "https://REDACTED@r.example/v2/"


def test_a_description_has_the_bundles_inside_and_names_what_is_repeated():
    inner = imgpkg.Description(DIGEST, "inner", "inner", is_repeated=True)
    form = imgpkg.as_json(imgpkg.Description(DIGEST, "outer", "outer", bundles=(inner,), images=(INFO,)))
    assert form["content"]["bundles"][str(DIGEST)]["repeated"] is True
    assert form["content"]["images"]["key"]["imageType"] == "Signature"


def test_a_missing_base_names_the_blobs():
    error = errors.MissingBase("text")
    error.digests = (str(DIGEST),)
    assert imgpkg.as_json(error)["digests"] == [str(DIGEST)]


def test_a_reference_has_its_parts():
    assert imgpkg.as_json(REFERENCE) == {
        "reference": str(REFERENCE),
        "repository": "registry.example.com/team/app",
        "digest": str(DIGEST),
    }
