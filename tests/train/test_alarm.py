"The Learner speaks by itself when a fit is plainly wrong, and is silent in every healthy one"
import math
from functools import partial

import pytest, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from upslope.data import loaders, sources
from upslope.data.batches import import_fastai
import_fastai()
from fastai.callback.core import Callback, CancelBatchException, CancelFitException
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.schedule import LRFinder as FastaiLRFinder
from fastai.callback.tracker import TerminateOnNaNCallback
from fastai.callback.training import GradientAccumulation
from fastai.data.load import DataLoader as FastaiLoader
from upslope.train import EMA, Learner, Population, StopOnNaN

DATA = sources.digits()
X, Y = DATA.train

def net(seed=0): torch.manual_seed(seed); return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
def dls(**kwargs): return loaders(DATA, pipeline='standardize', **kwargs)
def learner(data=None, model=None, loss='cross_entropy', opt='adam', **kwargs):
    return Learner(dls() if data is None else data, net() if model is None else model, loss, opt, **{**dict(verbose=False), **kwargs})

class Own:
    "A loader of one's own: nothing but batches and a length"
    def __init__(self, x, y, size=64): self.batches = list(zip(x.split(size), y.split(size)))
    def __len__(self): return len(self.batches)
    def __iter__(self): return iter(self.batches)

def kinds(x, y):
    "The same rows in loaders of several kinds"
    rows = TensorDataset(x, y)
    return {'own': Own(x, y), 'torch': DataLoader(rows, 64), 'fastai': FastaiLoader(rows, bs=64), 'batches': dls().train.__class__(x, y)}
KINDS = list(kinds(X[:64], Y[:64]))

def spoiled(t, row, value=math.nan):
    t = t.clone()
    t[row] = value
    return t

# --- what is wrong is said

@pytest.mark.parametrize('kind', KINDS)
def test_a_value_that_is_none_among_the_inputs(kind):
    learn = learner((kinds(spoiled(X, 200), Y)[kind], Own(*DATA.valid)))
    learn.fit(2, 1e-2)
    assert len(learn.remarks) == 1 and learn.remarks[0].startswith('The training loss is nan since epoch 0, batch 3: '), learn.remarks
    if kind != 'own': assert 'in the training part 64 of 69,056 values of input are no numbers' in learn.remarks[0]

def test_the_targets_and_only_one_batch():
    x, y = sources.diabetes().train
    learn = learner((Own(x.float(), spoiled(y.float(), 0, math.inf)), None), nn.Linear(10, 1), 'mse')
    learn.fit(1, 1e-2)
    assert learn.remarks == ['The training loss is inf since epoch 0, batch 0: in the last batch 1 of 64 values of target are no numbers.'], learn.remarks

def test_the_validation_part_alone():
    learn = learner((Own(X, Y), DataLoader(TensorDataset(spoiled(X, 3), Y), 64)))
    learn.fit(2, 1e-3)
    assert learn.remarks == ['The validation loss is nan in epoch 0, and the training loss is a number: 64 of 69,056 values of input are no numbers.']

@pytest.mark.parametrize('opt', ['adam', 'sgd'])
def test_a_learning_rate_of_a_million(opt):
    learn = learner(opt=opt)
    learn.fit(1, 1e6)
    assert learn.remarks[0].startswith('The training loss has exploded, from ') and learn.remarks[0].endswith(' with lr=1e+06.'), learn.remarks

def test_a_regression_that_diverges():
    learn = learner(loaders(sources.diabetes(), pipeline='standardize'), nn.Linear(10, 1), 'mse', 'sgd')
    learn.fit(8, 30.)
    assert any('exploded' in r for r in learn.remarks) and any('it had grown from' in r or 'exploded' in r for r in learn.remarks), learn.remarks

def split(m): return [list(m[:2].parameters()), list(m[3:].parameters())]
class Detached(nn.Module):
    def __init__(self): super().__init__(); self.body, self.head = nn.Sequential(nn.Flatten(), nn.Linear(64, 32)), nn.Linear(32, 10)
    def forward(self, x): return self.head(self.body(x).detach())
def frozen_opt():
    learn = learner()
    learn.create_opt()
    for p in learn.model.parameters(): p.requires_grad_(False)
    learn.loss_func = lambda pred, y: (pred*torch.ones(10, requires_grad=True)).mean()   # something asks for a gradient
    return learn
class NeverSteps(Callback):
    def before_step(self): raise CancelBatchException
STILL = {
    'lr': (lambda: learner(), 0., 'the learning rate is 0'),
    'frozen': (frozen_opt, 1e-2, 'all 4 that the optimizer holds are frozen'),
    'others': (lambda: learner(splitter=lambda m: [[nn.Parameter(torch.ones(1))]]), 1e-2, 'the optimizer holds none of them'),
    'zero': (lambda: learner(loss=lambda p, y: (p*0).mean(), opt='sgd'), 1e-2, 'their gradients are 0, or no step was made'),
    'no step': (lambda: learner(cbs=NeverSteps()), 1e-2, 'their gradients are 0, or no step was made')}
