"Whole studies over made-up runs whose truth is known: what is kept, what is said, what is hidden, and how often it is wrong"
import json, math, re
from types import SimpleNamespace
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from upslope.core.errors import ArgumentError, UpslopeError
from upslope.core.seeds import derive
from upslope.lab import Recipe, Store, Study
from upslope.lab import design as D
from upslope.lab.axes import Only, Range, axis_from_json, axis_to_json
from upslope.lab.decisions import decide
from upslope.lab.search import search
from upslope.lab.study import StudyError

def net(width=16, activation='relu', depth=1): ...
def deep(width=16, activation='relu', depth=3): ...
def majority(): ...

def noise(*names): return np.random.default_rng(derive(0, *names)).normal()

def truth(r, seed, salt=0):
    "accuracy: every seed has luck shared by all configurations, and each run some more"
    if r.is_estimator: return .5 + .01*noise('seed', salt, seed)
    gain = .02*(r['width'] == 64) + .03*(r['activation'] == 'tanh') - .02*(r['opt'] == 'sgd') + (.02 if r['width'] == 64 and r['activation'] == 'tanh' else 0)
    return .8 + gain + .01*noise('seed', salt, seed) + .003*noise(salt, r.key, seed)

class Made:
    "In place of the worker processes: every queued run is done at once"
    n,question,score,most,lost = 1,None,staticmethod(truth),math.inf,lambda *_: False
    def __init__(self, store, study, *_, **__): self.store,self.study = store,study
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def start(self): return self
    def tend(self):
        while claim := self.store.claim(self.study):
            if Made.most <= 0: raise KeyboardInterrupt
            Made.most -= 1
            r = Recipe.from_json(claim.recipe)
            if Made.lost(r, claim.seed): self.store.fail(claim, 'Traceback\nMemoryError: no room', {}); continue
            v = Made.score(r, claim.seed)
            self.store.finish(claim, dict(valid_accuracy=v, test_accuracy=v - .01, valid_loss=1-v), dict(python='3'))

@pytest.fixture(autouse=True)
def made(monkeypatch):
    import upslope.lab.study as module, upslope.lab.worker as worker, time
    monkeypatch.setattr(module, 'make_workers', Made)
    monkeypatch.setattr(module, 'time', SimpleNamespace(**{**vars(time), 'sleep': lambda s: None}))
    monkeypatch.setattr(worker, 'probe', lambda *_: None)
    Made.score,Made.most,Made.lost = staticmethod(truth),math.inf,staticmethod(lambda *_: False)

def study(tmp_path, axes, name='s', **kwargs):
    return Study(name, kwargs.pop('recipe', Recipe('digits', net)), axes, store=tmp_path/'s.db', **dict(baselines=[majority], metric='valid_accuracy', mode='max') | kwargs)

def test_one_axis_at_a_time_keeps_what_is_true(tmp_path):
    "Planted: width 64 helps, tanh helps, both help each other; depth does nothing"
    s = study(tmp_path, dict(width=[16, 32, 64], depth=[1, 2], activation=['relu', 'tanh']), seeds=8).run(show=False)
    assert [d.kept for d in s.decisions()] == ['net, width=64']*2 + ['net, width=64, activation=tanh']
    assert [d.base for d in s.decisions()] == ['net', 'net, width=64', 'net, width=64']   # each around what was kept
    two = s._declared['interaction']
    assert set(two['axes']) == {'width', 'activation'} and 'they help each other' in two['text']
    assert two['corners'][0] == 'net' and two['corners'][3] == 'net, width=64, activation=tanh'
    effects = {(e.axis, e.value): e for e in s.effects()}
    assert {e.comparisons for e in s.effects() if e.axis != 'placebo'} == {5} and s.table().attrs['comparisons'] >= 4   # one family over all steps: two widths, depth, activation, the 2 x 2
    assert effects['placebo', 1].told is False and abs(effects['placebo', 1].difference.mean) < .01
    assert effects['width', 64].difference.low < .02 < effects['width', 64].difference.high
    assert any(o.startswith('placebo, which does nothing') for o in s.answers()) and two['text'] in s.answers()
    assert [e['question'].split('?')[0] for e in s.diary()] == ['What costs nothing, and how good is it', 'Does width matter', 'Does depth matter', 'Does activation matter', f"Do {' and '.join(two['axes'])} need each other", 'Does doing nothing change anything']
    assert s.report(tmp_path/'r.html').exists()
    again = Study.open('s', tmp_path/'s.db')
    assert repr(again.table()) == repr(s.table()) and again.answers() == s.answers() and [d.why for d in again.decisions()] == [d.why for d in s.decisions()]

