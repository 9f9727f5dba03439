"What fastai's Learner does, ours does: the same events, weights and numbers, whatever callbacks cancel, nest or change"
import warnings
from functools import partial

import pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn
from upslope.data import loaders, sources
from upslope.data.batches import import_fastai
import_fastai()
from fastai.basics import load_learner
from fastai.callback import all as fastai_callbacks   # noqa: F401  gives fastai's Learner its schedules
from fastai.callback.core import (Callback, CancelBackwardException, CancelBatchException, CancelEpochException, CancelFitException, CancelStepException,
                                  CancelTrainException, CancelValidException, FetchPredsCallback, _events)
from fastai.callback.tracker import EarlyStoppingCallback, ReduceLROnPlateau, SaveModelCallback, TerminateOnNaNCallback
from fastai.callback.training import BnFreeze, GradientAccumulation, GradientClip, ShortEpochCallback
from fastai.callback.mixup import MixUp
from fastai.data.core import DataLoaders
from fastai.learner import Learner as FastaiLearner
from fastai.optimizer import SGD, Adam, OptimWrapper
import upslope.train as train
from upslope.train import Learner

DATA = sources.diabetes()

class Spy(Callback):
    "Sees every event, since it overrides `__call__`"
    order = 100
    def __init__(self): self.seen = []
    def __call__(self, name): self.seen.append((name, self.learn.training))

def net(): torch.manual_seed(0); return nn.Sequential(nn.Linear(10, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
def learner(cls, cbs=(), seed=0, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        learn = cls(loaders(DATA, batch_size=64, pipeline='standardize', target_pipeline='standardize', seed=seed), net(), loss_func=nn.MSELoss(), cbs=list(cbs), **kwargs)
    return learn
def run(cls, make_cbs, fit=lambda l: l.fit(2, 1e-2), **kwargs):
    spy = Spy()
    learn = learner(cls, [*make_cbs(), spy], **kwargs)
    torch.manual_seed(1)
    with learn.no_logging(), learn.no_bar(): fit(learn)
    return learn, spy.seen
def same(a, b):
    for p, q in zip(a.model.state_dict().values(), b.model.state_dict().values()): assert torch.equal(p, q)
    assert [len(row) for row in a.recorder.values] == [len(row) for row in b.recorder.values]
    for mine, other in zip(a.recorder.values, b.recorder.values): assert [v if v is None else float(v) for v in mine] == pytest.approx([v if v is None else float(v) for v in other], abs=3e-5, nan_ok=True)
    assert a.recorder.lrs == b.recorder.lrs
    assert torch.allclose(torch.tensor([float(v) for v in a.recorder.losses]), torch.tensor([float(v) for v in b.recorder.losses]), atol=1e-5)
def compare(make_cbs, fit=lambda l: l.fit(2, 1e-2), **kwargs):
    (theirs, seen), (ours, seen_ours) = run(FastaiLearner, make_cbs, fit, **kwargs), run(Learner, make_cbs, fit, **kwargs)
    assert seen_ours == seen
    same(ours, theirs)
    return ours, seen

CANCELS = dict(batch=CancelBatchException, backward=CancelBackwardException, step=CancelStepException, train=CancelTrainException, valid=CancelValidException, epoch=CancelEpochException, fit=CancelFitException)
INNER = 'before_batch after_pred after_loss before_backward after_backward before_step after_step'.split()
WHERE = {'batch': INNER, 'backward': ['before_backward'], 'step': ['before_step'], 'train': ['before_train', *INNER], 'valid': ['before_validate', 'before_batch', 'after_pred', 'after_loss'],
         'epoch': ['before_epoch', 'before_train', 'before_validate', *INNER], 'fit': ['before_epoch', 'before_train', 'before_validate', *INNER, 'after_epoch']}

class Cancels(Callback):
    order = 30
    def __init__(self, event, kind, when, valid):
        if event == 'before_epoch': self.order = 55  # fastai's own Recorder (50) fails if an epoch ends that it has not seen begin
        self.event,self.kind,self.when,self.valid,self.n = event,kind,when,valid,0
    def __call__(self, name):
        if name != self.event or name in _events and self.valid == self.learn.training and name in INNER: return
        self.n += 1
        if self.n == self.when: raise CANCELS[self.kind]

@pytest.mark.parametrize('kind,event,valid', [(k, e, v) for k, es in WHERE.items() for e in es for v in (False, True) if not (v and e not in ('before_batch', 'after_pred', 'after_loss'))
                                              and not (k == 'valid' and not v and e in INNER) and not (k in ('train', 'backward', 'step') and v)])
def test_every_cancel_at_every_event(kind, event, valid):
    _, seen = compare(lambda: [Cancels(event, kind, 2 if event in INNER else 1, valid)])
    expected = dict(batch='after_cancel_batch', backward='after_cancel_backward', step='after_cancel_step', train='after_cancel_train', valid='after_cancel_validate', epoch='after_cancel_epoch', fit='after_cancel_fit')[kind]
    assert expected in [n for n, _ in seen]

@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(-20, 80), st.booleans(), st.booleans(), st.sampled_from(['before_batch', 'after_loss', 'after_step', 'after_batch', 'after_train', 'after_epoch'])), max_size=6))
def test_order_and_run_flags(specs):
    def words(cls):
        said = []
        cbs = []
        for i, (order, on_train, on_valid, event) in enumerate(specs):
            cb = type(f'Say{i}', (Callback,), {event: lambda self: said.append((type(self).__name__, self.learn.training))})()
            cb.order, cb.run_train, cb.run_valid = order, on_train, on_valid
            cbs.append(cb)
        run(cls, lambda: cbs, lambda l: l.fit(1, 1e-2))
        return said
    assert words(Learner) == words(FastaiLearner)