@pytest.mark.parametrize('name', STILL)
def test_no_weight_moves(name):
    make, lr, why = STILL[name]
    learn = make()
    learn.fit(2, lr)
    assert [r for r in learn.remarks if why in r and r.startswith('No weight has moved in ')], learn.remarks
    assert len(learn.remarks) == 1, learn.remarks

@pytest.mark.parametrize('opt', ['adam', 'sgd', torch.optim.Adam])
def test_gradients_that_are_cut_off(opt):
    learn = learner(model=Detached(), opt=opt)
    learn.fit(2, 1e-2)
    assert learn.remarks == ['No gradient has reached 2 of 4 weights, 86% of all values: body.1.weight, body.1.bias.'], learn.remarks

@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('loss', ['cross_entropy', nn.CrossEntropyLoss()])
def test_one_class(kind, loss):
    learn = learner((kinds(X, torch.full_like(Y, 3))[kind], Own(*DATA.valid)), loss=loss)
    learn.fit(2, 1e-2)
    looked = '' if kind != 'own' else ' that were looked at'
    n = 1079 if not looked else 320
    assert learn.remarks == [f'All {n:,} training targets{looked} are class 3: there is nothing to tell apart.'], learn.remarks

def test_a_loss_that_does_not_change():
    learn = learner(loss=lambda p, y: (p*0).mean() + 2.5)
    learn.fit(2, 1e-2, wd=.1)   # the weights do move: they decay
    assert learn.remarks and learn.remarks[0].startswith('The training loss was 2.5 in each of the last 10 batches'), learn.remarks

# --- how it is said

def test_once_and_printed_and_silenced(capsys):
    learn = learner(verbose=True)
    learn.fit(3, 0.)
    said = capsys.readouterr().out
    assert said.count('No weight has moved in 17 batches: the learning rate is 0. `diagnose(learn)` says more.') == 1, said
    assert any(line.startswith('No weight has moved') for line in said.replace('\r', '\n').splitlines()), said
    for quiet in (learn.no_bar, learn.no_logging):
        with quiet(): learn.fit(1, 0.)
        assert 'No weight' not in capsys.readouterr().out and len(learn.remarks) == 1
    learner().fit(1, 0.)
    assert capsys.readouterr().out == ''
    learn.fit(1, 1e-3)
    assert learn.remarks == [] and learn.alarm is None

def test_early_in_a_long_epoch(capsys):
    "Told in the first epoch after a batch or two, not at its end, on a line of its own"
    class Ends(Callback):
        order = 1000
        def after_epoch(self): print('the epoch ends')
    learn = learner((Own(spoiled(X, 0), Y), None), cbs=Ends(), verbose=True)
    learn.fit(1, 1e-2)
    said = capsys.readouterr().out
    assert '\nThe training loss is nan since epoch 0, batch 0' in said and said.index('is nan since') < said.index('the epoch ends')

@pytest.mark.parametrize('stop', [TerminateOnNaNCallback(), StopOnNaN()])
def test_a_fit_that_is_ended_for_it(stop):
    learn = learner((Own(spoiled(X, 200), Y), None), cbs=stop)
    if isinstance(stop, StopOnNaN):
        with pytest.raises(ArithmeticError): learn.fit(2, 1e-2)
        assert learn.remarks == []   # the error says it
    else:
        learn.fit(2, 1e-2)
        assert len(learn.remarks) == 1 and 'since epoch 0, batch 3' in learn.remarks[0], learn.remarks
    assert learn.alarm is None

# --- no false alarm

def unbounded(p, y): return -p[:, 0].mean()   # like a critic's loss: without a bound below, with either sign
class Schedule(Callback):
    "A rate of 0 in the first batches"
    order = 60
    def before_batch(self):
        if self.training: self.learn.opt.set_hypers(lr=0. if self.train_iter < 5 else 1e-2)
class Skips(Callback):
    def before_batch(self):
        if self.iter % 3 == 0: raise CancelBatchException
class TwoHeads(nn.Module):
    "A part of it is not used in this task"
    def __init__(self): super().__init__(); self.body, self.a, self.b = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU()), nn.Linear(32, 10), nn.Linear(32, 3)
    def forward(self, x): return self.a(self.body(x))
def regression(scale=1.):
    data = sources.diabetes()
    parts = [Own(x.float(), scale*y.float()) for x, y in (data.train, data.valid)]
    return learner(tuple(parts), nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1)), lambda p, y: ((p[:, 0] - y)**2).mean())
