from __future__ import annotations

import pytest

import tslc_handlers
from tslc.domain.handler_source import (
    HANDLER_NAMES,
    file_name_mistakes,
    handler_mistakes,
    shadowing_mistakes,
)

GOOD = """
from tslc_handlers import VLLMHandler
LIMIT = 5

def helper(): ...

class Mine(VLLMHandler):
    async def preprocess(self, request, context):
        def inner():
            yield 1
        return request
    async def postprocess(self, response, *rest):
        return response
    async def postprocess_stream(self, events, context):
        async for event in events:
            yield event
"""


def test_a_good_handler_has_no_mistakes():
    assert handler_mistakes(GOOD, "mine.py") == ()
    wrapped = "class Mine(x.B):\n  def postprocess_stream(self, e, c):\n    return e\n"
    assert handler_mistakes(wrapped, "mine.py") == ()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(:\n", "line 1: syntax error"),
        ("a = '\x00'", "syntax error: source code string cannot contain null bytes"),
        ("x = 1", "no class at module level"),
        ("class A: pass", "A subclasses nothing"),
        ("class A(object): pass", "A subclasses nothing"),
        ("class A(B): pass\nclass C(B): pass", "2 classes, TorchServe wants one"),
        ("if x:\n  class A(B): pass\nelse:\n  class C(B): pass", "2 classes"),
        ("try:\n  class A(B): pass\nexcept E:\n  class C(B): pass", "2 classes"),
        ("def handle(d, c): ...\nclass A(B): pass", "call this `handle` instead"),
        ("class A(B): pass\nhandle = A", "line 2: TorchServe would call"),
        ("from x import run as handle\nclass A(B): pass", "call this `handle` instead"),
        ("class A(Exception): pass", "A subclasses only Exception"),
        ("class A(dict, object): pass", "A subclasses only dict"),
        (
            "from tslc_handlers import VLLMHandlr\nclass A(VLLMHandlr): pass",
            "line 1: tslc_handlers has no VLLMHandlr\n    fix: write 'VLLMHandler'",
        ),
        ("class A(B):\n  def preprocess(self, r, c): ...", "line 2, preprocess: a plain function"),
        ("class A(B):\n  async def preprocess(self, r, c): yield r", "it yields"),
        ("class A(B):\n  async def postprocess(self, r): ...", "two arguments"),
        ("class A(B):\n  async def postprocess(self, r, c, d): ...", "two arguments"),
        ("class A(B):\n  async def postprocess(self, r, c, *, d): ...", "two arguments"),
        ("class A(B):\n  async def postprocess_stream(self, e, c): ...", "yields nothing"),
        ("class A(B):\n  def postprocess_stream(self, e, c): yield 1", "plain generator"),
    ],
)
def test_what_torchserve_or_the_handler_would_trip_over_is_said(source, expected):
    said = [str(mistake) for mistake in handler_mistakes(source, "mine.py")]
    assert len(said) == 1, said
    assert expected in said[0]


@pytest.mark.parametrize("name", ["json.py", "service.py", "vllm.py", "my-handler.py", "a.b.py"])
def test_a_file_name_that_loads_another_module_or_none_is_a_mistake(name):
    assert len(file_name_mistakes(f"folder/{name}")) == 1


def test_a_plain_file_name_is_fine():
    assert file_name_mistakes("x/handler.py") == ()


def test_the_names_a_handler_may_import_are_those_of_the_package():
    assert set(HANDLER_NAMES) == set(tslc_handlers.__all__)


def test_modules_that_would_shadow_the_workers_own_are_mistakes():
    added = [
        *("typing_extensions.py", "vllm/__init__.py", "json/data.txt", "my_code/vllm.py"),
        *("numpy/core.so", "regex.cpython-311.so", "notes.txt", "kb/fact.txt"),
    ]
    found = shadowing_mistakes(added, {"typing_extensions", "numpy", "regex", "kb"})
    assert [mistake.where for mistake in found] == [
        *("numpy", "regex.cpython-311.so", "typing_extensions.py", "vllm"),
    ]


def test_a_handler_is_not_called_like_a_module_that_is_installed():
    assert file_name_mistakes("numpy.py", {"numpy"})
    assert not file_name_mistakes("my_numpy.py", {"numpy"})
