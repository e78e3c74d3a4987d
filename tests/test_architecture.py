"""The rules that keep the package readable: layers, cycles, sizes, and the few things that one file alone may do.

Every rule is a function from source texts to complaints. Each is shown to complain about a bad example before it is
asked about the package.
"""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "monai_cellreg"

LAYERS = {
    "utils": 0,
    "geometry": 1,
    "networks": 2,
    "losses": 2,
    "metrics": 2,
    "transforms": 2,
    "data": 3,
    "engines": 3,
    "inferers": 3,
    "baselines": 3,
    "report": 3,
    "methods": 4,
    "benchmarks": 5,
    "apps": 6,
}
TOP = 7  # the package's own __init__ and __main__, which only say where things are

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80
MAX_PARAMETERS = 6
MAX_NETWORK_PARAMETERS = 10

Sources = dict[str, str]
"""Source text by path relative to the repository, such as ``monai_cellreg/geometry/grid.py``."""

Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def package_sources() -> Sources:
    """Every Python file of the package; the bundles hold none and are reached through a link."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted((ROOT / PACKAGE).rglob("*.py"))
    }


# --- reading imports ------------------------------------------------------------------------------------------------


def module_name(path: str) -> str:
    """Dotted name of a file: ``a/b/c.py`` is ``a.b.c`` and ``a/b/__init__.py`` is ``a.b``."""
    parts = path.removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def folder(path: str) -> str:
    """The package's folder that a file lies in, empty for files beside the folders."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else ""