HEALTHY = {
    'digits': (learner, lambda l: l.fit(3, 1e-2)),
    'one cycle': (learner, lambda l: l.fit_one_cycle(2, 1e-2)),
    'schedule': (learner, lambda l: l.fit(2, 1e-2, schedule='one_cycle')),
    'warm-up from zero': (partial(learner, cbs=Schedule()), lambda l: l.fit(2, 1e-2)),
    'one batch': (lambda: learner((Own(X[:64], Y[:64]), None)), lambda l: l.fit(1, 1e-2)),
    'one batch an epoch, from zero': (lambda: learner((Own(X[:64], Y[:64]), None), cbs=Schedule()), lambda l: l.fit(12, 1e-2)),
    'numbers': (regression, lambda l: l.fit(5, 1e-2)),
    'large numbers': (partial(regression, 1e4), lambda l: l.fit(5, 1e-2)),
    'small numbers': (partial(regression, 1e-6), lambda l: l.fit(5, 1e-2)),
    'unbounded loss': (lambda: learner(loss=unbounded), lambda l: l.fit(4, 1e-2)),
    'frozen backbone': (lambda: learner(splitter=split), lambda l: (l.freeze(), l.fit(2, 1e-2))),
    'fine tune': (lambda: learner(splitter=split), lambda l: l.fine_tune(2)),
    'two heads': (lambda: learner(model=TwoHeads()), lambda l: l.fit(2, 1e-2)),
    'accumulation': (lambda: learner(cbs=GradientAccumulation(256)), lambda l: l.fit(2, 1e-2)),
    'accumulation over epochs': (lambda: learner(cbs=GradientAccumulation(1500)), lambda l: l.fit(3, 1e-2)),
    'skipped batches': (lambda: learner(cbs=Skips()), lambda l: l.fit(2, 1e-2)),
    'average of weights': (lambda: learner(cbs=EMA()), lambda l: l.fit(2, 1e-2)),
    'a perfect fit': (lambda: learner((Own(X[:64], Y[:64]), None), loss=lambda p, y: torch.relu(1 - (p.gather(1, y[:, None]) - p.mean(1, keepdim=True))).mean()), lambda l: l.fit(100, 3e-2)),
    'no targets of classes': (lambda: learner((Own(X, torch.zeros_like(Y)), None), loss=lambda p, y: p.square().mean()), lambda l: l.fit(2, 1e-2)),
    'few of one class': (lambda: learner((Own(X, (torch.arange(len(Y)) % 50 == 0).long()), None)), lambda l: l.fit(2, 1e-2)),
    'lr_find': (learner, lambda l: l.lr_find(show_plot=False, stop_div=False, end_lr=1e6)),
    'lr_find of fastai': (lambda: learner(cbs=FastaiLRFinder(num_it=60, end_lr=1e6, stop_div=False)), lambda l: l.fit(5)),
    'no epoch': (learner, lambda l: l.fit(0)),
    'without callbacks': (lambda: learner(default_cbs=False), lambda l: l.fit(1, 0.)),
    'validate': (learner, lambda l: (l.fit(1, 1e-2), l.validate(), l.get_preds())),
    'start_epoch': (learner, lambda l: l.fit(3, 1e-2, start_epoch=1)),
    'two fits': (learner, lambda l: (l.fit(1, 1e-2), l.fit(1, 1e-3)))}
@pytest.mark.parametrize('name', HEALTHY)
def test_a_healthy_fit_is_silent(name, tmp_path, capsys):
    make, fit = HEALTHY[name]
    learn = make(path=tmp_path) if make is learner else make()
    fit(learn)
    assert list(learn.remarks) == [] and capsys.readouterr().out == '', learn.remarks

def test_mixed_precision(capsys):
    learn = learner(cbs=MixedPrecision(amp_mode='bf16') if not torch.cuda.is_available() else MixedPrecision())
    learn.fit(2, 1e-2)
    assert learn.remarks == []

def test_a_batch_of_the_fit_that_looks_is_not_changed():
    "Weights and numbers are those of a fit in which nobody looks"
    def weights(looks):
        torch.manual_seed(1)
        learn = learner((Own(X, Y), Own(*DATA.valid)))
        if not looks: learn._do_fit = lambda: [setattr(learn, 'epoch', e) or learn._with_events(learn._do_epoch, 'epoch', CancelFitException) for e in range(learn.n_epoch)]
        learn.fit(3, 1e-2)
        return [p.detach().clone() for p in learn.model.parameters()], [float(v) for v in learn.recorder.losses]
    (a, losses), (b, others) = weights(True), weights(False)
    assert all(map(torch.equal, a, b)) and losses == others

def test_a_population_is_not_touched(capsys):
    Population(net, dls(), 2).fit(1)
    assert 'diagnose(learn)' not in capsys.readouterr().out
