"The report on a real small study, on awkward ones, and in a real browser"
import math, os, re, shutil, subprocess, sys, traceback, warnings
from html.parser import HTMLParser
import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from upslope.core.errors import ArgumentError, DataError, NameUnknown
from upslope.lab import plots as P, report as R, tables as T

@pytest.fixture(scope='module')
def study():
    "scikit-learn's digits: two baselines, a network, one axis, six seeds; one value fails"
    from sklearn.datasets import load_digits
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
    x, y = load_digits(return_X_y=True); x = x/16
    x, x_rest, y, y_rest = train_test_split(x, y, train_size=300, stratify=y, random_state=0)
    xv, xt, yv, yt = train_test_split(x_rest, y_rest, test_size=.5, stratify=y_rest, random_state=0)
    measure = lambda m: dict(valid_accuracy=m.score(xv, yv), valid_loss=log_loss(yv, m.predict_proba(xv)), test_accuracy=m.score(xt, yt))
    runs, history = [], []
    for step, config, kind, axis, value, make in [(0,'most_frequent','baseline',None,None,lambda s: DummyClassifier()), (0,'logistic','baseline',None,None,lambda s: LogisticRegression()),
            (1,'dense','model',None,None,dict(learning_rate_init=.003)), (2,'lr=0.0003','model','lr',.0003,dict(learning_rate_init=.0003)), (2,'lr=1e+200','model','lr',1e200,dict(learning_rate_init=1e200))]:
        for seed in range(6):
            row = dict(run=len(runs), step=step, config=config, kind=kind, axis=axis, value=value, seed=seed, status='done', seconds=.1, error=None)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter('ignore')
                    if callable(make): row |= measure(make(seed).fit(x, y))
                    else:
                        model = MLPClassifier((32,), random_state=seed, batch_size=50, **make)
                        for epoch in range(5):
                            last = measure(model.partial_fit(x, y, classes=range(10)))
                            history += [dict(run=row['run'], epoch=epoch, metric=m, value=v) for m,v in last.items() if m[0] == 'v']
                        row |= last
            except Exception: row |= dict(status='failed', error=traceback.format_exc())
            runs.append(row)
    return pd.DataFrame(runs), pd.DataFrame(history)

RECIPES = {'dense': 'width = 32\nlr = 0.003', 'lr=0.0003': 'width = 32\nlr = 0.0003', 'lr=1e+200': 'width = 32\nlr = 1e+200', 'logistic': 'sklearn LogisticRegression()'}

@pytest.fixture(scope='module')
def page(study, tmp_path_factory):
    runs, history = study
    return R.write_report(tmp_path_factory.mktemp('report')/'report.html', 'Digits', runs, history, chosen='dense', test_metric='test_accuracy', recipes=RECIPES,
                          settings=dict(data='digits'), versions=dict(numpy=np.__version__), sentences=['One more sentence.'])

class Balanced(HTMLParser):
    VOID = {'meta','link','br','path','use','rect','circle'}
    def __init__(self): super().__init__(); self.stack, self.problems, self.text = [], [], []
    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID: self.stack.append(tag)
    def handle_startendtag(self, tag, attrs): pass
    def handle_endtag(self, tag):
        if tag in self.VOID: return
        if not self.stack or self.stack.pop() != tag: self.problems.append((tag, self.getpos()))
    def handle_data(self, data): self.text.append(data)

def parsed(path):
    p = Balanced(); p.feed(path.read_text()); p.close()
    assert not p.problems and not p.stack, (p.problems[:3], p.stack)
    return ' '.join(p.text)

