"""No value becomes a part of a statement: it is fixed text, or composed by psycopg."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import trade_pipeline

PACKAGE = Path(trade_pipeline.__file__).resolve().parent
FILES = sorted(PACKAGE.rglob("*.py"))
EXECUTES = ("execute", "executemany", "executescript", "copy", "stream", "mogrify")
# File and function: why what it executes cannot be told by its text, and is safe.
KNOWN: dict[tuple[str, str], str] = {
    ("core/ledger/append.py", "append_now"): "of the records' own tables and columns; its function "
    "is a literal of the callers",
    ("core/report/contract_samples.py", "read_sample"): "a list of fixed texts",
    ("core/backup/restore.py", "_restore_database"): "the roles of the first file of sql/",
    ("core/store/listening.py", "_run"): "composed when the object is made",
    ("core/store/migrations.py", "migrate"): "the files of sql/, whose checksums are kept",
    ("core/live/paper_venue.py", "reach"): "no SQL: a venue executes an order",
    ("core/session/trading.py", "_work"): "no SQL: a venue executes an order",
    ("core/market/providers/http.py", "_attempt"): "no SQL: an HTTP request",
    ("core/dossier/stored.py", "read_records"): "a text for each of the records' own tables",
}

LITERAL = "LiteralString"


def relative(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


class Texts:
    """Which expressions of a module are made of nothing but its own literals."""

    def __init__(self, tree: ast.Module) -> None:
        self.module = assignments(tree)

    def fixed(self, node: ast.expr, inside: dict[str, list[ast.expr]], depth: int = 0) -> bool:
        def all_fixed(*parts: ast.expr) -> bool:
            return depth < 12 and all(self.fixed(part, inside, depth + 1) for part in parts)

        match node:
            case ast.Constant():
                return True
            case ast.JoinedStr(values=parts):
                return all_fixed(
                    *(p.value if isinstance(p, ast.FormattedValue) else p for p in parts)
                )
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return all_fixed(left, right)
            case ast.IfExp(body=one, orelse=other):
                return all_fixed(one, other)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                return all_fixed(*parts)
            case ast.Starred(value=value):
                return all_fixed(value)
            case ast.Name(id=name) if name in inside:
                return all_fixed(*inside[name])
            case ast.Name(id=name) if name in self.module:
                return all_fixed(*self.module[name])
            case ast.Attribute(value=ast.Name(), attr=name) if name.isupper():
                # Of another module: a constant, too.
                return True
            case ast.Name(id=name):
                # Another module's constant.
                return name.strip("_").isupper()
            case ast.Call(func=ast.Attribute(value=text, attr="encode"), args=[]):
                return all_fixed(text)
            case ast.Call(
                func=ast.Attribute(value=text, attr="join" | "format" | "replace"),
                args=parts,
                keywords=named,
            ):
                composed = self.composed(text, inside, depth)
                return composed or all_fixed(text, *parts, *(k.value for k in named))
            case ast.Call():
                return self.composed(node, inside, depth)
        return False

    def composed(self, node: ast.expr, inside: dict[str, list[ast.expr]], depth: int) -> bool:
        """Whether it is ``sql.SQL`` of a fixed text, which quotes what is put into it."""
        if isinstance(node, ast.Name):
            values = inside.get(node.id) or self.module.get(node.id) or []
            return bool(values) and all(self.composed(v, inside, depth + 1) for v in values)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sql.SQL", "SQL"):
            return self.fixed(node.args[0], inside, depth + 1)
        quoted = ("sql.Identifier", "sql.Literal", "sql.Placeholder")
        return isinstance(node, ast.Call) and ast.unparse(node.func) in quoted


def assignments(scope: ast.AST) -> dict[str, list[ast.expr]]:
    """What the names of a module or function are made of; something unknown: an empty call."""
    found: dict[str, list[ast.expr]] = {}
    unknown = ast.Subscript(ast.Name("?"), ast.Constant(0))
    for node in within(scope):
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    names = [n.id for n in ast.walk(target) if isinstance(n, ast.Name)]
                    for name in names:
                        plain = isinstance(target, ast.Name)
                        found.setdefault(name, []).append(value if plain else unknown)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                found.setdefault(name, []).append(value)
            case ast.AugAssign(target=ast.Name(id=name), value=value):
                found.setdefault(name, []).append(value)
            case (
                ast.For(target=target, iter=values) | ast.comprehension(target=target, iter=values)
            ):
                for one in ast.walk(target):
                    if isinstance(one, ast.Name):
                        found.setdefault(one.id, []).append(values)
    if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        given = scope.args
        for one in (*given.posonlyargs, *given.args, *given.kwonlyargs):
            # Whoever calls it gives a fixed text: see below.
            is_literal = one.annotation is not None and ast.unparse(one.annotation) == LITERAL
            found.setdefault(one.arg, []).append(ast.Constant("") if is_literal else unknown)
    return found


def within(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope, those of functions inside it left out."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(
            child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
        ):
            yield child
            yield from within(child)


def statements(tree: ast.Module) -> Iterator[tuple[str, dict[str, list[ast.expr]], ast.expr]]:
    """Function, its names, and text of whatever is executed."""

    def visit(
        scope: ast.AST, names: dict[str, list[ast.expr]], called: str
    ) -> Iterator[tuple[str, dict[str, list[ast.expr]], ast.expr]]:
        for node in within(scope):
            match node:
                case ast.Call(func=ast.Attribute(attr=attr), args=[text, *_]) if attr in EXECUTES:
                    yield called, names, text
        for child in ast.walk(scope):
            if child is scope:
                continue
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                own = names | assignments(child)
                yield from visit(child, own, getattr(child, "name", called))

    seen: set[int] = set()
    for called, names, text in visit(tree, {}, ""):
        if id(text) not in seen:
            seen.add(id(text))
            yield called, names, text


def composed_of_values(source: str) -> list[tuple[str, str]]:
    """Function and text of each statement that is not fixed."""
    tree = ast.parse(source)
    texts = Texts(tree)
    return [
        (called, ast.unparse(text))
        for called, names, text in statements(tree)
        if not texts.fixed(text, names)
    ]


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_statements_are_fixed_texts_or_composed_by_psycopg(file: Path) -> None:
    for function, text in composed_of_values(file.read_text()):
        assert (relative(file), function) in KNOWN, f"{relative(file)}: {function}: {text}"


def literal_parameters() -> dict[str, list[tuple[Path, int, str]]]:
    """Place and name of the parameters of functions that take nothing but a literal."""
    found: dict[str, list[tuple[Path, int, str]]] = {}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                own = [a for a in (*node.args.args, *node.args.kwonlyargs) if a.arg != "self"]
                for place, one in enumerate(own):
                    if one.annotation is not None and ast.unparse(one.annotation) == LITERAL:
                        found.setdefault(node.name, []).append((file, place, one.arg))
    return found


def test_who_asks_for_a_literal_is_given_one() -> None:
    wanted = literal_parameters()
    assert "_rows" in wanted
    for file in FILES:
        tree = ast.parse(file.read_text())
        texts = Texts(tree)
        scopes = [(tree, {})] + [
            (node, assignments(node)) for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]  # fmt: skip
        for scope, names in scopes:
            if (relative(file), getattr(scope, "name", "")) in KNOWN:
                continue
            for call in within(scope):
                if not isinstance(call, ast.Call):
                    continue
                called = ast.unparse(call.func).rpartition(".")[2]
                for home, place, name in wanted.get(called, []):
                    if called.startswith("_") and home != file:
                        continue
                    given = [k.value for k in call.keywords if k.arg == name]
                    given += call.args[place : place + 1]
                    for one in given:
                        assert texts.fixed(one, names), f"{relative(file)}: {ast.unparse(call)}"


def test_the_exceptions_exist() -> None:
    for name, function in KNOWN:
        found = composed_of_values((PACKAGE / name).read_text())
        assert function in [one for one, _ in found], (name, function)


@pytest.mark.parametrize(
    "text",
    [
        'f"SELECT {name}"',
        '"SELECT %s" % name',
        '"SELECT " + name',
        '"SELECT {}".format(name)',
        'sql.SQL(f"SELECT {name}")',
        'sql.SQL("SELECT " + name).format(1)',
        "name",
        "made",
        '" ".join([name])',
        'f"SELECT {name}".encode()',
        "self.query",
    ],
)
def test_a_value_in_a_statement_is_seen(text: str) -> None:
    begin = 'def f(self, connection, name):\n    made = f"x {name}"\n'
    source = f"{begin}    connection.execute({text})\n"
    assert composed_of_values(source)


@pytest.mark.parametrize(
    "text",
    [
        '"SELECT %s"',
        'f"SELECT {COLUMNS}"',
        'sql.SQL("SELECT {}").format(sql.Identifier(name))',
        "made",
        '"SELECT 1" if name else "SELECT 2"',
    ],
)
def test_fixed_texts_and_compositions_are_let_through(text: str) -> None:
    begin = 'COLUMNS = "a, b"\ndef f(connection, name):\n    made = f"x {COLUMNS}"\n'
    source = f"{begin}    connection.execute({text}, [name])\n"
    assert not composed_of_values(source)
