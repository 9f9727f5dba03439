"A member of a population is the same run alone, in any company; it survives a kill; what cannot be stacked is refused by name"
import json, math, os, signal, subprocess, sys
from pathlib import Path
import pytest, torch
from torch import nn
from upslope.core.errors import ArgumentError, DataError, ShapeError
from upslope.core.seeds import seeded
from upslope.data import Batches
from upslope.train import EMA, SWA, CSVLogger, EarlyStopping, GradientClip, Learner, Population, ReduceOnPlateau
from upslope.train.program import NotStackable
from upslope.train.stacking import AddressedDropout
from fastai.data.core import DataLoaders

ROOT = Path(__file__).parents[2]

def digits(dtype=torch.float64, n=150, bs=16, shape=None, valid=32):
    from sklearn.datasets import load_digits
    d = load_digits()
    x, y = torch.tensor(d.data/16).to(dtype), torch.tensor(d.target)
    if shape: x = x.view(-1, *shape)
    return x[:n], y[:n], x[n:n+valid], y[n:n+valid], bs

def loaders_of(data, seed=0):
    x, y, vx, vy, bs = data
    return DataLoaders(Batches(x, y, batch_size=bs, shuffle=True, seed=seed), Batches(vx, vy, batch_size=bs))

class Tiny(nn.Module):
    "A transformer over the rows of a digit"
    def __init__(self, dropout=0.):
        super().__init__()
        self.embed, self.position = nn.Linear(8, 16), nn.Parameter(torch.randn(8, 16)*.02)
        self.blocks = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, dropout=dropout, batch_first=True), 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 10)
    def forward(self, x): return self.head(self.blocks(self.embed(x) + self.position).mean(1))
class Recurrent(nn.Module):
    def __init__(self, kind): super().__init__(); self.rnn, self.head = kind(8, 12, batch_first=True), nn.Linear(12, 10)
    def forward(self, x): return self.head(self.rnn(x)[0][:, -1])

def mlp(dropout=0.): return nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Dropout(dropout), nn.Linear(24, 10))
def normed(): return nn.Sequential(nn.Linear(64, 24, bias=False), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 10))
def cnn(): return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 10))
def ours():
    from upslope.layers import BatchNormalization, Dense, Sequential
    model = Sequential([Dense(24, use_bias=False), BatchNormalization(), Dense(10)])
    model(torch.zeros(2, 64))
    return model
MODELS = dict(mlp=(mlp, None), normed=(normed, None), cnn=(cnn, (1, 8, 8)), transformer=(Tiny, (8, 8)), gru=(lambda: Recurrent(nn.GRU), (8, 8)), lstm=(lambda: Recurrent(nn.LSTM), (8, 8)), ours=(ours, None))

class Steps:
    "The loss of each training step of a Learner"
    def __new__(cls):
        from fastai.callback.core import Callback
        class Steps(Callback):
            order = 100
            def before_fit(self): self.values = []
            def after_batch(self):
                if self.learn.training: self.values.append(float(self.learn.loss.detach()))
        return Steps()

def alone(make, data, settings, epochs, opt='adam', cbs=(), schedule=None, loss='cross_entropy', metrics='accuracy', **hypers):
    "The run of these settings with a plain Learner"
    seed, s = settings.get('seed', 0), {**hypers, **settings}
    with seeded(seed, 'init'):
        model = make(**{k: s[k] for k in ('dropout',) if k in s}).to(data[0].dtype)
        model.eval()
        with torch.no_grad(): model(data[0][:2])
    steps = Steps()
    learn = Learner(loaders_of(data, seed), model, loss, opt, metrics=metrics, verbose=False,
                    cbs=[AddressedDropout(seed), steps, *([GradientClip(s['clip'])] if 'clip' in s else []), *cbs])
    learn.create_opt()
    for k in ('momentum', 'betas', 'alpha', 'eps', 'weight_decay'):
        if k in s: learn.opt.opt.param_groups[0][k] = s[k]
    learn.fit(epochs, s.get('lr', 1e-3), wd=s.get('weight_decay'), schedule=s.get('schedule', schedule))
    return learn, steps.values

