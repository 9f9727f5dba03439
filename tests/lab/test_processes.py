"Studies beside each other, on a full disk, under a clock that is set back: right, and to their ends"
import json, os, random, shutil, subprocess, sys, time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import pytest
from upslope.core.errors import StoreError
from upslope.lab import Queue, Range, Recipe, Store, Study
from upslope.lab import processes
from upslope.lab.halving import Halving
from upslope.lab.search import search
from upslope.lab.store import this_process

# --- two stores in one folder, one name
SIDE = """
import sys
from upslope.lab import Recipe, Study
def dense(width=8, outputs=10):
    from torch import nn
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.LazyLinear(outputs))
def linear():
    from sklearn.linear_model import LinearRegression
    return LinearRegression()
def majority():
    from sklearn.dummy import DummyClassifier
    return DummyClassifier()
if __name__ == '__main__':
    data,path = sys.argv[1:]
    recipe = Recipe(data, dense, epochs=1, lr=1e-2, outputs=10 if data == 'digits' else 1)
    study = Study('same', recipe, dict(width=[16]), seeds=2, baselines=[majority if data == 'digits' else linear], store=path)
    study.run(workers=1, show=False)
    print(study.metric, study.mode, *sorted(set(study.runs().status)), len(study.runs()))
"""

def test_two_stores_in_one_folder_with_studies_of_one_name(tmp_path):
    "Started within 0.3 s of each other, neither loads PyTorch, so that both ask a worker about their data"
    (tmp_path/'side.py').write_text(SIDE)
    chance = random.Random(0)
    for trial in range(3):
        started = []
        for data in ('digits', 'diabetes'):
            command = [sys.executable, 'side.py', data, f'{data}-{trial}.db']
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path))
            time.sleep(chance.uniform(0, .3))
        outputs = [p.communicate(timeout=120) for p in started]
        assert outputs[0][0] == 'valid_accuracy max done 6\n', outputs
        assert outputs[1][0] == 'valid_mae min done 6\n', outputs
    assert not (tmp_path/'logs').exists()
    assert not list(tmp_path.rglob('*.answer')) and not list(tmp_path.rglob('answer.json'))

def test_a_foreign_answer_is_refused_in_words(tmp_path):
    "Where a worker's answer is expected lies a pickle that would make a file"
    from upslope.core.errors import UpslopeError
    from upslope.lab.runners import Workers
    mark = tmp_path/'ran'
    workers = Workers(Store(tmp_path/'s.db'), 's', 1)
    workers.ask(['{}'], 0)
    workers.question.with_name('answer.json').write_bytes(f'cos\nsystem\n(S"touch {mark}"\ntR.'.encode())
    with pytest.raises(UpslopeError, match='no message between'): workers.answer()
    assert not mark.exists()
    workers.__exit__()
    assert not list((tmp_path/'s.files').rglob('*.json'))

# --- the end of a worker
def code_of_leaving():
    "A process that watches its standard input by our code and comes to its own end, without the time that the libraries need"
    root = Path(processes.__file__).parent.parent
    folders = {'upslope': root, 'upslope.core': root/'core', 'upslope.lab': root/'lab'}
    return f"""if 1:
        import sys, time, types
        for name, folder in { {k: str(v) for k, v in folders.items()} }.items():
            sys.modules[name] = types.ModuleType(name)   # a package whose own page, which loads much, is left out
            sys.modules[name].__path__ = [folder]
        from upslope.lab.processes import leave_with
        leave_with()
        time.sleep(SECONDS)
    """

def test_the_end_of_a_worker_is_no_abort():
    "Two hundred ends, eight at a time; half of them while their standard input closes"
    code = code_of_leaving()
    def end(i):
        command = [sys.executable, '-S', '-E', '-c', code.replace('SECONDS', str(i%7*.003))]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        if i%2:
            time.sleep(.03 + .004*(i%11))
            process.stdin.close()
        return process.stderr.read(), process.wait(timeout=60)
    with ThreadPoolExecutor(8) as pool: ends = Counter(pool.map(end, range(200)))
    assert ends == {(b'', 0): 200}, ends

def test_a_real_worker_comes_to_its_end(tmp_path):
    "Nothing to do and nobody at work: it leaves by itself, while its standard input is open"
    with Store(tmp_path/'s.db') as store: store.declare('s', [], [], {})
    command = [sys.executable, '-m', 'upslope.lab.planner', str(tmp_path/'s.db'), 's']
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (process.wait(timeout=120), process.stderr.read()) == (0, b'')

