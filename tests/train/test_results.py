"`summary` and `show_results` of a Learner, with every form of model and every kind of loader"
import pytest, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from upslope.data import loaders, sources
from upslope.data.batches import import_fastai
import_fastai()
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader as FastaiLoader
from upslope.layers import GRU, Dense, Flatten, Input, Sequential
from upslope.train import DictBatches, Learner

DATA = sources.digits()

class Own(nn.Module):
    def __init__(self): super().__init__(); self.gru, self.dense = GRU(8), Dense(10)
    def forward(self, x): return self.dense(self.gru(x[..., 0]))
class Recurrent(nn.Module):
    def __init__(self): super().__init__(); self.gru, self.out = nn.GRU(8, 5, batch_first=True), nn.Linear(5, 10)
    def forward(self, x): return self.out(self.gru(x[..., 0])[1][0])
MODELS = {'torch': lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), 'lazy': lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), 'recurrent': Recurrent,
          'layers': lambda: Sequential([Flatten(), Dense(16, 'relu'), Dense(10)]), 'with Input': lambda: Sequential([Input((8, 8, 1)), Flatten(), Dense(10)]),
          'typed': lambda: Flatten() >> Dense(10), 'own': Own, 'mixed': lambda: nn.Sequential(nn.Flatten(), Dense(10))}
@pytest.mark.parametrize('name', MODELS)
def test_summary_and_results_before_a_fit(name):
    learn = Learner(loaders(DATA, pipeline='standardize'), MODELS[name](), 'cross_entropy', 'adam', verbose=False)
    table = learn.summary()
    n = sum(p.numel() for p in learn.model.parameters())
    assert n and table.weights['total'] == table.trained['total'] == n == table.weights[:-1].sum(), table
    assert table.output.str.contains('(64, 10)', regex=False).any()
    shown = learn.show_results(max_n=4)
    assert len(shown) == 4 and set(shown) == {'target', 'prediction', 'probability'}
    learn.fit(1, 1e-2)
    assert len(learn.recorder.rows) == 1 and learn.summary().weights['total'] == n

def rows(part): return TensorDataset(part.x, part.y)
class Dicts:
    def __init__(self, part): self.loader = DataLoader(rows(part), 32)
    def __len__(self): return len(self.loader)
    def __iter__(self): return ({'x': x, 'y': y} for x, y in self.loader)
LOADERS = {'torch': lambda: tuple(DataLoader(rows(p), 32) for p in (DATA.train, DATA.valid)),
           'fastai': lambda: DataLoaders(*(FastaiLoader(rows(p), bs=32) for p in (DATA.train, DATA.valid))),
           'dictionaries': lambda: tuple(DictBatches(Dicts(p), 'x', 'y') for p in (DATA.train, DATA.valid))}
@pytest.mark.parametrize('kind', LOADERS)
def test_with_loaders_of_other_kinds(kind):
    learn = Learner(LOADERS[kind](), MODELS['torch'](), nn.CrossEntropyLoss(), verbose=False)
    assert learn.summary().weights['total'] == 650
    shown = learn.show_results()
    assert len(shown) == 9 and shown.target.tolist() == DATA.valid.y[:9].tolist()

def test_nothing_of_the_learner_is_changed():
    learn = Learner(loaders(DATA, pipeline='standardize'), MODELS['torch'](), 'cross_entropy', 'adam', verbose=False)
    learn.fit(1, 1e-2)
    before = [p.detach().clone() for p in learn.model.parameters()]
    row, training, state = learn.recorder.rows[-1], learn.model.training, torch.get_rng_state()
    learn.summary(), learn.show_results()
    assert all(map(torch.equal, before, learn.model.parameters())) and learn.recorder.rows == [row] and learn.model.training == training
    assert torch.equal(state, torch.get_rng_state())

def test_an_error_of_the_model_is_told():
    learn = Learner(loaders(DATA), nn.Sequential(nn.Flatten(), nn.Linear(63, 10)), 'cross_entropy', verbose=False)
    for look in (learn.summary, learn.show_results):
        with pytest.raises(RuntimeError) as caught: look()
        assert "raised by Linear '1', which was given (64, 64) float32" in ' '.join([*map(str, caught.value.args), *getattr(caught.value, '__notes__', ())])