def test_a_wrong_placebo_is_told(tmp_path):
    "If something else than the settings differs between runs, the placebo says so"
    Made.score = staticmethod(lambda r, seed: truth(r, seed) + (.01 if r.settings.get('placebo') else 0))
    s = study(tmp_path, dict(depth=[1, 2]), seeds=6).run(show=False)
    assert any(o.startswith('Something is wrong: placebo') for o in s.answers())

def test_a_model_that_does_not_beat_the_baseline_is_said_so(tmp_path):
    Made.score = staticmethod(lambda r, seed: truth(r, seed) + (.4 if r.is_estimator else 0))
    s = study(tmp_path, dict(width=[16, 64]), seeds=6).run(show=False)
    assert s.answers()[0] == 'No configuration can be said to beat majority (the best trivial baseline).'
    assert (s.table().gain.dropna() < 0).all()

def test_nuisance_settings_are_tuned_for_each_value_with_one_budget(tmp_path):
    "Width 64 is better only at its own rate; at the base's rate it would lose"
    def score(r, seed): return truth(r.but(width=16) if not r.is_estimator else r, seed) + (0 if r.is_estimator else {(16, 1e-3): 0, (16, 1e-2): -.03, (64, 1e-3): -.03, (64, 1e-2): .03}[r['width'], r['lr']])
    Made.score = staticmethod(score)
    alone = study(tmp_path, dict(width=[16, 64]), seeds=6).run(show=False)
    tuned = study(tmp_path, dict(width=[16, 64]), 'tuned', seeds=6, nuisance=dict(lr=[1e-3, 1e-2])).run(show=False)
    assert alone.decisions()[0].kept == 'net' and tuned.decisions()[0].kept == 'net, width=64, lr=0.01'
    counts = tuned.runs().query("kind == 'model'").groupby('config').size().to_dict()
    assert counts == {'net': 6, 'net, lr=0.01': 6, 'net, width=64': 6, 'net, width=64, lr=0.01': 6}
    assert tuned._declared['compare'] == {'net, width=64, lr=0.01': 'net'} and tuned.table().attrs['comparisons'] == 1

def test_a_conditional_axis_that_does_not_exist_is_skipped_and_said(tmp_path):
    s = study(tmp_path, dict(opt=['adam', 'sgd'], weight_decay=Only([0., .1], opt='sgd')), seeds=6).run(show=False)
    assert s.decisions()[1].why == 'skipped: with net there is no such setting.' and len(s.runs().query("kind == 'model'").config.unique()) == 2
    with pytest.raises(ArgumentError, match='would never apply'): study(tmp_path, dict(weight_decay=Only([0., .1], opt='sgd')), 'x')

def test_a_plan_is_said_before_the_rest_is_queued(tmp_path, capsys):
    seen = []
    s = study(tmp_path, dict(depth=[1, 2, 4]), seeds=10, half_width=.002)
    Made.score = staticmethod(lambda r, seed: seen.append((r.is_estimator, seed, bool(s._declared.get('plan')))) or truth(r, seed))
    s.run()
    assert {seed for e, seed, planned in seen if not e and not planned} == {0, 1, 2} and {seed for e, seed, planned in seen if not e and planned} >= set(range(3, 10))
    assert 'pilot seeds' in capsys.readouterr().out and s._declared['plan'] in s.answers()

def test_the_test_set_is_shown_for_the_chosen_alone(tmp_path):
    s = study(tmp_path, dict(width=[16, 32, 64]), seeds=6).run(show=False)
    t = s.table('test_accuracy')
    assert list(t.config) == ['majority', 'net, width=64'] and t.attrs['tried'] == 3
    assert 'among 3 configurations tried' in ' '.join(repr(t).split()) and 'among 3 configurations tried' in t.markdown() and 'among 3 configurations tried' in t.latex()
    hidden = s.runs().set_index('config').test_accuracy[['net', 'net, width=32']].map('{:.5g}'.format)
    page = s.report(tmp_path/'r.html').read_text()
    assert not [v for v in hidden if f'>{v}<' in page]