def compare(make, data, members, epochs, tolerance, opt='adam', cbs=lambda: (), engine='stacked', dtype=torch.float64, state=None, **kwargs):
    build = lambda **k: make(**k).to(data[0].dtype)
    if 'dropout' in members[0]: build = lambda dropout=0.: make(dropout=dropout).to(data[0].dtype)
    else: build = lambda: make().to(data[0].dtype)
    p = Population(build, loaders_of(data), members, 'cross_entropy', opt, 'accuracy', cbs=cbs(), engine=engine, **kwargs).fit(epochs)
    for i, settings in enumerate(members):
        learn, losses = alone(make, data, settings, epochs, opt, cbs(), **kwargs)
        assert len(losses) == len(p.losses(i)), (i, len(losses), len(p.losses(i)))
        gap = max(abs(a - b) for a, b in zip(losses, p.losses(i)))
        assert gap <= tolerance, (i, gap)
        rows = [r for r in p.members[i].recorder.rows]
        assert len(rows) == len(learn.recorder.rows)
        for a, b in zip(rows, learn.recorder.rows):
            for k in ('train_loss', 'valid_loss', 'accuracy'): assert abs(a[k] - b[k]) <= max(tolerance, 1e-6), (i, k, a, b)
        if data[0].dtype == torch.float64:
            mine = p.member(i).state_dict()
            for k, v in learn.model.state_dict().items(): assert (mine[k].double() - v.double()).abs().max() <= (state or tolerance), (i, k)
    return p

MEMBERS = [dict(seed=0, lr=1e-2), dict(seed=1, lr=3e-3, weight_decay=.1), dict(seed=2, lr=3e-2, clip=.5)]

@pytest.mark.parametrize('name', MODELS)
def test_hundred_steps_in_float64(name):
    "Other seeds, rates, decay, clipping, orders; with a last batch that is smaller"
    make, shape = MODELS[name]
    members = MEMBERS if shape is None else MEMBERS[1:]   # the larger models are slow one by one
    if name == 'transformer': members = [{**m, 'lr': m['lr']/10} for m in members]   # at 0.03 it is chaotic, and so is any rounding
    p = compare(make, digits(shape=shape), members, 10, 1e-10, state=1e-5 if name == 'transformer' else 1e-8)   # the bias of its keys has no gradient but rounding
    assert len(p.losses(0)) == 100

@pytest.mark.parametrize('name', ['mlp', 'normed', 'cnn', 'transformer', 'gru', 'lstm'])
def test_ten_steps_in_float32(name):
    make, shape = MODELS[name]
    compare(make, digits(torch.float32, n=160, shape=shape), MEMBERS, 1, 1e-5)

@pytest.mark.parametrize('opt,members', [('momentum', [dict(seed=0, lr=.05, momentum=.5), dict(seed=1, lr=.1, momentum=.9, weight_decay=.01)]), ('sgd', [dict(seed=0, lr=.1), dict(seed=1, lr=.3)]),
    ('adam', [dict(seed=0, lr=.01, betas=(.8, .9)), dict(seed=0, lr=.01, betas=(.9, .99), eps=1e-4)]), ('adamw', [dict(seed=0, lr=.01, weight_decay=.5), dict(seed=1, lr=.01, weight_decay=.01)]),
    ('rmsprop', [dict(seed=0, lr=.003, alpha=.9), dict(seed=1, lr=.001, momentum=.5)]), ('nadam', [dict(seed=0, lr=.01), dict(seed=1, lr=.003)])])
def test_optimizers(opt, members): compare(mlp, digits(), members, 10, 1e-10, opt)

@pytest.mark.parametrize('opt,schedule', [('adam', 'constant'), ('adam', 'cosine'), ('adam', 'one_cycle'), ('momentum', 'one_cycle'), ('momentum', 'warm_up')])
def test_schedules(opt, schedule): compare(mlp, digits(), [dict(seed=0, lr=.01), dict(seed=1, lr=.03)], 10, 1e-10, opt, schedule=schedule)

def test_a_schedule_for_each(): compare(mlp, digits(), [dict(seed=0, lr=.01, schedule='cosine'), dict(seed=0, lr=.01, schedule='one_cycle'), dict(seed=1)], 5, 1e-10)

