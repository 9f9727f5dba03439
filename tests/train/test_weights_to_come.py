"A model whose weights are made by the first batch trains in a Learner as the plain loop trains it, whatever it is made of and whatever one does with it"
import math

import pytest, torch
from torch import nn
from upslope.data import loaders, sources
from upslope.data.batches import import_fastai
import_fastai()
from fastai.basics import load_learner
from fastai.callback.core import Callback
from fastai.learner import Learner as FastaiLearner
from upslope.core.errors import DataError
from upslope.inspection import watch
from upslope.layers import GRU, LSTM, BatchNormalization, Dense, Dropout, Embedding, Flatten, Input, Sequential
from upslope.train import EMA, Checkpoint, Learner

DATA = sources.digits()
def dls(): return loaders(DATA, pipeline='standardize', batch_size=128)

class Own(nn.Module):
    "A module of one's own: a PyTorch layer, and unbuilt ones in a list"
    def __init__(self): super().__init__(); self.first, self.parts = nn.Linear(8, 8), nn.ModuleList([GRU(6), Dense(10)])
    def forward(self, x):
        for part in (self.first, *self.parts): x = part(x[..., 0] if x.ndim == 4 else x)
        return x
class Words(nn.Module):
    "With a mask: an embedding of pixel values as words"
    def __init__(self): super().__init__(); self.net = Sequential([Embedding(17, 4, mask_zero=True), LSTM(8), Dense(10)])
    def forward(self, x): return self.net(x.flatten(1).round().long().clamp(0, 16))
MODELS = {
    'with Input': lambda: Sequential([Input((8, 8, 1)), Flatten(), Dense(16, 'relu'), Dense(10)]),
    'without Input': lambda: Sequential([Flatten(), Dense(16, 'relu'), Dense(10)]),
    'typed': lambda: Flatten() >> Dense(16, 'relu') >> Dense(10),
    'own': Own, 'mask': Words,
    'mixed': lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), Dense(10)),
    'lazy': lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(16, bias=False), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(10)),
    'normalised': lambda: Sequential([Flatten(), Dense(16), BatchNormalization(), Dropout(.1), Dense(10)])}
OPTIMIZERS = {'default': {}, 'name': dict(opt_func='adam'), 'class': dict(opt_func=torch.optim.Adam), 'function': dict(opt_func=lambda params, lr: torch.optim.SGD(params, lr=lr, momentum=.9)) }

def learner(name, **kwargs):
    torch.manual_seed(0)
    return Learner(dls(), MODELS[name](), 'cross_entropy', **{**dict(verbose=False), **kwargs})
def built(name):
    learn = learner(name)
    learn.create_opt()
    return {n: p.detach().clone() for n, p in learn.model.named_parameters()}
def moved(learn, before):
    now = dict(learn.model.named_parameters())
    assert set(now) == set(before), set(now) ^ set(before)
    return {n for n, p in now.items() if not torch.equal(p, before[n])}
def whole(learn, before):
    "Every weight has moved, the optimizer holds all, nothing was remarked"
    held = {id(p) for group in learn.opt.param_lists for p in group}
    assert moved(learn, before) == set(before), set(before) - moved(learn, before)
    assert held == {id(p) for p in learn.model.parameters()} and learn.remarks == []

@pytest.mark.parametrize('opt', OPTIMIZERS)
@pytest.mark.parametrize('name', MODELS)
def test_every_weight_moves(name, opt):
    before, learn = built(name), learner(name, **OPTIMIZERS[opt])
    learn.fit(2, 1e-2)
    whole(learn, before)
    assert learn.history.query("metric == 'train_loss'").value.is_monotonic_decreasing

@pytest.mark.parametrize('name', MODELS)
def test_the_numbers_are_those_of_the_plain_loop(name):
    learn = learner(name, opt_func=torch.optim.SGD)
    learn.create_opt()
    torch.manual_seed(0)
    model, data = MODELS[name](), dls()
    with torch.no_grad(): model.eval(), model(data.train.one_batch()[0]), model.train()
    opt, loss = torch.optim.SGD(model.parameters(), lr=.05), nn.CrossEntropyLoss()
    torch.manual_seed(1)
    for x, y in loaders(DATA, pipeline='standardize', batch_size=128).train:
        loss(model(x), y).backward()
        opt.step(), opt.zero_grad()
    torch.manual_seed(1)
    learn.fit(1, .05)
    for (n, p), q in zip(model.named_parameters(), learn.model.parameters()): assert torch.allclose(p, q, atol=1e-6), n