# ---- the page ----
def test_page_is_whole_and_self_contained(page, study):
    text, source = parsed(page), page.read_text()
    assert not re.search(r'<script|<img|<iframe|@import|@font-face', source)
    links = re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', source) + re.findall(r'url\(([^)]*)\)', source)
    assert links and all(l.startswith(('#','data:')) for l in links)
    assert not re.findall(r'https?://', source)
    ids = re.findall(r'\bid="([^"]+)"', source)
    assert len(ids) == len(set(ids)) and {l[1:] for l in links if l.startswith('#')} <= set(ids)
    for needed in ('Digits', 'One more sentence.', 'dense was chosen on valid_accuracy, among 3 configurations tried', '30 runs: 24 done, 6 failed', 'non-finite', np.__version__, 'lr = 0.0003', 'sklearn LogisticRegression()', '0, 1, 2, 3, 4, 5'):
        assert needed in text, needed
    assert 'var(--c0)' in source and 'currentColor' in source and '#0072b2' not in source.split('</style>')[1].lower()

def test_numbers_on_the_page_are_the_runs(page, study):
    runs, _ = study; source = page.read_text()
    for config in ('dense','logistic','lr=0.0003'):
        mean = 100*runs[runs.config == config].valid_accuracy.mean()
        row = re.search(rf'<th scope="row">{re.escape(config)}</th>(.*?)</tr>', source, re.S)[1]
        cells = re.findall(r'<td>(.*?)</td>', row)
        assert cells[0] == '6' and abs(float(cells[1]) - mean) <= .05 + 1e-9

def test_test_metric_only_for_the_chosen_and_the_baselines(page, study):
    runs, _ = study; source = page.read_text()
    rows = [re.findall(r'<td>(.*?)</td>', r) for r in re.findall(r'<tr>(.*?)</tr>', source[source.index('id="runs"'):], re.S)]
    by = {(r[1], int(r[2])): r[-1] for r in rows if r}
    assert len(by) == len(runs)
    for r in runs.itertuples(): assert (by[r.config, r.seed] == '·') == (r.config in ('lr=0.0003','lr=1e+200')), r
    other = R.write_report(page.parent/'unchosen.html', 'x', runs, test_metric='test_accuracy').read_text()
    assert 'No configuration has been chosen yet' in other and 'No run has recorded a history' in other

def test_everything_a_user_wrote_is_escaped(study, tmp_path):
    runs, history = study; evil = '<script>alert("x")</script>&\'"'
    mixed = runs.assign(config=runs.config + evil, axis=runs.axis.map(lambda a: a + evil if isinstance(a, str) else None), error=runs.error.map(lambda e: e + evil if isinstance(e, str) else None))
    path = R.write_report(tmp_path/'r.html', evil, mixed, history, chosen='dense' + evil, settings={evil: evil}, versions={evil: evil}, recipes={c + evil: t + evil for c,t in RECIPES.items()}, sentences=[evil], test_metric='test_accuracy')
    source = path.read_text()
    assert '<script' not in source and source.count('alert(') > 10
    assert 'alert("x")' in parsed(path).replace('&quot;', '"')

ODD = ['[0] first', '*starred', 'a_b & 50% #1 $x$ {y} ~z^2 \\w <q> é ß “w” – …', 'größe=½, β→ω × Σ ≤ ∞', '-3 below']

def odd_table(study):
    runs,_ = study
    names = dict(zip(dict.fromkeys(runs.config), ODD))
    return T.comparison(runs.assign(config=runs.config.map(names)), 'valid_accuracy', ODD[2])

def test_latex_escapes_all_that_tex_reads_as_its_own(study):
    "What is left after its own commands are taken away is plain; no row begins with what would be an option of the row before; every row has all cells"
    text = T.latex_table(odd_table(study))
    rows = text.split(r'\toprule')[1].split(r'\bottomrule')[0].replace('\\midrule\n', '').strip().split('\n')
    plain = re.sub(r'\\(textbackslash|textasciitilde|textasciicircum|ldots)\{\}|\\[&%#$_{}]|\$(\\[a-zA-Z]+|[<>-])\$|\\textbf\{([^}]*)\}', '·', re.sub(r'\{\}(?=[\[*])', '', '\n'.join(rows)))
    assert not re.search(r'[%#$_{}~^]', plain) and r'\textbackslash{}w' in text and r'$\beta$$\to$$\omega$ $\times$ $\Sigma$' in text
    assert not [r for r in rows if r[0] in '[*'] and len({re.sub(r'\\&', '', r).count('&') for r in rows}) == 1

