"""Whether a boosted function that calls itself by name may do so at plain speed, and the twin that does.

Inside the twin the function's own name means the twin, so that CPython calls it as it calls any function. That is right
only if none of those calls would have mapped over a list: every one passes, first, arithmetic on numbers, given that the
outer call did. It is proven on the source, and the source is believed only if it compiles to the function's own bytecode.
Whatever is doubtful has no twin.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Union

Twin = tuple[types.FunctionType, Union[dict, types.CellType], str, int]

_MOST_ARGUMENTS = 31
_COMPARED: tuple[str, ...] = ("co_name", "co_firstlineno", "co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars")
_COMPARED += ("co_argcount", "co_posonlyargcount", "co_kwonlyargcount")
_LINES = "co_linetable" if hasattr(types.CodeType, "co_linetable") else "co_lnotab"
_LOOKS_AT_ITS_FRAME = {"locals", "vars", "dir", "eval", "exec", "super", "__class__", "_getframe", "currentframe"}


def calls_itself(function: object, as_method: bool) -> str | None:
    """How a function names itself in its own code: "name", "attribute" (self.f), or None."""
    if not isinstance(function, types.FunctionType):
        return None
    code = function.__code__
    codes = [each for each in _codes(code) if code.co_name in each.co_names + each.co_freevars]
    if not codes:
        return None
    import dis

    loads = {each.opname for code_ in codes for each in dis.get_instructions(code_) if each.argval == code.co_name}
    if any(each.startswith(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT")) for each in loads):
        return "name"
    return "attribute" if as_method and loads & {"LOAD_ATTR", "LOAD_METHOD"} else None


def twin_of(function: object) -> Twin | None:
    """The twin, where the function finds its own name, that name, and bit i for each argument i that must be a number."""
    if not isinstance(function, types.FunctionType):
        return None
    code, name = function.__code__, function.__code__.co_name
    own_cell = name in code.co_freevars
    if not (own_cell or name in code.co_names):
        return None
    import ast

    tree = _source_tree(code)
    if tree is None or not _same(_compiled(tree, code, code.co_freevars), code):
        return None
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    numbers = _numbers_needed(definition, name)
    if numbers is None:
        return None
    cells = dict(zip(code.co_freevars, function.__closure__ or ()))
    place: Any = cells[name] if own_cell else function.__globals__
    if not own_cell:
        code = _compiled(tree, code, (*code.co_freevars, name))
        if hasattr(code, "co_qualname"):
            code = code.replace(co_qualname=function.__code__.co_qualname)  # type: ignore[attr-defined,call-arg,unused-ignore]
    cells[name] = itself = types.CellType()
    twin = _made_by_def(code, function, cells)
    if function.__kwdefaults__ is not None:
        twin.__kwdefaults__ = function.__kwdefaults__  # the same dict: a change in it is seen
    twin.__qualname__ = function.__qualname__
    twin.__module__ = function.__module__
    itself.cell_contents = twin
    return twin, place, name, numbers


def _made_by_def(code: types.CodeType, function: types.FunctionType, cells: dict) -> types.FunctionType:
    """A function of this code, made as a def statement makes it: CPython 3.13 calls only such quickly."""
    free, defaults = code.co_freevars, function.__defaults__ or ()
    new = "_" * (1 + max(map(len, free)))  # begins no name in `free`
    given = [f"{new}{i}" for i in range(len(defaults))]
    taken = ", ".join(f"{new}a{each}={each}" for each in given)
    lines = f"def {new}({', '.join(free)}):", f" def {new}({', '.join(given)}):", f"  def {new}({taken}): {', '.join(free)}"
    (outer,) = _inner_codes(compile("\n".join(lines) + f"\n  return {new}", code.co_filename, "exec", 0, True))
    (maker,) = _inner_codes(outer)
    (empty,) = _inner_codes(maker)
    assert empty.co_freevars == free
    maker = maker.replace(co_consts=tuple(code if each is empty else each for each in maker.co_consts))
    closure = tuple(cells[each] for each in maker.co_freevars)
    return types.FunctionType(maker, function.__globals__, new, None, closure)(*defaults)


def _inner_codes(code: types.CodeType) -> list[types.CodeType]:
    return [each for each in code.co_consts if isinstance(each, types.CodeType)]


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for each in _inner_codes(code):
        yield from _codes(each)


def _source_tree(code: types.CodeType) -> Any:
    """A module that holds the definition alone, with the lines and columns of its file."""
    import ast
    import inspect

    lines, first = inspect.getsourcelines(code)
    if lines[0][:1] in (" ", "\t"):
        tree = ast.parse("if 1:\n" + "".join(lines))
        tree.body = tree.body[0].body  # type: ignore[attr-defined]
        first -= 1
    else:
        tree = ast.parse("".join(lines))
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef) or tree.body[0].name != code.co_name:
        return None
    return ast.increment_lineno(tree, first - 1)


def _compiled(tree: Any, code: types.CodeType, free: tuple[str, ...]) -> types.CodeType:
    """The definition's code where `free` are names of an enclosing function."""
    import __future__

    import ast

    first = "0" if code.co_name in free else f"global {code.co_name}"
    whole = ast.parse(f"def _({', '.join(free)}): {first}")
    whole.body[0].body += tree.body  # type: ignore[attr-defined]
    futures = sum(getattr(__future__, each).compiler_flag for each in __future__.all_feature_names if each != "nested_scopes")
    compiled = compile(whole, code.co_filename, "exec", code.co_flags & futures, True)
    (outer,) = _inner_codes(compiled)
    found = [each for each in _inner_codes(outer) if each.co_name == code.co_name]
    return found[-1]  # those of its decorators and defaults are before


