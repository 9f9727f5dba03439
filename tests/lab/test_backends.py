"The same study gives the same table wherever its workers are started, and whoever was killed on the way"
import os, subprocess, sys
import pytest
from upslope.lab import Store

pytestmark = pytest.mark.xdist_group('backends')   # in one process, so that the study is run once on this machine

SCRIPT = """
import sys
from torch import nn
from upslope.lab import Recipe, Study
from upslope.lab.halving import Halving

def dense(width=16, dropout=.1, seed=0): return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.Dropout(dropout), nn.LazyLinear(10))

if __name__ == '__main__':
    path,backend,halving,options = sys.argv[1], sys.argv[2], sys.argv[3] == 'halving', dict(cluster='local') if sys.argv[2] == 'slurm' else {}
    events = []
    study = Study('s', Recipe('digits', dense, epochs=4, lr=1e-2), dict(width=[4, 8]), seeds=2, baselines=None, store=path)
    study.run(workers=2, backend=backend, halving=Halving(first=1, factor=2) if halving else None, on_event=events.append, threads=1, checkpoint_s=1e-3 if halving else 30., **options)
    print([e.kind for e in events])
"""

@pytest.fixture(scope='module')
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp('backends')/'work.py'
    path.write_text(SCRIPT)
    return path

def run(script, backend, halving='straight', name=None):
    path = script.parent/(name or f'{backend}-{halving}')/'store.db'
    said = subprocess.run([sys.executable, str(script), str(path), backend, halving], capture_output=True, text=True, timeout=300, env={**os.environ, 'RAY_USAGE_STATS_ENABLED': '0'})
    assert said.returncode == 0, said.stdout + said.stderr
    store = Store(path)
    return store.runs('s').drop(columns=['seconds']), store.history('s'), said.stdout

@pytest.fixture(scope='module')
def local(script): return run(script, 'local')

@pytest.mark.parametrize('backend', ['ray', 'slurm'])
def test_same_table(script, local, backend):
    pytest.importorskip(dict(ray='ray', slurm='submitit')[backend])
    runs,history,_ = run(script, backend)
    assert set(runs.status) == {'done'} and set(runs.engine) == {'loop'}
    assert runs.drop(columns='run').equals(local[0].drop(columns='run')) and history.drop(columns='run').equals(local[1].drop(columns='run'))

def test_events(local):
    kinds = eval(local[2].strip().splitlines()[-1])
    assert kinds[0] == 'begin' and kinds[-1] == 'end' and kinds.count('run') == 6 and kinds.count('configuration') == 3

def test_halving(script, local):
    "The better half goes on, at each rung, to the same last digits as without a pause; the others keep their last numbers; it comes out the same again"
    runs,history,said = run(script, 'local', 'halving')
    assert runs.equals(run(script, 'local', 'halving', 'again')[0])
    assert 'runs were stopped early, which saved about' in said
    stopped,done = runs[runs.status == 'stopped'],runs[runs.status == 'done']
    assert len(stopped) >= 2 and 'dense' in set(done.config)   # the base is never stopped
    straight = local[0].set_index(['config', 'seed'])
    for r in done.itertuples(): assert r.test_loss == straight.loc[(r.config, r.seed)].test_loss   # paused and gone on: the same bits
    first = local[1].merge(local[0][['run', 'config', 'seed']], on='run')
    for r in stopped.itertuples():
        last = history[(history.run == r.run) & (history.metric == 'valid_accuracy')].value.tolist()
        same = first[(first.config == r.config) & (first.seed == r.seed) & (first.metric == 'valid_accuracy')].value.tolist()
        assert last == same[:len(last)] and len(last) in (1, 2) and r.valid_accuracy == last[-1]

def test_unreachable_ray(script, tmp_path):
    "An address where nobody listens: told at once, and the study is free again"
    pytest.importorskip('ray')
    code = f"import sys; sys.path.insert(0, {str(script.parent)!r}); from work import *; Study('s', Recipe('digits', dense, epochs=1), store=sys.argv[1]).run(backend='ray', address='127.0.0.1:1')"
    said = subprocess.run([sys.executable, '-c', code, str(tmp_path/'s.db')], capture_output=True, text=True)
    assert 'WorkerError: There is no Ray cluster at this address.' in said.stderr and '127.0.0.1:1' in said.stderr
    assert Store(tmp_path/'s.db').query('SELECT owner FROM study') == [dict(owner=None)]

def test_queue_survives_its_process(script, tmp_path):
    "Two studies in line; the process that works on the first is killed; another one goes on with the first, then does the second"
    code = f"""if 1:
        import sys; sys.path.insert(0, {str(script.parent)!r})
        from work import *
        from upslope.lab import Queue
        queue = Queue(sys.argv[1])
        if sys.argv[2] == 'add':
            for name in 'ab': queue.add(Study(name, Recipe('digits', dense, epochs=2, lr=1e-2), seeds=2, baselines=None, store=queue.store), workers=1)
        def told(event):   # the first time, it waits for its death at the end of the first run
            if event.kind == 'run' and sys.argv[2] == 'add': print('held', flush=True); sys.stdin.read()
        queue.run(show=False, on_event=told)
    """
    path = tmp_path/'s.db'
    p = subprocess.Popen([sys.executable, '-c', code, str(path), 'add'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == 'held\n'
    p.kill(); p.communicate()
    before = Store(path).query("SELECT id, finished FROM run WHERE status='done'")
    assert Store(path).query('SELECT study, status FROM queue ORDER BY id')[0]['status'] == 'active' and before
    said = subprocess.run([sys.executable, '-c', code, str(path), 'go on'], capture_output=True, text=True, timeout=200)
    store = Store(path)
    assert store.query('SELECT study, status FROM queue ORDER BY id') == [dict(study='a', status='done'), dict(study='b', status='done')], said.stderr
    assert store.query('SELECT id, finished FROM run WHERE id IN (SELECT id FROM run ORDER BY finished LIMIT ?)', len(before))[:len(before)] == before
    assert store.query("SELECT count(*) n FROM run WHERE status='done'") == [dict(n=4)]