FITS = {'fit': lambda l: l.fit(2, 1e-2), 'one_cycle': lambda l: l.fit_one_cycle(2, 1e-2), 'flat_cos': lambda l: l.fit_flat_cos(2, 1e-2), 'sgdr': lambda l: l.fit_sgdr(2, 1, 1e-2),
        'fine_tune': lambda l: l.fine_tune(1), 'start_epoch': lambda l: l.fit(3, 1e-2, start_epoch=1), 'wd': lambda l: l.fit(1, 1e-2, wd=.1), 'slice': lambda l: l.fit(1, slice(1e-3, 1e-2)),
        'freeze': lambda l: (l.freeze(), l.fit(1, 1e-2), l.unfreeze(), l.fit(1, 1e-2)), 'validate': lambda l: (l.fit(1, 1e-2), l.validate(), l.fit(1, 1e-2))}
@pytest.mark.parametrize('name', FITS)
@pytest.mark.parametrize('opt', ['adam', 'sgd', 'torch'])
def test_every_way_to_fit(name, opt):
    opt_func = dict(adam=Adam, sgd=partial(SGD, mom=.9), torch=partial(OptimWrapper, opt=torch.optim.AdamW))[opt]
    compare(lambda: [], FITS[name], opt_func=opt_func, splitter=lambda m: [list(m[:2].parameters()), list(m[2:].parameters())])

CALLBACKS = {'early': lambda: [EarlyStoppingCallback(patience=1, min_delta=1.)], 'plateau': lambda: [ReduceLROnPlateau(patience=1, min_delta=1.)], 'nan': lambda: [TerminateOnNaNCallback()],
             'accumulate': lambda: [GradientAccumulation(128)], 'clip': lambda: [GradientClip(.1)], 'short': lambda: [ShortEpochCallback(.3)], 'bn': lambda: [BnFreeze()], 'mixup': lambda: [MixUp()],
             'fetch': lambda: [FetchPredsCallback()]}
@pytest.mark.parametrize('name', CALLBACKS)
def test_fastais_callbacks(name): compare(CALLBACKS[name], lambda l: l.fit(4, 1e-2))

def test_save_model_callback(tmp_path): compare(lambda: [SaveModelCallback()], lambda l: l.fit(2, 1e-2), path=tmp_path)