def test_a_placebo_is_compared_with_what_it_repeats(tmp_path):
    "With nuisance settings the reference is the tuned base, and the placebo repeats the plain one: its difference is that to the plain one, in the table, in words, in the figure and in the effects"
    Made.score = staticmethod(lambda r, seed: truth(r, seed) + .2*(r['lr'] == 1e-2))
    s = study(tmp_path, dict(width=[16, 64]), seeds=8, nuisance=dict(lr=[1e-3, 1e-2])).run(show=False)
    t = s.table().set_index('config')
    assert s._reference() == 'net, lr=0.01' and t.base['net, placebo=1'] == 'net' and abs(t.difference['net, placebo=1']) < .01
    assert [o for o in s.answers() if o.startswith('placebo, which does nothing, comes out as')] and not [o for o in s.answers() if 'Something is wrong' in o]
    assert [e.difference.mean for e in s.effects() if e.axis == 'placebo'] == pytest.approx([t.difference['net, placebo=1']]) and ' base ' in repr(s.table()).splitlines()[0]
    from upslope.lab.tables import _axes
    assert _axes(s.table()) == dict(width=[('net, lr=0.01', None), ('net, width=64, lr=0.01', 'net, lr=0.01')]) and s.plot('effects')   # what was tuned away is not drawn

def test_confirm_asks_fresh_seeds(tmp_path):
    "Among useless values the best is partly luck: fresh seeds take it back"
    Made.score = staticmethod(lambda r, seed: .8 + .01*noise(r.key, seed))
    s = study(tmp_path, dict(width=list(range(1, 30))), seeds=6, recipe=Recipe('digits', net, width=1)).run(show=False)
    assert s.decisions()[0].kept == 'net'                                         # 28 useless values, none kept
    c = s.confirm(show=False)
    assert c.study.seeds == list(range(6, 12)) and c.chosen == s.best().label and 'among 29 configurations tried' in repr(c)
    old,new = (x.runs().groupby('config').valid_accuracy.mean() for x in (s, c.study))
    assert old[c.chosen] - .8 > .004 > abs(new[c.chosen] - .8)                    # the truth is .8
    assert repr(s.confirm(show=False)) == repr(c)                                   # asked again, the same runs
    with pytest.raises(ArgumentError, match='not fresh'): s.confirm(seeds=[5, 6])

def test_confirm_corrects_its_comparisons(tmp_path):
    "What it tells is one family: against the recipe and the baseline, on validation and test data; the p-values are those of max-T by hand, and what only looks like a difference alone is not called one"
    def score(r, seed):
        luck = .8 + .02*noise('both', seed)
        if seed < 8: return .5 if r.is_estimator else luck + .1*(r['width'] == 64)
        return luck + (.003*noise('base', 0, seed) if r.is_estimator else (.003*noise('wide', 0, seed) + .0025)*(r['width'] == 64))
    Made.score = staticmethod(score)
    s = study(tmp_path, dict(width=[16, 64]), seeds=8).run(show=False)
    c = s.confirm(seeds=8, show=False)
    assert c.chosen == 'net, width=64'
    runs = c.study.runs().sort_values('seed')
    by = {(k, m): runs[runs.config == k][m].to_numpy() for k in ('net', 'net, width=64', 'majority') for m in ('valid_accuracy', 'test_accuracy')}
    d = np.stack([by[c.chosen, m] - by[k, m] for m in ('valid_accuracy', 'test_accuracy') for k in ('net', 'majority')], 1)
    t = lambda x: np.abs(x.mean(0))/(x.std(0, ddof=1)/math.sqrt(len(x)))
    signs = np.array([[1 - 2*(i >> j & 1) for j in range(8)] for i in range(256)])
    flips,seen = np.stack([t(d*g[:,None]) for g in signs]),t(d)
    want,worst = [0]*4,0.
    for k, j in enumerate(order := np.argsort(-seen, kind='stable')):   # step-down: the rivals of each are itself and the smaller ones
        worst = max(worst, float((flips[:,order[k:]].max(1) >= seen[j]*(1-1e-6)).mean()))
        want[j] = worst
    said = [o for o in c.sentences if 'after correction for 4 comparisons' in o]
    assert len(said) == 4 and [float(re.search(r'p = (0\.\d+)', o)[1]) for o in said] == [float(f'{p:.3f}' if p < .1 else f'{p:.2f}') for p in want]
    alone = [float((flips[:,j] >= seen[j]*(1-1e-6)).mean()) for j in range(4)]
    assert alone[0] <= .05 < want[0] and not [o for o in said if 'beats' in o] and 'alone it would look like one, among 4 comparisons it may be luck' in said[0], (alone, want)

