"The default of a recipe fits the kind of its data; what no baseline can read has none; an error comes in words, with the user's lines alone"
import json, subprocess, sys, textwrap
import pytest
from upslope.core.errors import ArgumentError
from upslope.lab import Recipe, Study

DATA = '''
from pathlib import Path

def lines(split=0):
    "The lines of scikit-learn's descriptions of its data sets, with the set as class"
    from sklearn import datasets
    from upslope.data import sources
    names = 'breast_cancer', 'diabetes', 'digits', 'wine'
    found = [(line, name) for name in names for line in getattr(datasets, f'load_{name}')().DESCR.splitlines() if len(line) > 20]
    return sources.texts(*map(list, zip(*found)), split=split)

def rows(split=0):
    "Wines: numbers with gaps, and a column of words"
    import numpy as np
    from sklearn.datasets import load_wine
    from upslope.data import sources
    wine = load_wine(as_frame=True).frame
    wine = wine.assign(target=[f'grower {t}' for t in wine.target], strength=np.where(wine.alcohol > 13, 'strong', 'light')).drop(columns='alcohol')
    wine.loc[::7, 'hue'] = np.nan
    return sources.frame(wine, 'target', split=split)

def few(split=0):
    "Forty flowers"
    from sklearn.datasets import load_iris
    from upslope.data import sources
    x, y = load_iris(return_X_y=True)
    return sources.arrays(x[::4], y[::4], split=split)

def words(width=8):
    from torch import nn
    return nn.Sequential(nn.Embedding(5000, width), nn.Flatten(), nn.LazyLinear(4))
def net(width=16):
    from torch import nn
    return nn.Sequential(nn.LazyLinear(width), nn.ReLU(), nn.LazyLinear(3))
def broken(width=8):
    raise RuntimeError('this model cannot be made')
def thin(width=8):
    from torch import nn
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.LazyLinear(3))
'''

@pytest.fixture(scope='module')
def project(tmp_path_factory):
    "A folder with a module of data and models, as a user has"
    folder = tmp_path_factory.mktemp('project')
    (folder/'kinds.py').write_text(DATA)
    return folder

def script(project, *statements, ok=True):
    "What a script in the project's folder prints, or how it ends"
    (project/'script.py').write_text('from kinds import *\nfrom upslope.lab import Recipe, Study\nif __name__ == "__main__":\n' + ''.join(f'    {s}\n' for s in statements))
    done = subprocess.run([sys.executable, 'script.py'], cwd=project, capture_output=True, text=True, timeout=300)
    assert (done.returncode == 0) == ok, done.stderr
    return done.stdout if ok else done.stderr

@pytest.fixture(scope='module')
def studies(project):
    "Studies with defaults of each kind of data, run by one script that has not loaded torch"
    kinds = dict(texts='lines, words', rows='rows, net', few='few, net')
    script(project, *(f"Study({name!r}, Recipe({recipe}, epochs=2), seeds=2, store='good.db').run(1, show=False)" for name, recipe in kinds.items()),
           "Study('axis', Recipe(few, net, epochs=1), dict(model=[thin, broken]), seeds=1, baselines=None, store='good.db').run(1, show=False)")
    return {name: Study.open(name, project/'good.db') for name in (*kinds, 'axis')}

@pytest.fixture
def texts(studies): return studies['texts']

@pytest.fixture(scope='module')
def tracebacks(project):
    "What a script shows of studies that cannot run: before it has loaded torch, when a worker is asked, and after, when it looks itself"
    cases = dict(steps="rows, net, pipeline=['minmax']", model='few, broken', typed='few, net, batch_size=100')
    lines = ["import json, traceback", "shown = {}", "for when in ('asked', 'looked'):"]
    for name, recipe in cases.items():
        lines += [f"    try: Study('{name}', Recipe({recipe}), seeds=2, store='bad.db').run(1, show=False)", f"    except Exception: shown[f'{name} {{when}}'] = traceback.format_exc()"]
    script(project, *lines, "    import torch", "Path('shown.json').write_text(json.dumps(shown))")
    return json.loads((project/'shown.json').read_text())

def test_texts_have_the_baseline_alone_that_does_not_read(texts):
    runs = texts.runs()
    assert set(runs.config) == {'most_frequent', 'words'}
    assert set(runs.status) == {'done'}

