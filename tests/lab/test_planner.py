"Runs that are trained together give the tables of runs that are trained alone; a worker that dies in a group loses nothing"
import os, signal, subprocess, sys, time
import pytest
from upslope.lab import Recipe, Study
from upslope.lab.planner import Planner, work
from upslope.lab.store import Store
import upslope.lab.planner as planner

CODE = '''
from torch import nn
def net(width=16, rate=.1): return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Dropout(rate), nn.Linear(width, 10))
def share(part=.5): return nn.Sequential(nn.Flatten(), nn.Linear(64, int(32*part)), nn.ReLU(), nn.Linear(int(32*part), 10))
def asks():
    class Asks(nn.Module):
        def forward(self, x): return x if float(x.mean()) > -9 else -x
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Asks())
def breaks(rate=.1):
    if rate > .4: raise ValueError('no rate above 0.4')
    return net(rate=rate)
'''
NEVER_DONE = """if 1:
    import sys, time
    from pathlib import Path
    from upslope.lab.planner import *
    from upslope.lab.store import Store
    def held(store, *_, **__): Path(f'{store.path}.held').touch(); time.sleep(600)   # it cannot come to its end before it is killed
    Store.finish = held
    """

@pytest.fixture(scope='module')
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp('models')
    (folder/'some_models.py').write_text(CODE)
    sys.path.insert(0, str(folder))
    import some_models
    yield some_models
    sys.path.remove(str(folder))

def study(tmp_path, model, axes, engine=None, seeds=3, **settings):
    s = Study('s', Recipe('digits', model, epochs=2, lr=.01, **settings), axes, seeds=seeds, baselines=None, store=Store(tmp_path/f'{engine}.db'))
    return s.run(workers=2, show=False, engine=engine) if engine else s

def same(a, b, tolerance=1e-4):
    assert list(a.config) == list(b.config) and list(a.seed) == list(b.seed) and list(a.status) == list(b.status)
    for k in a.columns[a.columns.str.contains('valid_|test_|epochs')]: assert (a[k] - b[k]).abs().max() < tolerance, k

def test_the_tables_are_the_same(models, tmp_path):
    axes = dict(lr=[1e-3, .03], rate=[.4])
    one, many = (study(tmp_path, models.net, axes, e) for e in ('loop', 'population'))
    same(one.runs(), many.runs())
    assert set(one.runs().engine) == {'loop'} and 'population' in set(many.runs().engine)
    a, b = one.history(), many.history()
    assert len(a) == len(b) and abs(a.value.mean() - b.value.mean()) < 1e-4

def test_patience_divergence_and_shapes(models, tmp_path):
    one, many = (study(tmp_path, models.net, dict(lr=[1e20, .1, .3]), e, patience=1, opt='sgd') for e in ('loop', 'population'))
    same(one.runs(), many.runs())
    assert 'failed' in set(many.runs().status) and many.failures().error.str.contains('Diverged').all()

def queued(tmp_path, model, variants, seeds=2):
    from upslope.lab.design import Variant, to_config
    store = Store(tmp_path/'s.db')
    base = Recipe('digits', model, epochs=1, lr=.01)
    store.declare('s', [to_config(Variant(f'{v}', base.but(**v)), 0) for v in variants], list(range(seeds)), {})
    return store

def test_a_real_number_that_changes_the_shape(models, tmp_path):
    store = queued(tmp_path, models.share, [dict(part=.5), dict(part=.25), dict(part=.25, lr=.1)])
    work(store.path, 's', planner=Planner('population'))
    assert set(store.runs('s').status) == {'done'} and set(store.runs('s').engine) == {'population'}

def test_what_cannot_be_stacked_is_trained_alone_and_says_why(models, tmp_path):
    store = queued(tmp_path, models.asks, [dict(lr=.01), dict(lr=.1)])
    work(store.path, 's', planner=Planner('population'))
    assert set(store.runs('s').status) == {'done'} and set(store.runs('s').engine) == {'loop'}
    assert "Asks '2'" in store.run(1).reason, store.run(1).reason

def test_an_error_of_one_is_its_own(models, tmp_path):
    store = queued(tmp_path, models.breaks, [dict(rate=.1), dict(rate=.5), dict(rate=.2)])
    work(store.path, 's', planner=Planner('population'))
    assert list(store.runs('s').status) == ['done', 'done', 'failed', 'failed', 'done', 'done']

def test_auto_proves_measures_and_notes_it(models, tmp_path, monkeypatch):
    monkeypatch.setattr(planner, 'WORTH', 0.)
    store = queued(tmp_path, models.net, [dict(lr=l) for l in (.01, .02, .03, .05)], seeds=4)
    work(store.path, 's', planner=Planner('auto'))
    frame = store.runs('s')
    assert set(frame.status) == {'done'} and store.run(1).reason
    assert set(frame.engine) == {'population'} and 'a gain of' in store.run(1).reason or 'of the time of the loop' in store.run(1).reason

