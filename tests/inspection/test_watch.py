"A watch reads what fastai's ActivationStats reads, changes nothing, and is the same in our Learner, in fastai's and in a plain loop"
import random
from importlib import import_module
import numpy as np, pytest, torch
from fastai.callback.hook import ActivationStats
from fastai.learner import Learner as Theirs
from torch import nn
import cases
from upslope.inspection import RULES, Checkup, Watch, diagnose, watch
from upslope.layers import LSTM, Dense
from upslope.train import GradientClip, Learner as Ours

WATCH = import_module('upslope.inspection.watch')   # the function of this name hides it

def made(kind, cbs=(), dropout=0., **kwargs):
    torch.manual_seed(0); random.seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 10))
    return kind(cases.dls(), model, loss_func=nn.CrossEntropyLoss(), cbs=list(cbs), **kwargs)
def fitted(learn, epochs=1, **kwargs):
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs, 3e-3, **kwargs)
    return learn
def weights(learn): return torch.cat([p.detach().flatten() for p in learn.model.parameters()])

@pytest.mark.parametrize('kind', [Ours, Theirs])
def test_the_numbers_are_those_of_activation_stats(kind):
    w, stats = Watch(budget=1e9), ActivationStats(with_hist=False)
    fitted(made(kind, [w, stats]))
    for i, layer in enumerate(('0', '3')):
        means, stds = w.series('activation', 'mean')[layer], w.series('activation', 'std')[layer]
        assert len(means) >= 8
        for step in means.index:
            assert means[step] == pytest.approx(stats.stats[step][i]['mean'], abs=1e-5)
            assert stds[step] == pytest.approx(stats.stats[step][i]['std'], rel=2e-3)     # theirs divides by n - 1

def test_both_learners_and_a_plain_loop_give_the_same_history():
    frames = []
    for kind in (Ours, Theirs):
        w = Watch(budget=1e9)
        fitted(made(kind, [w], opt_func=lambda params, lr: __import__('fastai.optimizer').optimizer.OptimWrapper(params, torch.optim.Adam, lr=lr)))
        frames.append(w.history)
    learn = made(Ours)
    opt, f = torch.optim.Adam(learn.model.parameters(), 3e-3), nn.CrossEntropyLoss()
    with watch(learn.model, opt, f, budget=1e9) as w:
        for x, y in learn.dls.train: opt.zero_grad(); f(learn.model(x), y).backward(); opt.step()
    frames.append(w.history)
    one, *others = [h[h['of'] != 'time'].reset_index(drop=True) for h in frames]
    for other in others:
        assert (one[['step', 'layer', 'of', 'statistic']] == other[['step', 'layer', 'of', 'statistic']]).all().all()
        assert np.allclose(one.value, other.value, rtol=1e-4, atol=1e-6, equal_nan=True)

@pytest.mark.parametrize('kind', [Ours, Theirs])
@pytest.mark.parametrize('cbs', [lambda: [Watch(budget=1e9, curvature=2)], lambda: [Checkup(show=None)], lambda: [Watch(budget=.1), Checkup(show=None), GradientClip(norm=1.)]])
def test_training_goes_on_bit_for_bit_as_if_nobody_looked(kind, cbs):
    cbs = cbs()
    plain = [GradientClip(norm=1.)] if any(isinstance(cb, GradientClip) for cb in cbs) else []
    a, b = fitted(made(kind, plain, dropout=.2), 2), fitted(made(kind, cbs, dropout=.2), 2)
    assert torch.equal(weights(a), weights(b))

def test_other_layers_are_seen():
    torch.manual_seed(0)
    class Net(nn.Module):
        def __init__(self): super().__init__(); self.embed, self.attend, self.rnn, self.out = nn.Embedding(17, 8), nn.MultiheadAttention(8, 2, batch_first=True), LSTM(6), Dense(10)
        def forward(self, x): e = self.embed(x); return self.out(self.rnn(self.attend(e, e, e)[0]))
    x, y = cases.table('digits')
    x, net = x.long(), Net()
    net(x[:2])
    opt, f = torch.optim.Adam(net.parameters()), nn.CrossEntropyLoss()
    with watch(net, opt, f, budget=1e9) as w:
        for i in range(0, 256, 64): opt.zero_grad(); f(net(x[i:i+64]), y[i:i+64]).backward(); opt.step()
    assert set(w.series('activation', 'std').columns) >= {'embed', 'attend', 'rnn', 'out'}
    assert not w.history.value.isna().all()