@pytest.mark.parametrize('design, told', [('grid', {'width', 'activation', 'width × activation'}), (D.factorial(1/2), {'width', 'activation'}), (D.factorial(), {'width', 'activation', 'width × activation'})])
def test_effects_of_designs_cover_the_truth(tmp_path, design, told):
    s = study(tmp_path, dict(width=[16, 64], activation=['relu', 'tanh'], depth=[1, 2], batch_size=[64, 32]), seeds=10, design=design, baselines=None).run(show=False)
    found = {e.axis: e for e in s.effects()}
    assert told <= {a for a, e in found.items() if e.told} <= told | {'width × activation'}
    for a, true in dict(width=.03, activation=.04, depth=0, batch_size=0, placebo=0).items(): assert found[a].difference.low - .002 < true < found[a].difference.high + .002, (a, found[a].difference)
    if design == D.factorial(1/2): assert len(s.runs().config.unique()) == 9 and 'the interactions are, with each other' in s.effects().note

def test_effects_of_a_search_and_of_imported_logs_are_correlations(tmp_path):
    s = study(tmp_path, dict(width=Range(8, 64), depth=Range(1, 4)), seeds=3, design=search(8), baselines=None).run(show=False)
    assert {e.meaning[:13] for e in s.effects()} == {'a correlation'}
    g = study(tmp_path, dict(width=[16, 64]), 'log', seeds=6, design='grid', baselines=None, placebo=False).run(show=False)
    with g.store.transaction() as db: db.execute('UPDATE study SET declaration=? WHERE name=?', (json.dumps(g._declared | dict(imported=True)), 'log'))
    assert 'correlation' in repr(g.effects())

def test_a_search_goes_on_with_the_same_trials(tmp_path):
    axes = dict(width=Range(4, 256, log=True), depth=Range(1, 4), activation=['relu', 'tanh'])
    whole = study(tmp_path, axes, 'whole', seeds=3, design=search(12, pruner='median'), baselines=None).run(show=False)
    Made.most = 11
    cut = study(tmp_path, axes, 'cut', seeds=3, design=search(12, pruner='median'), baselines=None)
    with pytest.raises(KeyboardInterrupt): cut.run(show=False)
    assert len(cut.runs().query("status == 'done'")) == 11
    with cut.store.transaction() as db: db.execute("UPDATE run SET status='queued', worker=NULL WHERE status='running'")   # its worker is gone
    Made.most = math.inf
    cut.run(show=False)
    assert sorted(cut.runs().config.unique()) == sorted(whole.runs().config.unique()) and cut.decisions()[0].why == whole.decisions()[0].why
    assert 'gave up' in whole.decisions()[0].why and len(whole.runs()) < 12*3 and set(whole.runs().status) == {'done'}

class Slow(Made):
    "Two runs at a time, an epoch of each whenever the study looks: what is asked to stop does so at its next epoch"
    def start(self): self.at = getattr(self, 'at', {}); return self
    def tend(self):
        while len(self.at) < 2 and (claim := self.store.claim(self.study)): self.at[claim] = 0
        for claim, e in list(self.at.items()):
            r = Recipe.from_json(claim.recipe)
            final = Made.score(r, claim.seed)
            value = lambda e: final*(1 - .5**(e+1))
            said = self.store.log(claim, e, dict(valid_accuracy=value(e)))
            self.at[claim] = e+1
            if said: self.store.stopped(claim, dict(epochs=e+1, valid_accuracy=value(e)), dict(python='3'))
            elif e+1 == r['epochs']: self.store.finish(claim, dict(epochs=e+1, valid_accuracy=value(e)), dict(python='3'))
            else: continue
            del self.at[claim]

