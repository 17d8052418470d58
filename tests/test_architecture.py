"""The house rules that a reader of the code may rely on, checked on the syntax tree and in a bare interpreter."""

import ast
import importlib.util
import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "diffusers_persona"
ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / PACKAGE

# A unit (a folder or a module right under the package) may know those of its own layer and of the layers above it.
LAYERS = (
    {"errors", "functional"},
    {"spaces", "losses", "encoders", "attention"},
    {"inversion", "schemes"},
    {"recipes"},
    {"cli", "studio", "evaluation"},
)
RANK = {unit: rank for rank, layer in enumerate(LAYERS) for unit in layer}

KNOW_NO_RECIPE = ("backbones", "formats", "training", "toybox")
RECIPES_AND_ABOVE = LAYERS[3] | LAYERS[4]


@dataclass(frozen=True)
class Import:
    """One import statement that stays inside the package; `eager` when it runs as the module is imported."""

    source: str
    target: str
    line: int
    eager: bool

    def __str__(self):
        return f"{self.source}:{self.line} imports {self.target}"


def module_name(path: Path) -> str:
    """``diffusers_persona/spaces/word.py`` -> ``diffusers_persona.spaces.word``."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8"), str(path)) for name, path in MODULES.items()}


def unit_of(module: str) -> str:
    """The folder or module right under the package that holds `module`; the package's own face is ``""``."""
    return (module.split(".") + [""])[1]


def is_type_checking(node: ast.AST) -> bool:
    """Whether `node` is an ``if TYPE_CHECKING:`` block, which never runs."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def import_statements(node: ast.AST, eager: bool = True):
    """Import statements under `node`, each with whether it runs at import time."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, eager
        elif is_type_checking(child):
            continue
        else:
            lazy = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from import_statements(child, eager and not lazy)


def targets(statement: ast.Import | ast.ImportFrom, module: str) -> list[str]:
    """Absolute names of the package's modules that `statement` imports when it stands in `module`."""
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names if alias.name in MODULES]
    base = statement.module or ""
    if statement.level:
        is_package = MODULES[module].name == "__init__.py"
        parents = module.split(".")
        parents = parents[: len(parents) - statement.level + is_package]
        base = ".".join([*parents, *([base] if base else [])])
    if base not in MODULES:
        return []
    return [f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in statement.names]


IMPORTS = [
    Import(name, target, statement.lineno, eager)
    for name, tree in TREES.items()
    for statement, eager in import_statements(tree)
    for target in targets(statement, name)
]


def graph(eager_only: bool) -> dict[str, set[str]]:
    """Which unit imports which others."""
    edges = defaultdict(set)
    for item in IMPORTS:
        if (item.eager or not eager_only) and unit_of(item.source) != unit_of(item.target):
            edges[unit_of(item.source)].add(unit_of(item.target))
    return edges


def reachable(unit: str, edges: dict[str, set[str]]) -> set[str]:
    """Every unit that is loaded when `unit` is."""
    seen, todo = set(), [unit]
    while todo:
        for target in edges.get(todo.pop(), ()):
            if target not in seen:
                seen.add(target)
                todo.append(target)
    return seen


def test_the_reader_of_imports_sees_this_package():
    assert len(MODULES) > 20
    assert any(item.source == f"{PACKAGE}.recipe" and item.target == f"{PACKAGE}.errors" for item in IMPORTS)


def test_a_layer_imports_nothing_from_a_layer_above_it():
    wrong = [
        str(item)
        for item in IMPORTS
        if unit_of(item.source) in RANK
        and unit_of(item.target) in RANK
        and RANK[unit_of(item.target)] > RANK[unit_of(item.source)]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_unit_outside_the_layers_carries_an_upper_layer_into_a_lower_one():
    edges = graph(eager_only=True)
    wrong = [
        f"importing {unit} loads {other}"
        for unit, rank in RANK.items()
        for other in sorted(reachable(unit, edges))
        if RANK.get(other, 0) > rank
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("unit", KNOW_NO_RECIPE)
def test_hosts_formats_training_and_toybox_know_no_recipe(unit):
    loaded = reachable(unit, graph(eager_only=True)) & RECIPES_AND_ABOVE
    assert not loaded, f"importing {unit} loads {', '.join(sorted(loaded))}"


def test_units_do_not_import_each_other_in_a_circle():
    edges = graph(eager_only=True)
    circles = [unit for unit in sorted(edges) if unit in reachable(unit, edges)]
    assert not circles, f"in an import circle: {', '.join(circles)}"


def test_modules_do_not_import_each_other_in_a_circle():
    edges = defaultdict(set)
    for item in IMPORTS:
        submodule_of_itself = item.target.startswith(item.source + ".") or item.source.startswith(item.target + ".")
        if item.eager and not submodule_of_itself and item.source != item.target:
            edges[item.source].add(item.target)
    circles = [name for name in sorted(edges) if name in reachable(name, edges)]
    assert not circles, f"in an import circle: {', '.join(circles)}"


RECIPE_FILES = [
    name for name, path in MODULES.items() if name.startswith(f"{PACKAGE}.recipes.") and path.name != "__init__.py"
]


def test_there_are_recipes():
    assert RECIPE_FILES


@pytest.mark.parametrize("name", RECIPE_FILES)
def test_a_recipe_file_is_a_declaration(name):
    logic = (ast.For, ast.While, ast.If, ast.Try, ast.With, ast.ListComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)
    found = [f"line {node.lineno}: {type(node).__name__}" for node in ast.walk(TREES[name]) if isinstance(node, logic)]
    assert not found, f"{name} holds logic: {', '.join(found)}"
    for statement, _ in import_statements(TREES[name]):
        assert targets(statement, name), f"{name}:{statement.lineno} imports from outside the package"


@pytest.mark.parametrize("name", RECIPE_FILES)
def test_a_recipe_imports_no_other_recipe(name):
    others = [str(item) for item in IMPORTS if item.source == name and unit_of(item.target) == "recipes"]
    assert not others, "\n".join(others)


def test_importing_the_package_loads_no_heavy_library_and_is_quick():
    code = (
        "import json, sys, time; start = time.perf_counter(); import diffusers_persona; "
        "seconds = time.perf_counter() - start; "
        "heavy = [m for m in ('torch', 'diffusers', 'transformers', 'peft', 'numpy', 'PIL') if m in sys.modules]; "
        "print(json.dumps([seconds, heavy]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    seconds, heavy = json.loads(run.stdout)
    assert heavy == []
    assert seconds < 1.0


def test_no_folder_is_called_like_a_pipeline_folder_of_diffusers():
    """A component saved from such a folder would be looked up inside diffusers, and not be found."""
    pipelines = Path(importlib.util.find_spec("diffusers").origin).parent / "pipelines"
    theirs = {path.name for path in pipelines.iterdir() if path.is_dir()} - {"__pycache__"}
    ours = {path.parent.name for path in MODULES.values() if path.parent != SOURCE}
    assert "stable_diffusion" in theirs
    assert not ours & theirs


def test_every_public_function_and_class_says_what_it_is():
    silent = [
        f"{name}.{node.name}"
        for name, tree in TREES.items()
        if not unit_of(name).startswith("_")
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not silent, "without a docstring: " + ", ".join(silent)