def imported_names(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of all that a file imports, also by ``import_module`` and ``optional_import``."""
    here = module_name(path).split(".")
    package = here if path.endswith("__init__.py") else here[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and called_name(node) in {"import_module", "optional_import", "__import__"}:
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield node.lineno, argument.value


def called_name(call: ast.Call) -> str:
    """The last part of the name that a call uses: ``print`` for ``print()``, ``c`` for ``a.b.c()``."""
    return getattr(call.func, "attr", None) or getattr(call.func, "id", "")


# --- the rules ------------------------------------------------------------------------------------------------------


def layer_complaints(sources: Sources) -> list[str]:
    """Imports that do not lead downward: into a higher layer, a sibling of the same layer, or the package's root."""
    complaints = []
    for path, text in sources.items():
        source = folder(path)
        if source and source not in LAYERS:
            complaints.append(f"{path}: folder {source!r} has no layer; add it to LAYERS and to CONTRIBUTING.md")
        if not source:
            continue
        for line, name in imported_names(path, ast.parse(text)):
            parts = name.split(".")
            if parts[0] != PACKAGE or parts[1:] == ["__version__"]:
                continue
            target = parts[1] if len(parts) > 1 and parts[1] in LAYERS else ""
            if target != source and LAYERS.get(target, TOP) >= LAYERS.get(source, TOP):
                complaints.append(f"{path}:{line}: {source} imports {name}, which is not in a lower layer")
    return complaints


def cycle_complaints(sources: Sources) -> list[str]:
    """A chain of modules that import each other in a ring; imports inside functions count as well."""
    modules = {module_name(path): path for path in sources}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        targets = {longest_module(name, modules) for _, name in imported_names(path, ast.parse(sources[path]))}
        graph[module] = targets - {"", module}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return ["modules import each other: " + " <- ".join(error.args[1])]
    return []


def longest_module(name: str, modules: dict[str, str]) -> str:
    """The module that ``name`` lies in: itself, or what it is an attribute of; empty when it is foreign."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def grid_sample_complaints(sources: Sources) -> list[str]:
    """Files other than the sampler that use ``grid_sample``, and a sampler that does not."""
    sampler = f"{PACKAGE}/geometry/sampling.py"
    users = {path for path, text in sources.items() if "grid_sample" in dict(identifiers(ast.parse(text)))}
    complaints = [f"{path}: uses grid_sample, which only {sampler} may" for path in sorted(users - {sampler})]
    return complaints if sampler in users else [*complaints, f"{sampler}: does not use grid_sample"]


def size_complaints(sources: Sources) -> list[str]:
    """Files and functions that are too long, functions with too many parameters or with ``**``."""
    complaints = []
    for path, text in sources.items():
        lines = text.count("\n")
        if lines > MAX_FILE_LINES:
            complaints.append(f"{path}: {lines} lines, at most {MAX_FILE_LINES}; split it by concept")
        tree = ast.parse(text)
        methods = {child for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for child in node.body}
        for node in ast.walk(tree):
            if isinstance(node, (*Function, ast.Lambda)) and node.args.kwarg:
                complaints.append(f"{path}:{node.lineno}: **{node.args.kwarg.arg} hides parameters; name them")
            if not isinstance(node, Function):
                continue
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                complaints.append(f"{path}:{node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}")
            in_network = node in methods and folder(path) == "networks"
            allowed = MAX_NETWORK_PARAMETERS if in_network else MAX_PARAMETERS
            count = parameter_count(node, is_method=node in methods)
            if count > allowed:
                complaints.append(f"{path}:{node.lineno}: {node.name} has {count} parameters, at most {allowed}")
    return complaints


def parameter_count(node: ast.FunctionDef | ast.AsyncFunctionDef, *, is_method: bool) -> int:
    """Number of parameters that a caller sees: ``self`` and ``cls`` do not count, ``*args`` counts as one."""
    positional = [*node.args.posonlyargs, *node.args.args]
    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
    hidden = 1 if is_method and not static and positional else 0
    return len(positional) - hidden + len(node.args.kwonlyargs) + bool(node.args.vararg)


def private_word_complaints(sources: Sources) -> list[str]:
    """Words that belong to one file: the sampler's ``align_corners`` and the frame LPS of ITK files."""
    owners = {"align_corners": f"{PACKAGE}/geometry/sampling.py", "lps": f"{PACKAGE}/geometry/itk.py"}
    patterns = {
        "align_corners": re.compile(r"(?<![a-z])align_corners(?![a-z])"),
        "lps": re.compile(r"(?<![a-z])lps(?![a-z])"),
    }
    complaints = []
    for path, text in sources.items():
        for word, line in identifiers(ast.parse(text)):
            for private, owner in owners.items():
                if path != owner and patterns[private].search(word.lower()):
                    complaints.append(f"{path}:{line}: {word!r} belongs to {owner} alone")
    return complaints


def identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name, attribute, parameter, keyword, definition, imported name and string of the code, with its line.

    Comments and docstrings are text about the code and are left out.
    """
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, *Function)) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value, line
        elif isinstance(node, ast.alias):
            yield from ((part, line) for part in f"{node.name}.{node.asname or ''}".split(".") if part)
        for field in ("id", "attr", "arg", "name"):
            if not isinstance(node, ast.alias) and isinstance(getattr(node, field, None), str):
                yield getattr(node, field), line


def print_complaints(sources: Sources) -> list[str]:
    """Calls of ``print`` and ``logging.basicConfig`` in the library, where only apps and benchmarks talk to a user."""
    return [
        f"{path}:{node.lineno}: {called_name(node)}() in the library; use logging.getLogger(__name__)"
        for path, text in sources.items()
        if folder(path) not in {"apps", "benchmarks"}
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and called_name(node) in {"print", "basicConfig"}
    ]


RULES: list[Callable[[Sources], list[str]]] = [
    layer_complaints,
    cycle_complaints,
    grid_sample_complaints,
    size_complaints,
    private_word_complaints,
    print_complaints,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_follows_rule(rule: Callable[[Sources], list[str]]) -> None:
    sources = package_sources()
    assert f"{PACKAGE}/__init__.py" in sources, "the package was not found, so nothing would be checked"
    assert rule(sources) == []


# --- each rule can complain -----------------------------------------------------------------------------------------


def in_package(files: Sources) -> Sources:
    """The files with the package's folder put before their paths."""
    return {f"{PACKAGE}/{path}": text for path, text in files.items()}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("geometry/a.py", "from monai_cellreg.methods import register"),
        ("geometry/a.py", "from ..methods import register"),
        ("geometry/a.py", "from .. import methods"),
        ("networks/nets/a.py", "from ...apps.cli import main"),
        ("networks/__init__.py", "from ..losses import overlap"),
        ("losses/a.py", "import monai_cellreg.metrics.overlap as m"),
        ("utils/a.py", "def late():\n    from monai_cellreg import geometry"),
        ("data/a.py", "from monai_cellreg import register"),
        ("data/a.py", "import monai_cellreg"),
        ("data/a.py", "part, has_part = optional_import('monai_cellreg.engines.trainer')"),
        ("data/a.py", "part = importlib.import_module('monai_cellreg.apps')"),
        ("misc/a.py", "x = 1"),
    ],
)
def test_layer_rule_complains(path: str, text: str) -> None:
    assert len(layer_complaints(in_package({path: text}))) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("methods/a.py", "from monai_cellreg.geometry import Pair\nfrom ..networks.nets import joint"),
        ("networks/nets/a.py", "from .b import c\nfrom ..blocks import d\nfrom ...geometry import grid"),
        ("apps/a.py", "from monai_cellreg import __version__, methods"),
        ("geometry/a.py", "import numpy as np\nfrom monai.networks import nets\nimport itk"),
        ("__init__.py", "from .apps import cli"),
        ("__main__.py", "from monai_cellreg.apps.cli import main"),
    ],
)
def test_layer_rule_allows(path: str, text: str) -> None:
    assert layer_complaints(in_package({path: text})) == []