def test_dropout_with_its_own_rate():
    p = compare(mlp, digits(), [dict(seed=0, dropout=.1), dict(seed=1, dropout=.5), dict(seed=2, dropout=0.)], 10, 1e-10)
    assert [m[2].p for m in map(p.member, range(3))] == [.1, .5, 0.]
    compare(Tiny, digits(shape=(8, 8)), [dict(seed=0, dropout=.1), dict(seed=1, dropout=.3)], 1, 1e-10, state=1)

def test_label_smoothing_of_each():
    data = digits()
    p = Population(lambda: mlp().double(), loaders_of(data), [dict(seed=0, label_smoothing=0.), dict(seed=0, label_smoothing=.2)], engine='stacked').fit(3)
    from upslope.train import CrossEntropy
    for i, eps in enumerate((0., .2)):
        learn, losses = alone(mlp, data, dict(seed=0), 3, loss=CrossEntropy(label_smoothing=eps))
        assert max(abs(a - b) for a, b in zip(losses, p.losses(i))) < 1e-10

@pytest.mark.parametrize('engine', ['stacked', 'loop'])
def test_early_stopping_and_plateau(engine):
    "Members stop at different epochs, each with the weights of its best, as alone"
    cbs = lambda: (EarlyStopping(patience=2), ReduceOnPlateau(patience=1, factor=.3))
    p = compare(mlp, digits(valid=70), [dict(seed=0, lr=.1), dict(seed=1, lr=1e-3), dict(seed=2, lr=.3)], 12, 1e-10, cbs=cbs, engine=engine)
    lengths = [len(m.recorder.rows) for m in p.members]
    assert len(set(lengths)) > 1 and min(lengths) < 12, lengths
    assert p.members[0].status == 'stopped' and 'no better valid_loss for 2 epochs' in p.members[0].ended

@pytest.mark.parametrize('make', [EMA, SWA])
def test_averages(make): compare(normed, digits(), [dict(seed=0, lr=.01), dict(seed=1, lr=.03)], 4, 1e-10, cbs=lambda: (make(),), state=1)

def test_the_loop_engine_is_the_same_too(): compare(mlp, digits(), MEMBERS, 5, 1e-10, engine='loop', schedule='one_cycle')

@pytest.mark.parametrize('name', ['mlp', 'normed', 'cnn', 'transformer', 'gru', 'lstm'])
def test_bitwise_the_same_in_any_company(name):
    make, shape = MODELS[name]
    data, found = digits(torch.float32, n=54, shape=shape), []   # the last batch has 6 rows
    for k in (2, 3, 8, 32):
        p = Population(make, loaders_of(data), [dict(seed=s, lr=1e-2*(1 + s), clip=1.) for s in range(k)], engine='stacked', rows=k).fit(2)
        found.append((p.losses(0), p.member(0).state_dict(), p.members[0].recorder.rows[-1]['valid_loss']))
    for losses, state, valid in found[1:]:
        assert losses == found[0][0] and valid == found[0][2]
        for k, v in state.items(): assert torch.equal(v, found[0][1][k]), k

def test_bitwise_the_same_with_dropout_and_through_a_queue():
    "24 members of different length through 8 slots, against each beside one stranger"
    data = digits(torch.float32, n=64)
    members = [dict(seed=s, lr=1e-3*(1 + s), dropout=.05*(s % 5), epochs=1 + s*7 % 5) for s in range(24)]
    p = Population(mlp, loaders_of(data), members, engine='stacked', rows=8).fit(1)
    assert [len(m.recorder.rows) for m in p.members] == [m['epochs'] for m in members]
    for i in (0, 3, 11, 23):
        q = Population(mlp, loaders_of(data), [dict(seed=99, dropout=.3, epochs=5), members[i]], engine='stacked').fit(1)
        assert q.losses(1) == p.losses(i)
        for k, v in q.member(1).state_dict().items(): assert torch.equal(v, p.member(i).state_dict()[k])

