"""Every mutant of some files, by cosmic-ray's operators: run by an interpreter that has it, and knows nothing of ours.

    python mutants_made.py FILE... > mutants.jsonl

One JSON object a mutant: its file, the operator, the first and last line of what was changed, and the whole source.
A change that changes nothing is no mutant: annotations and what only type checkers read are never run (`int | None`
alone gives twelve), and two operators often say the same (each source stands here once).
"""

from __future__ import annotations

import ast
import json
import sys
import warnings
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

SAID = "core/"


class Bare(ast.NodeTransformer):
    """A module without annotations and without what stands under TYPE_CHECKING."""

    def visit_AnnAssign(self, node):
        self.generic_visit(node)
        node.annotation = ast.Constant(None)
        return node

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        node.returns = None
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - ast's name

    def visit_If(self, node):
        self.generic_visit(node)
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else node


def bare(source):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `x is 5` is a mutant, not a mistake
        return ast.dump(Bare().visit(ast.parse(source)))


def operators():
    for name in operator_names():
        operator = get_operator(name)
        if not operator.arguments():
            yield name.removeprefix(SAID), operator()


def mutants(path):
    source = Path(path).read_text(encoding="utf-8")
    seen = {bare(source)}
    nodes = list(ast_nodes(get_ast(source)))
    for name, operator in operators():
        places = [place for node in nodes for place in operator.mutation_positions(node)]
        for occurrence, (start, end) in enumerate(places):
            try:
                changed = mutate_code(source, operator, occurrence)
                what = bare(changed)
            except (AttributeError, SyntaxError):  # cosmic-ray stumbles over `except (a.B, C)`, and makes `not x: ...`
                continue
            if what not in seen:
                seen.add(what)
                yield {"path": path, "operator": name, "lines": [start[0], end[0]], "source": changed}


for file in sys.argv[1:]:
    for mutant in mutants(file):
        print(json.dumps(mutant))
