"A study survives what happens to long work: kills, Ctrl-C, a second process, failures"
import json, os, random, signal, subprocess, sys, time
from pathlib import Path
import pytest
from upslope.lab import Store, Study

SCRIPT = """
import os, sys, time
from pathlib import Path
from torch import nn
from upslope.lab import Recipe, Study
from upslope.lab.baselines import logistic_regression, most_frequent

def dense(width=16, fail_at=-1, seed=0):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.LazyLinear(10))
def fragile(width=16): raise MemoryError(f'no room for {width} units')
def dies(width=16): os.kill(os.getpid(), 9)
def waits(width=16):
    "A model that is not there before the file `go` is: holds its study at work for as long as a test needs"
    end = time.monotonic() + 300
    while not Path('go').exists() and time.monotonic() < end: time.sleep(.02)
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.LazyLinear(10))

if __name__ == '__main__':
    models = [globals()[o] for o in sys.argv[2].split(',')]
    study = Study('s', Recipe('digits', dense, epochs=2, lr=1e-2), [dict(model=models), dict(width=[8, 16, 32])], seeds=int(sys.argv[3]), baselines=[most_frequent, logistic_regression], store=sys.argv[1])
    study.run(workers=2)
    print(study.table().to_string())
"""

@pytest.fixture
def script(tmp_path):
    (tmp_path/'work.py').write_text(SCRIPT)
    return tmp_path/'work.py'

def start(script, models='dense', seeds=3, **kwargs):
    return subprocess.Popen([sys.executable, str(script), str(script.parent/'store.db'), models, str(seeds)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=script.parent, **kwargs)

def finished(path): return {(r['recipe'], r['seed']): (r['id'], r['attempt'], r['finished']) for r in Store(path).query("SELECT * FROM run WHERE status='done'")} if path.exists() else {}

def wait_for(path, n, timeout=120):
    end = time.monotonic() + timeout
    while len(finished(path)) < n and time.monotonic() < end: time.sleep(.05)

def test_kill_nine_and_go_on(script):
    "Killed at random moments, the same command goes on; no finished run is done again; the workers go with it"
    chance,path,before = random.Random(0),script.parent/'store.db',{}
    for trial in range(5):
        p = start(script)
        wait_for(path, min(len(before) + chance.randrange(3), 13), timeout=40)
        time.sleep(chance.uniform(0, .3))
        workers = subprocess.run(['pgrep', '-f', f'upslope.lab.planner {path}'], capture_output=True, text=True).stdout.split()
        p.kill(); p.communicate()
        end = time.monotonic() + 60
        while any(Path(f'/proc/{w}').exists() and 'Z' not in Path(f'/proc/{w}/stat').read_text().rsplit(')')[1][:3] for w in workers) and time.monotonic() < end: time.sleep(.05)
        assert time.monotonic() < end, 'a worker outlived the process that started it'
        after = finished(path)
        assert before.items() <= after.items()   # kept, and none begun again
        before = after
    out,err = start(script).communicate()
    after = finished(path)
    assert before.items() <= after.items() and len(after) == 3*(2 + 1 + 2), out + err   # baselines, model, widths
    with Store(path) as store: store.check()

def test_interrupt(script):
    "Ctrl-C: it says what is kept and goes on the next time"
    path = script.parent/'store.db'
    p = start(script, 'dense,waits', start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))   # a shell that runs us in the background has it ignored
    wait_for(path, 4)
    os.killpg(p.pid, signal.SIGINT)
    out,err = p.communicate(timeout=120)
    assert p.returncode != 0 and 'Interrupted.' in out and 'goes on from here' in out, out + err
    kept = finished(path)
    assert len(kept) >= 4
    (script.parent/'go').touch()
    out,err = start(script, 'dense,waits').communicate()
    assert kept.items() <= finished(path).items() and len(finished(path)) == 18, out + err

def test_a_second_process_is_told(script):
    path = script.parent/'store.db'
    p = start(script, 'dense,waits')
    wait_for(path, 1)
    out,err = start(script, 'dense,waits').communicate()
    assert "Another process is at work on study 's'" in err and f'process {p.pid} ' in err, out + err
    (script.parent/'go').touch()
    p.communicate()
    assert len(finished(path)) == 18

def test_failures_are_results(script):
    "One model raises, another takes its process with it: both are recorded, and the others are done"
    fresh = {k: v for k, v in os.environ.items() if k != 'UPSLOPE_WARM'}   # who has died is counted by who has started it
    out,err = start(script, 'dense,fragile,dies', 2, env=fresh).communicate()
    path = script.parent/'store.db'
    runs = Store(path).runs('s')
    assert runs.groupby('config', sort=False).status.agg(set).to_dict() == {'most_frequent': {'done'}, 'logistic_regression': {'done'}, 'dense': {'done'},
        'fragile': {'failed'}, 'dies': {'failed'}, 'dense, width=8': {'done'}, 'dense, width=32': {'done'}}, err
    assert 'MemoryError: no room for 16 units' in runs[runs.config == 'fragile'].error.iloc[0] and 'return' not in out.splitlines()[0]
    assert 'died in the middle of this run, twice (signal SIGKILL)' in runs[runs.config == 'dies'].error.iloc[0]
    attempts = {r['status']: r['a'] for r in Store(path).query("SELECT status, max(attempt) a FROM run GROUP BY status")}
    assert attempts['done'] <= 2 and attempts['failed'] == 2
    failed = start(script, 'dense,fragile,dies', 2, env=fresh).communicate()   # not retried unless asked for
    assert Store(path).query("SELECT max(attempt) a FROM run")[0]['a'] == 2, failed