def test_a_member_that_diverges_is_recorded_and_touches_nobody():
    data = digits(torch.float32, n=96)
    bad, good = dict(seed=0, lr=1e30), [dict(seed=s, lr=.01) for s in (1, 2, 3)]
    p = Population(mlp, loaders_of(data), [bad, *good], opt='sgd', engine='stacked', rows=2).fit(3)
    m = p.members[0]
    assert m.status == 'diverged' and not math.isfinite(p.losses(0)[-1]) and f'step {m.train_iter}' in m.ended and len(p.losses(0)) == m.train_iter + 1
    q = Population(mlp, loaders_of(data), good, opt='sgd', engine='stacked').fit(3)
    assert [p.losses(i) for i in (1, 2, 3)] == [q.losses(i) for i in (0, 1, 2)]
    assert p.best() in (1, 2, 3)

def test_shared_order_is_the_learners_with_that_seed():
    data = digits(n=64)
    p = Population(lambda: mlp().double(), loaders_of(data, 7), [dict(seed=0), dict(seed=1)], order='shared', engine='stacked').fit(3)
    q = Population(lambda: mlp().double(), loaders_of(data), [dict(seed=0, data_seed=7), dict(seed=1, data_seed=7)], engine='stacked').fit(3)
    for i in (0, 1): assert max(abs(a - b) for a, b in zip(p.losses(i), q.losses(i))) < 1e-12

def test_members_with_data_of_their_own():
    one, two = digits(n=64), tuple(t.flip(0) if isinstance(t, torch.Tensor) else t for t in digits(n=64))
    p = Population(lambda: mlp().double(), [loaders_of(one), loaders_of(two)], [dict(seed=0), dict(seed=0)], engine='stacked', metrics='accuracy').fit(3)
    for i, data in enumerate((one, two)):
        learn, losses = alone(mlp, data, dict(seed=0), 3)
        assert max(abs(a - b) for a, b in zip(losses, p.losses(i))) < 1e-10
        assert abs(p.members[i].recorder.rows[-1]['accuracy'] - learn.recorder.rows[-1]['accuracy']) < 1e-6

def test_a_second_fit_goes_on():
    data = digits(n=64)
    p = Population(lambda: mlp().double(), loaders_of(data), [dict(seed=0), dict(seed=1)], engine='stacked').fit(2)
    first = p.losses(0)
    p.fit(2)
    q = Population(lambda: mlp().double(), loaders_of(data), [dict(seed=0), dict(seed=1)], engine='stacked').fit(4)
    assert first + p.losses(0) == q.losses(0)

@pytest.fixture
def recordings(monkeypatch):
    "The shapes of what is recorded from now on, one for each list of operations"
    from upslope.train import program
    seen, record = [], program.record
    def counted(what, inputs): seen.append([tuple(t.shape) for t in inputs]); return record(what, inputs)
    monkeypatch.setattr(program, 'record', counted)
    return seen

@pytest.mark.parametrize('engine,rows', [('auto', None), ('stacked', None), ('stacked', 2)])
def test_a_later_fit_records_nothing(recordings, engine, rows):
    "Nor does it prove and measure again; also through a queue, and after a member has left before the others"
    members = [dict(seed=0), dict(seed=1, epochs=1), dict(seed=2), dict(seed=3, lr=1e20)]
    p = Population(mlp, loaders_of(digits(torch.float32, n=64)), members, opt='sgd', engine=engine, rows=rows).fit(2)
    assert recordings
    first = len(recordings)
    p.fit(2); p.fit(5)
    assert recordings[first:] == []

def test_another_batch_size_is_recorded_and_decided_anew(recordings):
    dls = loaders_of(digits(torch.float32, n=64))
    p = Population(mlp, dls, 4).fit(1)
    before, explained = len(recordings), p.explanation
    dls.train.batch_size = 32
    p.fit(1)
    assert recordings[before:] and p.explanation is not explained
    assert len(p.losses(0)) == 2