@pytest.mark.parametrize('pruner', ['median', 'percentile', 'successive_halving', 'hyperband', 'wilcoxon'])
def test_a_pruner_ends_runs_in_their_middle(tmp_path, monkeypatch, pruner):
    "Planted: only a narrow band of learning rates learns; the hopeless end early, the time saved is said, and the best is found all the same"
    import upslope.lab.study as module
    monkeypatch.setattr(module, 'make_workers', Slow)
    Made.score = staticmethod(lambda r, seed: .9 - .15*abs(math.log10(r['lr']/1e-2)) + .002*noise(r.key, seed))
    def make(name, pruner=pruner): return study(tmp_path, dict(lr=Range(1e-5, 1., log=True)), name, seeds=6 if pruner == 'wilcoxon' else 3, recipe=Recipe('digits', net, epochs=6), design=search(16, pruner=pruner), baselines=None)
    told = []
    s = make('s').run(show=False, on_event=told.append)
    assert any(e.kind == 'configuration' and e.config != 'net' and f'(n={len(s.seeds)})' in e.text for e in told)
    runs,why = s.runs(),s.decisions()[0].why
    given_up = int(why.split('gave up ')[1].split()[0])
    assert 0 < given_up < 16 and runs.groupby('config').size().min() < len(s.seeds) and abs(math.log10(s.best().recipe['lr']/1e-2)) < 1
    assert set(runs[runs.config == 'net'].status) == {'done'} and (runs.config == 'net').sum() == len(s.seeds)   # the base stays
    assert any('which saved about' in o for o in s.answers()) and 'which saved about' in s._saved()
    if pruner == 'wilcoxon': return   # it looks at seeds
    ended = runs[runs.status == 'stopped']
    assert len(ended) and ended.epochs.min() < 6 and s.store.saved('s')['runs'] == len(ended)
    logged = s.history().groupby('run').epoch.max()
    assert (logged[ended.run] < 5).any() and not s.store.query("SELECT 1 FROM run WHERE study='s' AND status IN ('queued', 'running')")
    row = s.table().set_index('config').loc[ended.config.iloc[0]]
    assert row.stopped and row.n < 3                                   # shown, and in no mean
    before = s.decisions(), runs.drop(columns='seconds').to_string()
    s.run(show=False)                                                  # asked again: nothing runs, nothing changes
    assert (s.decisions(), s.runs().drop(columns='seconds').to_string()) == before
    if pruner == 'median':                                             # a machine so fast that nothing can be stopped chooses the same trials
        monkeypatch.setattr(module, 'make_workers', Fast)
        f = make('f').run(show=False)
        assert sorted(f.runs().config.unique()) == sorted(runs.config.unique()) and f.decisions()[0].why == why and set(f.runs().status) == {'done'}

class Fast(Slow):
    def tend(self):
        super().tend()
        while self.at: super().tend()

def test_one_name_one_recipe(tmp_path):
    s = study(tmp_path, dict(width=[16, 64]), seeds=6).run(show=False)
    before = s.store.query('SELECT * FROM run'),s.store.query('SELECT * FROM study')
    with pytest.raises(StudyError, match='another recipe') as e: study(tmp_path, dict(width=[16, 64]), seeds=6, recipe=Recipe('digits', net, lr=.1)).run(show=False)
    assert 'lr  0.001 → 0.1' in str(e.value) and "Study('s 2'" in str(e.value)
    assert (s.store.query('SELECT * FROM run'), [{k: v for k, v in r.items() if k not in ('owner', 'beat')} for r in s.store.query('SELECT * FROM study')]) == (before[0], [{k: v for k, v in r.items() if k not in ('owner', 'beat')} for r in before[1]])
    Made.lost = staticmethod(lambda *_: True)
    study(tmp_path, None, 'broken', seeds=1, baselines=None).run(show=False)                                        # nothing of it was finished: the recipe may be mended
    Made.lost = staticmethod(lambda *_: False)
    assert len(study(tmp_path, None, 'broken', seeds=1, baselines=None, recipe=Recipe('digits', net, lr=.1)).run(show=False).table()) == 1

def test_failed_runs_are_counted_and_a_broken_base_is_left(tmp_path):
    Made.lost = staticmethod(lambda r, seed: not r.is_estimator and r['width'] == 16 and seed == 3)
    s = study(tmp_path, [dict(width=[16, 32]), dict(depth=[1, 2])], seeds=6, recipe=Recipe('digits', net, width=16)).run(show=False)
    assert s.decisions()[0].kept == 'net, width=32' and 'has not finished all its seeds' in s.decisions()[0].why
    row = s.table().set_index('config').loc['net']
    assert (row.n, row.failed) == (5, 1)
    Made.lost = staticmethod(lambda r, seed: not r.is_estimator and r['width'] == 32)
    assert study(tmp_path, [dict(width=[16, 32, 64]), dict(depth=[1, 2])], 'gone', seeds=6).run(show=False).decisions()[0].kept == 'net, width=64'   # a value whose runs all fail hinders no other
    Made.lost = staticmethod(lambda r, seed: not r.is_estimator)
    with pytest.raises(StudyError, match='No configuration has finished'): study(tmp_path, [dict(width=[16, 32]), dict(depth=[1, 2])], 'none', seeds=6).run(show=False)

