"""The rules of the house that no linter knows, as functions from one parsed module to its breaches."""

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

SOURCE = Path(__file__).resolve().parents[2] / "src"

PURE_IMPORTS = frozenset({
    "abc", "base64", "binascii", "bisect", "calendar", "collections", "dataclasses", "datetime", "decimal", "enum",
    "fractions", "functools", "hashlib", "heapq", "hmac", "ipaddress", "itertools", "math", "msgspec", "operator",
    "re", "string", "types", "typing", "unicodedata", "zoneinfo",
})  # fmt: skip
"""What ``core`` and ``wire`` may import beside Penstock itself, which the layers take care of."""

IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "compile", "breakpoint", "__import__"})

OPTIONAL_EXTRAS: frozenset[str] = frozenset({"asyncpg", "hiredis"})
"""Packages that an extra installs: they alone may be imported inside a function."""

CONSTRUCTOR = re.compile(r"_?[A-Z]\w*")
WORKING_CLASSES = frozenset({
    "Gauge", "Histogram", "Popen", "Process", "ProcessPoolExecutor", "Summary", "Thread", "ThreadPoolExecutor",
})  # fmt: skip
"""Constructors that start something or register it somewhere."""
CONSTANT_CALLS = frozenset({
    "bytes", "compile", "date", "datetime", "dict", "encode", "enumerate", "field", "fields", "format", "fromkeys",
    "frozenset", "getLogger", "get_logger", "int", "items", "join", "keys", "len", "list", "makeLogRecord", "max",
    "min", "object", "range", "sorted", "split", "str", "sum", "timedelta", "timezone", "tuple", "type", "values",
    "vars", "zip",
})  # fmt: skip
"""Functions that only make one value of another."""

ENVIRONMENT = frozenset({"environ", "environb", "getenv", "getenvb", "putenv"})

CLOCK_MODULES = frozenset({"random", "time", "uuid"})
"""Not ``secrets``: credentials are drawn from the system, and no port may make them predictable."""
CLOCK_CALLS = frozenset({
    "asyncio.timeout", "asyncio.timeout_at", "asyncio.wait_for", "date.today", "datetime.now", "datetime.today",
    "datetime.utcnow", "os.urandom",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Module:
    """A parsed source file and its dotted name."""

    name: str
    tree: ast.Module

    @classmethod
    def parse(cls, text: str, name: str = "penstock.core.example") -> Self:
        """A module of this text."""
        return cls(name, ast.parse(text, filename=name))

    def inside(self, *rooms: str) -> bool:
        """Whether it is one of these modules or lies within one of them."""
        return any(self.name == room or self.name.startswith(f"{room}.") for room in rooms)


Breaches = Iterator[tuple[int, str]]
"""Line number and what is wrong there."""
Rule = Callable[[Module], Breaches]


def modules() -> list[Module]:
    """Every module of the package."""
    return [
        Module.parse(path.read_text("utf-8"), ".".join(path.relative_to(SOURCE).with_suffix("").parts))
        for path in sorted(SOURCE.rglob("*.py"))
    ]


def imports(tree: ast.AST) -> Breaches:
    """Line and dotted name of everything imported anywhere in there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, each.name) for each in node.names)
        if isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or "."


def foreign_imports(module: Module) -> Breaches:
    """Pure rooms import a named list of modules."""
    for line, name in imports(module.tree):
        if name.split(".")[0] not in PURE_IMPORTS | {"penstock"}:
            yield line, f"imports {name}"


def impure_code(module: Module) -> Breaches:
    """Pure rooms do no I/O, wait for nothing and share no names."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield node.lineno, "is asynchronous"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            yield node.lineno, f"calls {node.func.id}()"


def inner_imports(module: Module) -> Breaches:
    """What a module depends on stands at its top."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for line, name in imports(node):
                if name.split(".")[0] not in OPTIONAL_EXTRAS:
                    yield line, f"imports {name} inside a function"


def global_statements(module: Module) -> Breaches:
    """State is handed over, not reached for."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Global):
            yield node.lineno, f"declares global {', '.join(node.names)}"


def work_at_import(module: Module) -> Breaches:
    """Importing defines: imports, functions, classes, and names bound to values that are only built.

    Built means literals, constructors, the few functions of CONSTANT_CALLS, and functions of the module itself that
    do no more than that. ``if __name__ == "__main__":`` is no import.
    """
    yield from _work(module.tree.body, _builders(module.tree))


def environment_reads(module: Module) -> Breaches:
    """The environment is read in one place."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT and _dotted(node.value) == "os":
            yield node.lineno, f"uses os.{node.attr}"
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from ((node.lineno, f"imports os.{each.name}") for each in node.names if each.name in ENVIRONMENT)


def clock_reads(module: Module) -> Breaches:
    """Time and chance come through ports. ``asyncio.sleep(0)`` only lets others run."""
    for line, name in imports(module.tree):
        if name.split(".")[0] in CLOCK_MODULES:
            yield line, f"imports {name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            name = ".".join(_dotted(node.func).split(".")[-2:])
            if name in CLOCK_CALLS or (name == "asyncio.sleep" and ast.unparse(node.args[0]) != "0"):
                yield node.lineno, f"calls {name}()"


def _dotted(node: ast.AST) -> str:
    """``a.b.c`` of an attribute chain; ``?`` for whatever else it starts from."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def _builders(tree: ast.Module) -> frozenset[str]:
    """The module's own functions that only build values: grown until no more can be added."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    builders: frozenset[str] = frozenset()
    while True:
        grown = frozenset(each.name for each in functions if not any(_working_calls(each.body, builders)))
        if grown == builders:
            return builders
        builders = grown


def _work(body: list[ast.stmt], builders: frozenset[str]) -> Breaches:
    for statement in body:
        match statement:
            case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Pass():
                pass
            case ast.Expr(value=ast.Constant()):
                pass
            case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
                pass
            case ast.ClassDef():
                yield from _work(statement.body, builders)
            case ast.Assign() | ast.AnnAssign():
                yield from _working_calls([statement], builders)
            case _:
                yield statement.lineno, f"{type(statement).__name__} at import"


def _working_calls(nodes: Sequence[ast.AST], builders: frozenset[str]) -> Breaches:
    """The calls in there that may do more than build a value; what stands in an inner function runs later."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Call) and not _builds(node.func, builders):
            yield node.lineno, f"calls {ast.unparse(node.func)}() at import"
        yield from _working_calls(list(ast.iter_child_nodes(node)), builders)


def _builds(function: ast.expr, builders: frozenset[str]) -> bool:
    name = _dotted(function).split(".")[-1]
    if isinstance(function, ast.Name) and name in builders:
        return True
    return name in CONSTANT_CALLS or (CONSTRUCTOR.fullmatch(name) is not None and name not in WORKING_CLASSES)