@pytest.mark.parametrize('schedule', [None, 'one_cycle'])
@pytest.mark.parametrize('make', [mlp, normed])
def test_two_fits_are_the_learners_two_fits(make, schedule):
    "Another number of epochs, another batch size, and a member that ends before the others"
    data, members = digits(n=64), [dict(seed=0, lr=1e-2), dict(seed=1, lr=3e-3), dict(seed=2, lr=1e-2, epochs=1)]
    dls = loaders_of(data)
    p = Population(lambda: make().double(), dls, members, 'cross_entropy', 'adam', schedule=schedule or 'constant', engine='stacked').fit(2)
    dls.train.batch_size = 32
    p.fit(3)
    for i, settings in enumerate(members):
        learn, _ = alone(make, data, settings, settings.get('epochs', 2), schedule=schedule)
        learn.dls.train.batch_size = 32
        learn.fit(settings.get('epochs', 3), settings['lr'], schedule=schedule)
        twin, own = learn.model.state_dict(), p.member(i).state_dict()
        for k, v in twin.items(): assert (own[k].double() - v.double()).abs().max() <= 1e-8, (i, k)

def test_loggers_write_a_file_for_each(tmp_path):
    p = Population(mlp, loaders_of(digits(torch.float32, n=64)), [dict(seed=0), dict(seed=1)], cbs=CSVLogger(tmp_path/'m{member}.csv'), engine='stacked', metrics='accuracy').fit(3)
    import pandas as pd
    for i in (0, 1):
        frame = pd.read_csv(tmp_path/f'm{i}.csv')
        assert list(frame.accuracy) == [r['accuracy'] for r in p.members[i].recorder.rows]

@pytest.mark.parametrize('settings,error,words', [
    (dict(members=0), ArgumentError, 'at least one member'), (dict(members=[]), ArgumentError, 'at least one member'),
    (dict(members=[dict(seed=0, batch_size=3)]), ArgumentError, 'batch_size cannot vary'), (dict(members=[dict(seed=0, momentun=.3)]), KeyError, "hyper-parameter 'momentun'"),
    (dict(members=[dict(seed=-1)]), ArgumentError, 'whole number'), (dict(members=[dict(seed=0), dict(seed=0, lr=-1.)]), ArgumentError, 'Member 1 cannot have this lr'),
    (dict(members=[dict(seed=0), 3]), ArgumentError, 'Member 1 is no dictionary'), (dict(members=2, opt=torch.optim.Muon), ArgumentError, 'Muon cannot work'),
    (dict(members=2, opt=torch.optim.LBFGS), ArgumentError, 'LBFGS'), (dict(members=2, order='any'), ArgumentError, 'order'), (dict(members=2, rows=0), ArgumentError, 'rows'),
    (dict(members=2, loss='mse'), ShapeError, 'entry by entry')], ids=str)
def test_bad_settings(settings, error, words):
    with pytest.raises(error, match=words): Population(mlp, loaders_of(digits(torch.float32, n=64)), **settings)

def test_bad_models_and_data():
    dls = loaders_of(digits(torch.float32, n=64))
    def wide(width=8): return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    def acts(act='relu'): return nn.Sequential(nn.Linear(64, 10), nn.ReLU() if act == 'relu' else nn.GELU())
    with pytest.raises(ShapeError, match="'0.weight' is \\(9, 64\\) in member 1"): Population(wide, dls, [dict(seed=0), dict(seed=0, width=9)])
    with pytest.raises(ArgumentError, match="member 1 has GELU '1'"): Population(acts, dls, [dict(seed=0), dict(seed=0, act='gelu')])
    x, y, *_ = digits(torch.float32, n=10)
    with pytest.raises(DataError, match='smaller than a batch'): Population(mlp, Batches(x, y, batch_size=64), 2)
    with pytest.raises(DataError, match='data in memory'): Population(mlp, [(x, y)]*2, 2)
    class Asks(nn.Module):
        def forward(self, x): return x if x.sum().item() > -1 else -x
    refuses = lambda: nn.Sequential(nn.Linear(64, 10), Asks())
    with pytest.raises(NotStackable, match="Asks '1'.*"): Population(refuses, dls, 2, engine='stacked').fit(1)
    p = Population(refuses, dls, 2).fit(1)
    assert p.explanation.engine == 'loop' and "Asks '1'" in p.explanation.reason and all(m.status == 'done' for m in p.members)
    normed_weights = lambda: nn.utils.parametrizations.weight_norm(nn.Linear(64, 10))
    assert Population.explain(normed_weights, dls, 2, .05).reason