def test_little_work_is_not_worth_a_proof(models, tmp_path):
    store = queued(tmp_path, models.net, [dict(lr=.01), dict(lr=.1)])
    work(store.path, 's')
    assert set(store.runs('s').engine) == {'loop'}

def test_a_worker_killed_in_a_group(models, tmp_path):
    store = queued(tmp_path, models.net, [dict(lr=.001*(1 + i), epochs=30) for i in range(4)], seeds=2)
    env = {**os.environ, 'UPSLOPE_ENGINE': 'population', 'PYTHONPATH': os.pathsep.join(p for p in sys.path if p)}
    with store.owned('s'):
        p = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', NEVER_DONE + f"work({str(store.path)!r}, 's', planner=Planner('population'))"], env=env)
        while not store.query('SELECT 1 FROM metric LIMIT 1') and p.poll() is None: time.sleep(.01)
        p.kill(); p.wait()
    assert p.returncode == -signal.SIGKILL
    assert store.requeue('s') == 8
    work(store.path, 's', planner=Planner('population'))
    frame = store.runs('s')
    assert set(frame.status) == {'done'} and (frame.epochs == 30).all() and len(store.history('s')) == 8*30*len(store.history('s').metric.unique())

def test_a_group_goes_on_where_its_worker_was_killed(models, tmp_path, monkeypatch):
    "Killed at random moments and begun again, in other company: the numbers of a group that nothing happened to, and no epoch from the beginning"
    def declare(name):
        from upslope.lab.design import Variant, to_config
        store = Store(tmp_path/name)
        base = Recipe('digits', models.net, epochs=30, lr=.01, rate=.3, schedule='one_cycle', patience=25)
        store.declare('s', [to_config(Variant(f'{lr}', base.but(lr=lr)), 0) for lr in (.001, .01, .03)], [0, 1], {})
        return store
    calm, torn = declare('calm.db'), declare('torn.db')
    work(calm.path, 's', planner=Planner('population'))
    code = NEVER_DONE + "work(sys.argv[1], 's', checkpoint_s=0., planner=Planner('population'))"
    resumed = 0
    for kill in range(3):
        def logged(): return torn.query('SELECT count(*) n FROM metric')[0]['n']
        before = logged()
        worker = subprocess.Popen([sys.executable, '-c', code, str(torn.path)], env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
        while worker.poll() is None and logged() < before + 60 and not (tmp_path/'torn.db.held').exists(): time.sleep(.01)
        worker.send_signal(signal.SIGKILL)
        assert worker.wait() == -signal.SIGKILL
        torn.requeue('s')
        steps = [max((int(p.stem.split('-')[1].split('_')[0]) for p in (torn.folder(r)/'member').glob('step-*.json')), default=0) for r in range(1, 7)]
        assert sum(steps) >= resumed
        resumed = sum(steps)
    assert resumed > 0, 'nothing was kept'
    from upslope.train.members import Member
    went_on, go_on = [], Member.go_on
    monkeypatch.setattr(Member, 'go_on', lambda m: (went_on.append(m.start['done']), go_on(m)))
    work(torn.path, 's', planner=Planner('population'))
    assert went_on and min(went_on) > 0
    a, b = calm.runs('s'), torn.runs('s')
    same(a, b, 1e-12)
    assert set(b.status) == {'done'} and set(b.engine) == {'population'}
    assert not any((torn.folder(r)/'member').exists() for r in range(1, 7))
    h = torn.history('s')
    assert len(h) == len(calm.history('s'))

def test_an_error_at_the_end_of_one_is_its_own(models, tmp_path, monkeypatch):
    final = planner.final_numbers
    def breaks(model, member, dls, score, known=None):
        if member.i == 1: raise ValueError('no score for this one')
        return final(model, member, dls, score, known)
    monkeypatch.setattr(planner, 'final_numbers', breaks)
    store = queued(tmp_path, models.net, [dict(lr=.01), dict(lr=.02)])
    work(store.path, 's', planner=Planner('population'))
    frame = store.runs('s')
    assert sorted(frame.status) == ['done', 'done', 'done', 'failed'] and set(frame.engine.dropna()) >= {'population'}

def test_a_worker_does_not_load_the_compiler(models, tmp_path):
    "PyTorch's optimizers, seeds and listeners load it when they are first used, merely to be kept out of it: more than a second for each worker"
    store = queued(tmp_path, models.net, [dict(lr=.1), dict(lr=.2)])
    code = "import sys; from upslope.lab.planner import *; work(sys.argv[1], 's', planner=Planner('population')); print([m for m in ('torch._dynamo', 'torch._inductor', 'sympy') if m in sys.modules])"
    done = subprocess.run([sys.executable, '-c', code, str(store.path)], capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
    assert done.stdout.strip() == '[]', done.stderr
    assert {r['engine'] for r in store.query('SELECT engine FROM run')} == {'population'}