OURS = {'stopping': lambda: [train.EarlyStopping(patience=1, min_delta=1.)], 'clip': lambda: [train.GradientClip(norm=.1)], 'noise': lambda: [train.GradientNoise()], 'ema': lambda: [train.EMA()],
        'swa': lambda: [train.SWA(.5)], 'plateau': lambda: [train.ReduceOnPlateau(patience=1, min_delta=1.)], 'nan': lambda: [train.StopOnNaN()], 'scheduler': lambda: [train.Scheduler('one_cycle')]}
@pytest.mark.parametrize('name', OURS)
def test_our_callbacks_in_fastais_learner(name): compare(OURS[name], lambda l: l.fit(4, 1e-2))

def test_our_loggers_in_fastais_learner(tmp_path):
    learn = learner(FastaiLearner, [train.CSVLogger(tmp_path/'a.csv')])
    with learn.no_logging(), learn.no_bar(): learn.fit(3, 1e-2)
    assert train.CSVLogger(tmp_path/'a.csv').read_log().epoch.tolist() == [0, 1, 2]

def test_gradients_are_zeros_after_the_batch():
    for opt in ('adam', Adam):
        seen = []
        class Look(Callback):
            order, run_valid = 99, False
            def after_batch(self): seen.append([p.grad for p in self.model.parameters()])
        learn = learner(Learner, [Look()], opt_func=opt)
        with learn.no_bar(): learn.fit(1, 1e-2)
        assert seen and all(g is not None and not g.any() for grads in seen for g in grads)

def test_smoothed_loss_is_readable_in_the_batch():
    def read(cls):
        seen = []
        class Look(Callback):
            order, run_valid = 99, False
            def after_batch(self): seen.append(float(self.learn.smooth_loss))
        run(cls, lambda: [Look()])
        return torch.tensor(seen)
    assert torch.allclose(read(Learner), read(FastaiLearner), atol=1e-5)

def test_old_prediction_and_loss_are_visible():
    seen = []
    class Look(Callback):
        run_valid = False
        def before_batch(self): seen.append(getattr(self.learn, 'pred', None))
        def after_pred(self): assert self.learn.iter == 0 or self.learn.loss is self.last
        def after_loss(self): self.last = self.learn.loss
    with warnings.catch_warnings():
        warnings.simplefilter('ignore'); run(Learner, lambda: [Look()], lambda l: l.fit(1, 1e-2))
    assert seen[1] is not None and seen[1] is not seen[2]

def test_parts_of_the_loop_alone():
    for cls in (FastaiLearner, Learner):
        learn = learner(cls)
        learn.create_opt(); learn.epoch, learn.n_epoch, learn.n_iter, learn.training = 0, 1, 5, True
        learn.pct_train, learn.train_iter = 0., 0
        learn.recorder.run = False
        learn.cbs = learn.cbs[:1]
        learn.one_batch(0, learn.dls.one_batch())
        assert learn.iter == 0 and learn.loss.item() > 0 and learn.train_iter == 1
        learn._split((1, 2, 3)); assert (learn.xb, learn.yb) == ((1,), (2, 3))
        learn.dl = learn.dls.train
        learn.all_batches(); assert learn.train_iter == 6
        learn._do_epoch_train(); learn._do_epoch_validate()

def test_get_preds_inside_of_a_fit_and_nested_fits():
    class Inner(Callback):
        order = 70
        def after_epoch(self):
            with torch.no_grad(): self.preds = self.learn.get_preds(inner=True)[0]
    class Nested(Callback):
        order = 70
        def after_fit(self):
            if not getattr(self, 'done', False): self.done = True; self.other.fit(1, 1e-2)
    def go(cls):
        other = learner(cls); cb = Nested(); cb.other = other
        with other.no_logging(), other.no_bar(): learn, seen = run(cls, lambda: [Inner(), cb])
        return learn.inner.preds, [p.detach() for p in other.model.parameters()], seen
    (a, ps, s), (b, qs, t) = go(FastaiLearner), go(Learner)
    assert torch.equal(a, b) and all(map(torch.equal, ps, qs)) and s == t