def test_large_tensors_are_estimated_closely():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 1200), nn.ReLU(), nn.Linear(1200, 10))
    (x, y), _ = cases.parts()
    opt, f = torch.optim.SGD(net.parameters(), .1), nn.CrossEntropyLoss()
    before, grads = net[0].weight.detach().clone(), []
    with watch(net, opt, f, budget=1e9) as w:
        for i in (0, 64):
            opt.zero_grad(); f(net(x[i:i+64]), y[i:i+64]).backward(); grads.append(torch.cat([net[0].weight.grad.flatten(), net[0].bias.grad])); opt.step()
            if i == 0: ratio = ((net[0].weight - before).norm()/before.norm()).item()
    assert w.series('weight', 'update_ratio')['0'].iloc[0] == pytest.approx(ratio, rel=.03)
    assert w.series('gradient', 'cosine')['0'].iloc[0] == pytest.approx(torch.cosine_similarity(*grads, dim=0).item(), abs=.05)
    assert w.series('gradient', 'norm')['0'].iloc[0] == pytest.approx(grads[0].norm().item(), rel=1e-4)

def test_a_rule_of_ones_own_and_back():
    from upslope.inspection import rule
    @rule('the model is called Sequential', severity='note')
    def sequential(case): return isinstance(case.model, nn.Sequential) and f'{len(case.model)} parts'
    try: assert diagnose(cases.mlp(), rules='sequential')['sequential'].evidence.text == '3 parts'
    finally: del RULES['sequential']

def test_diagnosis_of_a_model_alone_and_in_fastais_learner():
    alone = diagnose(cases.mlp())
    assert not alone.alarms and 'no training data were given' in alone.skipped.values()
    learn = fitted(made(Theirs, [Watch(budget=1e9)]), 8)
    found = diagnose(learn)
    assert not found.alarms and len(found.passed) > 25, found
    broken = made(Theirs); broken.model.append(nn.Softmax(1))
    assert 'softmax_before_loss' in diagnose(broken)

def test_a_fit_that_goes_on_from_a_checkpoint_goes_on_with_its_history_watched_or_not(tmp_path):
    from fastai.callback.core import Callback
    from upslope.train import Checkpoint
    class Dies(Callback):
        at = 25
        def after_batch(self):
            if self.learn.training and self.learn.train_iter == Dies.at: raise RuntimeError('the lights go out')
    def run(*cbs): return fitted(made(Ours, [Checkpoint(tmp_path, epochs=0, steps=5), Dies(), *cbs]), 2)
    Dies.at = 25
    with pytest.raises(RuntimeError): run(Watch(budget=1e9))
    Dies.at, w = -1, Watch(budget=1e9)
    again = run(w)
    assert torch.equal(weights(again), weights(fitted(made(Ours), 2)))
    steps = w.series('loss', 'value').index
    assert steps[0] == 0 and steps[-1] >= 38 and steps.is_unique and len(steps) >= 18
    Dies.at = 25
    for f in tmp_path.glob('**/*'): f.is_file() and f.unlink()
    with pytest.raises(RuntimeError): run(Watch(budget=1e9))
    Dies.at = -1
    assert torch.equal(weights(run()), weights(again))       # it goes on without its watch too

def test_the_numbers_do_not_depend_on_when_they_are_computed_nor_on_what_waits_beside_them():
    "Looks wait to be summarised together; hooks stay on where each step is looked at, and come off where not"
    from upslope.inspection.hooks import Tap, summarize
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 64), nn.ReLU(inplace=True), nn.Linear(64, 10))   # 4,096 values, 8,192 and their sample of 4,096
    tap, passes, alone = Tap(model), [], []
    for keep in (True, True, False, True, True, True, False):
        x = torch.randn(64, 64)
        with tap: model(x)
        alone.append(tap.result)
        tap.start(); model(x); passes.append(tap.gather(keep))
        if keep and tap.mode is None: model(x*100)   # hooks that stayed do not listen
    tap.remove()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    for one, other in zip(alone, summarize(passes)):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name].keys() == other[name].keys()
            for k in one[name]: assert np.allclose(one[name][k], other[name][k], rtol=1e-5, atol=1e-6), (name, k)
    assert sum(alone[0]['0']['histogram']) == 4096 and sum(alone[0]['2']['histogram']) == 1024