@pytest.mark.skipif(not any(map(shutil.which, ('pdflatex', 'tectonic'))), reason='needs LaTeX: pdflatex or tectonic')
def test_latex_compiles(study, tmp_path):
    "In an article of LaTeX's own: without an error, and no box sticks out of the page"
    text = T.latex_table(odd_table(study), 'tab:odd')
    (tmp_path/'t.tex').write_text(r'\documentclass{article}' + text.splitlines()[0].removeprefix('% ') + '\n\\begin{document}\nTable~\\ref{tab:odd}\n' + text + '\n\\end{document}\n')
    said = subprocess.run([shutil.which('pdflatex'), '-interaction=nonstopmode', '-halt-on-error', 't.tex'] if shutil.which('pdflatex') else [shutil.which('tectonic'), 't.tex'], cwd=tmp_path, capture_output=True, text=True, errors='replace')
    assert said.returncode == 0 and (tmp_path/'t.pdf').stat().st_size > 1000, said.stdout[-2000:]
    assert 'Overfull' not in said.stdout + said.stderr

def test_math_text_and_odd_names_do_not_break_figures(study, tmp_path):
    "matplotlib reads $...$ as mathematics, and hides legend entries that begin with _"
    runs, history = study
    odd = runs.assign(config=runs.config.map({'dense': '_hidden', 'lr=0.0003': r'$\frac{$'}).fillna(runs.config))
    source = R.write_report(tmp_path/'r.html', '$x^', odd, history).read_text()
    assert source.count('_hidden (n = 6)') >= 1 and r'$\frac{$ (n = 6)' in source and source.count('\u200b') > 0

def test_written_atomically(study, tmp_path, monkeypatch):
    runs, _ = study; path = tmp_path/'r.html'
    R.write_report(path, 'first', runs)
    monkeypatch.setattr(os, 'replace', lambda *a: (_ for _ in ()).throw(OSError('disk full')))
    with pytest.raises(OSError, match='disk full'): R.write_report(path, 'second', runs)
    assert '<h1>first</h1>' in path.read_text() and [p.name for p in tmp_path.iterdir()] == ['r.html']

def test_a_missing_folder_is_made(study, tmp_path):
    assert R.write_report(tmp_path/'a'/'b'/'r.html', 't', study[0]).exists()

def test_a_study_of_hundreds_of_configurations_stays_readable(tmp_path):
    rng = np.random.default_rng(0)
    runs = pd.DataFrame([dict(run=i*3+s, step=int(i > 0), config=f'c{i}', kind='model', axis='size' if i else None, value=i, seed=s, status='done', score=rng.normal(i/100)) for i in range(400) for s in range(3)])
    history = pd.DataFrame([dict(run=r, epoch=e, metric='score', value=.1*e) for r in runs.run for e in range(3)])
    path = R.write_report(tmp_path/'r.html', 'big', runs, history, metric='score', reference='c0')
    source = path.read_text()
    assert source.count('<svg') <= 9 and len(source) < 2e6 and source.count('<tr') == 2 + 400 + 1200 and 'Of 400 configurations' in parsed(path)

# ---- axes changed together ----
DESIGN = {f'{w}-{o}-{z}': dict(width=w, opt=o, placebo=z) for w in (8,32) for o in ('sgd','adam') for z in (0,1)}
@pytest.fixture(scope='module')
def grid():
    "made up, with a known truth: width +2, adam +1, nothing else"
    rng = np.random.default_rng(2); luck = rng.normal(0, .02, 6)   # by chance one draw in twenty tells the placebo; how often is simulated in test_statistics
    return pd.DataFrame([dict(run=i*6+s, config=c, kind='model', axis=None, value=None, seed=s, status='done', valid_accuracy=.9 + .02*(d['width'] == 32) + .01*(d['opt'] == 'adam') + luck[s] + rng.normal(0, .001)) for i,(c,d) in enumerate(DESIGN.items()) for s in range(6)])

