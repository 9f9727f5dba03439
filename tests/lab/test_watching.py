"Runs of a study that are watched come out the same to the bit, alone and as members of a population, and what was seen is in the store"
import subprocess, sys
import numpy as np, pytest
from upslope.lab import Store

SCRIPT = """
import sys
import torch
from torch import nn
from upslope.lab import Recipe, Study

class Breaks(nn.Module):
    def __init__(self, at): super().__init__(); self.at, self.n = at, 0
    def forward(self, x):
        if self.training: self.n += 1
        return x*float('nan') if self.training and self.n == self.at else x
def dense(width=16, at=-1): return nn.Sequential(nn.Flatten(), nn.Linear(64, width), Breaks(at), nn.ReLU(), nn.Linear(width, 10))

if __name__ == '__main__':
    store, engine, watch = sys.argv[1:4]
    study = Study('s', Recipe('digits', dense, epochs=2, lr=1e-2, opt='momentum'), dict(at=[9]) if engine == 'loop' else dict(lr=[1e-3]), seeds=2, baselines=None, store=store, placebo=False)
    study.run(workers=1, engine=engine, watch=float(watch) or None, show=False)
"""

def studied(tmp_path, engine, watch):
    (tmp_path/'work.py').write_text(SCRIPT)
    path = tmp_path/f'{engine}-{watch}.db'
    done = subprocess.run([sys.executable, tmp_path/'work.py', path, engine, str(watch)], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    store = Store(path)
    return store, {(r['recipe'], r['seed']): (r['id'], r['status'], store.run(r['id']).results(), r['engine']) for r in store.query('SELECT * FROM run ORDER BY id')}

@pytest.mark.parametrize('engine', ['loop', 'population'])
def test_a_watched_study_is_the_same_and_what_was_seen_is_kept(tmp_path, engine):
    (_, plain), (store, seen) = studied(tmp_path, engine, 0), studied(tmp_path, engine, 1e9)
    assert {k: v[1:] for k, v in plain.items()} == {k: v[1:] for k, v in seen.items()} and len(seen) == 4   # bit for bit
    for run, status, results, how in seen.values():
        w = store.watched(run)
        losses = w.series('loss', 'value')
        if status == 'failed':
            assert losses.index.max() < 9 and len(w.records) >= 3   # what came before the loss that is none
        else:
            assert how == engine and losses.index[0] == 0 and losses.index[-1] >= 30 and np.isfinite(losses.to_numpy()).all()
            assert w.series('gradient', 'norm').shape[1] == 3 and w.plot()
    assert {v[1] for v in seen.values()} == ({'done', 'failed'} if engine == 'loop' else {'done'})
