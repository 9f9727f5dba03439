"What the statistics notebook should not carry: differential tests against SciPy and statsmodels, properties, large simulations"
import itertools, math, subprocess, sys
from unittest import mock
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from scipy import stats
from upslope.core.errors import ArgumentError
from upslope.lab import aggregates as A, effects as E, statistics as S

values = st.floats(-1e3, 1e3, allow_nan=False).map(lambda v: round(v, 3))
def rows(low, high): return st.lists(values, min_size=low, max_size=high)

# ---- agreement with other code ----
@settings(max_examples=100, deadline=None)
@given(rows(3, 30), st.sampled_from([.8,.95,.99]))
def test_t_interval_is_scipys(x, level):
    i = S.mean_interval(x, level)
    if i.sd == 0: return
    low, high = stats.t.interval(level, len(x)-1, np.mean(x), stats.sem(x))
    assert np.allclose([i.low, i.high], [low, high], rtol=1e-9, atol=1e-9)

@settings(max_examples=60, deadline=None)
@given(rows(1, 9))
def test_sign_flip_is_the_brute_force_count(d):
    seen, count = abs(math.fsum(d)), 0
    for signs in itertools.product([1,-1], repeat=len(d)): count += abs(math.fsum(s*v for s,v in zip(signs, d))) >= seen - 1e-7*sum(map(abs, d))
    assert S.sign_flip(d) == count/2**len(d)

@pytest.mark.parametrize('n', [3, 6, 9, 12])
def test_sign_flip_is_scipys_permutation_test(n):
    d = np.random.default_rng(n).normal(.4, 1, n)
    p = stats.permutation_test((d,), lambda x, axis: x.mean(axis=axis), permutation_type='samples', n_resamples=np.inf, vectorized=True).pvalue
    assert S.sign_flip(d) == pytest.approx(p, abs=1e-12)

def test_exact_and_monte_carlo_agree_at_the_border():
    d = np.random.default_rng(5).normal(.3, 1, 20)
    exact, old = S.sign_flip(d), S._EXACT
    try: S._EXACT = 19; drawn = S.sign_flip(d, draws=100_000)
    finally: S._EXACT = old
    assert abs(exact - drawn) < 5*math.sqrt(exact/100_000)
    assert S.sign_flip(np.arange(1., 31)) == pytest.approx(1/100_001)   # never zero

def test_many_variants_and_many_seeds_are_drawn_not_enumerated():
    d = np.random.default_rng(2).normal(.2, 1, (18, 3))
    exact, old = S.max_t(d), S._MOST
    try: S._MOST = 1000; drawn = S.max_t(d)
    finally: S._MOST = old
    assert drawn == pytest.approx(exact, abs=.01) and drawn != exact

def test_maize():
    maize = np.array([49,-67,8,16,6,23,28,41,14,29,56,24,75,60,-48.])
    assert S.sign_flip(maize) == 1726/32768
    assert stats.ttest_1samp(maize, 0).pvalue == pytest.approx(.04970, abs=1e-5)
    d = S.paired(maize, np.zeros(15))
    assert (round(d.low, 3), round(d.high, 2), d.p_floor) == (.031, 41.84, 2/2**15)

@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_statsmodels(ps):
    multitest = pytest.importorskip('statsmodels.stats.multitest', reason='statsmodels is not installed')
    with mock.patch('gc.collect'):   # statsmodels collects garbage in each call: 0.1 s of a process that has loaded torch
        assert np.allclose(S.holm(ps), multitest.multipletests(ps, method='holm')[1], atol=1e-12)

def test_intervals_are_statsmodels():
    weightstats = pytest.importorskip('statsmodels.stats.weightstats', reason='statsmodels is not installed')
    x, y = np.random.default_rng(0).normal(size=(2, 9))
    d = S.paired(x, y)
    assert np.allclose([d.low, d.high], weightstats.DescrStatsW(x-y).tconfint_mean())

