"""Names for work, made of what decides it: settings, data, seed, and what computes.

What computes is told by the versions of the packages that do, by `ALGORITHMS` for what all learners
share, and by the `version` that a learner's class states. These two are raised by hand when results
change, so that other words in a message, or a file that is moved, train nothing anew. A learner that
states none, such as one that a user is at work on, is told by its code.
"""

import ast
import hashlib
import inspect
import json
import sys
from functools import cache
from importlib import metadata

import cv2
import numpy as np
import torch

from fewshot_landmarks.learner import Learner
from fewshot_landmarks.support.errors import UserError

ALGORITHMS = 1  # of crops, tasks, networks, losses, the inner loop, training and evaluation


def key(**decides) -> str:
    """16 hex digits of whatever JSON can hold."""
    text = json.dumps(decides, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_version = cache(metadata.version)  # it is read from a file, and asked for with every name


def computing() -> dict[str, object]:
    """What computes, whichever learner asks."""
    versions = {"torch": torch.__version__, "numpy": np.__version__, "OpenCV": cv2.__version__}
    return {**versions, "higher": _version("higher"), "algorithms": ALGORITHMS}


def versions(learner: type[Learner]) -> list[tuple[str, object]]:
    """Of a learner and of those that it is derived from: what each states, or else its code."""
    own = [kind for kind in learner.__mro__ if issubclass(kind, Learner) and kind is not Learner]
    return [(kind.__qualname__, vars(kind).get("version") or code(kind.__module__)) for kind in own]


@cache
def code(module: str) -> str:
    """Digest of a module, and of those of its own package that it imports, as Python reads them:
    without the imports themselves, docstrings, and what is raised.

    Raises `UserError` for a module without source.
    """
    waiting, seen, found = [module], set(), []
    while waiting:
        name = waiting.pop()
        if name in seen or name.split(".")[0] != module.split(".")[0] or name not in sys.modules:
            continue
        seen.add(name)
        tree = _parsed(name)
        waiting += [imported for node in ast.walk(tree) for imported in _imported(node)]
        found.append(ast.dump(_bare(tree)))
    return key(code=sorted(found))


def _parsed(module: str) -> ast.Module:
    try:
        return ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError):
        raise UserError(f"{module} has no source: let its learners state a version") from None


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _bare(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise):
            node.exc = node.cause = None
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [part for part in body if not _says_nothing(part)]
    return tree


def _says_nothing(node: ast.AST) -> bool:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_text or isinstance(node, (ast.Import, ast.ImportFrom))
