"A member of a population is seen as if it were watched alone, whatever the layers, the engine and the queue"
import numpy as np, pytest
from torch import nn
from upslope.core.seeds import seeded
from upslope.data import loaders, sources
from upslope.inspection import PopulationWatch, Watch, watch
from upslope.train import AddressedDropout, Checkpoint, GradientClip, Learner, Population

def mlp(rate=.1, width=40): return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(inplace=True), nn.Dropout(rate), nn.Linear(width, 10))
def conv(rate=.1): return nn.Sequential(nn.Unflatten(1, (1, 8)), nn.Flatten(3), nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(rate), nn.Flatten(), nn.Linear(96, 10))
class Rows(nn.Module):
    def __init__(self, kind, rate=0.):
        super().__init__()
        self.body = nn.GRU(8, 12, batch_first=True) if kind == 'gru' else nn.TransformerEncoderLayer(8, 2, 16, rate, batch_first=True)
        self.head, self.kind = nn.Linear(12 if kind == 'gru' else 8, 10), kind
    def forward(self, x):
        x = self.body(x[..., 0])
        return self.head((x[0] if self.kind == 'gru' else x).mean(1).sigmoid())
def gru(): return Rows('gru')
def transformer(rate=.1): return Rows('transformer', rate)
def wide(width=300): return mlp(width=width)     # samples stand for its 19,200 weights and 19,200 outputs

KEYS = ['step', 'layer', 'of', 'statistic']
def data(seed=0): return loaders(sources.digits(), 64, seed=seed, pipeline=['standardize'])
def alone(make, settings, epochs, cbs=(), **args):
    seed = settings['seed']
    with seeded(seed, 'init'): model = make(**{k: v for k, v in settings.items() if k not in ('seed', 'lr')})
    w = Watch(budget=1e9)
    learn = Learner(data(seed), model, 'cross_entropy', 'momentum', cbs=[AddressedDropout(seed), w, *cbs], verbose=False)
    with seeded(seed, 'fit'): learn.fit(epochs, settings['lr'])
    return w

def same(one, member):
    both = one.history.merge(member.history, on=KEYS, suffixes=('', '_member'), how='outer', indicator=True)
    both = both[both['of'] != 'time']
    assert (both._merge == 'both').all(), both[both._merge != 'both'].head()
    bins = both.statistic.str.startswith('bin')
    assert (both.value - both.value_member)[bins].abs().sum() <= .002*both.value[bins].sum()
    rest = both[~bins]
    np.testing.assert_allclose(rest.value_member, rest.value, rtol=2e-3, atol=2e-4)
    return len(rest)

@pytest.mark.parametrize('make', [mlp, conv, gru, transformer, wide])
@pytest.mark.parametrize('engine', ['stacked', 'loop'])
def test_every_number_is_that_of_the_member_alone(make, engine):
    settings = [dict(seed=s, lr=lr) for s, lr in enumerate((1e-3, 1e-2, 3e-2))]
    p = Population(make, data(), settings, opt='momentum', engine=engine)
    w = watch(p, budget=1e9)
    p.fit(1)
    assert same(alone(make, settings[2], 1), w.member(2)) > 200

def test_clipping_comes_after_the_look_as_alone():
    settings = [dict(seed=s, lr=.03) for s in range(2)]
    p = Population(mlp, data(), settings, opt='momentum', engine='stacked', cbs=[Watch(budget=1e9), GradientClip(norm=.05)]).fit(1)
    w = p.events[0]
    assert isinstance(w, PopulationWatch) and w.series('gradient', 'norm').min().min() > .05
    same(alone(mlp, settings[1], 1, [GradientClip(norm=.05)]), w.member(1))

def test_members_of_a_queue_have_all_their_steps():
    settings = [dict(seed=s, lr=.01, epochs=1 + s % 2) for s in range(5)]
    p = Population(mlp, data(), settings, opt='momentum', engine='stacked', rows=2, cbs=Watch(budget=1e9, histogram=False)).fit(2)
    w = p.events[0]
    for i in range(5):
        steps = w.member(i).series('loss', 'value').index
        assert w.member(i).step == 17*(1 + i % 2) and len(steps) in (8*(1 + i % 2), 9*(1 + i % 2), 17) and steps.is_unique
        losses = p.losses(i)
        np.testing.assert_allclose(w.member(i).series('loss', 'value').iloc[:, 0], [losses[s] for s in steps], rtol=1e-6)

def test_a_population_that_goes_on_keeps_its_history(tmp_path):
    def make(*cbs): return Population(mlp, data(), 2, lr=.01, opt='momentum', engine='stacked', cbs=[Checkpoint(tmp_path), Watch(budget=1e9, histogram=False), *cbs])
    from fastai.callback.core import Callback
    class Dies(Callback):
        at = 20
        def after_batch(self):
            if self.learn.train_iter == Dies.at: raise RuntimeError('the lights go out')
    with pytest.raises(RuntimeError): make(Dies()).fit(2)
    Dies.at = -1
    again = make(Dies()).fit(2)
    steps = again.events[0].member(1).series('loss', 'value').index
    assert steps[0] == 0 and steps[-1] >= 32 and steps.is_unique and len(steps) >= 16

def test_keep_bounds_the_history():
    p = Population(mlp, data(), 3, lr=.01, opt='momentum', engine='stacked', cbs=Watch(budget=1e9, histogram=False, keep=6)).fit(3)
    assert all(len(w.records) <= 6 for w in p.events[0].watches.values())