def test_that_texts_have_no_other_baseline_is_said(texts, tmp_path):
    sentence = 'no baseline can read yet'
    assert sum(sentence in s for s in texts.answers()) == 1
    assert sentence in repr(texts.table())
    assert (texts.report(tmp_path/'r.html').read_text()).count(sentence) >= 1

def test_who_names_baselines_gets_them(project):
    sys.path.insert(0, str(project))
    try:
        from kinds import lines, words
        from upslope.lab.baselines import logistic_regression
        study = Study('named', Recipe(lines, words), seeds=2, baselines=[logistic_regression], store=project/'named.db')
        assert [b.label for b in study._baselines()] == ['logistic_regression']
        assert [b.label for b in Study('auto', Recipe(lines, words), seeds=2, store=project/'named.db')._baselines()] == ['most_frequent']
    finally: sys.path.remove(str(project))

@pytest.mark.parametrize('data', ['rows', 'few'])
def test_a_table_and_a_small_part_run_with_the_defaults(studies, data):
    runs = studies[data].runs()
    assert set(runs.status) == {'done'} and runs.config.nunique() == 6
    assert not any('no baseline can read' in s for s in studies[data].answers())

def test_data_in_memory_are_refused_with_the_line_to_type():
    import numpy as np, pandas as pd
    def small(): "a model"
    for data, fix in ((pd.DataFrame(dict(a=[1, 2])), 'sources.csv('), (np.ones((9, 2)), 'sources.arrays(')):
        with pytest.raises(ArgumentError, match='written down') as refused: Recipe(data, small)
        assert f'fix:  def data(split=0): return {fix}' in str(refused.value)

def of_ours(trace):
    "The lines of a traceback that stand in upslope's own files, but for the door's own"
    return [l for l in trace.splitlines() if l.startswith('  File ') and '/upslope/' in l and '/upslope/lab/frames.py' not in l]

LOOKED = 'asked', 'looked'

@pytest.mark.parametrize('when', LOOKED)
def test_a_number_that_was_typed_is_refused(tracebacks, when):
    assert 'A batch cannot hold more rows than the training part has.' in tracebacks[f'typed {when}']

@pytest.mark.parametrize('when', LOOKED)
def test_an_error_of_ours_shows_the_users_lines_alone(tracebacks, when):
    said = tracebacks[f'steps {when}']
    assert of_ours(said) == [] and 'script.py' in said
    assert len(said.splitlines()) < 15, said
    assert said.rstrip().splitlines()[-1].startswith('  fix: ')

@pytest.mark.parametrize('when', LOOKED)
def test_an_error_in_the_users_model_shows_its_line(tracebacks, when):
    said = tracebacks[f'model {when}']
    assert of_ours(said) == []
    assert "raise RuntimeError('this model cannot be made')" in said

def test_what_a_worker_keeps_has_the_users_lines_alone(studies):
    failed = studies['axis'].failures().set_index('config').error
    assert len(failed) == 2
    for error in failed: assert of_ours(error) == [], error
    assert 'in broken' in failed['broken'] and 'this model cannot be made' in failed['broken']

def test_in_a_notebook_too(project):
    cell = "Study('nb', Recipe(rows, net, pipeline=['minmax']), seeds=2, store='nb.db').run(show=False)"
    code = f'''
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance(colors='nocolor')
        shell.run_cell("from kinds import *\\nimport torch\\nfrom upslope.lab import Recipe, Study")
        shell.run_cell({cell!r})
    '''
    done = subprocess.run([sys.executable, '-c', textwrap.dedent(code)], cwd=project, capture_output=True, text=True, timeout=300)
    shown = done.stdout + done.stderr
    assert 'Statistics are learned from a tensor' in shown
    assert shown.count('/upslope/') == 1, shown   # the door, as the last frame: IPython shows that one whatever it says

def test_the_command_line_shows_the_sentence(project):
    script(project, "Recipe(rows, net, pipeline=['minmax']).save('bad.toml')")
    done = subprocess.run([sys.executable, '-m', 'upslope', 'study', 'cli.db', 'bad', '--recipe', 'bad.toml', '--seeds', '2'], cwd=project, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'DataError: Statistics are learned from a tensor' in done.stderr