# --- killed and resumed
RUN = '''
import sys, os, signal, json
sys.path[:0] = [sys.argv[4]]
import torch
from test_population import *
from upslope.train import Checkpoint
folder, kill, engine = sys.argv[1], int(sys.argv[2]), sys.argv[3]
import upslope.train.population as module
import upslope.train.rows as rows_module
n, inner = [0], module.save_state
def save(path, state):
    n[0] += 1
    if n[0] == kill:   # the tensors are there, the .json that makes them count is not
        import upslope.data.saving as saving
        saving._write = lambda path, write: os.kill(os.getpid(), signal.SIGKILL) if path.suffix == '.json' else write(path)
        saving.save_state(path, state)
    inner(path, state)
if kill > 0: module.save_state = save
if kill < 0: 
    step = rows_module.Rows.step
    def stop(self, *args):
        n[0] += 1
        if n[0] == -kill: os.kill(os.getpid(), signal.SIGKILL)
        return step(self, *args)
    rows_module.Rows.step = stop
data = digits(torch.float32, n=64)
members = [dict(seed=s, lr=.01*(1 + s), dropout=.1*s, epochs=2 + s) for s in range(5)] + [dict(seed=9, lr=1e30, dropout=0.)]
p = Population(mlp, loaders_of(data), members, opt='momentum', schedule='one_cycle', engine=engine, rows=3, metrics='accuracy',
               cbs=[EarlyStopping(patience=2), EMA(.8), CSVLogger(folder + '/m{member}.csv'), Checkpoint(folder + '/run', steps=3, epochs=1, monitor='valid_loss')]).fit(4)
print(json.dumps(dict(losses=[p.losses(i) for i in range(6)], rows=[[{k: v for k, v in r.items() if k != 'time'} for r in m.recorder.rows] for m in p.members], status=[(m.status, m.ended) for m in p.members],
    weights=[float(sum(v.double().abs().sum() for v in p.member(i).state_dict().values())) for i in range(6)], logs=[[l.rsplit(',', 1)[0] for l in open(f'{folder}/m{i}.csv').read().splitlines()] for i in range(6)])))
'''
def start(folder, kill=0, engine='stacked'):
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), *sys.path]), 'OMP_NUM_THREADS': '1'}
    return subprocess.run([sys.executable, '-W', 'ignore', '-c', RUN, str(folder), str(kill), engine, str(Path(__file__).parent)], capture_output=True, text=True, env=env)

def test_killed_and_resumed_every_member_goes_on_bit_for_bit(tmp_path):
    (tmp_path/'a').mkdir(); (tmp_path/'b').mkdir()
    whole = start(tmp_path/'a')
    assert whole.returncode == 0, whole.stderr
    for kill in (-7, 5, -11):   # in a step, in a write, in a step
        cut = start(tmp_path/'b', kill)
        assert cut.returncode == -signal.SIGKILL, cut.stderr
    again = start(tmp_path/'b')
    assert again.returncode == 0, again.stderr
    whole, again = json.loads(whole.stdout), json.loads(again.stdout)
    assert any('diverged' in s for s, _ in whole['status'])
    for k in whole: assert whole[k] == again[k], k

def test_tensors_of_ones_own_are_told_the_way():
    x, y = torch.randn(40, 4), torch.arange(40) % 3
    make = lambda: nn.Linear(4, 3)
    for wrong in (((x, y), (x, y)), [(x, y)], None, x):
        with pytest.raises(DataError, match=r'DataLoaders\(Batches\(x, y, shuffle=True\)'): Population(make, wrong, [dict(seed=0), dict(seed=1), dict(seed=2)])
    dls = DataLoaders(Batches(x, y, shuffle=True, batch_size=8), Batches(x, y))
    with pytest.raises(ArgumentError, match='one `DataLoaders` for all'): Population(make, [dls, dls], 3)
    assert len(Population(make, dls, 3, lr=1e-3).fit(1).history)
