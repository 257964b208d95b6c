"""Names for work, made of what decides it: numbers, data, and the code that runs.

Code counts as Python reads it, without comments, docstrings and layout, together with every
module of the project that it imports; but the harness only where it is named itself, since who
asks for work does not decide what comes of it.
"""

import ast
import hashlib
import importlib.util
import json
import sys
from functools import cache
from pathlib import Path

OURS = ("fewshot_landmarks", "baselines")


def key(**decides) -> str:
    """16 hex digits of whatever JSON can hold."""
    text = json.dumps(decides, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def code(*modules: str) -> str:
    """Digest of modules and of all project modules that they import, directly or not."""
    seen: dict[str, str] = {}
    waiting = list(modules)
    mine = {*OURS, *(name.split(".")[0] for name in modules)} - {"benchmarks"}
    while waiting:
        name = waiting.pop()
        path = _path(name) if name not in seen else None
        if path is None:
            continue
        tree = _without_docstrings(ast.parse(path.read_text("utf-8")))
        seen[name] = ast.dump(tree)
        waiting += [found for found in _imports(tree) if found.split(".")[0] in mine]
    return key(**seen)


def _path(name: str) -> Path | None:
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None):
        return Path(loaded.__file__)
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin else None


def _imports(tree: ast.Module) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]
    return tree


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