def test_seeds_needed_is_statsmodels_with_half_power():
    "An expected half-width equal to the effect: the test finds that effect about every second time"
    power = pytest.importorskip('statsmodels.stats.power', reason='statsmodels is not installed').TTestPower()
    for ratio in (1, .7, .5, .3):
        assert .45 < power.power(ratio, S.seeds_needed(1, ratio), .05) < .62

@pytest.mark.parametrize('seed', range(4))
def test_friedman_and_ranks_are_scipys(seed):
    x = np.random.default_rng(seed).integers(0, 5, (4, 9)).astype(float)   # with ties
    r = A.ranking(dict(zip('abcd', x)), mode='min')
    assert r.chi2 == pytest.approx(stats.friedmanchisquare(*x).statistic)
    assert [r.ranks[k] for k in 'abcd'] == pytest.approx(stats.rankdata(x, axis=0).mean(1))

def test_improvement_is_mann_whitney():
    x, y = np.random.default_rng(1).integers(0, 9, (2, 7))
    assert A.probability_of_improvement([x], [y]).value == pytest.approx(stats.mannwhitneyu(x, y).statistic/49)

def test_iqm_is_scipys_trimmed_mean():
    for n in range(1, 30):
        x = np.random.default_rng(n).normal(size=n)
        assert A.iqm(x) == pytest.approx(stats.trim_mean(x, .25))

# ---- max-T ----
def brute_max_t(d):
    n, k = d.shape
    def t(x): return abs(x.mean(0))/(x.std(0, ddof=1)/math.sqrt(n))
    seen, count = t(d), np.zeros(k)
    for signs in itertools.product([1,-1], repeat=n): count += t(np.array(signs)[:,None]*d).max() >= seen - 1e-9
    return count/2**n

def brute_step_down(d):
    "The textbook's way: adjust the largest, take it out, adjust the next among the rest, never below the one before"
    t, left, p, last = abs(d.mean(0))/d.std(0), list(range(d.shape[1])), {}, 0
    while left:
        best = max(left, key=lambda j: t[j])
        last = p[best] = max(last, brute_max_t(d[:,left])[left.index(best)])
        left.remove(best)
    return [p[j] for j in range(d.shape[1])]

@pytest.mark.parametrize('n,k', [(4,2),(6,3),(8,5)])
def test_max_t_is_brute_force(n, k):
    d = np.random.default_rng(n*k).normal(.3, 1, (n, k))
    assert S.max_t(d, step_down=False) == pytest.approx(brute_max_t(d))
    assert S.max_t(d) == pytest.approx(brute_step_down(d))

@settings(max_examples=50, deadline=None)
@given(st.integers(3, 8), st.integers(1, 5), st.integers(0, 99))
def test_max_t_is_never_cheaper_than_alone(n, k, seed):
    d = np.random.default_rng(seed).normal(size=(n, k))
    alone, together = np.array([S.sign_flip(c) for c in d.T]), np.array(S.max_t(d))
    assert (alone <= together + 1e-12).all() and (together <= np.array(S.max_t(d, step_down=False)) + 1e-12).all()
    assert together.min() == together[np.argmax(abs(d.mean(0)/d.std(0)))]   # the largest |t| has the smallest p
    assert S.max_t(-d) == S.max_t(d) == pytest.approx(S.max_t(1000*d))

def test_max_t_with_missing_runs():
    d = np.random.default_rng(0).normal(.5, 1, (8, 3))
    whole = S.max_t(d)
    d[:2,2] = np.nan
    assert len(S.max_t(d)) == 3 and S.max_t(d)[2] >= S.sign_flip(d[2:,2]) >= 2/2**6
    assert S.max_t(np.c_[d, np.full(8, np.nan)])[:3] == S.max_t(d) and S.max_t(np.c_[d, np.full(8, np.nan)])[3] is None   # an empty column costs nothing
    assert S.max_t(np.r_[d, np.full((5, 3), np.nan)]) == S.max_t(d)                                                      # nor do empty rows
    assert S.max_t(d[:,:0]) == [] and whole != S.max_t(d)

