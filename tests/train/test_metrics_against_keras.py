"""The metrics that have a name, against `keras.metrics`, over batches of unequal size. Keras's want probabilities where ours take raw outputs.
`balanced_accuracy`, which Keras has not, and `roc_auc`, which Keras sums over thresholds, against scikit-learn."""
import os
os.environ.setdefault('KERAS_BACKEND', 'torch')
import warnings
from types import SimpleNamespace
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
import keras
from sklearn import metrics as sk
from upslope.train import METRICS, as_metric

def ours(name, pred, target, cuts):
    metric = as_metric(name)
    metric.reset()
    for p, t in zip(torch.tensor(pred).tensor_split(cuts), torch.tensor(target).tensor_split(cuts)):
        if len(p): metric.accumulate(SimpleNamespace(pred=p, yb=(t,)))
    return metric.value
def theirs(metric, pred, target, cuts):
    for p, t in zip(np.split(pred, cuts), np.split(target, cuts)):
        if len(p): metric.update_state(t, p)
    return float(metric.result())

def softmax(x): return np.exp(x - x.max(-1, keepdims=True))/np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)
def sigmoid(x): return 1/(1 + np.exp(-x))

seeds = st.integers(0, 10**6)
@settings(max_examples=15, deadline=None)
@given(seed=seeds, n=st.integers(2, 40), classes=st.integers(2, 9), cut=st.integers(0, 40))
def test_classes(seed, n, classes, cut):
    rng = np.random.default_rng(seed)
    pred,target = rng.normal(size=(n, classes)).astype('float32'),rng.integers(0, classes, n)
    cuts = [min(cut, n)]
    assert ours('accuracy', pred, target, cuts) == pytest.approx(theirs(keras.metrics.SparseCategoricalAccuracy(), softmax(pred), target, cuts), abs=1e-6)
    assert ours('error_rate', pred, target, cuts) == pytest.approx(1 - theirs(keras.metrics.SparseCategoricalAccuracy(), softmax(pred), target, cuts), abs=1e-6)
    assert ours('top_5', pred, target, cuts) == pytest.approx(theirs(keras.metrics.SparseTopKCategoricalAccuracy(5), softmax(pred), target, cuts) if classes >= 5 else 1, abs=1e-6)   # with fewer classes Keras on torch raises
    assert ours('balanced_accuracy', pred, target, cuts) == pytest.approx(sk.recall_score(target, pred.argmax(1), average='macro', labels=np.unique(target), zero_division=0), abs=1e-6)
    # macro F1: a class that neither occurs nor is answered has no F1, and does not count; Keras counts it as 0
    seen = np.union1d(target, pred.argmax(1))
    mine,keras_f1 = ours('f1', pred, target, cuts),theirs(keras.metrics.F1Score('macro'), softmax(pred), np.eye(classes, dtype='float32')[target], cuts)
    assert mine*len(seen)/classes == pytest.approx(keras_f1, abs=1e-5)
    assert mine == pytest.approx(sk.f1_score(target, pred.argmax(1), average='macro', labels=seen, zero_division=0), abs=1e-6)

@settings(max_examples=15, deadline=None)
@given(seed=seeds, n=st.integers(4, 60), cut=st.integers(0, 60), column=st.booleans(), ties=st.booleans())
def test_two_classes(seed, n, cut, column, ties):
    rng = np.random.default_rng(seed)
    target = np.arange(n) % 2
    rng.shuffle(target)
    pred = rng.normal(size=n).astype('float32') + target
    if ties: pred = pred.round()
    cuts,raw = [min(cut, n)],pred[:, None] if column else pred
    probabilities = sigmoid(pred.astype('float64'))
    keep = pred != 0   # 0 is the threshold itself; both say class 0
    assert ours('accuracy', raw, target, cuts) == pytest.approx(theirs(keras.metrics.BinaryAccuracy(threshold=.5), probabilities[:, None], target[:, None], cuts), abs=1e-6) or not keep.all()
    assert ours('roc_auc', raw, target, cuts) == pytest.approx(sk.roc_auc_score(target, pred), abs=1e-9)
    # Keras sums over thresholds, by default 200, so that it cannot order two answers between the same two: each such pair may count wrong
    apart = np.abs(probabilities[target == 1][:, None] - probabilities[target == 0])
    unordered = ((apart > 0) & (apart < 2/5000)).mean()
    assert ours('roc_auc', raw, target, cuts) == pytest.approx(theirs(keras.metrics.AUC(num_thresholds=5000), probabilities, target, cuts), abs=2e-3 + unordered)
    assert ours('f1', np.stack([0*pred, pred], 1), target, cuts) == pytest.approx(ours('f1', raw, target, cuts), abs=1e-9)

@settings(max_examples=15, deadline=None)
@given(seed=seeds, n=st.integers(3, 40), columns=st.integers(1, 4), cut=st.integers(0, 40))
def test_numbers(seed, n, columns, cut):
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(n, columns)).astype('float32')
    pred = (target + rng.normal(size=(n, columns))).astype('float32')
    cuts = [min(cut, n)]
    for name, metric in dict(mae=keras.metrics.MeanAbsoluteError(), mse=keras.metrics.MeanSquaredError(), rmse=keras.metrics.RootMeanSquaredError(), r2=keras.metrics.R2Score()).items():
        assert ours(name, pred, target, cuts) == pytest.approx(theirs(metric, pred, target, cuts), rel=1e-3, abs=1e-3), name   # Keras takes the variance as a difference of two sums, in 32 bits
    assert ours('r2', pred, target, cuts) == pytest.approx(sk.r2_score(target.astype('float64'), pred.astype('float64')), rel=1e-6, abs=1e-9)

@pytest.mark.parametrize('off', [0., 1.])
def test_a_target_that_does_not_vary(off):
    "There is no variance to explain: 1 if all is right, 0 if not, as in scikit-learn (Keras: 0 if not, no number if all is right)"
    target = np.array([[1., 2], [1, 3], [1, 5]], dtype='float32')
    pred = target + np.array([off, 0], dtype='float32')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert ours('r2', pred, target, [1]) == pytest.approx(sk.r2_score(target, pred))
        assert off == 0 or ours('r2', pred, target, [1]) == pytest.approx(theirs(keras.metrics.R2Score(), pred, target, [1]))

def test_every_name_is_compared():
    text = open(__file__, encoding='utf-8').read()
    assert all(f"'{name}'" in text or f'{name}=' in text for name in METRICS)

def test_many_rows():
    "Ranks of a hundred thousand rows add up beyond what 32 bits count exactly"
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 100_000)
    pred = (rng.normal(size=100_000) + target).astype('float32')
    assert ours('roc_auc', pred, target, [30_000]) == pytest.approx(sk.roc_auc_score(target, pred), abs=1e-12)