def test_functions_of_activations_are_found_again_after_passes_without_them():
    from upslope.inspection.hooks import Tap
    class Sometimes(nn.Module):
        def __init__(self): super().__init__(); self.a, self.relu_on = nn.Linear(4, 4), False
        def forward(self, x): x = self.a(x); return x.relu() if self.relu_on else x
    model = Sometimes(); tap, seen = Tap(model), []
    for i in range(12):
        model.relu_on = i >= 4
        with tap: model(torch.randn(3, 4))
        seen.append('relu()' in tap.result)
    assert seen == [False]*7 + [True]*5      # passes 1, 2, 4, 8 ask, and all after one that found any

def test_setting_a_name_asks_neither_learner_nor_model():
    class Model(nn.Linear):
        def __getattr__(self, name):
            asked.append(name)
            return super().__getattr__(name)
    asked, learn = [], made(Ours)
    learn.model = Model(64, 10); w = Watch(); learn.add_cb(w)
    asked.clear(); w.clock = 1.
    assert not asked

def test_curvature_in_a_plain_loop_is_that_of_the_learner_and_changes_nothing():
    "The passes that measure the curvature go through the model's hooks: they are not the training's"
    seen, ends = [], []
    for curvature in (None, 2):
        learn = made(Ours, dropout=.2)
        opt, f = torch.optim.Adam(learn.model.parameters(), 3e-3), nn.CrossEntropyLoss()
        torch.manual_seed(1)
        with watch(learn.model, opt, f, budget=1e9, curvature=curvature) as w:
            for x, y in learn.dls.train: opt.zero_grad(); f(learn.model(x), y).backward(); opt.step()
        seen.append(w); ends.append(weights(learn))
    assert torch.equal(*ends) and seen[0].step == seen[1].step
    curve = seen[1].series('curvature', 'largest')['']
    assert len(curve) == (len(seen[1].records) + 1)//2 and (curve > 0).all()
    steps = lambda w: w.series('loss', 'value').index.tolist()
    assert steps(seen[0]) == steps(seen[1])

def small_letters(fig):
    "Those that are written, in points"
    from matplotlib.text import Text
    return min(t.get_fontsize() for t in fig.findobj(Text) if t.get_text().strip() and t.get_visible())

def test_a_short_training_is_seen_well(monkeypatch):
    "35 steps with the budget as it comes"
    monkeypatch.setattr(WATCH, 'FREE_TIME', 60.)   # however slow the machine is
    learn = made(Ours)
    w = watch(learn)
    fitted(learn, 2)
    assert 35 <= w.step <= 60 and len(w.records) >= 12, w
    fig = w.plot()
    assert not fig.get_suptitle() and fig.get_figwidth() <= 7.5 and small_letters(fig) >= 8   # a notebook's column is 750 pixels wide
    assert len([a for a in fig.axes if a.get_title()]) == 8
    assert len({round(a.get_position().x0, 1) for a in fig.axes if a.get_title()}) == 2

def test_the_free_looks_end_and_are_spread_over_the_training(monkeypatch):
    monkeypatch.setattr(WATCH, 'FREE_TIME', 60.)
    w = Watch(budget=1e-9)   # nothing but free looks
    fitted(made(Ours, [w]), 30)
    steps = [r['step'] for r in w.records]
    assert 20 <= len(steps) <= 30 and steps[-1] > .6*w.step and steps[9] < .1*w.step, steps
    w = Watch(budget=1e-9, free=0)
    fitted(made(Ours, [w]), 10)
    assert len(w.records) == 1
    monkeypatch.setattr(WATCH, 'FREE_TIME', 0.)     # looks that are dear are not free
    w = Watch(budget=1e-9)
    fitted(made(Ours, [w]), 10)
    assert len(w.records) == 1

def test_few_looks_are_said_and_empty_panels_left_out():
    w = Watch(every=20, histogram=False)
    fitted(made(Ours, [w]), 2)
    fig = w.plot()
    assert fig.get_suptitle() == f'{len(w.records)} looks in {w.step} steps; watch(…, every=1) looks more often'
    titles = [a.get_title() for a in fig.axes if a.get_title()]
    assert 'gradients' in titles and 'activations' not in titles   # no histogram was kept
    model = nn.Sequential(nn.Linear(64, 10))
    opt = torch.optim.SGD(model.parameters(), .1)
    with watch(model, opt) as w:
        for x, y in cases.dls().train: opt.zero_grad(); nn.functional.cross_entropy(model(x), y).backward(); opt.step()
    titles = [a.get_title() for a in w.plot().axes if a.get_title()]
    assert 'loss of the batch and of its rows' not in titles and 'dead and saturated' not in titles and 'updates / weights' in titles