# ---- documented results for what goes wrong ----
@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('f', [S.mean_interval, S.sign_flip, lambda x: S.paired(x, [0]*len(x)), lambda x: S.paired([0]*len(x), x), A.bca, A.iqm, lambda x: A.stratified_bootstrap([x])])
def test_not_finite_is_an_error(f, bad):
    with pytest.raises(ArgumentError, match='finite'): f([1.]*12 + [bad])

def test_deterministic_models():
    equal = S.paired([.1+.2]*6, [.3]*6)   # equal up to rounding
    assert equal.sd == 0 and equal.p == 1 and equal.mean == 0
    apart = S.paired([.9]*6, [.1]*6)
    assert apart.p is None and not apart.told and apart.low == apart.high == pytest.approx(.8)

@settings(max_examples=200, deadline=None)
@given(rows(0, 9), rows(0, 9), st.sampled_from(['min','max']), st.one_of(st.none(), st.floats(.01, 10)), st.integers(1, 9))
def test_there_is_a_sentence_for_everything(x, y, mode, wanted, comparisons):
    n = min(len(x), len(y))
    d = S.paired(x[:n], y[:n])
    text = S.sentence(d, 'A', 'B', 'points', 100, mode=mode, wanted=wanted, comparisons=comparisons)
    assert text[0] in 'AN' and text.endswith('.') and 'nan' not in text and 'None' not in text
    if 'beats' in text or 'loses' in text: assert d.told and n >= 6
    if 'beats' in text: assert (d.mean > 0) == (mode == 'max')
    if 'loses' in text: assert (d.mean < 0) == (mode == 'max')
    if n in (3,4,5) and d.sd: assert 'run at least 6' in text

# ---- simulations ----
@pytest.mark.parametrize('n', [3,5,6,10,20])
def test_t_interval_covers(n):
    x = np.random.default_rng(n).standard_normal((6000, n))
    covered = np.mean([i.low <= 0 <= i.high for i in map(S.mean_interval, x)])
    assert abs(covered - .95) < .015

@pytest.mark.parametrize('n,m', [(6,5),(8,10)])
def test_false_claims_stay_at_five_percent_of_families(n, m):
    "max-T under the null, normal and skewed-but-symmetric-under-pairing noise, with a shared baseline; 3 sd of 1500 families is .017"
    rng, sims = np.random.default_rng(n*m), 1500
    for noise in (rng.standard_normal, lambda shape: rng.exponential(size=shape)):
        false = sum(min(S.max_t(noise((n, m)) - noise((n, 1)))) <= .05 for _ in range(sims))/sims
        assert false <= .05 + .017

@pytest.mark.parametrize('n,m,true,size', [(6,5,3,1.5), (8,10,9,1.5), (6,5,4,10)])
def test_step_down_makes_no_more_false_claims_beside_true_effects(n, m, true, size):
    rng, sims, false, found = np.random.default_rng(m+true), 1000, 0, [0, 0]
    for _ in range(sims):
        d = rng.normal(size=(n, m)) - rng.normal(size=(n, 1)); d[:,:true] += size*math.sqrt(2)
        down, single = np.array(S.max_t(d)), np.array(S.max_t(d, step_down=False))
        false += (down[true:] <= .05).any(); found[0] += (down[:true] <= .05).sum(); found[1] += (single[:true] <= .05).sum()
    assert false/sims <= .05 + .02 and found[0] >= found[1]

def test_claims_in_words_are_rarely_false():
    rng, sims, claimed = np.random.default_rng(7), 1500, 0
    for _ in range(sims):
        base, same = rng.normal(size=(2, 6))
        claimed += 'beats' in (s := S.sentence(S.paired(same, base), 'A', 'B')) or 'loses' in s
    assert .01 < claimed/sims <= .05 + .017

def test_planted_effects_are_found():
    rng, found = np.random.default_rng(8), 0
    for _ in range(300):
        d = rng.normal(size=(10, 5)) - rng.normal(size=(10, 1)); d[:,0] += 2*math.sqrt(2)
        found += S.max_t(d)[0] <= .05
    assert found/300 > .9