def test_several_data_sets_each_have_their_base_and_baselines(tmp_path):
    level = dict(digits=0., breast_cancer=.1)
    Made.score = staticmethod(lambda r, seed: truth(r, seed, str(r['data'])) + level[r['data']])
    s = study(tmp_path, dict(data=['digits', 'breast_cancer'], width=[16, 64]), seeds=10, design='grid').run(show=False)
    t = s.table().set_index('config')
    assert t.base.dropna().to_dict() | {} == {'net, width=64': 'net', 'net, data=breast_cancer, width=64': 'net, data=breast_cancer'} | {k: v for k, v in t.base.dropna().items() if k.startswith(('majority', 'net, placebo'))}
    assert abs(t.gain['net, data=breast_cancer'] - .3) < .03                          # against the baseline on the same data
    effects = {e.axis: e for e in s.effects()}
    assert effects['data'].told and abs(effects['data'].difference.mean - .1) < .02 and abs(effects['width'].difference.mean - .02) < .01 and effects['data × width'].told is False
    assert 'On breast_cancer the score is' in repr(s.effects()) and 'points higher than on digits over 10 seeds' in repr(s.effects()) and ' beats ' not in s.effects().sentences[0]
    a = s.across().set_index('method')
    assert a.improvement['net, width=64'] > .75 and a.meaningful['net, width=64'] and a.n.tolist() == [20, 20]

def test_a_metric_that_some_runs_lack_and_infinite_values_are_counted_and_said(tmp_path):
    "Such runs are missing: in no mean, in no pair, named below every table, and nothing that is shown is nan"
    import pandas as pd, re
    rng = np.random.default_rng(0)
    luck = rng.normal(0, .01, 8)
    log = pd.DataFrame([dict(config=c, seed=s, valid_accuracy=.8 + .03*i + luck[s] + rng.normal(0, .003), valid_f1=.5) for i, c in enumerate('abc') for s in range(8)])
    log.loc[(log.config == 'b')&(log.seed == 5), 'valid_accuracy'] = -math.inf
    log.loc[(log.config == 'c')&(log.seed < 2), 'valid_accuracy'] = math.nan
    log.loc[log.config == 'c', 'valid_f1'] = math.nan
    with Store(tmp_path/'s.db') as store:
        store.add_runs('log', log, settings={c: dict(width=i) for i, c in enumerate('abc')})
        s = Study.open('log', store)
        t = s.table().set_index('config')
        assert t.n.tolist() == [8, 7, 6] and t.missing.tolist() == [0, 1, 2] and t.paired_n[['b', 'c']].tolist() == [7, 6]
        good = log[np.isfinite(log.valid_accuracy)]
        assert np.allclose(t['mean'], good.groupby('config').valid_accuracy.mean())
        for text in (repr(s.table()), s.table().markdown(), s.table().latex()):
            assert '3 finished runs of b and c have no finite valid' in ' '.join(text.replace('\\_', '_').split()) and not re.search(r'\b(nan|inf)\b', text)
        assert s.table('valid_f1').set_index('config').missing['c'] == 8 and [e.difference.n for e in s.effects()] == [7, 6]
        for kind in ('effects', 'points', 'pairs', 'parallel'): assert s.plot(kind) and s.plot(kind, 'valid_f1')
        assert s.report(tmp_path/'r.html').exists() and not re.search(r'\b(nan|inf)\b', ' '.join(s.answers()))

def test_logs_are_read_and_not_run(tmp_path):
    with pytest.raises(UpslopeError, match='has not run yet'): study(tmp_path, None, 'declared').table()
    s = study(tmp_path, dict(width=[16, 64]), seeds=6, baselines=None).run(show=False)
    s.store.export('s', tmp_path/'csv'); s.store.take('log', tmp_path/'csv')
    log = Study.open('log', s.store)
    assert log.table()['mean'].tolist() == s.table()['mean'].tolist()
    (e,) = [e for e in log.effects() if e.axis == 'width']
    assert 'correlation' in e.meaning and e.difference.mean == pytest.approx(next(o for o in s.effects() if o.axis == 'width').difference.mean)
    for call in (log.run, log.confirm, log.keep):
        with pytest.raises(StudyError, match='was imported'): call()
    assert repr(log.find('net, width=64', 3)).startswith('run ') and log.diary() and log.best().label == s.best().label

def test_two_recipes_of_one_name_are_told_apart_or_refused(tmp_path):
    def other(): 
        def net(width=16, activation='relu', depth=1): return None
        return net
    with pytest.raises(ArgumentError, match='(?s)one name in the study.*two functions net.*another name'): study(tmp_path, dict(model=[other()])).run(show=False)