def _same(a: Any, b: Any) -> bool:
    """Whether two code objects, or two constants, do the same at the same lines."""
    if type(a) is not type(b):
        return False
    if isinstance(a, types.CodeType):
        nested = 0x10  # CO_NESTED tells only where it stood
        return (
            all(getattr(a, each) == getattr(b, each) for each in _COMPARED)
            and a.co_flags & ~nested == b.co_flags & ~nested
            and all(getattr(a, each, None) == getattr(b, each, None) for each in ("co_exceptiontable", _LINES))
            and _same(a.co_consts, b.co_consts)
        )
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b if isinstance(a, frozenset) else repr(a) == repr(b)


def _numbers_needed(definition: Any, name: str) -> int | None:
    """Bit i for each argument i that must be a number so that no call of `name` gets a list or a tuple first; None: unknown."""
    import ast

    parameters = [each.arg for each in definition.args.posonlyargs + definition.args.args][:_MOST_ARGUMENTS]
    calls: list[Any] = []
    values: dict[str, list[Any]] = {}  # what each name is assigned, None for what cannot be told
    known: set[int] = set()  # id() of names that were looked at with what holds them

    def assign(target: Any, value: Any) -> None:
        if isinstance(target, ast.Name):
            known.add(id(target))
            values.setdefault(target.id, []).append(value)
        elif isinstance(target, (ast.Tuple, ast.List)) and isinstance(value, (ast.Tuple, ast.List)):
            both = target.elts + value.elts
            if len(target.elts) == len(value.elts) and not any(isinstance(each, ast.Starred) for each in both):
                for one, its in zip(target.elts, value.elts):
                    assign(one, its)

    for each in ast.walk(definition.args):
        if isinstance(each, ast.arg) and each.arg not in parameters:
            values[each.arg] = [None]
    own = list(_own_scope(definition.body))
    for node in own:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                assign(target, node.value)
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
            assign(node.target, node.value)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            before = ast.Name(node.target.id, ast.Load())
            assign(node.target, ast.BinOp(before, node.op, node.value))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            known.add(id(node.func))
            calls.append(node)
    for node in (each for part in definition.body for each in ast.walk(part)):
        if isinstance(node, ast.Name) and id(node) not in known:
            if node.id == name or node.id in _LOOKS_AT_ITS_FRAME:
                return None  # more than called, or in a function of its own
            if not isinstance(node.ctx, ast.Load):
                values.setdefault(node.id, []).append(None)
        elif isinstance(node, ast.Attribute) and node.attr in _LOOKS_AT_ITS_FRAME:
            return None
        for bound in _other_names(node):
            values.setdefault(bound, []).append(None)
    if not calls or not parameters or name in values or name in parameters:
        return None

    needed = {parameters[0]}
    waiting = list(needed)

    def is_number(value: Any) -> bool:
        if isinstance(value, ast.Constant):
            return type(value.value) in (int, float, bool)
        if isinstance(value, ast.Name):
            if value.id not in needed:
                needed.add(value.id)
                waiting.append(value.id)
            return True  # if it is one: asked for above
        if isinstance(value, ast.UnaryOp):
            return is_number(value.operand)
        if isinstance(value, ast.BinOp):
            return not isinstance(value.op, ast.MatMult) and is_number(value.left) and is_number(value.right)
        if isinstance(value, ast.IfExp):
            return is_number(value.body) and is_number(value.orelse)
        if isinstance(value, ast.BoolOp):
            return all(map(is_number, value.values))
        return isinstance(value, ast.NamedExpr) and is_number(value.value)

    numbers = 0
    while waiting:
        each = waiting.pop()
        assigned = values.get(each, [])
        if each not in parameters and not assigned:
            return None  # a global, a cell, a keyword-only argument
        if not all(map(is_number, assigned)):
            return None
        if each in parameters:
            i = parameters.index(each)
            numbers |= 1 << i
            for call in calls:
                if len(call.args) <= i or any(isinstance(one, ast.Starred) for one in call.args[: i + 1]):
                    return None
                if not is_number(call.args[i]):
                    return None
    return numbers


def _own_scope(body: list) -> Iterator[Any]:
    """All nodes but those in functions, classes and comprehensions of their own."""
    import ast

    apart = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    apart += (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)  # type: ignore[assignment]
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, apart):
            waiting.extend(ast.iter_child_nodes(node))


def _other_names(node: Any) -> list[str]:
    """Names that a node binds otherwise than by a Name in it."""
    import ast

    if isinstance(node, (ast.Global, ast.Nonlocal)):
        return node.names
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [each.asname or each.name.split(".")[0] for each in node.names]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler)):
        return [node.name] if node.name else []
    return [each for each in (getattr(node, "rest", None), getattr(node, "name", None)) if isinstance(each, str)]  # match
