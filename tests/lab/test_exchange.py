"Runs go to other tools and come back as they were; what others logged comes in as it is"
import json, math, os, warnings
import numpy as np, pandas as pd, pytest
from upslope.core.errors import DataError
from upslope.lab import Store, Study

@pytest.fixture(scope='module', autouse=True)
def quiet():
    os.environ['MLFLOW_DISABLE_TELEMETRY'] = 'true'
    with warnings.catch_warnings(): warnings.simplefilter('ignore'); yield

def awkward_study(store):
    "Two configurations, three seeds; a failure with a long traceback, infinite and missing numbers, names that other tools do not take"
    rng,many = np.random.default_rng(0),[(c, s) for s in range(3) for c in ('plain', 'plain, width=8')]
    runs = pd.DataFrame([dict(run=i, config=c, seed=s, kind='model', axis='width' if '=' in c else None, value='8' if '=' in c else None, step=0, status='failed' if i == 3 else 'done', seconds=1.5 + i,
                              error='Traceback\n' + 'x'*9000 + '\nValueError: süß' if i == 3 else None, valid_accuracy=math.nan if i == 3 else rng.random(), **{'valid loss (log)': math.inf if i == 2 else rng.random()}) for i, (c, s) in enumerate(many)])
    history = pd.DataFrame([dict(run=i, epoch=e, metric=m, value=(math.inf if e else -math.inf) if i == 4 else math.nan if (i, e) == (3, 2) else rng.random()*10.**-e)
                            for i in range(6) for e in range(4) for m in ('train_loss', 'loss@k', 'loss#k', 'größe')])
    store.add_runs('original', runs, history)

def contents(store, study):
    runs,history = store.runs(study),store.history(study)
    who = dict(zip(runs.run, zip(runs.config, runs.seed)))
    return runs.drop(columns='run'), history.assign(run=history.run.map(who)).sort_values(['run', 'metric', 'epoch']).reset_index(drop=True)

@pytest.mark.parametrize('format', ['csv', 'parquet', 'tensorboard', 'mlflow'])
def test_there_and_back(tmp_path, format):
    if format == 'mlflow': pytest.importorskip('mlflow'); pytest.importorskip('sqlalchemy')
    store = Store(tmp_path/'s.db')
    awkward_study(store)
    path = f'sqlite:///{tmp_path}/mlflow.db' if format == 'mlflow' else tmp_path/'there'
    store.export('original', path, format)
    assert store.take('back', path, format, **(dict(name='original') if format == 'mlflow' else {})) == 6
    for a, b in zip(contents(store, 'original'), contents(store, 'back')): pd.testing.assert_frame_equal(a, b, check_exact=True)
    store.check_all()
    assert '"imported"' in store.query("SELECT declaration FROM study WHERE name='back'")[0]['declaration']
    if format == 'mlflow':
        with pytest.raises(ValueError, match='with runs in it'): store.export('original', path, format)   # twice would double them

def test_mlflow_in_a_folder(tmp_path):
    "A folder is a place as any other: its database is made in it, found in it, and can be asked for by its address"
    mlflow = pytest.importorskip('mlflow'); pytest.importorskip('sqlalchemy')
    store, folder = Store(tmp_path/'s.db'), tmp_path/'new'/'ml'
    awkward_study(store)
    store.export('original', folder, 'mlflow')
    assert (folder/'mlflow.db').is_file()
    assert store.take('back', str(folder), 'mlflow', name='original') == 6
    for a, b in zip(contents(store, 'original'), contents(store, 'back')): pd.testing.assert_frame_equal(a, b, check_exact=True)
    client = mlflow.MlflowClient(f'sqlite:///{folder}/mlflow.db')
    assert client.get_experiment_by_name('original') is not None

@pytest.mark.parametrize('where', ['empty', 'file:///nowhere/mlruns', 'nosuch://host'])
def test_what_mlflow_refuses_comes_in_words(tmp_path, where):
    pytest.importorskip('mlflow'); pytest.importorskip('sqlalchemy')
    store = Store(tmp_path/'s.db')
    place = tmp_path/'empty' if where == 'empty' else where
    with pytest.raises(DataError) as refused: store.take('x', place, 'mlflow')
    assert 'need: a folder' in str(refused.value)
    assert refused.value.__cause__ is None and refused.value.__context__ is None   # nothing of MLflow's is shown above it
    if where != 'empty':
        awkward_study(store)
        with pytest.raises(DataError, match='MLflow cannot be reached there, or refuses'): store.export('original', place, 'mlflow')