def test_nothing_wins(script, tmp_path):
    "If every configuration diverges, the next step has no base, and it is said; the runs are kept with the cause"
    (tmp_path/'wild.py').write_text("""if 1:
        from torch import nn
        from upslope.lab import Recipe, Study
        def linear(width=8): return nn.Sequential(nn.LazyLinear(width), nn.ReLU(), nn.LazyLinear(1))
        Study('s', Recipe('diabetes', linear, epochs=2, lr=1e4, opt='sgd', schedule='constant'), [dict(width=[16]), dict(lr=[.1])], seeds=2, store='s.db').run(workers=1)
    """)
    said = subprocess.run([sys.executable, 'wild.py'], cwd=tmp_path, capture_output=True, text=True)
    assert 'StudyError: No configuration has finished all its seeds' in said.stderr and 'fix:  study.failures()' in said.stderr
    with Store(tmp_path/'s.db') as store:
        runs = store.runs('s')
        assert set(runs[runs.kind == 'model'].status) == {'failed'} and set(runs[runs.kind == 'baseline'].status) == {'done'}
        assert runs[runs.kind == 'model'].error.str.contains('fix:  lr=').all()

def test_functions_of_a_module_and_of_a_script_are_rebuilt(script):
    "What the worker built is what the script declared"
    start(script).communicate()
    study = Study.open('s', script.parent/'store.db')
    assert study['dense, width=8'].recipe['model'](8)[1].out_features == 8
    assert study.recipe['model'].load().__module__.startswith('recipe_')
    about = json.loads(study.store.query("SELECT context FROM run WHERE status='done' LIMIT 1")[0]['context'])   # what is recorded with each run
    assert about['data'] == study.recipe.dataset(0).version and {'python', 'torch', 'upslope', 'cpu', 'cores', 'device', 'system', 'threads'} <= about.keys()

def test_the_printed_command_does_a_run_again_from_anywhere(tmp_path):
    "A model of a module beside a script that was started from elsewhere: the command is a line for a shell in any folder, and the numbers are the same"
    (tmp_path/'code dir').mkdir(); (tmp_path/'elsewhere').mkdir()
    (tmp_path/'code dir'/'their_models.py').write_text('def majority():\n    from sklearn.dummy import DummyClassifier\n    return DummyClassifier()\ndef net():\n    from torch import nn\n    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))\n')
    (tmp_path/'code dir'/'script.py').write_text('import sys, their_models\nfrom upslope.lab import Recipe, Study\nStudy("s", Recipe("digits", their_models.net, epochs=1), seeds=1, baselines=[their_models.majority], store=sys.argv[1]).run(workers=1, show=False)\n')
    done = subprocess.run([sys.executable, str(tmp_path/'code dir'/'script.py'), str(tmp_path/'s.db')], cwd=tmp_path/'elsewhere', capture_output=True, text=True)
    run = next(r for r in (Store(tmp_path/'s.db').run(i) for i in (1, 2)) if r.config == 'net')
    assert run.status == 'done', done.stderr
    line = run.reproduce().splitlines()[-1].removeprefix('again: ')
    said = subprocess.run(line, shell=True, cwd='/', capture_output=True, text=True)
    assert said.returncode == 0 and said.stdout.count('(the same)') == len(run.results()) > 4, said.stdout + said.stderr

def test_the_code_version_is_recorded_with_each_run(tmp_path, monkeypatch):
    "In a real git repository: the commit, whether a file was changed since, and the next commit; outside of one, or where git is not installed, nothing, and the runs are done"
    import shutil
    from upslope.lab import Recipe
    from upslope.lab.baselines import most_frequent
    from upslope.lab.design import Variant, to_config
    from upslope.lab.worker import context, work
    if not shutil.which('git'): pytest.skip('needs git')
    repo,empty = tmp_path/'repo',tmp_path/'empty'
    (repo/'sub').mkdir(parents=True); empty.mkdir()
    (repo/'models.py').write_text('def net(): return 1\n')
    git = lambda *args: subprocess.run(['git', '-c', 'user.name=a', '-c', 'user.email=a@b.c', *args], cwd=repo, check=True, capture_output=True, text=True).stdout.strip()
    monkeypatch.setenv('GIT_CEILING_DIRECTORIES', str(tmp_path))
    def code(folder): monkeypatch.chdir(folder); return context().get('code')
    git('init', '-q'); git('add', '-A'); git('commit', '-qm', 'one')
    first = git('rev-parse', 'HEAD')[:12]
    assert code(repo/'sub') == first
    (repo/'runs.db').write_text('what git does not know, such as a store of runs, makes nothing dirty')
    assert code(repo) == first
    (repo/'models.py').write_text('def net(): return 2\n')
    store = Store(tmp_path/'s.db')
    store.declare('s', [to_config(Variant('m', Recipe('digits', most_frequent, opt=None)), 0)], [0], {})
    work(store.path, 's')
    assert store.run(1).status == 'done' and store.run(1).context['code'] == f'{first}-dirty' and f'code={first}-dirty' in store.run(1).reproduce()
    git('commit', '-qam', 'two')
    assert code(repo) == git('rev-parse', 'HEAD')[:12] != first
    assert code(empty) is None
    monkeypatch.setenv('PATH', str(empty))
    assert code(repo) is None

