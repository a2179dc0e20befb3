"""Whether a handler's Python file can be a TorchServe entry; read as syntax, never imported.

TorchServe imports the file by its base name, takes a module-level `handle` if there is one, and
otherwise wants exactly one class defined in the file. Its own folder comes first on the worker's
path, so a file named like one of its modules would never be loaded.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from tslc.errors import Mistake

# Modules of TorchServe's package folder (0.12.0), the first entry of a worker's path.
_TORCHSERVE = frozenset(
    {"arg_parser", "async_service", "configs", "context", "frontend", "handler_utils", "launcher"}
    | {"llm_launcher", "metrics", "model_loader", "model_server", "model_service"}
    | {"model_service_worker", "protocol", "service", "torch_handler", "utils", "version"}
)
_PACKAGES = frozenset({"ts", "torch", "transformers", "tslc", "tslc_handlers", "vllm"})
_HOOKS = ("preprocess", "postprocess")
_STREAM_HOOK = "postprocess_stream"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def file_name_mistakes(path: str) -> tuple[Mistake, ...]:
    """What is wrong with a handler file's name."""
    name = PurePosixPath(path).name
    stem = name.removesuffix(".py")
    if not stem.isidentifier():
        return (Mistake(name, "not a Python module's name", "rename it, as in my_handler.py"),)
    if stem in _TORCHSERVE or stem in _PACKAGES or stem in sys.stdlib_module_names:
        problem = f"a module '{stem}' exists already in the worker and would be loaded instead"
        return (Mistake(name, problem, f"rename it, as in my_{stem}.py"),)
    return ()


def handler_mistakes(source: str, name: str) -> tuple[Mistake, ...]:
    """Everything wrong with a handler's source, by line."""
    try:
        module = ast.parse(source, filename=name)
    except SyntaxError as error:
        where = f"{name} line {error.lineno}" if error.lineno else name
        return (Mistake(where, f"syntax error: {error.msg}", "mend the line"),)
    except (ValueError, RecursionError) as error:
        return (Mistake(name, f"not Python source: {error}", "save it as UTF-8 text"),)
    return tuple(_module_mistakes(module, name))


def _module_mistakes(module: ast.Module, name: str) -> Iterator[Mistake]:
    definitions = list(_definitions(module.body))
    for node in definitions:
        if isinstance(node, Function) and node.name == "handle":
            problem = "TorchServe would call this function instead of the class"
            yield Mistake(f"{name} line {node.lineno}", problem, "rename it, or make it a method")
    classes = [node for node in definitions if isinstance(node, ast.ClassDef)]
    if not classes:
        fix = "write `class Handler(VLLMHandler):` and what it overrides"
        yield Mistake(name, "no class at module level", fix)
    elif len(classes) > 1:
        lines = ", ".join(f"{node.name} (line {node.lineno})" for node in classes)
        fix = "keep the handler's; move the others to a module of their own (extra_files)"
        yield Mistake(name, f"{len(classes)} classes, TorchServe wants one: {lines}", fix)
    else:
        yield from _class_mistakes(classes[0], name)


def _definitions(body: Iterable[ast.stmt]) -> Iterator[ast.ClassDef | Function]:
    """Classes and functions that the module will hold, those under `if` and `try` too."""
    for node in body:
        if isinstance(node, ast.ClassDef | Function):
            yield node
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While):
            yield from _definitions(
                n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)
            )
            for handler in getattr(node, "handlers", ()):
                yield from _definitions(handler.body)


def _class_mistakes(node: ast.ClassDef, name: str) -> Iterator[Mistake]:
    bases = [ast.unparse(base) for base in node.bases]
    if not any(base != "object" for base in bases):
        fix = f"write `class {node.name}(VLLMHandler):`, from tslc_handlers"
        yield Mistake(f"{name} line {node.lineno}", f"{node.name} subclasses nothing", fix)
    for statement in node.body:
        if not isinstance(statement, Function):
            continue
        where = f"{name} line {statement.lineno}, {statement.name}"
        if statement.name in _HOOKS:
            yield from _hook_mistakes(statement, where)
        elif statement.name == _STREAM_HOOK:
            yield from _stream_hook_mistakes(statement, where)


def _hook_mistakes(node: Function, where: str) -> Iterator[Mistake]:
    argument = "request" if node.name == "preprocess" else "response"
    right = f"async def {node.name}(self, {argument}, context):"
    if isinstance(node, ast.FunctionDef):
        yield Mistake(where, "a plain function, but it is awaited", f"write `{right}`")
    if _yields(node):
        yield Mistake(where, "it yields, but must return one value", "return it")
    yield from _argument_mistakes(node, where, right)


def _stream_hook_mistakes(node: Function, where: str) -> Iterator[Mistake]:
    right = f"async def {node.name}(self, events, context):"
    if isinstance(node, ast.AsyncFunctionDef) and not _yields(node):
        fix = "yield the events, or make it a plain `def` that returns an async iterator"
        yield Mistake(where, "an async function that yields nothing", fix)
    if isinstance(node, ast.FunctionDef) and _yields(node):
        yield Mistake(where, "a plain generator, but it is iterated asynchronously", f"`{right}`")
    yield from _argument_mistakes(node, where, right)


def _argument_mistakes(node: Function, where: str, right: str) -> Iterator[Mistake]:
    if node.decorator_list:
        return
    positional = len(node.args.posonlyargs) + len(node.args.args)
    required = positional - len(node.args.defaults)
    keyword_only = any(default is None for default in node.args.kw_defaults)
    if required > 3 or keyword_only or (positional < 3 and node.args.vararg is None):
        yield Mistake(where, "it can't be called with two arguments", f"write `{right}`")


def _yields(node: Function) -> bool:
    """Whether the function's own body yields; functions inside it don't count."""
    waiting: list[ast.AST] = list(node.body)
    while waiting:
        current = waiting.pop()
        if isinstance(current, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(current, Function | ast.Lambda | ast.ClassDef):
            waiting.extend(ast.iter_child_nodes(current))
    return False
