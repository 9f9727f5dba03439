"What the machine does to a fit: a full disk, a file that may not be written, a model elsewhere. Nothing that stood is lost"
import json, os, subprocess, sys
from pathlib import Path

import pytest, torch
from torch import nn
from upslope.core import DataError
from upslope.data import loaders, sources
from upslope.train import Learner

ROOT = Path(__file__).resolve().parents[2]

def python(code, *args):
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}
    run = subprocess.run([sys.executable, '-c', code, *map(str, args)], capture_output=True, text=True, env=env, timeout=300)
    assert run.returncode == 0, run.stderr
    return run.stdout

START = '''
import json, os, resource, signal, sys
from pathlib import Path
import torch
from torch import nn
from upslope.core import DataError, StoreError
from upslope.data import loaders, sources
from upslope.data.saving import load_state
from upslope.train import CSVLogger, Checkpoint, JSONLogger, Learner
folder = Path(sys.argv[1])
def learner():
    torch.manual_seed(0)
    return Learner(loaders(sources.digits(), pipeline='standardize'), nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10)), 'cross_entropy', 'adam', verbose=False)
'''

@pytest.mark.skipif(sys.platform == 'win32', reason='the system sets no limit to the size of a file')
def test_a_full_disk_while_a_checkpoint_is_written(tmp_path):
    out = json.loads(python(START + '''
from fastai.callback.core import Callback
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
class Full(Callback):
    "From the second epoch on, files may grow to 100 kB: the log goes on, a checkpoint of 250 kB does not fit"
    def before_epoch(self):
        if self.epoch == 2: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    def state_dict(self): return {}
    def load_state_dict(self, state): pass
cbs = lambda: [CSVLogger(folder/'log.csv'), Checkpoint(folder/'run'), Full()]
try: learner().fit(4, 1e-3, cbs=cbs()); told = 'nothing'
except StoreError as e: told = str(e)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
kept = [load_state(p.with_suffix(''))['epoch'] for p in sorted((folder/'run').glob('step-*.json'))]
rest = [p.name for p in (folder/'run').iterdir() if p.suffix not in ('.json', '.safetensors')]
log = (folder/'log.csv').read_text().splitlines()
Full.before_epoch = lambda self: None
again = learner(); again.fit(4, 1e-3, cbs=cbs())         # room again: it goes on
whole = learner(); whole.fit(4, 1e-3)
same = all(torch.equal(a, b) for a, b in zip(again.model.state_dict().values(), whole.model.state_dict().values()))
print(json.dumps(dict(told=told, kept=kept, rest=rest, log=len(log), same=same, rows=len((folder/'log.csv').read_text().splitlines()))))
''', tmp_path))
    assert 'File too large' in out['told'] and 'got:' in out['told'], out['told']
    assert out['kept'] == [0, 1] and not out['rest'], out     # both earlier ones are whole, and no half file is left
    assert out['log'] == 4                                    # heading and the three epochs that were trained
    assert out['same'] and out['rows'] == 5, out

@pytest.mark.skipif(not hasattr(os, 'setuid'), reason='no users to change')
def test_a_log_that_may_not_be_written(tmp_path):
    folder = tmp_path/'owned'
    folder.mkdir(); (folder/'log.csv').write_text('kept\n')
    if os.geteuid() == 0:
        for f in (tmp_path, *list(tmp_path.parents)[:3]): f.chmod(f.stat().st_mode | 0o055)  # one may come to the folder
    folder.chmod(0o555); (folder/'log.csv').chmod(0o444)
    try:
        out = python(START + '''
learn = learner()
before = [p.clone() for p in learn.model.parameters()]
learner().fit(1, 1e-3)                                            # all modules are read before the user changes
if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)
for logger in (CSVLogger(folder/'log.csv'), JSONLogger(folder/'new.jsonl'), CSVLogger(folder/'sub'/'log.csv')):
    try: learn.fit(1, 1e-3, cbs=logger); print('nothing is told')
    except DataError as e: print(str(e).replace(chr(10), ' '))
    assert all(torch.equal(a, b) for a, b in zip(before, learn.model.parameters()))   # told before the first step
learn.fit(1, 1e-3); assert learn.recorder.rows                    # and the Learner can go on
''', folder)
    finally: folder.chmod(0o755)
    lines = out.splitlines()
    assert len(lines) == 3 and all('The log file cannot be written.' in l and 'Permission denied' in l for l in lines), out
    assert (folder/'log.csv').read_text() == 'kept\n' and sorted(p.name for p in folder.iterdir()) == ['log.csv']

# --- devices
def net(): torch.manual_seed(0); return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
class Offset(nn.Module):
    def __init__(self, buffer):
        super().__init__()
        self.net, offset = net(), torch.zeros(10, device='meta')
        self.register_buffer('offset', offset) if buffer else setattr(self, 'offset', offset)
    def forward(self, x): return self.net(x) + self.offset

@pytest.fixture(scope='module')
def dls(): return loaders(sources.digits(), pipeline='standardize')

@pytest.mark.parametrize('do', [lambda l: l.fit(1), lambda l: l.validate(), lambda l: l.get_preds(), lambda l: l.evaluate()], ids=['fit', 'validate', 'get_preds', 'evaluate'])
def test_a_model_on_a_device_without_values(dls, do):
    with torch.device('meta'): model = net()
    with pytest.raises(DataError, match=r'(?s)shapes, but no weights.*1\.weight.*to_empty'): do(Learner(dls, model, 'cross_entropy', verbose=False))

def test_a_tensor_that_does_not_move_with_the_model(dls):
    with pytest.raises(DataError, match=r"(?s)more than one device.*offset on meta.*register_buffer\('offset'"): Learner(dls, Offset(False), 'cross_entropy', verbose=False).fit(1)
    with pytest.raises(DataError, match=r'(?s)no weights yet.*offset'): Learner(dls, Offset(True), 'cross_entropy', verbose=False).fit(1)

def test_other_errors_of_the_model_stay_as_they_are_and_a_note_says_where(dls):
    class Own(nn.Module):
        def __init__(self): super().__init__(); self.net = net()
        def forward(self, x): raise RuntimeError('this device of mine is broken')
    with pytest.raises(RuntimeError, match=r'^this device of mine is broken\nraised by Own, which was given \(64, 8, 8, 1\) float32; training, epoch 0, batch 0 of 17$'): Learner(dls, Own(), 'cross_entropy', verbose=False).fit(1)
    with pytest.raises(RuntimeError, match=r"mat1 and mat2(.|\n)*raised by Linear '1', which was given \(64, 64\) float32"): Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(63, 10)), 'cross_entropy', verbose=False).fit(1)
