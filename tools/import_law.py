"""The law of the house: a notebook imports only from a smaller (folder, notebook) number.

  python tools/import_law.py     list the imports that break it; fails if there is one

A folder's index, which lists the room's public names, stands behind all other notebooks of its folder.
Beyond the order, some rooms stay apart: a Learner takes any module, and the applied rooms do not know each other.
"""
import ast, re, sys
from importlib.util import resolve_name
from math import inf
from pathlib import Path
from typing import NamedTuple

APART = [{2, 4}, {8, 9, 10, 11}]

class Place(NamedTuple):
    folder: int
    notebook: float   # inf: the folder's index
    def __str__(self): return f"{self.folder:02d}-{'index' if self.notebook == inf else f'{self.notebook:02d}'}"

def places(root:Path) -> dict[str, Place]:
    "Module -> place of the notebook that exports it"
    found = {}
    for path in sorted((root/'nbs').glob('[0-9]*-*/*.ipynb')):
        module = re.search(r'#\| *default_exp +([\w.]+)', path.read_text(encoding='utf-8'))
        number = re.match(r'\d+', path.name)
        if module: found[module[1].removesuffix('.__init__')] = Place(int(path.parent.name.split('-')[0]), int(number[0]) if number else inf)
    return found

def arrows(root:Path, package:str='upslope') -> list[tuple[str, str]]:
    "(module, module that it imports) inside the package, imports inside functions too"
    modules, found = places(root), set()
    for module in modules:
        path = root.joinpath(package, *module.split('.')).with_suffix('.py')
        if not path.exists(): path = root.joinpath(package, *module.split('.'), '__init__.py')
        inside = f'{package}.{module}' if path.name == '__init__.py' else f'{package}.{module}'.rpartition('.')[0]
        if module == '__init__': inside = package
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import): names = [(alias.name, None) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = resolve_name('.'*node.level + (node.module or ''), inside) if node.level else node.module
                names = [(base, alias.name) for alias in node.names]
            else: continue
            for base, name in names:
                for target in (f'{base}.{name}', base):   # what is imported is a module itself, or a name in one
                    target = target.removeprefix(f'{package}.')
                    if target in modules: found.add((module, target)); break
    return sorted(found)

def fault(source:Place, target:Place) -> str | None:
    "What is wrong with an import from one place of another; None: nothing"
    if target >= source: return 'comes later: move the shared part to a notebook before both'
    if source.folder != target.folder and any({source.folder, target.folder} <= rooms for rooms in APART):
        return 'is a room that stays apart: move the shared part to a room before both'

def faults(root:Path, package:str='upslope') -> list[str]:
    "One line for each import that breaks the law"
    where = places(root)
    return [f'{source} ({where[source]}) imports {target} ({where[target]}), which {wrong}'
            for source, target in arrows(root, package) if (wrong := fault(where[source], where[target]))]

if __name__ == '__main__':
    wrong = faults(Path(__file__).resolve().parent.parent)
    print(*wrong or ['Every import points to a smaller number.'], sep='\n')
    sys.exit(bool(wrong))