# --- refused writes, everywhere
class Flaky:
    "A store's writes and reads are refused now and then, as a full disk does"
    def __init__(self, store, share): self.store,self.chance,self.share,self.count = store,random.Random(0),share,0
    def __enter__(self):
        for name in ('transaction', 'query', 'rows'): setattr(self.store, name, self.perhaps(getattr(self.store, name)))
        return self
    def __exit__(self, *_):
        for name in ('transaction', 'query', 'rows'): delattr(self.store, name)
    def perhaps(self, action):
        def act(*args):
            if self.chance.random() < self.share:
                self.count += 1
                error = StoreError('The disk is full.')
                error.reason = 'full'
                raise error
            return action(*args)
        return act

@pytest.fixture
def made(monkeypatch):
    "Runs that are made up, in place of worker processes, whose part of the store has room; no sleep"
    import upslope.lab.patience as patience, upslope.lab.study as module, upslope.lab.worker as worker, test_truth
    class Roomy(test_truth.Slow):
        def __init__(self, store, study, *_, **__): super().__init__(Store(store.path), study)
        def __exit__(self, *_): self.store.close()
        def tend(self):
            "As a worker that pauses where it is told to"
            super().tend()
            for claim, epochs in list(self.at.items()):
                if claim.until != epochs: continue
                self.store.pause(claim)
                del self.at[claim]
    monkeypatch.setattr(module, 'make_workers', Roomy)
    clock = type('', (), {**vars(time), 'sleep': lambda s: None})
    for m in (module, patience): monkeypatch.setattr(m, 'time', clock)
    monkeypatch.setattr(worker, 'probe', lambda *_: None)
    monkeypatch.setattr(test_truth.Made, 'score', staticmethod(test_truth.truth))
    return test_truth

STUDIES = dict(
    steps=dict(axes=dict(width=[16, 64], activation=['relu', 'tanh']), seeds=6),
    plan=dict(axes=dict(depth=[1, 2, 4]), seeds=5, half_width=.002),
    nuisance=dict(axes=dict(width=[16, 64]), seeds=3, nuisance=dict(lr=[1e-3, 1e-2])),
    search=dict(axes=dict(lr=Range(1e-5, 1., log=True)), seeds=3, design=search(8, pruner='median')))

def contents(store, name):
    "What a study has left in its store, but for times"
    runs = store.runs(name).drop(columns=['seconds', 'run'], errors='ignore')
    declaration = json.loads(store.query('SELECT declaration FROM study WHERE name=?', name)[0]['declaration'])
    for decision in declaration['decisions']: decision.pop('at')
    declaration.pop('spared_s', None)
    return runs.to_string(), declaration, [(r['config'], r['n']) for r in store.query('SELECT label config, count(*) n FROM run JOIN config ON run.study=config.study AND run.recipe=config.recipe WHERE run.study=? GROUP BY label ORDER BY label', name)]

@pytest.mark.parametrize('kind', STUDIES)
def test_whatever_is_refused_is_done_again(tmp_path, made, kind, recwarn):
    "Three in ten of all that the leading process asks of its store is refused; the end is that of a study that nothing happened to"
    halving = Halving(first=1, factor=2) if kind == 'steps' else None
    def make(name):
        options = dict(STUDIES[kind])
        return Study('s', Recipe('digits', made.net, epochs=4), options.pop('axes'), store=tmp_path/name, **dict(baselines=None, metric='valid_accuracy', mode='max') | options)
    calm,torn = make('calm.db'),make('torn.db')
    calm.run(show=False, halving=halving)
    with Flaky(torn.store, .3) as flaky: torn.run(show=False, halving=halving)
    assert flaky.count > 20
    assert contents(torn.store, 's') == contents(calm.store, 's')
    assert torn.store.query('SELECT owner FROM study') == [dict(owner=None)]
    assert any('The study waits. The disk is full.' in str(w.message) for w in recwarn)

def test_a_queue_waits_too(tmp_path, made, recwarn):
    "Also what the queue itself writes: who has its turn, signs of life, how it ended; and nobody who is told of events misses one"
    store = Store(tmp_path/'s.db')
    queue,events = Queue(store),[]
    for name in 'ab': queue.add(Study(name, Recipe('digits', made.net, epochs=2), None, seeds=2, baselines=None, metric='valid_accuracy', mode='max', store=store))
    with Flaky(store, .3) as flaky: assert queue.run(show=False, on_event=lambda e: events.append(e.kind)) == 2
    assert flaky.count > 10 and events == ['begin', 'run', 'run', 'configuration', 'end']*2
    assert [r['status'] for r in store.query('SELECT status FROM queue')] == ['done', 'done']