WAYS = {'one cycle': lambda l: l.fit_one_cycle(2, 1e-2), 'fine tune': lambda l: l.fine_tune(1), 'find, then fit': lambda l: (l.lr_find(show_plot=False, num_it=20), l.fit(1, 1e-2)),
        'froze and freed': lambda l: (l.freeze(), l.unfreeze(), l.fit(1, 1e-2)), 'average': lambda l: l.fit(1, 1e-2, cbs=EMA()), 'new optimizer': lambda l: (l.fit(1, 1e-2), l.fit(1, 1e-2, reset_opt=True)),
        'validated first': lambda l: (l.validate(), l.fit(1, 1e-2)), 'summary first': lambda l: (l.summary(), l.fit(1, 1e-2)), 'one batch first': lambda l: (l.model(l.dls.one_batch()[0]), l.fit(1, 1e-2))}
@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('name', ['without Input', 'typed', 'own', 'lazy'])
def test_every_way_to_fit(name, way):
    before, learn = built(name), learner(name, opt_func='adam')
    WAYS[way](learn)
    whole(learn, {n: torch.full_like(p, math.nan) for n, p in before.items()} if way == 'one batch first' else before)   # drawn in another mode

@pytest.mark.parametrize('name', ['without Input', 'typed', 'own', 'lazy', 'mask'])
def test_checkpoint_resume_and_export(name, tmp_path):
    class Stops(Callback):
        order = 100
        def after_epoch(self):
            if self.epoch == 0: raise KeyboardInterrupt
    def fit(folder, *cbs):
        learn = learner(name, opt_func='adam', path=tmp_path)
        torch.manual_seed(1)
        learn.fit(3, 1e-2, cbs=[Checkpoint(folder, epochs=1), *cbs])
        return learn
    straight = fit(tmp_path/'a')
    with pytest.raises(KeyboardInterrupt): fit(tmp_path/'b', Stops())
    resumed = fit(tmp_path/'b')
    for p, q in zip(straight.model.parameters(), resumed.model.parameters()): assert torch.equal(p, q)
    straight.save('weights')
    other = learner(name, opt_func='adam', path=tmp_path)
    other.create_opt()
    other.load('weights')
    x = DATA.valid.x[:4]
    assert torch.equal(other.model.eval()(x), straight.model.eval()(x))

def test_export_and_load_learner(tmp_path):
    learn = learner('without Input', opt_func='adam', path=tmp_path)
    learn.fit(1, 1e-2)
    learn.export('model.pkl')
    again = load_learner(tmp_path/'model.pkl')
    x = DATA.valid.x[:4]
    assert torch.equal(again.model.eval()(x), learn.model.eval()(x))

def test_watch_sees_all_weights():
    learn = learner('without Input', opt_func='adam')
    looks = watch(learn, every=1)
    learn.fit(1, 1e-2)
    assert looks is not None and len(learn.opt.param_lists[0]) == 4 and learn.remarks == []

def test_another_model_between_fits_is_refused_or_trained():
    learn = learner('without Input', opt_func='adam')
    learn.fit(1, 1e-2)
    learn.model = MODELS['without Input']()
    with pytest.raises(DataError, match='The optimizer holds fewer weights than the model trains'): learn.fit(1, 1e-2)
    learn.fit(1, 1e-2, reset_opt=True)
    assert len(learn.opt.param_lists[0]) == 4 and learn.remarks == []

def test_weights_that_a_callback_adds():
    class Grows(Callback):
        "Another layer after the optimizer was made"
        def before_fit(self): self.learn.model.append(nn.Linear(10, 10))
    learn = learner('mixed', opt_func='adam', cbs=Grows())
    with pytest.raises(DataError, match='and not 4.weight, 4.bias'): learn.fit(1, 1e-2)

def test_fastais_learner_trains_what_was_built_before():
    "It makes its optimizer before the first batch, so a model whose weights come with it is shown one first"
    torch.manual_seed(0)
    data, model = dls(), MODELS['mixed']()
    with torch.no_grad(): model(data.one_batch()[0])
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    learn = FastaiLearner(data, model, loss_func=nn.CrossEntropyLoss())
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-2)
    assert moved(learn, before) == set(before)