def test_a_study_that_runs_is_not_renamed_and_not_declared_anew(tmp_path):
    "While it runs: another declaration under its name is refused, and so is another name; what it does goes on as declared"
    said = []
    def tell(event):
        if event.kind != 'run' or said: return
        said.append(1)
        for what in (lambda: Study('s', Recipe('digits', net, lr=.1), dict(width=[16, 32]), seeds=2, baselines=None, store=s.store).run(show=False), lambda: s.store.rename('s', 't'), lambda: study(tmp_path, dict(width=[16, 64]), seeds=2, baselines=None).run(show=False)):
            with pytest.raises(UpslopeError) as e: what()
            said.append(str(e.value).splitlines()[0])
        said.append(study(tmp_path, dict(depth=[1, 2]), seeds=2, baselines=None).keep())   # a declaration alone changes nothing of one that has begun
    s = study(tmp_path, dict(width=[16, 64]), seeds=6, baselines=None)
    s.run(show=False, on_event=tell)
    assert len(said) == 5 and all('at work on study' in o for o in said[1:4]), said
    assert s.table().config.tolist()[:2] == ['net', 'net, width=64'] and len(s.runs()) == 18
    s.store.rename('s', 't')
    assert repr(Study.open('t', s.store).table()) == repr(s.table()) if 's' in s.store.studies else len(Study.open('t', s.store).table()) == 3
    edited = study(tmp_path, dict(width=[16, 32]), 't', seeds=6, baselines=None).run(show=False)   # edited afterwards: what is gone from the declaration leaves the table, and stays in the store
    assert 'net, width=64' not in edited.table().config.tolist() and edited.store.query("SELECT count(*) n FROM run WHERE study='t'")[0]['n'] == 24

def test_axes_and_seeds_come_as_anything_that_lists(tmp_path):
    "Arrays, tuples, generators, a column: plain values, the same study; NumPy's whole numbers are seeds"
    import pandas as pd
    want = study(tmp_path, dict(width=[16, 64]), 'list', seeds=6, baselines=None).run(show=False).table()
    for name, axis in dict(array=np.array([16, 64]), float=np.array([16, 64]).astype('int32'), generator=(w for w in (16, 64)), column=pd.Series([16, 64]), range=range(16, 65, 48)).items():
        s = study(tmp_path, dict(width=axis), name, seeds=np.arange(6), baselines=None).run(show=False)
        assert repr(s.table()) == repr(want) and Study.open(name, s.store).steps == [dict(width=(16, 64))], name
    assert study(tmp_path, dict(width=[16]), 'n', seeds=np.int64(3)).seeds == [0, 1, 2]
    for bad in (3., '3', [1.5], [-1], [], 0, True): pytest.raises(ArgumentError, study, tmp_path, None, 'b', seeds=bad)
    with pytest.raises(ArgumentError, match='from upslope.lab.search import search'): study(tmp_path, dict(width=[16, 64]), 'b', design='search')
    with pytest.raises(ArgumentError, match='halving=Halving'): study(tmp_path, None, 'b').run(halving=3)
    with pytest.raises(ArgumentError, match='cannot be nan'): study(tmp_path, dict(width=[16, math.nan]), 'b')

def test_a_data_set_is_described_and_not_chosen(tmp_path):
    "One axis at a time: the easier data set does not become the base, and its effect is told; with nuisance settings too"
    Made.score = staticmethod(lambda r, seed: truth(r, seed, str(r['data'])) + (.1 if r['data'] == 'breast_cancer' else 0))
    for name, more in dict(plain={}, tuned=dict(nuisance=dict(lr=[1e-3, 1e-2]))).items():
        s = study(tmp_path, dict(data=['digits', 'breast_cancer'], width=[16, 64]), name, seeds=8, **more).run(show=False)
        first = s.decisions()[0]
        assert s[first.kept].recipe['data'] == 'digits' and 'not chosen by its score' in first.why and len(first.tried) == 1
        e = {e.axis: e for e in s.effects()}
        assert e['data'].told and e['data'].difference.low < .1 < e['data'].difference.high and e['width'].told
        assert not [o for o in s.answers() if 'beats' in o and 'breast_cancer' in o and 'majority' not in o]
        assert s.plot('effects') and s.report(tmp_path/'r.html').exists() and s.diary()

def test_interactions_of_one_axis_at_a_time_come_from_its_two_by_two(tmp_path):
    s = study(tmp_path, dict(width=[16, 64], depth=[1, 2], activation=['relu', 'tanh']), seeds=8).run(show=False)
    two = [e for e in s.effects() if ' × ' in e.axis]
    assert len(two) == 1 and two[0].told and two[0].difference.low < .02 < two[0].difference.high and set(two[0].axis.split(' × ')) == {'width', 'activation'}
    assert [e.axis for e in s.effects(interactions=[('activation', 'width')]) if ' × ' in e.axis] == [two[0].axis]
    asked = s.effects(interactions=[('width', 'depth')])
    assert not [e for e in asked if ' × ' in e.axis] and 'width × depth: these runs do not determine it' in repr(asked) and 'the 2 × 2 at the end is of' in repr(asked)
    with pytest.raises(UpslopeError, match="'depth'"): s.effects(interactions=[('width', 'dept')])