def test_effects_of_a_grid(grid):
    es = T.effects_of(grid, DESIGN, interactions=[('width','opt')])
    assert [(e.axis, e.told) for e in es] == [('width',True), ('opt',True), ('placebo',False), ('width × opt',False)]
    assert [round(e.difference.mean, 2) for e in es] == [.02, .01, 0, 0]
    said = T.answers(grid, design=DESIGN)
    assert any(s.startswith('width=32 beats width=8 by 2.0') for s in said) and any('placebo, which does nothing' in s for s in said)
    back = T.effects_of(grid, DESIGN, reference='32-adam-1')
    assert [(e.value, e.base) for e in back] == [(8,32), ('sgd','adam'), (0,1)] and back[0].difference.mean == pytest.approx(-es[0].difference.mean)
    holes = grid.assign(status=grid.status.where(grid.run != 0, 'failed'))
    assert all(e.difference.n == 6 for e in T.effects_of(holes, DESIGN))   # seven of eight combinations still determine the axes

def test_page_of_a_grid(grid, tmp_path):
    path = R.write_report(tmp_path/'r.html', 'grid', grid, reference='8-sgd-0', design=DESIGN, interactions=[('width','opt')])
    text = parsed(path); assert 'width=32 beats width=8' in text and path.read_text().count('<svg') == 4   # points, effects, parallel, pairs

@pytest.fixture(scope='module')
def steps():
    "made up: dense or conv, then lr around conv, then width around the winning lr; each config says what it is a variant of"
    rng = np.random.default_rng(3); luck = rng.normal(0, .02, 8)
    plan = [('dense',0,None,None,None,.90), ('conv',0,'model','conv','dense',.94), ('conv, lr=0.1',1,'lr','0.1','conv',.80), ('conv, lr=0.01',1,'lr','0.01','conv',.96), ('conv, lr=0.01, width=2',2,'width','2','conv, lr=0.01',.9601)]
    return pd.DataFrame([dict(run=i*8+s, step=step, config=c, kind='model', axis=a, value=v, base=b, seed=s, status='done', valid_accuracy=m + luck[s] + rng.normal(0, .004)) for i,(c,step,a,v,b,m) in enumerate(plan) for s in range(8)])

def test_each_step_is_compared_with_its_own_base(steps, tmp_path):
    t = T.comparison(steps, reference='conv, lr=0.01'); rows = t.set_index('config')
    wide = steps.pivot(index='seed', columns='config', values='valid_accuracy')
    for c, b in [('conv','dense'), ('conv, lr=0.1','conv'), ('conv, lr=0.01','conv'), ('conv, lr=0.01, width=2','conv, lr=0.01')]:
        assert rows.base[c] == b and rows.difference[c] == pytest.approx((wide[c] - wide[b]).mean())
    assert math.isnan(rows.difference['dense']) and t.attrs['comparisons'] == 4
    for form in (T.text_table, T.markdown_table, T.latex_table, T.html_table): assert 'vs base' in form(t)
    assert max(map(len, T.text_table(t).splitlines())) <= 100
    said = T.answers(steps, reference='conv, lr=0.01')
    assert any(s.startswith('model matters: conv beats dense by') for s in said) and any(s.startswith('lr matters: “conv, lr=0.01” beats conv by') and '“conv, lr=0.1” loses to conv' in s for s in said) and any(s.startswith('width: No difference between “conv, lr=0.01, width=2” and “conv, lr=0.01” can') for s in said)
    fig = P.effects_figure(steps, reference='conv, lr=0.01')
    assert [len(ax.get_yticklabels()) for ax in fig.axes] == [1, 2, 1]
    assert sorted(fig.axes[1].collections[0].get_offsets()[:,0]) == pytest.approx(sorted(100*(wide['conv, lr=0.01'] - wide['conv'])))
    parsed(R.write_report(tmp_path/'r.html', 'steps', steps, reference='conv, lr=0.01'))
    with pytest.raises(NameUnknown, match='base of others'): T.comparison(steps.assign(base='gone'))

