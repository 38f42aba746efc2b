"""Writes src/skerry/sdk/synchronous.py and parts/: `skerry.Client`, method by method what
`skerry.AsyncClient` is, with the same words.

Made rather than written, so that the two can't differ; made as a file rather than at run time, so that editors and mypy know it.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "src" / "skerry" / "sdk"
PARTS = ("alerting", "apps", "folder", "hosts", "looks", "machines", "store")
CLIENT = "asynchronous"
NEEDED = {"collections.abc": "Iterator", "skerry.sdk.apps": "Compose", "skerry.sdk.beside": "Beside", "typing": "Any"}
HEAD = '''"""`skerry.Client`: what `skerry.AsyncClient` does, for programs without an event loop; streams are iterators.

Made from the parts of the asynchronous client by tests/sdk/test_synchronous.py; not to be changed by hand.
"""

from __future__ import annotations

'''
INIT = '"""The parts of `skerry.Client`, made from those of the asynchronous one by tests/sdk/test_synchronous.py."""\n'
MADE_HERE = {"open", "close", "__init__"}


def made() -> dict[str, str]:
    """File -> content: the parts, and the client that has them."""
    trees = {name: ast.parse((FOLDER / f"{name}.py").read_text()) for name in (*PARTS, CLIENT)}
    where = {
        node.name: name
        for name, tree in trees.items()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.bases
    }
    imports = [
        f"from {node.module} import {alias.name}"
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
        if alias.name not in (*where, *trees)
    ]
    imports += [f"from skerry.sdk import {name}" for name in trees]
    imports += [f"from {module} import {name}" for module, name in NEEDED.items()]
    begin = HEAD + "\n".join(dict.fromkeys(imports))
    classes = [n for tree in trees.values() for n in tree.body if isinstance(n, ast.ClassDef) and n.name in where]
    parts: dict[str, list[str]] = {}
    for node in classes:
        if node.name != "AsyncClient":
            parts.setdefault(where[node.name], []).append(_part(node, where[node.name]))
    client = next(_client(node) for node in classes if node.name == "AsyncClient")
    of_client = "".join(
        f"\nfrom skerry.sdk.parts.{where[node.name]} import {node.name}"
        for node in classes
        if node.name != "AsyncClient"
    )
    return {
        f"parts/{name}.py": _formatted(begin + "\n\n" + "\n\n".join(made) + "\n") for name, made in parts.items()
    } | {
        "parts/__init__.py": INIT,
        "synchronous.py": _formatted(begin + of_client + "\n\n" + client + "\n"),
    }


def _part(node: ast.ClassDef, module: str) -> str:
    lines = [f"class {node.name}:", f'    """{ast.get_docstring(node, clean=False)}"""', ""]
    lines += [
        f"    def __init__(self, its: {module}.{node.name}, beside: Beside) -> None:",
        "        self._its, self._beside = its, beside",
    ]
    return "\n".join([*lines, *_methods(node)])


def _client(node: ast.ClassDef) -> str:
    init = next(part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__")
    made = [
        (part.targets[0].attr, part.value.func.id)  # type: ignore[attr-defined]
        for part in init.body
        if isinstance(part, ast.Assign) and isinstance(part.value, ast.Call) and part.value.args
        and isinstance(part.value.func, ast.Name) and ast.unparse(part.value.args[0]) == "self._connection"
    ]  # fmt: skip
    words = (ast.get_docstring(node, clean=False) or "").replace("async with AsyncClient", "with Client")
    words = words.replace("await cloud.", "cloud.")
    lines = [
        "class Client:",
        f'    """{words}"""',
        "",
        f"    def __init__({ast.unparse(init.args)}) -> None:",
        "        self._its = asynchronous.AsyncClient(cloud, home=home, passphrase=passphrase)",
        "        self._beside = Beside()",
        *(f"        self.{name} = {kind}(self._its.{name}, self._beside)" for name, kind in made),
        "",
        "    def open(self) -> None:",
        '        """Open the keys; no host is asked yet. Raises NoCloud, KeyMissing, WrongPassphrase."""',
        "        self._beside.run(self._its.open())",
        "",
        "    def close(self) -> None:",
        '        """Close the connections and remember what was learned. The client can\'t be opened again."""',
        "        self._beside.run(self._its.close())",
        "        self._beside.stop()",
        "",
        "    def __enter__(self) -> Client:",
        "        try:",
        "            self.open()",
        "        except BaseException:",
        "            self._beside.stop()",
        "            raise",
        "        return self",
        "",
        "    def __exit__(self, *_: object) -> None:",
        "        self.close()",
    ]
    return "\n".join([*lines, *_methods(node)])


def _methods(node: ast.ClassDef) -> list[str]:
    lines: list[str] = []
    for part in node.body:
        if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) or part.name.startswith("_"):
            continue
        if part.name in MADE_HERE:
            continue
        assert part.returns is not None, part.name
        gives = ast.unparse(part.returns)
        words = ast.get_docstring(part, clean=False)
        is_stream = gives.startswith("AsyncGenerator[")
        lines += ["", *(f"    @{ast.unparse(each)}" for each in part.decorator_list)]
        gives = gives.replace("AsyncGenerator[", "Iterator[")
        lines += [f"    def {part.name}({ast.unparse(part.args)}) -> {gives}:", f'        """{words}"""']
        if isinstance(part, ast.FunctionDef):
            lines.append(
                f"        return self._its.{part.name}" + ("" if part.decorator_list else f"({_arguments(part.args)})")
            )
            continue
        call = f"self._its.{part.name}({_arguments(part.args)})"
        lines.append(f"        return self._beside.{'iterate' if is_stream else 'run'}({call})")
    return lines


def _arguments(args: ast.arguments) -> str:
    given = [arg.arg for arg in args.args[1:]]
    given += [f"*{args.vararg.arg}"] if args.vararg else []
    return ", ".join([*given, *(f"{arg.arg}={arg.arg}" for arg in args.kwonlyargs)])


def _formatted(text: str) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    for command in (["check", "--fix", "-q"], ["format", "-q"]):
        given = [ruff, *command, "--stdin-filename", str(FOLDER / "synchronous.py"), "-"]
        done = subprocess.run(given, input=text, capture_output=True, text=True, check=False)
        text = done.stdout
        assert text, done.stderr
    return text