def test_what_would_matter_is_said(tmp_path):
    "With a wished half-width, what cannot be told says how many seeds that would take"
    s = study(tmp_path, dict(depth=[1, 2]), seeds=6, half_width=.001).run(show=False)
    assert 'would be needed to see 0.1 points' in s.decisions()[0].why and any('would be needed to see 0.1 points' in o for o in s.answers())

# ---- how often is it wrong? ----
def test_studies_in_which_nothing_is_true_rarely_keep_anything():
    import pandas as pd
    rng,kept = np.random.default_rng(0),0
    for _ in range(150):
        luck = rng.normal(0, .01, 6)
        runs = pd.DataFrame([dict(run=0, config=f'c{c}', kind='model', seed=s, status='done', valid_accuracy=.9 + luck[s] + rng.normal(0, .005)) for c in range(5) for s in range(6)])
        kept += decide(runs, 'c0', [f'c{c}' for c in range(1, 5)]).kept != 'c0'
    assert kept/150 <= .05   # one-sided: at most 2.5 % are promised

# ---- designs ----
@settings(max_examples=15, deadline=None)
@given(st.integers(3, 9), st.integers(1, 4))
def test_fractions_are_balanced_orthogonal_and_hold_the_base(k, p):
    def f(a0=0, a1=0, a2=0, a3=0, a4=0, a5=0, a6=0, a7=0, a8=0): ...
    recipe,axes = Recipe('digits', f),{f'a{i}': [0, 1] for i in range(k)}
    if k > 2**(k-p) - 1 or k - p < 2:
        with pytest.raises(ArgumentError): D.factorial_design(recipe, axes, fraction=2.**-p)
        return
    vs = D.factorial_design(recipe, axes, fraction=2.**-p)
    x = np.array([[2*v.recipe[a] - 1 for a in axes] for v in vs])
    assert len(vs) == 2**(k-p) and (x == -1).all(1).any() and not x.sum(0).any() and (x.T@x == len(vs)*np.eye(k)).all()
    mixed = D.confounded(axes, 2.**-p)
    for name, others in mixed.items():   # what is said to be one column is one column, up to its sign
        column = lambda n: np.prod([x[:, int(a[1:])] for a in n.split(' × ')], axis=0)
        for o in others: assert abs((column(name)*column(o)).sum()) == len(vs)

@settings(max_examples=40, deadline=None)
@given(st.floats(1e-6, 1e3), st.floats(1.01, 1e4), st.booleans(), st.floats(0, 1), st.integers(2, 9))
def test_ranges_stay_inside_and_go_to_text_and_back(low, factor, log, u, n):
    r = Range(low, low*factor, log=log, n=n)
    assert r.low <= r.at(u) <= r.high and r.values[0] == r.low and r.values[-1] == r.high and all(r.low <= v <= r.high for v in r.values) and r.values == sorted(r.values)
    assert axis_from_json(json.loads(json.dumps(axis_to_json(r)))) == r
    assert abs(r.at(u) - r.low) < 1e-3*r.high or abs(r.place(r.at(u)) - u) < .02 or not .001 < u < .999

@settings(max_examples=30, deadline=None)
@given(st.fixed_dictionaries(dict(lr=st.floats(1e-6, 1), epochs=st.integers(1, 50), batch_size=st.integers(1, 512), patience=st.none() | st.integers(1, 9), metrics=st.none() | st.just(('accuracy', 'f1')), width=st.integers(1, 99) | st.none() | st.floats(allow_nan=False) | st.lists(st.integers() | st.text(max_size=3), max_size=3), activation=st.text(max_size=8) | st.sampled_from(['1e-3', 'no', 'null', '~', '- a', 'a: b', '.5', '0x1f', '2026-11-24', 'def f():\n    return 1\n']), placebo=st.integers(0, 3))))
def test_recipes_go_to_a_file_and_back(tmp_path_factory, given_):
    r,folder = Recipe('digits', net, **given_),tmp_path_factory.mktemp('r')
    for end in ('toml', 'yaml'):
        back = Recipe.load(r.save(folder/f'r.{end}'))
        assert back.key == r.key and not back.diff(r) and repr(back) == repr(r), end
