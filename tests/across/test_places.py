"The same lines in a script, in a notebook and where Python keeps no source: a model of one's own trains in a Learner and in a study, or it is said why not"
import re, subprocess, sys
import nbformat, pytest
from nbclient import NotebookClient

CELLS = '''
from torch import nn
from upslope.data import loaders, sources
from upslope.lab import Recipe, Study
from upslope.layers import Dense, Flatten, Sequential
from upslope.train import Learner
WIDTH = 8

class Own(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body,self.head = Dense(width, 'relu'),nn.Linear(width, 10)
    def forward(self, x): return self.head(self.body(x.flatten(1)))

def own(width=WIDTH): return Own(width)

def chain(width=WIDTH): return Sequential([Flatten(), Dense(width, 'relu'), Dense(10)])

learn = Learner(loaders(sources.digits(), pipeline=['standardize']), own(), 'cross_entropy', 'adam', verbose=False)
learn.fit(2, 1e-2)
print('LEARNED', learn.recorder.rows[-1]['valid_loss'] < learn.recorder.rows[0]['valid_loss'])

study = Study('place', Recipe('digits', chain, epochs=1, lr=1e-2), dict(model=[own]), seeds=1, baselines=None, placebo=False, store='runs.db')
runs = study.run(workers=1, show=False).runs()
print('STUDIED', runs.status.tolist())
'''
ENDED = re.compile(r"LEARNED True\s+STUDIED \['done', 'done'\]")

def python(arguments, folder, **kwargs):
    done = subprocess.run([sys.executable, '-W', 'ignore', *arguments], cwd=folder, capture_output=True, text=True, timeout=300, **kwargs)
    return done.stdout,done.stderr

def test_script(tmp_path):
    "Without a guard of `__name__`: no process imports the script again"
    (tmp_path/'script.py').write_text(CELLS)
    out,error = python(['script.py'], tmp_path)
    assert ENDED.search(out), error

def test_notebook(tmp_path):
    cells = CELLS.strip().split('\n\n')
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=300, kernel_name='python3', resources={'metadata': {'path': str(tmp_path)}}).execute()
    out = ''.join(o.get('text', '') for cell in notebook.cells for o in cell.outputs if o.output_type == 'stream' and o.name == 'stdout')
    assert ENDED.search(out), out

@pytest.mark.parametrize('arguments, lines', [(['-i'], CELLS), (['-'], CELLS), (['-c', CELLS], None)], ids=['prompt', 'pipe', 'argument'])
def test_where_python_keeps_no_source(arguments, lines, tmp_path):
    "The Learner trains; a study, whose workers need the source, says what to do"
    out,error = python(arguments, tmp_path, input=lines)
    assert 'LEARNED True' in out, error
    if 'STUDIED' in out: assert ENDED.search(out)   # a Python that keeps the source of what was typed
    else: assert 'The source of' in error and 'fix:  define it in a notebook cell, a script or a module' in error, error