def test_get_preds_and_friends():
    theirs, ours = (run(cls, lambda: [], FITS['fit'])[0] for cls in (FastaiLearner, Learner))
    for kwargs in (dict(), dict(ds_idx=0), dict(with_loss=True), dict(with_input=True), dict(with_decoded=True)):
        for a, b in zip(theirs.get_preds(**kwargs), ours.get_preds(**kwargs)): assert torch.equal(a, b)

@pytest.mark.filterwarnings('ignore')
def test_export_load_and_pickle(tmp_path):
    ours, _ = run(Learner, lambda: [], FITS['fit'], path=tmp_path)
    ours.remove_cb(Spy)
    want = ours.get_preds()[0]
    ours.export('a.pkl')
    loaded = load_learner(tmp_path/'a.pkl')
    assert type(loaded) is Learner and torch.equal(loaded.get_preds(dl=ours.dls.valid)[0], want)
    ours.save('w')
    for p in ours.model.parameters(): p.data.zero_()
    ours.load('w')
    assert torch.equal(ours.get_preds()[0], want)
    import pickle
    again = pickle.loads(pickle.dumps(ours))
    assert torch.equal(again.get_preds()[0], want)
    with again.no_bar(): again.fit(1, 1e-2)

def test_an_error_in_a_callback_leaves_the_learner_usable():
    class Breaks(Callback):
        def after_batch(self):
            if self.learn.iter == 2: assert False
    for cls in (Learner,):
        learn = learner(cls, [Breaks()])
        with learn.no_bar():
            with pytest.raises(AssertionError) as e: learn.fit(1, 1e-2)   # a bare assert: in fastai an IndexError hides it
        assert not hasattr(e.value, '__notes__') or 'Breaks' in e.value.__notes__[0] and 'batch 2 of 5' in e.value.__notes__[0]
        learn.remove_cb(Breaks)
        with learn.no_bar(): learn.fit(1, 1e-2)
        assert len(learn.recorder.rows) == 1 and not learn.fitting

def test_an_epoch_cancelled_before_it_began():
    class Skip(Callback):
        def before_epoch(self):
            if self.epoch in (0, 2): raise CancelEpochException
    learn = learner(Learner, [Skip(), train.EarlyStopping()])
    with learn.no_bar(): learn.fit(4, 1e-2)
    assert [r['epoch'] for r in learn.recorder.rows] == [1, 3]

def test_callbacks_added_and_removed():
    learn = learner(Learner)
    cb = Spy(); learn.add_cb(cb)
    assert learn.spy is cb and cb.learn is learn
    with learn.removed_cbs(cb): assert not hasattr(learn, 'spy') and cb.learn is None
    with learn.added_cbs([GradientClip()]): assert hasattr(learn, 'gradient_clip')
    assert not hasattr(learn, 'gradient_clip')
    learn.cbs = learn.cbs[::-1]; learn('before_fit')
    assert cb.seen[-1][0] == 'before_fit'

def test_lists_of_events():
    learn = learner(Learner); cb = Spy(); learn.add_cb(cb)
    learn(['before_fit', 'before_epoch'])
    assert [n for n, _ in cb.seen] == ['before_fit', 'before_epoch']

# --- what fastai's notebooks of its version 2.8 pin, in our words
def test_a_fit_without_validation_rows():
    "The table has no number for it, and nothing fails; one who watches that number is told"
    from torch.utils.data import DataLoader, TensorDataset
    x = torch.randn(40, 10)
    def make(cls): return cls(DataLoaders(DataLoader(TensorDataset(x, x[:, :1]), 8), DataLoader(TensorDataset(x[:0], x[:0, :1]), 8)), net(), loss_func=nn.MSELoss())
    for cls in (FastaiLearner, Learner):
        learn = make(cls)
        with learn.no_logging(), learn.no_bar(): learn.fit(2, 1e-2)
        assert [row[1] for row in learn.recorder.values] == [None, None]
    for cb in (train.EarlyStopping(), train.ReduceOnPlateau()):
        learn = make(Learner)
        with learn.no_bar(), pytest.raises(ValueError, match=r"(?s)no valid_loss to watch.*fix:  monitor='train_loss'"): learn.fit(1, 1e-2, cbs=cb)
    with pytest.raises(ValueError, match='gives no batch'): make(Learner).evaluate()