def test_runs_that_mlflow_users_logged(tmp_path):
    "Parameters are settings, a parameter `seed` is the seed, a run without one is paired with none"
    mlflow = pytest.importorskip('mlflow'); pytest.importorskip('sqlalchemy')
    address = f'sqlite:///{tmp_path}/mlflow.db'
    client = mlflow.MlflowClient(address)
    experiment = client.create_experiment('digits')
    for lr in (.1, .01):
        for seed in (3, 4, None):
            run = client.create_run(experiment, run_name='same name').info.run_id
            client.log_param(run, 'lr', lr); client.log_param(run, 'opt', 'adam')
            if seed is not None: client.log_param(run, 'seed', seed)
            for epoch in range(3): client.log_metric(run, 'val_acc', .5 + epoch/10 + lr, step=epoch)
            client.set_terminated(run)
    store = Store(tmp_path/'s.db')
    assert store.take('digits', address, 'mlflow') == 6
    runs = store.runs('digits')
    assert runs.config.unique().tolist() == ['lr=0.1', 'lr=0.01']   # what tells them apart
    assert np.allclose(runs.val_acc, [.8, .8, .8, .71, .71, .71])
    assert runs.seed.tolist()[:3] != runs.seed.tolist()[3:] and sorted(set(runs.seed) & {3, 4}) == [3, 4]
    seeds = runs.groupby('config').seed.apply(set)
    assert set.intersection(*seeds) == {3, 4}   # those of whom nobody knows the seed share none
    import json
    assert json.loads(store.query("SELECT body FROM recipe JOIN config ON recipe=key WHERE label='lr=0.1'")[0]['body'])['own'] == dict(lr=.1, opt='adam')
    with pytest.raises(ValueError, match='digit'): store.take('x', address, 'mlflow', name='digit')

def test_runs_that_mlflows_fluent_api_and_autolog_wrote(tmp_path, monkeypatch):
    "scikit-learn on wine, as its users log it: failed and begun again, done twice, never ended, nested, not a number; autolog's many parameters"
    monkeypatch.chdir(tmp_path)   # autolog puts its pictures into the working folder
    mlflow = pytest.importorskip('mlflow'); pytest.importorskip('sqlalchemy')
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    x,y = load_wine(return_X_y=True)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(address := f'sqlite:///{tmp_path}/mlflow.db')
    try:
        mlflow.set_experiment('wine')
        def run(C, seed, fail=False):
            a,b,c,d = train_test_split(x, y, random_state=seed, stratify=y)
            try:
                with mlflow.start_run():
                    mlflow.log_params(dict(C=C, seed=seed, solver='lbfgs'))
                    if fail: raise MemoryError
                    for epoch in range(2): mlflow.log_metrics(dict(loss=1/(1 + epoch), nothing=math.nan), step=epoch)
                    mlflow.log_metric('score', score := LogisticRegression(C=C, max_iter=20).fit(a, c).score(b, d))
                    return score
            except MemoryError: pass
        run(1., 0, fail=True)
        want = {(C, seed): run(C, seed) for C in (.01, 1.) for seed in range(3)}
        run(1., 1)                                       # done twice
        with mlflow.start_run(run_name='outer'):
            with mlflow.start_run(run_name='inner', nested=True): mlflow.log_metric('score', .5)
        mlflow.start_run(); mlflow.log_metric('score', .1)
        store = Store(tmp_path/'s.db')
        assert store.take('wine', address, 'mlflow') == 11
        mlflow.end_run()
        runs = store.runs('wine')
        for (C, seed), score in want.items(): assert runs[(runs.config == f'C={C}') & (runs.seed == seed) & (runs.status == 'done')].score.tolist() == [score]
        rest = runs[~((runs.seed < 3) & (runs.status == 'done') & runs.config.str.startswith('C='))]
        assert sorted(rest.status) == ['done', 'done', 'done', 'failed', 'running'] and rest.seed.is_unique and not set(rest.seed) & {0, 1, 2}   # paired with none
        assert len(store.history('wine').query("metric == 'nothing'")) == 14 and store.history('wine').query("metric == 'nothing'").value.isna().all()
        table = Study.open('wine', store).table('score').set_index('config')
        assert table.paired_n.max() == 3 and table.failed['C=1.0'] == 1 and table.waiting.sum() == 1
        mlflow.set_experiment('auto')
        mlflow.sklearn.autolog(log_models=False, silent=True)
        for seed in range(2): LogisticRegression(random_state=seed, max_iter=20).fit(x, y)
        mlflow.sklearn.autolog(disable=True, silent=True)
        store.take('auto', address, 'mlflow')
        assert store.runs('auto')[['config', 'seed']].values.tolist() == [['auto', 0], ['auto', 1]] and (store.runs('auto').training_score > .5).all()
    finally:
        while mlflow.active_run(): mlflow.end_run()
        mlflow.set_tracking_uri(before)

def theirs(): return pd.DataFrame([dict(config=f'C={C}', seed=seed, accuracy=.5 + C/10 + seed/100, converged=True, **{'settings/C': C}) for C in (.1, 1.) for seed in range(6)])

