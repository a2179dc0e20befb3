"""Whether a handler's Python file can be a TorchServe entry; read as syntax, never imported.

TorchServe imports the file by its base name, takes a module-level `handle` if there is one, and
otherwise wants exactly one class defined in the file. Its own folder comes first on the worker's
path, so a file named like one of its modules would never be loaded.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import PurePosixPath

from tslc.domain.vocabulary import unknown_word
from tslc.errors import Mistake

# Modules of TorchServe's package folder (0.12.0), the first entry of a worker's path.
_TORCHSERVE = frozenset(
    {"arg_parser", "async_service", "configs", "context", "frontend", "handler_utils", "launcher"}
    | {"llm_launcher", "metrics", "model_loader", "model_server", "model_service"}
    | {"model_service_worker", "protocol", "service", "torch_handler", "utils", "version"}
)
_PACKAGES = frozenset({"ts", "torch", "transformers", "tslc", "tslc_handlers", "vllm"})
# What `from tslc_handlers import …` can import; a test compares it with the package.
HANDLER_NAMES = (
    "GuardVLLMHandler",
    "HandlerError",
    "RagGuardVLLMHandler",
    "RagVLLMHandler",
    "Request",
    "RequestContext",
    "Response",
    "VLLMHandler",
)
_BUILTINS = frozenset(dir(builtins))
_HOOKS = ("preprocess", "postprocess")
_STREAM_HOOK = "postprocess_stream"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def file_name_mistakes(path: str, installed: Collection[str] = ()) -> tuple[Mistake, ...]:
    """What is wrong with a handler file's name; `installed`: modules of other packages."""
    name = PurePosixPath(path).name
    stem = name.removesuffix(".py")
    if not stem.isidentifier():
        return (Mistake(name, "not a Python module's name", "rename it, as in my_handler.py"),)
    if _is_taken(stem, installed):
        problem = f"a module '{stem}' exists already in the worker and would be loaded instead"
        return (Mistake(name, problem, f"rename it, as in my_{stem}.py"),)
    return ()


def shadowing_mistakes(paths: Iterable[str], installed: Collection[str]) -> tuple[Mistake, ...]:
    """Python modules and packages at an archive's root that another one in the worker is called
    like. `paths` are those of the files added to the archive."""
    found: dict[str, str] = {}
    for path in paths:
        top, *below = path.split("/")
        if path.endswith((".py", ".so")):
            found.setdefault(top if below else top.split(".")[0], top)
    return tuple(
        Mistake(
            top,
            f"the worker has a module '{stem}' already, and would load one for the other",
            f"rename it, as in my_{top}",
        )
        for stem, top in sorted(found.items())
        if _is_taken(stem, installed)
    )


def _is_taken(stem: str, installed: Collection[str]) -> bool:
    known = (_TORCHSERVE, _PACKAGES, sys.stdlib_module_names, installed)
    return any(stem in names for names in known)


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
    yield from _import_mistakes(module, name)
    statements = list(_statements(module.body))
    for statement in statements:
        if "handle" in _bound_names(statement):
            problem = "TorchServe would call this `handle` instead of the class"
            where = f"{name} line {statement.lineno}"
            yield Mistake(where, problem, "rename it, or make it a method")
    definitions = [node for node in statements if isinstance(node, ast.ClassDef)]
    classes = definitions
    if not classes:
        fix = "write `class Handler(VLLMHandler):` and what it overrides"
        yield Mistake(name, "no class at module level", fix)
    elif len(classes) > 1:
        lines = ", ".join(f"{node.name} (line {node.lineno})" for node in classes)
        fix = "keep the handler's; move the others to a module of their own (extra_files)"
        yield Mistake(name, f"{len(classes)} classes, TorchServe wants one: {lines}", fix)
    else:
        yield from _class_mistakes(classes[0], name)


def _import_mistakes(module: ast.Module, name: str) -> Iterator[Mistake]:
    """Names that tslc_handlers doesn't have; its submodules are imported by their own names."""
    for node in ast.walk(module):
        if not isinstance(node, ast.ImportFrom) or node.level or node.module != "tslc_handlers":
            continue
        for alias in node.names:
            if alias.name != "*" and alias.name not in HANDLER_NAMES:
                unknown = unknown_word("", alias.name, HANDLER_NAMES)
                where = f"{name} line {node.lineno}"
                yield Mistake(where, f"tslc_handlers has no {alias.name}", unknown.fix)


def _bound_names(node: ast.stmt) -> set[str]:
    """The names a statement gives the module, as far as they can be seen."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return {name}
        case ast.Assign(targets=targets):
            return {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
            return {name}
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return {alias.asname or alias.name for alias in names}
        case _:
            return set()


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that give a module its names, those under `if` and `try` too."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While):
            yield from _statements(n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt))
            for handler in getattr(node, "handlers", ()):
                yield from _statements(handler.body)


def _class_mistakes(node: ast.ClassDef, name: str) -> Iterator[Mistake]:
    bases = [ast.unparse(base) for base in node.bases]
    if all(base in _BUILTINS for base in bases):
        said = ", ".join(base for base in bases if base != "object")
        problem = f"{node.name} subclasses {f'only {said}' if said else 'nothing'}"
        fix = f"write `class {node.name}(VLLMHandler):`, from tslc_handlers"
        yield Mistake(f"{name} line {node.lineno}", problem, fix)
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