# ---- effects ----
def planted(configs, n, rng, noise=.5):
    "width adds 2, lr takes 3, both give 4 back, z nothing; every seed has its own luck"
    rows = [(a, b, z, s) for s in range(n) for a,b,z in configs]; luck = rng.normal(0, 3, n)
    a, b, z, s = (np.array(c) for c in zip(*rows))
    return dict(width=a, lr=b, placebo=z), 2*a - 3*b + 4*a*b + luck[s] + rng.normal(0, noise, len(s)), s
FULL = list(itertools.product([0,1], repeat=3)); OAT = [(0,0,0),(1,0,0),(0,1,0),(0,0,1)]; HALF = [(a,b,a^b) for a in (0,1) for b in (0,1)]

def test_effects_are_statsmodels_least_squares_with_a_dummy_per_seed():
    sm = pytest.importorskip('statsmodels.api', reason='statsmodels is not installed')
    settings, y, s = planted(FULL, 6, np.random.default_rng(0))
    fit = sm.OLS(y, np.c_[settings['width'], settings['lr'], settings['placebo'], np.eye(6)[s]]).fit()
    assert [e.difference.mean for e in E.effects(settings, y, s)] == pytest.approx(fit.params[:3])
    fit = sm.OLS(y, np.c_[settings['width'], settings['lr'], settings['placebo'], settings['width']*settings['lr'], np.eye(6)[s]]).fit()
    assert E.effects(settings, y, s, interactions=[('width','lr')])[3].difference.mean == pytest.approx(fit.params[3])

def test_effects_of_a_full_design_are_differences_of_means():
    settings, y, s = planted([(a, b, z) for a in 'xyz' for b in (1,2) for z in (0,1)] and list(itertools.product([0,1,2], [0,1], [0,1])), 5, np.random.default_rng(1))
    for e in E.effects(settings, y, s):
        c = settings[e.axis]
        assert e.difference.mean == pytest.approx(y[c == e.value].mean() - y[c == e.base].mean())
        assert e.meaning == 'average over the other axes' and e.comparisons == 4

@pytest.mark.parametrize('configs,truth', [(FULL, [4,-1,0,4]), (OAT, [2,-3,0,None]), (HALF, [4,-1,-2,None])])
def test_effects_cover_the_planted_truth(configs, truth):
    rng, sims = np.random.default_rng(len(configs)), 1500
    covered = np.zeros(4)
    for _ in range(sims):
        for j, (e, t) in enumerate(zip(E.effects(*planted(configs, 6, rng), interactions=[('width','lr')]), truth)):
            if t is None: assert e.difference.n == 0
            else: covered[j] += e.difference.low <= t <= e.difference.high
    for c, t in zip(covered/sims, truth):
        if t is not None: assert abs(c - .95) <= .015

def test_placebo_rarely_comes_out():
    rng, sims = np.random.default_rng(3), 1000
    out = sum(E.effects(*planted(FULL, 6, rng))[2].told for _ in range(sims))
    assert out/sims <= .05 + .02

def test_effects_of_broken_studies():
    settings, y, s = planted(OAT, 6, np.random.default_rng(0))
    assert [e.difference.n for e in E.effects(settings, np.full(len(y), np.nan), s)] == [0,0,0]
    assert E.effects(dict(a=[1]*6), range(6), range(6)) == [] and E.effects({}, [], []) == []
    broken = y.copy(); broken[(settings['width'] == 1)] = np.nan   # one value failed everywhere
    e = E.effects(settings, broken, s); assert e == [] or {o.axis for o in e if o.difference.n} == {'lr','placebo'}
    broken = y.copy(); broken[0] = np.nan                          # the base of one seed failed: nothing of that seed is determined
    assert [o.difference.n for o in E.effects(settings, broken, s)] == [5,5,5]
    for e in E.effects(settings, broken, s, interactions=[('width','lr')]): assert E.effect_sentence(e).endswith('.')
    with pytest.raises(ArgumentError, match='infinite'): E.effects(settings, np.r_[np.inf, y[1:]], s)

def test_import_is_light():
    code = "import sys, upslope.lab.statistics; print([m for m in ('scipy','pandas','matplotlib','torch','fastai') if m in sys.modules])"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.strip() == '[]', done.stdout + done.stderr