def test_what_pandas_writes_by_itself(tmp_path):
    "`to_csv` and `to_parquet` as they come: the index is no number of a run; a single file will do; words of others for how a run ended; nullable columns"
    store,frame = Store(tmp_path/'s.db'),theirs()
    frame.to_csv(tmp_path/'own.csv'); frame.to_parquet(tmp_path/'own.parquet'); frame.convert_dtypes().to_parquet(tmp_path/'nullable.parquet')
    frame.assign(status=['FINISHED']*11 + ['crashed']).to_csv(tmp_path/'wandb.csv', index=False)
    frame.assign(seed=frame.seed.astype(float), accuracy=frame.accuracy.where(frame.seed != 3)).to_csv(tmp_path/'gaps.csv', index=False)
    for name, format in (('own.csv', 'csv'), ('own.parquet', 'parquet'), ('nullable.parquet', 'parquet'), ('wandb.csv', 'csv'), ('gaps.csv', 'csv')):
        assert store.take(name, tmp_path/name, format) == 12
        runs = store.runs(name)
        assert [c for c in runs.columns if c not in ('run', 'step', 'config', 'kind', 'axis', 'value', 'seed', 'status', 'seconds', 'error', 'engine')] == ['accuracy', 'converged']
        assert runs.seed.tolist() == frame.seed.tolist() and (name == 'gaps.csv' or runs.accuracy[runs.status == 'done'].tolist() == frame.accuracy[runs.status == 'done'].tolist())
        study = Study.open(name, store)
        assert study.metric == 'accuracy' and study.table()['mean'].round(6).tolist() == (frame.assign(accuracy=runs.accuracy)[runs.status == 'done'].groupby('config').accuracy.mean().round(6).tolist())
    assert store.runs('wandb.csv').status.tolist() == ['done']*11 + ['failed'] and Study.open('gaps.csv', store).table().missing.tolist() == [1, 1]

def test_what_cannot_be_a_run_is_told_and_nothing_is_written(tmp_path):
    store,frame = Store(tmp_path/'s.db'),theirs()
    history = pd.DataFrame(dict(run=[0, 0], epoch=[0, 1], metric='loss', value=[1., .5]))
    for words, runs, its in (('got:  nan', frame.assign(seed=frame.seed.where(frame.seed > 0)), None), ("got:  a", frame.assign(seed='a'), None), ('got:  0.5', frame.assign(seed=frame.seed + .5), None), ('got:  inf', frame.assign(seed=math.inf), None), ('row 0 of the column config', frame.assign(config=[None]*6 + ['x']*6), None),
                             ('0 rows', frame.iloc[:0], None), ("kind that does not exist.*'net'", frame.assign(kind='net'), None), ("status that does not exist.*'over'.*fix:.*'done'", frame.assign(status='over'), None),
                             ('need: metric', frame, history.drop(columns='metric')), ('epoch of the history.*0.5', frame, history.assign(epoch=.5)), ('need: config', frame.drop(columns='config'), None)):
        with pytest.raises(ValueError, match=f'(?s){words}'): store.add_runs('x', runs, its)
        assert store.studies == []
    (tmp_path/'no.csv').write_text('a,b\n1,2\n')
    with pytest.raises(ValueError, match='need: config, seed'): store.take('x', tmp_path/'no.csv')

def test_a_table_of_somebody_else(tmp_path):
    store = Store(tmp_path/'s.db')
    (tmp_path/'their').mkdir()
    (tmp_path/'their'/'runs.csv').write_text('config,seed,settings/opt,settings/lr,acc\na,0,adam,0.1,0.9\na,1,adam,0.1,0.8\nb,0,sgd,0.2,\n')
    assert store.take('their', tmp_path/'their') == 3
    runs = store.runs('their')
    assert runs[['config', 'seed']].values.tolist() == [['a', 0], ['a', 1], ['b', 0]] and runs.acc.tolist()[:2] == [.9, .8] and math.isnan(runs.acc[2])

def test_settings_travel(tmp_path):
    "What a study of ours assigned comes back as settings, in every format; MLflow shows them as parameters"
    from upslope.lab import Recipe
    from upslope.lab.design import Variant, to_config
    store = Store(tmp_path/'s.db')
    recipes = [Recipe('digits', dense, epochs=1, lr=lr, width=w) for lr, w in ((.1, 4), (.01, 8))]
    store.declare('own', [to_config(Variant(f'dense {i}', r), 0) for i, r in enumerate(recipes)], [0], {})
    while claim := store.claim('own'): store.finish(claim, dict(valid_accuracy=.5), {})
    for format in ('csv', 'parquet', 'tensorboard'):
        store.export('own', tmp_path/format, format)
        store.take(format, tmp_path/format, format)
        found = {r['label']: json.loads(r['body'])['own'] for r in store.query('SELECT label, body FROM config JOIN recipe ON recipe=key WHERE study=?', format)}
        assert [(s['lr'], s['width'], s['data'], s['epochs']) for s in found.values()] == [(.1, 4, 'digits', 1), (.01, 8, 'digits', 1)], (format, found)
    assert store.runs('csv').columns.tolist() == store.runs('own').columns.tolist()

def dense(width=4):
    from torch import nn
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.LazyLinear(10))
