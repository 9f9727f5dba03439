"Views on a trained network: against scikit-learn, closed forms and other doors, with models of our layers and of PyTorch's"
import copy
import matplotlib.pyplot as plt, numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from sklearn.metrics import confusion_matrix, log_loss
from torch import nn
from upslope.core import ArgumentError, DataError
from upslope.data import Batches, loaders, sources
from upslope.inspection import (Snapshots, activations, attribute, batch_table, class_balance, duplicates, embed, interpolate, loss_surface, outliers, path_surface,
                                predictions, randomization_check, show_batch)
from upslope.inspection.mistakes import Calibration
from upslope.layers import BatchNormalization, Conv2D, Dense, Flatten, Sequential
from upslope.train import Learner

@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close('all')

def convolutional(norm=True):
    torch.manual_seed(0)
    return Sequential([Conv2D(6, 3, activation='relu'), *([BatchNormalization()] if norm else []), Flatten(), Dense(10)], input_shape=(8, 8, 1))

@pytest.fixture(scope='module')
def learn():
    torch.manual_seed(0)
    learn = Learner(loaders(sources.digits(), pipeline=['standardize']), nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), 'cross_entropy', 'adam', verbose=False)
    learn.fit(3, 3e-3)
    return learn

def fastai_loaders():
    "fastai's own loaders, with its own tensor types, shuffled for training"
    from fastai.data.core import Datasets
    x, y = sources.digits().train
    rows = list(range(300))
    from fastai.torch_core import TensorImage, TensorCategory
    ds = Datasets(rows, [[lambda i: TensorImage(x[i, :, :, 0][None])], [lambda i: TensorCategory(y[i])]], splits=[list(range(200)), list(range(200, 300))])
    return ds.dataloaders(bs=32), x, y

def test_fastai_own_loaders():
    from fastai.learner import Learner as FastaiLearner
    from fastai.losses import CrossEntropyLossFlat
    dls, x, y = fastai_loaders()
    torch.manual_seed(0)
    their = FastaiLearner(dls, nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), loss_func=CrossEntropyLossFlat())
    p = predictions(their, part='train')
    assert type(p.xs[0]) is torch.Tensor and np.array_equal(p.labels, y[:200].numpy())   # in order, all rows, though the loader shuffles and drops the last
    preds, targets = their.get_preds(ds_idx=1)
    assert np.allclose(predictions(their).prob, preds.numpy(), atol=1e-5)
    assert np.isfinite(loss_surface(their, n=3).loss).all() and attribute(their, rows=2).values.shape == (2, 1, 8, 8) and len(embed(their).xy) == 100
    show_batch(their); class_balance(their)

@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.integers(1, 60), st.integers(0, 10**6))
def test_confusion_is_sklearns(k, n, seed):
    g = torch.Generator().manual_seed(seed)
    out, y = torch.randn(n, k, generator=g), torch.randint(k, (n,), generator=g)
    p = predictions(nn.Identity(), (out, y))
    c = p.confusion()
    assert (c.to_numpy() == confusion_matrix(y, out.argmax(1), labels=range(k))).all()
    assert p.most_confused()['count'].sum() == (out.argmax(1) != y).sum()
    assert p.loss.mean() == pytest.approx(log_loss(y, p.prob, labels=range(k)), rel=1e-4)
    assert (np.diff(p.top_losses(n).loss) <= 0).all() and sorted(p.top_losses(n).index) == list(range(n))

@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.integers(1, 15), st.integers(0, 10**6), st.booleans())
def test_calibration_properties(n, bins, seed, equal_size):
    g = np.random.default_rng(seed)
    conf = g.uniform(.1, 1, n); right = g.random(n) < conf
    c = Calibration(conf, right, bins, equal_size, resamples=20)
    assert 0 <= c.ece <= 1 and c.table.n.sum() == n
    assert c.ece == pytest.approx((c.table.n*(c.table.right - c.table.confidence).abs()).sum()/n, abs=1e-9)   # the table tells the same
    assert (c.table.low <= c.table.right).all() and (c.table.right <= c.table.high).all()
    assert Calibration(conf, right, 1, resamples=2).ece == pytest.approx(abs(conf.mean() - right.mean()), abs=1e-9)

def test_calibration_interval_covers():
    "The interval of a bin holds the truth about as often as it says"
    g, hits = np.random.default_rng(0), 0
    for _ in range(200):
        conf = np.full(40, .8)
        t = Calibration(conf, g.random(40) < .7, 1, resamples=1).table
        hits += t.low[0] <= .7 <= t.high[0]
    assert hits >= 186   # Clopper and Pearson: at least 95 %, within chance