def test_without_bases_the_axis_that_the_reference_won_is_compared_with_what_it_left(steps):
    two = steps[steps.step == 0].drop(columns='base')
    said = T.answers(two, reference='conv')
    assert any(s.startswith('model matters: dense loses to conv by') for s in said), said
    assert [t.get_text() for t in P.effects_figure(two, reference='conv').axes[0].get_yticklabels()] == ['dense','conv']

def test_pairs_are_the_paired_differences(grid):
    table = P.pairs(grid); assert len(table) == 28 and table.attrs['ranking'].n == 6
    wide = grid.pivot(index='seed', columns='config', values='valid_accuracy')
    for r in table.itertuples(): assert r.difference == pytest.approx((wide[r.a] - wide[r.b]).mean())
    assert table.attrs['order'][0].startswith('32-adam') and table.attrs['order'][-1].startswith('8-sgd')
    assert P.pairs(grid[grid.config.isin(list(DESIGN)[:2])]).attrs['ranking'] is None
    assert P.pairs_figure(grid[grid.config == '8-sgd-0']) is None and P.pairs_figure(grid, mode='min') is not None

# ---- the table ----
def test_comparison_against_pandas_and_scipy(study):
    from scipy import stats
    runs, _ = study; t = T.comparison(runs, 'valid_loss', mode='min').set_index('config')
    wide = runs.pivot(index='seed', columns='config', values='valid_loss')
    assert t.attrs['reference'] == 'dense' and t.attrs['baseline'] == 'logistic'
    for c in ('most_frequent','logistic','dense','lr=0.0003'):
        assert t['mean'][c] == pytest.approx(wide[c].mean()) and t.sd[c] == pytest.approx(wide[c].std(), abs=1e-12)
    ci = stats.ttest_rel(wide['lr=0.0003'], wide['dense']).confidence_interval()
    assert (t.difference_low['lr=0.0003'], t.difference_high['lr=0.0003']) == pytest.approx((ci.low, ci.high))
    assert t.gain['dense'] == pytest.approx((wide['dense'] - wide['logistic']).mean())
    assert t.failed['lr=1e+200'] == 6 and t.n['lr=1e+200'] == 0

def test_gaps_are_paired_over_common_seeds(study):
    runs, _ = study
    holes = runs.copy(); holes.loc[(holes.config == 'lr=0.0003')&(holes.seed == 0), 'status'] = 'failed'
    holes.loc[(holes.config == 'dense')&(holes.seed == 1), 'valid_accuracy'] = math.inf
    t = T.comparison(holes).set_index('config')
    assert (t.n['dense'], t.missing['dense'], t.n['lr=0.0003'], t.paired_n['lr=0.0003']) == (5, 1, 5, 4)
    wide = runs.pivot(index='seed', columns='config', values='valid_accuracy').loc[2:]
    assert t.difference['lr=0.0003'] == pytest.approx((wide['lr=0.0003'] - wide['dense']).mean())
    assert '5 (1 failed)' in T.text_table(T.comparison(holes)) and '5 (1 missing)' in T.text_table(T.comparison(holes))

def test_order_of_rows_and_columns_does_not_matter(study):
    runs, _ = study
    a, b = T.comparison(runs), T.comparison(runs.sample(frac=1, random_state=0)[runs.columns[::-1]])
    pd.testing.assert_frame_equal(a, b)
    assert T.text_table(a) == T.text_table(b) and T.answers(runs) == T.answers(runs.sample(frac=1, random_state=1))