def test_ctrl_c_on_a_full_disk_is_heard_at_once_and_the_same_process_goes_on(tmp_path, made, monkeypatch):
    "The study is left without a word in the store, the queue too; taken up again by the process that left it"
    import upslope.lab.patience as patience
    store = Store(tmp_path/'s.db')
    queue = Queue(store)
    queue.add(Study('a', Recipe('digits', made.net, epochs=2), None, seeds=2, baselines=None, metric='valid_accuracy', mode='max', store=store))
    def interrupt(seconds): raise KeyboardInterrupt
    flaky = Flaky(store, 0.)
    def fill(event): flaky.share = 1.
    with monkeypatch.context() as context:
        context.setattr(patience.time, 'sleep', interrupt)
        with flaky, pytest.warns(UserWarning, match='waits'), pytest.raises(KeyboardInterrupt): queue.run(show=False, on_event=fill)
    assert store.query('SELECT owner FROM study') == [dict(owner=this_process())]   # there was no room to write that it left
    assert store.query('SELECT status FROM queue') == [dict(status='active')]
    assert queue.run(show=False) == 1
    assert set(store.runs('a').status) == {'done'} and store.query('SELECT owner FROM study') == [dict(owner=None)]

def test_a_death_on_a_full_disk_is_not_counted(tmp_path):
    "A worker that leaves for want of room, or dies while the disk is full, is started again as often as it takes; its run is not blamed"
    from upslope.lab.design import Variant, to_config
    from upslope.lab.runners import Workers, WorkerError
    from upslope.lab.baselines import most_frequent
    store = Store(tmp_path/'s.db')
    store.declare('s', [to_config(Variant('m', Recipe('digits', most_frequent, opt=None)), 0)], [0], {})
    class Ends(Workers):
        def launch(self, command, env, log): return super().launch([sys.executable, '-S', '-c', f'raise SystemExit({self.code})'], env, log)
    def tend(workers, times):
        with workers.start():
            for _ in range(times):
                while workers.workers[0][1].poll() is None: time.sleep(.01)
                workers.tend()
        return workers.deaths
    with store.owned('s'):
        workers = Ends(store, 's', 1); workers.code = processes.NO_STORE
        assert tend(workers, 12) == 0
        workers = Ends(store, 's', 1); workers.code = 3
        workers.patience.last = time.monotonic()
        assert tend(workers, 12) == 0
        workers = Ends(store, 's', 1); workers.code = 3
        with pytest.raises(WorkerError, match='exit code 3'): tend(workers, 12)
    assert store.query('SELECT crashes FROM run') == [dict(crashes=0)]

# --- a disk that really is full
FULL = """
import sys
from torch import nn
from upslope.lab import Queue, Recipe, Study
def dense(width=8):
    print('a line of the model')
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.LazyLinear(10))
if __name__ == '__main__':
    study = Study('s', Recipe('digits', dense, epochs=8, lr=1e-2), dict(width=[4, 16]), seeds=4, baselines=None, store=sys.argv[1])
    options = dict(workers=1, threads=1, engine='loop', checkpoint_s=.2)
    if sys.argv[2] == 'study': study.run(**options)
    else: Queue(study.store).add(study, **options).run()
"""

@pytest.fixture
def small_disk(tmp_path):
    "A folder on a disk of its own, of three megabytes"
    folder = tmp_path/'small'
    folder.mkdir()
    if os.getuid() or not shutil.which('mount'): pytest.skip('needs root, to mount a small disk')
    done = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', str(folder)], capture_output=True, text=True)
    if done.returncode: pytest.skip(f'no disk can be mounted here: {done.stderr.strip()}')
    yield folder
    subprocess.run(['umount', '-l', str(folder)], check=True)