@pytest.mark.parametrize('norm', [False, True])
def test_landscape_of_our_layers(norm):
    data = sources.digits()
    x, y = data.train.x[:120].float()/16, data.train.y[:120]
    model = convolutional(norm)
    model(x[:2])
    state = {k: v.clone() for k, v in model.state_dict().items()}
    together, alone = (loss_surface(model, (x, y), 'cross_entropy', n=3, together=k) for k in (4, 1))
    assert np.allclose(together.loss, alone.loss, rtol=1e-3) and together.how['together'] == 4
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    if norm:   # statistics of these rows, at the network itself: what training mode gives
        twin = copy.deepcopy(model).train()
        assert together.loss[1, 1] == pytest.approx(nn.functional.cross_entropy(twin(x), y).item(), rel=1e-4)

def test_path_and_line(learn):
    snaps = Snapshots()
    torch.manual_seed(1)
    other = Learner(learn.dls, copy.deepcopy(learn.model), 'cross_entropy', 'sgd', verbose=False)
    other.fit(3, .05, cbs=snaps)
    assert len(snaps.weights) == 4
    s = path_surface(other, snaps, n=5)
    assert s.path.shape == (4, 2) and sum(s.explained) <= 1 + 1e-9 and s.path_loss[-1] == pytest.approx(predictions(other, part='train', limit=1000).loss.mean(), rel=1e-3)
    two = path_surface(other, [snaps.weights[0], snaps.weights[2], snaps.weights[3]], n=3)   # three points lie in their plane: the path is exact
    assert sum(two.explained) == pytest.approx(1, abs=1e-6)
    line = interpolate(learn, other, n=5)
    assert line.loss[0] == pytest.approx(predictions(learn, part='train', limit=1000).loss.mean(), rel=1e-3) and line.barrier >= 0
    s.plot(); line.plot()

def test_integrated_gradients_of_a_convolution_are_complete():
    data = sources.digits()
    model = convolutional()
    x, y = data.valid.x[:6].float()/16, data.valid.y[:6]
    model(x)
    with torch.no_grad():   # kinks on the way from zero, so that few steps are not enough
        for q in model.parameters():
            if q.requires_grad and q.ndim == 1: q += torch.randn(q.shape, generator=torch.Generator().manual_seed(0))
    a = attribute(model, (x, y), rows=6)
    with torch.no_grad(): m = copy.deepcopy(model).eval(); change = (m(x) - m(torch.zeros_like(x))).gather(1, a.target[:, None])[:, 0]
    assert np.allclose(a.values.flatten(1).sum(1), change, atol=.01*change.abs().max().item())
    t = randomization_check(model, (x, y), 'saliency', rows=4)
    assert list(t.index[:2]) == ['none', [n for n, q in model.named_modules() if type(q).__name__ == 'Dense'][-1]] and abs(t.signed.iloc[-1]) < .6

def test_activations_of_our_layers_and_umap_missing(learn):
    data = sources.digits()
    values, name, p = activations(convolutional(), (data.valid.x.float(), data.valid.y), limit=50)
    assert len(values) == 50
    assert embed(learn, method='tsne', limit=60).xy.shape == (60, 2)

def test_data_views():
    data = sources.mnist_5000()
    table = class_balance(data)
    assert table['train', 'rows'].sum() == 3000 and (table['test', 'rows'] == 100).all()
    assert len(duplicates(dict(a=(data.train.x[:50], data.train.y[:50]), b=(data.train.x[40:60], data.train.y[40:60])))) == 10
    b = Batches(data.train.x[:100], data.train.y[:100], batch_size=10, shuffle=True)
    order = b.order()
    assert batch_table(b).loc['input 0', 'shape'] == (10, 28, 28, 1) and torch.equal(b.order(), order) and b.epoch == 0
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data.train.x[:40], data.train.y[:40]), batch_size=8, shuffle=True)
    state = torch.get_rng_state(); show_batch(loader); assert torch.equal(state, torch.get_rng_state())
    assert len(outliers(data, 3, limit=300)) == 3
    assert len(duplicates((torch.zeros(3, 2), torch.zeros(3)))) == 2

def test_errors(learn):
    for f in (lambda: class_balance(sources.diabetes()), lambda: outliers((torch.full((30, 2), float('nan')), torch.zeros(30)))):
        with pytest.raises(DataError): f()
    with pytest.raises(ArgumentError): loss_surface(learn, n=1)
    with pytest.raises(ArgumentError): path_surface(learn, Snapshots(every=0))

def test_one_check_of_an_attribution_is_drawn_as_several_are():
    import pandas as pd
    from upslope.inspection import plot_randomization
    table = pd.DataFrame(dict(signed=[1., .4], absolute=[1., .5], **{'standard error': [0., .1]}), index=['none', 'out'])
    one, several = (plot_randomization(o).axes[0] for o in (table, dict(saliency=table)))
    assert one.get_legend() is None and [t.get_text() for t in several.get_legend().get_texts()] == ['saliency']
    assert [t.get_text() for t in one.get_xticklabels()] == ['none', 'out']

def test_a_thing_without_batches_is_told():
    from upslope.inspection import batch_table, show_batch
    for f in (batch_table, show_batch):
        with pytest.raises(DataError, match='There is no batch in it'): f(5)