@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(0, 7), st.integers(0, 10**6), st.sampled_from(['min','max']), st.booleans())
def test_any_study_has_a_table_in_four_forms_and_sentences(k, n, seed, mode, baselines):
    rng = np.random.default_rng(seed)
    rows = [dict(run=i, config=c, kind='baseline' if baselines and c == 'c0' else 'model', axis=None if c < 'c2' else 'a', value=None if c < 'c2' else c, seed=s, status=rng.choice(['done','done','done','failed','queued']), score=rng.choice([rng.normal(), .5, math.nan]))
            for i,(c,s) in enumerate((f'c{j}', s) for j in range(k) for s in range(n))]
    if not rows: return
    runs = pd.DataFrame(rows); table = T.comparison(runs, 'score', mode=mode)
    for form in (T.text_table, T.markdown_table, T.latex_table, T.html_table):
        text = form(table); assert 'nan' not in text and 'None' not in text, text
    said = T.answers(runs, 'score', mode=mode); assert said and all(s.endswith('.') and 'nan' not in s for s in said), said
    assert table.best.sum() <= 1 and not (table.best & (table.n < 6)).any()
    P.points_figure(runs, 'score', mode=mode); P.effects_figure(runs, 'score', mode=mode)

def test_bold_is_rarely_false():
    "Six equal configurations: how often is one of them marked as the best?"
    rng, marked, sims = np.random.default_rng(0), 0, 150
    base = pd.DataFrame([dict(run=i*8+s, config=f'c{i}', kind='model', seed=s, status='done') for i in range(6) for s in range(8)])
    for _ in range(sims): marked += T.comparison(base.assign(score=rng.normal(size=48)), 'score').best.any()
    assert marked/sims <= .05 + 3*math.sqrt(.05*.95/sims)

def test_bold_when_it_is_true():
    rng = np.random.default_rng(1)
    base = pd.DataFrame([dict(run=i*8+s, config=f'c{i}', kind='model', seed=s, status='done', score=rng.normal() + 8*(i == 3)) for i in range(6) for s in range(8)])
    assert list(T.comparison(base, 'score').query('best').config) == ['c3']

def test_errors_name_what_is_wrong(study):
    runs, history = study
    with pytest.raises(NameUnknown, match="fix:  'valid_accuracy'"): T.comparison(runs, 'valid_accurcy')
    with pytest.raises(NameUnknown, match='most_frequent, logistic, dense'): T.comparison(runs, reference='nothing')
    with pytest.raises(DataError, match='lacks a column'): T.comparison(runs.drop(columns='kind'))
    with pytest.raises(DataError, match='more than one finished run'): T.comparison(pd.concat([runs, runs]))
    with pytest.raises(ArgumentError, match='mode'): T.answers(runs, mode='best')
    with pytest.raises(NameUnknown, match="fix:  'test_accuracy'"): R.write_report('never.html', 't', runs, test_metric='test_acuracy')

def test_import_is_light():
    code = "import sys, upslope.lab.report; print([m for m in ('scipy','pandas','matplotlib','torch','fastai') if m in sys.modules])"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.strip() == '[]', done.stdout + done.stderr

# ---- figures ----
def test_bands_are_drawn_from_three_runs_on(study):
    runs, history = study
    for n, bands in [(6,1), (3,1), (2,0), (1,0)]:
        some = runs[runs.seed < n]
        fig = P.curves_figure(history[history.run.isin(some.run)], some, 'valid_loss', configs=['dense'])
        assert len(fig.axes[0].collections) == bands

def test_mean_curve_ends_where_the_first_run_ends(study):
    runs, history = study
    short = history[~((history.run == runs[runs.config == 'dense'].run.iloc[0])&(history.epoch > 2))]
    fig = P.curves_figure(short, runs, 'valid_loss', configs=['dense'])
    thick = [l for l in fig.axes[0].lines if l.get_lw() > 1][0]
    assert list(thick.get_xdata()) == [0,1,2] and max(max(l.get_xdata()) for l in fig.axes[0].lines) == 4