def fill(path):
    "All the room that there is, to the last byte"
    with open(path, 'ab', buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True: file.write(b'\0'*size)
            except OSError: pass

def numbers(path):
    store = Store(path)
    return store.runs('s').drop(columns='seconds'), store.history('s')

@pytest.fixture(scope='module')
def calm(tmp_path_factory):
    "The numbers of a study that nothing happens to"
    folder = tmp_path_factory.mktemp('calm')
    (folder/'work.py').write_text(FULL)
    done = subprocess.run([sys.executable, 'work.py', 's.db', 'study'], cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return numbers(folder/'s.db')

@pytest.mark.parametrize('who', ['study', 'queue'])
def test_a_disk_that_fills_and_is_freed(tmp_path, small_disk, calm, who):
    "It waits, says so once, and ends with the table of a study that nothing happened to"
    (tmp_path/'work.py').write_text(FULL)
    command = [sys.executable, str(tmp_path/'work.py')]
    path,output = small_disk/'s.db',tmp_path/'output'
    with output.open('w') as file:
        process = subprocess.Popen([*command, str(path), who], stdout=file, stderr=file, env={**os.environ, 'PYTHONUNBUFFERED': '1'})
        try:
            end = time.monotonic() + 120
            def until(condition):
                while not condition():
                    assert process.poll() is None and time.monotonic() < end, output.read_text()
                    time.sleep(.02)
            def done(): return Store(path, check=False).query("SELECT count(*) n FROM run WHERE status='done'")[0]['n']
            until(path.exists)
            time.sleep(.5)
            until(lambda: done() >= 1)
            fill(small_disk/'filler')
            until(lambda: 'waits.' in output.read_text())
            time.sleep(3)   # in which its worker goes on until it has something that must be written
            (small_disk/'filler').unlink()
            assert process.wait(timeout=120) == 0, output.read_text()
        finally: process.kill()
    text = output.read_text()
    assert text.count('waits.') == 1 == text.count('goes on.') and 'No space' not in text.replace('database or disk is full', ''), text
    (a,b),(c,d) = calm,numbers(path)
    assert set(c.status) == {'done'} and len(c) == 12 and a.equals(c) and b.equals(d)
    with Store(path) as store: store.check()
    logs = list((Store(path).files/'logs').glob('*/worker-0.log'))
    assert sum(log.read_text().count('a line of the model') for log in logs) >= 12

# --- a clock that is set back
CLOCK = """
import os, time
real = time.time
time.time = lambda: real() - (5000 if os.path.exists(BACK) else 0)
"""

def test_the_clock_is_set_back(tmp_path):
    "By more than an hour, in the middle of a study, for it and its workers: all is done, told once, and no time is negative"
    back = tmp_path/'back'   # there from the end of the first run on
    (tmp_path/'sitecustomize.py').write_text(CLOCK.replace('BACK', repr(str(back))))
    (tmp_path/'work.py').write_text(FULL.replace("**options)\n    else", f"on_event=lambda e: print('event', e.kind, e.run, *([open({str(back)!r}, 'w').close()] if e.kind == 'run' else [])), **options)\n    else"))
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    process = subprocess.run([sys.executable, str(tmp_path/'work.py'), str(tmp_path/'s.db'), 'study'], env=env, capture_output=True, text=True, timeout=200)
    assert process.returncode == 0, process.stdout + process.stderr
    assert not any(' (-' in line for line in process.stdout.splitlines()), process.stdout
    store = Store(tmp_path/'s.db')
    runs = store.query('SELECT started, finished FROM run')
    assert len(runs) == 12 and max(r['finished'] for r in runs) - min(r['finished'] for r in runs) > 4000, 'the clock was not set back'
    assert set(store.runs('s').status) == {'done'}
    lines = [line for line in process.stdout.splitlines() if line.startswith('event run ')]
    assert len(lines) == len(set(lines)) == 12

def test_a_folder_that_may_not_be_written_is_told_at_once(tmp_path):
    "No wait for ever, no worker left"
    (tmp_path/'work.py').write_text(FULL)
    folder = tmp_path/'closed'
    folder.mkdir()
    command = [sys.executable, str(tmp_path/'work.py'), str(folder/'s.db')]
    first = subprocess.run([*command, 'study'], capture_output=True, text=True, timeout=200)
    assert first.returncode == 0, first.stderr
    shutil.rmtree(folder/'s.files', ignore_errors=True)
    if os.getuid() == 0:   # root may write everywhere, but not where nothing is mounted to be written
        if subprocess.run(['mount', '--bind', '-o', 'ro', str(folder), str(folder)], capture_output=True).returncode: pytest.skip('nothing can be mounted read-only here')
    else: folder.chmod(0o500); (folder/'s.db').chmod(0o400)
    try:
        for who in ('study', 'queue'):
            again = subprocess.run([*command, who], capture_output=True, text=True, timeout=100)
            assert again.returncode != 0 and 'Error' in again.stderr, again.stdout + again.stderr
    finally:
        if os.getuid() == 0: subprocess.run(['umount', '-l', str(folder)], check=True)
        else: folder.chmod(0o700); (folder/'s.db').chmod(0o600)