def test_one_item_without_a_target():
    "fastai's loader makes of it a batch that is a tensor, with nothing left for the target"
    from fastai.test_utils import synth_dbunch, RegModel
    torch.manual_seed(0)
    found = []
    dls, model = synth_dbunch(), RegModel()
    for cls in (FastaiLearner, Learner):
        learn = cls(dls, model, loss_func=nn.MSELoss())
        with learn.no_bar(), learn.no_logging(): found.append(learn.predict(torch.tensor([[.1]])))
    assert all(torch.equal(a, b) for a, b in zip(*found))

def test_weighted_loaders_and_what_collects_data():
    from fastai.callback.data import CollectDataCallback
    from fastai.data.core import Datasets
    from fastai.test_utils import RegModel
    import numpy as np
    def seen(cls):
        torch.manual_seed(0); np.random.seed(0); __import__('random').seed(0)
        dls = Datasets(torch.arange(160).float()).weighted_dataloaders(wgts=range(160), bs=16)
        learn = cls(dls, RegModel(), loss_func=nn.MSELoss(), opt_func=partial(SGD, mom=.9), cbs=CollectDataCallback())
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-2)   # no target, so no loss, and no validation rows
        return torch.cat([b[0][0] for b in learn.collect_data.data])
    theirs, ours = seen(FastaiLearner), seen(Learner)
    assert torch.equal(theirs, ours) and len(ours) == 160 and ours.mean() > 95   # heavy rows come more often

def test_idle_callbacks_cost_no_call():
    "Ten callbacks without methods: as many Python calls in a batch as without them"
    import sys
    def calls(idle):
        counts, n = [], [0]
        class Count(Callback):
            order, run_valid = 1000, False
            def after_batch(self): counts.append(n[0])
        def look(frame, kind, arg): n[0] += kind == 'call'
        learn = learner(Learner, [type(f'Idle{i}', (Callback,), {})() for i in range(idle)] + [Count()], default_cbs=True, verbose=False)
        sys.setprofile(look)
        try: learn.fit(2, 1e-2)
        finally: sys.setprofile(None)
        return [b - a for a, b in zip(counts, counts[1:])][1:4]
    assert calls(10) == calls(0)

# --- fastai's own makers of Learners, on tables whose columns are strings

def _ratings():
    import pandas as pd
    g = torch.Generator().manual_seed(0)
    draw = lambda n: torch.randint(0, n, (300,), generator=g).tolist()
    return pd.DataFrame(dict(user=[f'u{i}' for i in draw(20)], title=[f't{i}' for i in draw(15)], rating=[float(i + 1) for i in draw(5)]))
def _collab(make):
    from fastai import collab
    dls = collab.CollabDataLoaders.from_df(_ratings(), item_name='title', bs=32, seed=0)
    return make(collab, lambda: collab.collab_learner(dls, n_factors=5, y_range=(0, 5.5)))
def _tabular(make):
    from fastai.tabular import all as tabular
    from fastai.tabular import learner
    frame = _ratings().assign(good=lambda d: (d.rating > 3).map({True: 'yes', False: 'no'}))
    dls = tabular.TabularDataLoaders.from_df(frame, y_names='good', cat_names=['user', 'title'], cont_names=['rating'], procs=[tabular.Categorify, tabular.Normalize], bs=32, seed=0)
    return make(learner, lambda: tabular.tabular_learner(dls, layers=[8]))
@pytest.mark.parametrize('maker', [_collab, _tabular])
def test_the_learners_that_fastai_makes_of_tables(maker, monkeypatch):
    "fastai's function with our Learner in the place of its own, as its test cells were run; the targets of its tables are columns with names"
    def make(module, learner):
        with monkeypatch.context() as patch:
            for name in {'Learner', 'TabularLearner'} & set(vars(module)): patch.setattr(module, name, Learner)
            learn = learner()
            assert isinstance(learn, Learner)
            with learn.no_bar(): learn.fit_one_cycle(1, 1e-2)
        return learn
    learn = maker(make)
    assert len(learn.recorder.rows) == 1 and learn.recorder.rows[0]['train_loss'] > 0 and learn.remarks == []