def test_many_values_make_several_panels(study):
    runs, history = study
    dense, h = runs[runs.config == 'dense'], history.merge(runs[runs.config == 'dense'][['run']])
    many, hs = [dense], [h]
    for i in range(10):
        many.append(dense.assign(run=dense.run + 100*(i+1), config=f'w={i}', axis='w', value=i)); hs.append(h.assign(run=h.run + 100*(i+1)))
    fig = P.curves_figure(pd.concat(hs), pd.concat(many), 'valid_loss', reference='dense')
    shown = [[l.get_label() for l in ax.lines if l.get_lw() > 1] for ax in fig.axes]
    assert all(len(s) <= 7 and s[0] == 'dense (n = 6)' for s in shown)
    assert sorted(c for s in shown for c in s[1:]) == sorted(f'w={i} (n = 6)' for i in range(10))   # each once

# ---- in a browser ----
CHROMIUM = next((p for p in ('/usr/bin/chromium', shutil.which('chromium'), shutil.which('google-chrome')) if p and os.path.exists(p)), None)
FLAGS = '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'.split()

@pytest.fixture(scope='module')
def browser():
    if not CHROMIUM: pytest.skip('no Chromium on this machine (install the package chromium to run the browser tests)')
    sync_api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    with sync_api.sync_playwright() as p:
        b = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield b
        b.close()

RUNS_OUT = "s => { const b = s.getBoundingClientRect(); return [...s.querySelectorAll('text')].filter(t => { const r = t.getBoundingClientRect(); return r.left < b.left - 2 || r.right > b.right + 2 || r.bottom > b.bottom + 2 }).map(t => t.textContent) }"

def test_long_names_stay_inside_the_figures(browser, study, tmp_path):
    runs, history = study
    long = lambda c: {'dense': 'convolutional', 'lr=0.0003': 'convolutional, activation=gelu'}.get(c, c + ' with a rather long name')
    path = R.write_report(tmp_path/'r.html', 'long', runs.assign(config=runs.config.map(long), axis=runs.axis.map(lambda a: 'the learning rate of the first stage' if isinstance(a, str) else None)), history, reference='convolutional')
    context = browser.new_context(viewport=dict(width=1280, height=900)); tab = context.new_page(); tab.goto(path.as_uri())
    figures = tab.locator('figure svg'); assert figures.count() == 5
    for i in range(5): assert figures.nth(i).evaluate(RUNS_OUT) == []
    context.close()

@pytest.mark.parametrize('scheme', ['light','dark'])
@pytest.mark.parametrize('width', [360, 768, 1280])
def test_in_a_browser(browser, page, study, width, scheme):
    runs, _ = study
    context = browser.new_context(viewport=dict(width=width, height=900), color_scheme=scheme)
    tab, console, requests = context.new_page(), [], []
    tab.on('console', lambda m: console.append(m.text)); tab.on('pageerror', lambda e: console.append(str(e))); tab.on('request', lambda r: requests.append(r.url))
    tab.goto(page.as_uri()); tab.wait_for_load_state('networkidle')
    assert console == [] and requests == [page.as_uri()]
    assert tab.locator('table.comparison tbody tr').count() == runs.config.nunique()
    assert tab.evaluate('document.documentElement.scrollWidth') <= width   # wide tables scroll inside, the page does not
    figures = tab.locator('figure svg')
    assert figures.count() == 5   # points, effects, pairs, and two curves of the learning rate
    for i in range(figures.count()):
        box = figures.nth(i).bounding_box()
        assert box['width'] > 250 and box['height'] > 100 and box['x'] >= 0 and box['x'] + box['width'] <= width
        inside = figures.nth(i).evaluate(RUNS_OUT)
        assert inside == [], f'text runs out of figure {i}: {inside}'
    ink, ground = tab.evaluate("['color','backgroundColor'].map(k => getComputedStyle(document.body)[k].match(/\\d+/g).slice(0,3).map(Number).reduce((a,b) => a+b))")
    assert (ink < ground) == (scheme == 'light') and abs(ink - ground) > 450
    assert tab.locator('details').first.get_attribute('open') is None
    tab.locator('#failures ~ details summary').first.click()
    assert tab.locator('#failures ~ details pre').first.is_visible()
    context.close()
