"""From TorchServe's request to an HTTP one; what goes back is tested on the real TorchServe."""

import json

from tslc_handlers.asgi import headers_of
from tslc_handlers.bridge import scope_and_body


def test_the_path_is_what_follows_the_version():
    scope, body = scope_and_body({"body": b"{}"}, {"url_path": "v1/chat/completions"})
    assert (scope["method"], scope["path"], body) == ("POST", "/v1/chat/completions", b"{}")


def test_the_method_follows_from_the_endpoint():
    scope, _ = scope_and_body({"body": b""}, {"url_path": "v1/models"})
    assert scope["method"] == "GET"


def test_torchserves_own_headers_and_its_token_stay_behind():
    headers = {
        "Authorization": "Bearer secret",
        "X-Request-Id": "r1",
        "explain": "False",
        "url_path": "v1/models",
        "Content-Length": "99",
        "body": {"content-type": "application/json"},
    }
    scope, _ = scope_and_body({"body": b"{}"}, headers)
    assert headers_of(scope) == {
        "x-request-id": "r1",
        "content-type": "application/json",
        "content-length": "2",
    }


def test_a_body_torchserve_decoded_is_encoded_again():
    _, body = scope_and_body({"body": {"a": "é"}}, {"url_path": "v1/completions"})
    assert json.loads(body) == {"a": "é"}


def test_a_form_has_no_body_and_keeps_its_content_type():
    headers = {"content-type": "application/x-www-form-urlencoded", "url_path": "tokenize"}
    scope, body = scope_and_body({'{"prompt": "a"}': b""}, headers)
    assert body == b""
    assert headers_of(scope)["content-type"] == "application/x-www-form-urlencoded"
