"A checkpoint that was changed, by a fault or by hand with a right checksum: an error or a warning in words, or a state that can be loaded; no code, little memory, little time"
import json, os, subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
N = 500   # changes of each kind

CASES = r'''
import copy, json, random, resource, sys, tempfile, time, traceback, warnings
from pathlib import Path
import torch
from torch import nn
import upslope.data.saving as saving
from upslope.core.errors import UpslopeError
from upslope.data import Batches
from upslope.data.saving import _digest
from upslope.train import Checkpoint, EarlyStopping, Learner
from torch.utils.data import DataLoader, TensorDataset
from fastai.callback.core import Callback, CancelFitException
kind, n = sys.argv[1], int(sys.argv[2])
saving.sync = lambda path: None
folder = Path(tempfile.mkdtemp())
chance = random.Random(5)
x, y = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 3

class Stops(Callback):
    "The fit is over when the checkpoint is loaded"
    order = 3000
    def before_fit(self):
        if self.end: raise CancelFitException
    def __init__(self, end): self.end = end
    def state_dict(self): return {}
    def load_state_dict(self, state): pass
def fit(path, end):
    torch.manual_seed(0)
    train = DataLoader(TensorDataset(x, y), 8, shuffle=True, generator=torch.Generator().manual_seed(1))
    learn = Learner((train, Batches(x, y)), nn.Sequential(nn.Linear(8, 8), nn.Dropout(), nn.Linear(8, 3)), 'cross_entropy', 'adam', metrics='accuracy', verbose=False)
    stop = Checkpoint(path, steps=5, keep=1)
    stop.after_cancel_fit = lambda: None if end else Checkpoint.after_cancel_fit(stop)   # what is looked at stays
    learn.fit(3, 1e-2, schedule='cosine', cbs=[EarlyStopping(patience=2), stop, Stops(end)])
class Dies(Exception): pass
class DieAt(Callback):
    order = 2500
    def after_batch(self):
        if self.train_iter == 13: raise Dies
try:
    Stops.after_batch = lambda self: DieAt.after_batch(self) if not self.end else None
    fit(folder/'kept', False)
except Dies: pass
source = next((folder/'kept').glob('*.json')).with_suffix('')
text, tensors = source.with_suffix('.json').read_bytes(), source.with_suffix('.safetensors').read_bytes()
body = json.loads(text)['state']

def deep(depth):
    value = []
    for _ in range(depth): value = [value]
    return value
PLANTED = "__import__('os').system('PLANTED')"
ODD = [PLANTED, None, True, -1, 0, 10**30, 1e308, float('nan'), '', 'x'*1000, '../../x', [], {}, [[]], deep(50), {'a': 1}, {'__tensor__': 't.0', 'numpy': True}, {'__tensor__': 't.0', 'numpy': False},
       {'__tensor__': 'none', 'numpy': False}, {'__tensor__': 't.0'}, {'__tuple__': 3}, {'__dict__': [[[], 1]]}, {'__L__': {}}, {'__tuple__': []}, {'__tensor__': []}]
def places(value, depth=0):
    "(holder, key, depth) of all that is in a state"
    for k, v in (value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()):
        yield value, k, depth
        yield from places(v, depth + 1)
def changed_field():
    state = copy.deepcopy(body)
    every = list(places(state))
    most = chance.choice([3, 5, 99])
    holder, key, _ = chance.choice([o for o in every if o[2] <= most and not (len(o[0]) > 100 and chance.random() < .99)])
    what = chance.choice(['odd', 'odd', 'odd', 'gone', 'other', 'renamed', 'twice'])
    if what == 'gone': del holder[key]
    elif what == 'renamed' and isinstance(holder, dict): holder[str(key) + '_'] = holder.pop(key)
    elif what == 'twice' and isinstance(holder, list): holder.append(copy.deepcopy(holder[key]))
    elif what == 'other': other, k, _ = chance.choice(every); holder[key] = copy.deepcopy(other[k])
    else: holder[key] = chance.choice(ODD)
    return state
def write(path, text, tensor_bytes):
    path.mkdir()
    (path/(source.name + '.json')).write_bytes(text)
    (path/(source.name + '.safetensors')).write_bytes(tensor_bytes)
def changed_bytes(data):
    data = bytearray(data)
    what = chance.choice(['bit', 'byte', 'cut', 'more', 'zeros'])
    at = chance.randrange(len(data)) if chance.random() < .5 else chance.randrange(min(len(data), 300))
    if what == 'bit': data[at] ^= 1 << chance.randrange(8)
    elif what == 'byte': data[at] = chance.randrange(256)
    elif what == 'cut': del data[at:]
    elif what == 'more': data[at:at] = bytes(chance.randrange(256) for _ in range(20))
    else: data[at:at + 20] = bytes(20)
    return bytes(data)

fit(folder/'kept', True)                        # the unchanged one is loaded
found, seen = dict(clean=0, told=0, passed=0, foreign=[], unnamed=0, slowest=0.), []
codes = []
def hook(event, args):
    if event in ('exec', 'compile', 'import') and 'PLANTED' in str(args) or event in ('pickle.find_class', 'subprocess.Popen', 'os.system', 'os.exec'): codes.append((event, str(args)[:100]))
sys.addaudithook(hook)
codes.clear()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for i in range(n):
    path = folder/str(i)
    if kind == 'fields':
        state = changed_field()
        write(path, json.dumps({'format': 1, 'sha256': _digest(state, tensors), 'state': state}).encode(), tensors)
    elif kind == 'header':                      # of the tensors' file, with a right checksum
        other = changed_bytes(tensors)
        write(path, json.dumps({'format': 1, 'sha256': _digest(body, other), 'state': body}).encode(), other)
    elif i % 2: write(path, changed_bytes(text), tensors)
    else: write(path, text, changed_bytes(tensors))
    start, names = time.process_time(), sorted(p.name for p in path.iterdir())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        try:
            fit(path, True)
            passed = [str(w.message) for w in caught if 'passed over' in str(w.message)]
            found['passed' if passed else 'clean'] += 1
            found['unnamed'] += bool(passed) and source.name not in passed[0]
        except UpslopeError as e: found['told'] += 1; assert 'got:' in str(e), str(e)
        except Exception: found['foreign'].append(traceback.format_exc()[-1500:])
    assert names == sorted(p.name for p in path.iterdir()), 'a damaged checkpoint was removed'
    found['slowest'] = max(found['slowest'], time.process_time() - start)
found['mb'] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)/(1 if sys.platform == 'darwin' else 1)/1024
found['codes'] = sorted(set(map(str, codes)))
print(json.dumps(found))
'''

@pytest.mark.parametrize('kind', ['fields', 'bytes', 'header'])
def test_a_changed_checkpoint_costs_words_or_nothing(tmp_path, kind):
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1', 'TMPDIR': str(tmp_path)}
    run = subprocess.run([sys.executable, '-c', CASES, kind, str(N)], capture_output=True, text=True, env=env, timeout=900)
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout)
    print({k: v for k, v in found.items() if k not in ('foreign', 'codes')})
    assert not found['foreign'], (len(found['foreign']), found['foreign'][0])
    assert not found['unnamed']
    assert found['told'] + found['passed'] > N//4                     # else little was tried
    if kind == 'bytes': assert found['passed'] >= .95*N, found        # the checksum knows
    assert found['mb'] < 200 and found['slowest'] < 5, found
    assert not found['codes'], found['codes']