def test_cycle_rule_complains_about_a_ring_of_three() -> None:
    files = {"a.py": "from . import b", "b.py": "from monai_cellreg.c import x", "c.py": "import monai_cellreg.a"}
    (complaint,) = cycle_complaints(in_package({**files, "__init__.py": ""}))
    assert all(f"{PACKAGE}.{name}" in complaint for name in "abc")


def test_cycle_rule_complains_when_a_module_imports_from_its_own_package() -> None:
    files = {"geometry/__init__.py": "from .grid import Grid", "geometry/grid.py": "from . import Grid"}
    assert len(cycle_complaints(in_package(files))) == 1


def test_cycle_rule_allows_a_diamond() -> None:
    files = {"a.py": "from . import b, c", "b.py": "from .d import x", "c.py": "from .d import x", "d.py": "import os"}
    assert cycle_complaints(in_package(files)) == []


GOOD_SAMPLER = {"geometry/sampling.py": "out = functional.grid_sample(x, grid, align_corners=False)"}


@pytest.mark.parametrize(
    "text",
    [
        "out = torch.nn.functional.grid_sample(x, grid)",
        "from torch.nn.functional import grid_sample as read",
        "read = getattr(functional, 'grid_sample')",
    ],
)
def test_grid_sample_rule_complains_about_a_second_caller(text: str) -> None:
    (complaint,) = grid_sample_complaints(in_package({**GOOD_SAMPLER, "losses/a.py": text}))
    assert complaint.startswith(f"{PACKAGE}/losses/a.py")


def test_grid_sample_rule_wants_the_sampler_and_ignores_prose() -> None:
    prose = {"losses/a.py": '"""Does not call grid_sample."""  # grid_sample'}
    assert grid_sample_complaints(in_package({**GOOD_SAMPLER, **prose})) == []
    assert len(grid_sample_complaints(in_package(prose))) == 1


def arguments(count: int) -> str:
    """That many parameters, half of them keyword-only."""
    names = [f"a{i}" for i in range(count)]
    return ", ".join([*names[: count // 2], "*", *names[count // 2 :]])


def method(count: int) -> str:
    """A class with one method of that many parameters besides ``self``."""
    return f"class A:\n    def f(self, {arguments(count)}): ..."


@pytest.mark.parametrize(
    ("path", "fine", "bad"),
    [
        ("data/a.py", "x = 1\n" * 400, "x = 1\n" * 401),
        ("data/a.py", "def f():\n" + "    x = 1\n" * 79, "def f():\n" + "    x = 1\n" * 80),
        ("data/a.py", f"def f({arguments(6)}): ...", f"def f({arguments(7)}): ..."),
        ("data/a.py", "def f(a, b, c, d, e, *args): ...", "def f(a, b, c, d, e, g, *args): ..."),
        ("data/a.py", method(6), method(7)),
        ("networks/a.py", method(10), method(11)),
        ("networks/a.py", f"def f({arguments(6)}): ...", f"def f({arguments(7)}): ..."),
        ("data/a.py", "def f(*args): ...", "def f(**options): ..."),
        ("data/a.py", "f = lambda x: x", "f = lambda **kwargs: kwargs"),
        ("data/a.py", "class A:\n" + "".join(f"    a{i}: int = 0\n" for i in range(20)), "async def f(**kwargs): ..."),
    ],
)
def test_size_rule_complains_just_above_the_limit(path: str, fine: str, bad: str) -> None:
    assert size_complaints(in_package({path: fine})) == []
    assert len(size_complaints(in_package({path: bad}))) == 1


@pytest.mark.parametrize(
    ("path", "text", "complaints"),
    [
        ("networks/a.py", "y = interpolate(x, align_corners=True)", 1),
        ("networks/a.py", "def read(x, *, align_corners): ...", 1),
        ("networks/a.py", "options = {'align_corners': True}", 1),
        ("networks/a.py", "# align_corners\n'''align_corners is not used here'''", 0),
        ("geometry/sampling.py", "y = sample(x, align_corners=False)", 0),
        ("geometry/grid.py", "def to_lps(affine): ...", 1),
        ("geometry/grid.py", "from .itk import ras_to_lps", 1),
        ("geometry/grid.py", "FRAMES = ('RAS', 'LPS')", 1),
        ("geometry/grid.py", "class Grid:\n    '''RAS, never LPS.'''\n    lpsilon = helps = 1", 0),
        ("geometry/itk.py", "LPS = 'LPS'", 0),
    ],
)
def test_private_word_rule(path: str, text: str, complaints: int) -> None:
    assert len(private_word_complaints(in_package({path: text}))) == complaints


@pytest.mark.parametrize("call", ["print('done')", "logging.basicConfig(level=10)"])
def test_print_rule(call: str) -> None:
    assert len(print_complaints(in_package({"engines/a.py": call}))) == 1
    assert print_complaints(in_package({"apps/a.py": call, "benchmarks/a.py": call})) == []
