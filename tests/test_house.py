"""The house itself: what is shipped, who stands on whom, what importing costs."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROOMS = ("configs", "data", "models", "pretrain", "finetune", "predict", "report")
OUTSIDE = {"tests", "benchmarks", "docs", "build", "dist", "runs"}  # folders that are not shipped


def shipped_files() -> list[Path]:
    """Every Python file of the package, root and rooms."""
    return [*ROOT.glob("*.py"), *(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))]


def test_packages_are_exactly_the_folders_with_an_init():
    """A new subpackage works in the editable install and is missing from the wheel."""
    folders = {
        init.parent.relative_to(ROOT)
        for init in ROOT.rglob("__init__.py")
        if not any(part.startswith(".") or part in OUTSIDE for part in init.relative_to(ROOT).parts)
    }
    expected = {".".join(("luxvox", *folder.parts)) for folder in folders}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == expected


def test_root_holds_no_other_python_file():
    """The root is the package: any other module there would ship."""
    assert {file.name for file in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_version_is_the_one_of_pyproject():
    import luxvox

    assert luxvox.__version__ == PROJECT["project"]["version"]


def test_dependencies_have_lower_bounds_only():
    extras = PROJECT["project"]["optional-dependencies"].values()
    for wanted in chain(PROJECT["project"]["dependencies"], *extras):
        assert not re.search(r"<|==|~=", wanted), f"{wanted}: an upper cap breaks other installs"


# Imported under another name than the package's, or brought by one that we depend on.
COMES_WITH = {"yaml": "pyyaml", "skimage": "scikit-image", "sklearn": "scikit-learn"}
COMES_WITH |= {"numcodecs": "zarr", "qtpy": "napari"}


def test_every_import_is_a_declared_dependency():
    """A package that only an extra or a tool brings is missing on a user's machine."""
    declared = {re.split(r"[><=\[;]", wanted)[0] for wanted in PROJECT["project"]["dependencies"]}
    declared |= set(sys.stdlib_module_names)
    for file in shipped_files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            for name in (name.split(".")[0] for name in names):
                # Only napari itself loads its plugin.
                extra = {"napari"} if "napari" in file.parts else set()
                known = COMES_WITH.get(name, name) in declared | extra
                assert known, f"{file}: {name} is not declared"


def test_doctor_knows_the_extras():
    from luxvox.predict.doctor import EXTRAS

    names = {
        extra: tuple(re.split(r"[><=\[;]", wanted)[0] for wanted in packages)
        for extra, packages in PROJECT["project"]["optional-dependencies"].items()
        if extra != "dev"
    }
    assert names == EXTRAS


@pytest.mark.parametrize("file", shipped_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_file_is_short_documented_and_relative(file):
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400, "a file holds one idea; split it"
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "module docstring missing"
    undocumented = [
        node.name
        for node in _public(tree)
        if not ast.get_docstring(node) and not _is_overload(node)
    ]
    assert not undocumented, f"no docstring: {undocumented}"
    own = [node.lineno for node in ast.walk(tree) if _imports_luxvox(node)]
    assert not own, f"absolute import of luxvox in lines {own}: a shell in the root would break it"


def _public(tree: ast.AST) -> list[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Public classes and functions of a module, and public methods of its public classes."""
    found = []
    for node in ast.iter_child_nodes(tree):
        is_definition = isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        if is_definition and not node.name.startswith("_"):
            found.append(node)
            if isinstance(node, ast.ClassDef):
                found += _public(node)
    return found


def _is_overload(node: ast.AST) -> bool:
    return any(ast.unparse(mark) == "overload" for mark in getattr(node, "decorator_list", []))


def _imports_luxvox(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.level == 0 and (node.module or "").split(".")[0] == "luxvox"
    return isinstance(node, ast.Import) and any(
        alias.name.split(".")[0] == "luxvox" for alias in node.names
    )


def test_no_file_is_a_drawer_for_odds_and_ends():
    names = {file.stem for file in shipped_files()}
    assert not names & {"utils", "util", "common", "helpers", "misc"}


PRETRAIN = sorted((ROOT / "configs" / "pretrain").glob("*.yaml"))
STAGE_A = [path for path in PRETRAIN if not path.name.startswith(("dense_", "align_"))]


@pytest.mark.parametrize(
    "recipe",
    [path for path in PRETRAIN if path not in STAGE_A]
    + sorted((ROOT / "configs" / "simulate").glob("*.yaml")),
    ids=lambda path: path.name,
)
def test_every_other_recipe_loads(recipe):
    from luxvox.configs.load import load_recipe
    from luxvox.data.synthetic.recipe import SimulateRecipe
    from luxvox.pretrain.align.recipe import AlignRecipe
    from luxvox.pretrain.dense.recipe import DenseRecipe

    aligned, words = recipe.name.startswith("align_"), []
    model = SimulateRecipe if recipe.parent.name == "simulate" else DenseRecipe
    if aligned:
        model, words = AlignRecipe, ["init=runs/dense", "data=[list.csv]"]
    assert load_recipe(recipe, model, words) == load_recipe(recipe.stem, model, words)


@pytest.mark.parametrize("recipe", STAGE_A, ids=lambda path: path.name)
def test_every_shipped_recipe_loads(recipe):
    from luxvox.configs.load import load_recipe
    from luxvox.pretrain.recipe import PretrainRecipe

    plan = load_recipe(recipe, PretrainRecipe, ["data=list.csv"])
    assert plan.data.source == "list.csv"
    assert load_recipe(recipe.stem, PretrainRecipe, ["data=list.csv"]) == plan


@pytest.mark.parametrize(
    "config", sorted((ROOT / "configs" / "accelerate").glob("*.yaml")), ids=lambda path: path.name
)
def test_every_launcher_config_loads(config):
    from accelerate.commands.config.config_args import load_config_from_file

    assert load_config_from_file(str(config)).num_processes > 1


def modules_after(code: str) -> set[str]:
    """Top-level names in sys.modules after `code` ran in a fresh interpreter."""
    listing = "import json, sys; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{listing}"], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_pulls_nothing_beyond_the_standard_library():
    new = modules_after("import luxvox") - modules_after("pass")
    assert new - set(sys.stdlib_module_names) == {"luxvox"}


def test_help_loads_typer_and_rich_but_nothing_heavy():
    code = "from luxvox.__main__ import run_command\nassert run_command(['--help']) == 0"
    heavy = {"torch", "numpy", "zarr", "pandas", "matplotlib", "monai", "transformers", "yaml"}
    assert not modules_after(code) & heavy


def test_public_names_are_what_they_say():
    import luxvox

    assert set(luxvox.__all__) <= set(dir(luxvox))
    assert luxvox.open_volume.__module__ == "luxvox.data.open"
    assert luxvox.save_volume.__module__ == "luxvox.data.save"
    assert luxvox.load.__module__ == "luxvox.predict.model"
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = luxvox.lod


def test_layers_are_kept():
    """import-linter also sees imports inside functions."""
    linter = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("import-linter is not installed (make dev)")
    done = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_ignore_patterns_are_anchored():
    """A bare `data/` or `models/` in .gitignore silently drops a room from git."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    for line in lines:
        if line and not line.startswith(("#", "/")):
            assert line in {"__pycache__/", "*.pyc"}, f"{line}: not anchored"


def test_pages_point_only_at_files_that_exist():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http:", "https:")):
                assert (page.parent / target).exists(), f"{page.name} points at {target}"