@pytest.mark.parametrize('who', ['this process', 'a worker'])
def test_a_mistake_in_the_base_is_told_before_its_runs(tmp_path, who):
    "An unknown metric, data set, loss, optimiser or step, a loss that does not fit: one error in words, no network run, and what is stored stays; found in a worker where the script has no use for PyTorch"
    (tmp_path/'wrong.py').write_text(f'import sys, {"torch" if who == "this process" else "math"}' + """
if 1:
        from upslope.core import UpslopeError
        from upslope.lab import Recipe, Store, Study
        def linear(units=10):
            from torch import nn
            return nn.Sequential(nn.Flatten(), nn.LazyLinear(units))
        recipe = Recipe('digits', linear, epochs=1)
        store = Store('s.db')
        Study('good', recipe, seeds=1, baselines=None, store=store).run(workers=1, show=False)
        before = store.query('SELECT * FROM run'), store.query('SELECT * FROM metric'), store.query('SELECT * FROM result')
        for bad in (dict(metric='valid_acuracy'), dict(data='digit'), dict(loss='mse'), dict(opt='adan'), dict(pipeline='standardise'), dict(units=7), dict(batch_size=5000), dict(schedule='one_cycel')):
            try: Study('bad', recipe if 'metric' in bad else recipe.but(**bad), seeds=1, baselines=None, metric=bad.get('metric'), store=store).run(workers=1, show=False)
            except UpslopeError as e: print('|' + str(e).replace(chr(10), ' '))
        assert before == (store.query("SELECT * FROM run WHERE study='good'"), store.query('SELECT * FROM metric'), store.query('SELECT * FROM result'))
        print('|torch' if 'torch' in sys.modules else '|')
    """)
    said = subprocess.run([sys.executable, 'wrong.py'], cwd=tmp_path, capture_output=True, text=True)
    *texts,loaded = said.stdout.strip().split('|')[1:]
    assert (loaded == 'torch') == (who == 'this process') and not list((tmp_path/'logs').glob('question*')), said.stdout + said.stderr
    wanted = ["fix:  'valid_accuracy'", "fix:  'digits'", "The loss 'mse'", "fix:  'adam'", "fix:  'standardize'", 'a last layer with 10 units', 'got:  batch_size=5000', "fix:  'one_cycle'"]
    assert len(texts) == len(wanted), said.stdout + said.stderr
    for text, words in zip(texts, wanted): assert words in text

def test_data_with_missing_values(tmp_path):
    "A data set with gaps is refused with the columns named; nothing is queued"
    (tmp_path/'gaps.py').write_text("""if 1:
        import numpy as np
        from torch import nn
        from upslope.lab import Recipe, Store, Study
        def gappy(split):
            from sklearn.datasets import load_diabetes
            from upslope.data import sources
            x,y = load_diabetes(return_X_y=True, as_frame=True)
            return sources.arrays(x.mask(x.bmi > .1), y, name='gappy', split=split)
        def linear(): return nn.LazyLinear(1)
        Study('s', Recipe(gappy, linear, epochs=1), seeds=1, store='s.db').run(workers=1, show=False)
    """)
    said = subprocess.run([sys.executable, 'gaps.py'], cwd=tmp_path, capture_output=True, text=True)
    assert "DataError: gappy has" in said.stderr and "'bmi':" in said.stderr and 'fix:' in said.stderr, said.stderr
    assert Store(tmp_path/'s.db').query('SELECT count(*) n FROM run') == [dict(n=0)]

def test_a_base_that_ends_its_process(tmp_path):
    "The worker that is asked about the base dies of it, again and again: an error in words, no run, no wait for ever"
    (tmp_path/'deadly.py').write_text("""if 1:
        from upslope.lab import Recipe, Study
        def deadly():
            import os
            print('as if out of memory', flush=True)
            os._exit(3)
        Study('s', Recipe('digits', deadly, epochs=1), seeds=1, baselines=None, store='s.db').run(workers=1, show=False)
    """)
    said = subprocess.run([sys.executable, 'deadly.py'], cwd=tmp_path, capture_output=True, text=True, timeout=400)
    assert 'WorkerError: The workers die as soon as they start' in said.stderr and 'exit code 3' in said.stderr and 'as if out of memory' in said.stderr, said.stderr
    assert Store(tmp_path/'s.db').query('SELECT count(*) n FROM run') == [dict(n=0)]
