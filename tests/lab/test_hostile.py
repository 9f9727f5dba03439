"What comes from elsewhere is read and never run; what is old, foreign or damaged is told, and never becomes a result"
import contextlib, io, json, os, random, resource, shutil, sqlite3, subprocess, sys, time, warnings
from pathlib import Path
import pytest
from torch import nn
from upslope.core import UpslopeError
from upslope.core.errors import StoreError
from upslope.lab import Queue, Recipe, Store, Study
from upslope.lab.store import Config, key_of
from upslope.lab.trust import TrustError

pytestmark = pytest.mark.xdist_group('hostile')   # in one process, so that what all look at is made once
HERE = Path(__file__).parent
CASES = int(os.environ.get('UPSLOPE_MUTATIONS', 500))   # of fields, and as many of bytes

def dense(width=8): return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
def small(folder, name='s', **kwargs):
    kwargs = dict(axes=dict(width=[4]), seeds=2, baselines=None, store=folder/'runs.db') | kwargs
    return Study(name, Recipe('digits', dense, epochs=kwargs.pop('epochs', 1), lr=kwargs.pop('lr', 1e-2)), **kwargs)

def python(*args, cwd=None, env={}, before=()):
    done = subprocess.run([*before, sys.executable, *map(str, args)], capture_output=True, text=True, cwd=cwd, env={**os.environ, **env})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout

# --- reading
@pytest.fixture(scope='module')
def read(tmp_path_factory):
    "What a process saw that read hostile files in every way"
    place = tmp_path_factory.mktemp('reading')
    (place/'files').mkdir()
    return json.loads(python(HERE/'hostile_cases.py', 'read', 'files', cwd=place, env=dict(XDG_STATE_HOME=str(place/'state'))).splitlines()[-1])

def test_reading_hostile_files_runs_none_of_their_text(read):
    assert read['seen'] == [] and read['marks'] == []
    assert len(read['worked']) > 150
    assert read['failed'] == {}, read['failed']
def test_running_hostile_files_is_refused(read): assert read['ran'] == [] and read['refused'] == 56
def test_the_watch_sees_what_runs(read): assert {event for event, _ in read['control']} >= {'compile', 'exec', 'os.system', 'import'}, read['control']

# --- a store that was given to us
# root may write everywhere; without these two capabilities it may do what others may
AS_OTHERS = ['setpriv', '--bounding-set=-dac_override,-dac_read_search'] if os.getuid() == 0 else []

READ_ALL = """
import sys, os
from pathlib import Path
from upslope.lab import Store, Study, Queue
store = Store(sys.argv[1])
assert store.readonly
study = Study.open('given', store)
print(study, store, Queue(store), study.recipe['model'].lines()[0], study.untrusted())
print(study.table(), study.answers(), study.effects(), study.diary(), len(study.runs()), len(study.history()), store.check_all())
page = study.report()
assert 'class Secret' in page.read_text() and page.parent.resolve() == Path.cwd().resolve()
for change in (lambda: study.run(show=False), lambda: Queue(store).add(study), lambda: store.rename('given', 'mine'), lambda: store.save(1, 'x', 'text'), lambda: store.merge(store)):
    try: change()
    except Exception as e: print(type(e).__name__, str(e).splitlines()[0])
    else: print('CHANGED')
"""

@pytest.fixture
def given(tmp_path):
    "A finished study whose model stands in a script of its own, in a folder that others may read"
    script = tmp_path/'make.py'
    script.write_text('''
import sys
from torch import nn
from upslope.lab import Recipe, Study
class Secret(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    def forward(self, x): return self.body(x)
def net(width=8): return Secret(width)
if __name__ == '__main__':
    Study('given', Recipe('digits', net, epochs=1), dict(width=[4]), seeds=3, baselines=None, store=sys.argv[1]).run(workers=1, show=False)
''')
    (tmp_path/'shared').mkdir()
    python(script, tmp_path/'shared'/'runs.db', cwd=tmp_path, env=dict(XDG_STATE_HOME=str(tmp_path/'their state')))
    return tmp_path/'shared'/'runs.db'

@pytest.mark.skipif(bool(AS_OTHERS) and not shutil.which('setpriv'), reason='root needs setpriv to be told that it may not write')
def test_another_users_store_gives_all_that_it_has(given, tmp_path):
    mine = tmp_path/'mine'
    mine.mkdir()
    for p in [given, *given.parent.rglob('*')]: p.chmod(0o444 if p.is_file() else 0o555)
    given.parent.chmod(0o555)
    before = {p: p.read_bytes() for p in given.parent.rglob('*') if p.is_file()}
    out = python('-c', READ_ALL, given, cwd=mine, env=dict(XDG_STATE_HOME=str(mine/'state')), before=AS_OTHERS)
    assert 'class Secret' not in out.splitlines()[0] and out.count('StoreError') + out.count('TrustError') == 5 and 'CHANGED' not in out, out
    given.parent.chmod(0o755)
    assert {p: p.read_bytes() for p in given.parent.rglob('*') if p.is_file()} == before

def test_a_store_on_a_read_only_mount(given, tmp_path):
    place = tmp_path/'mount'
    place.mkdir()
    if os.getuid() or subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', str(place)], capture_output=True).returncode: pytest.skip('only root can mount, and not everywhere')
    try:
        shutil.copy(given, place/'runs.db')
        subprocess.run(['mount', '-o', 'remount,ro', str(place)], check=True)
        (tmp_path/'mine').mkdir()
        out = python('-c', READ_ALL, place/'runs.db', cwd=tmp_path/'mine', env=dict(XDG_STATE_HOME=str(tmp_path/'my state')))
        assert out.count('StoreError') + out.count('TrustError') == 5 and 'CHANGED' not in out, out
    finally: subprocess.run(['umount', str(place)])

def test_a_model_whose_module_is_not_here_is_read_and_told_when_it_shall_run(tmp_path, monkeypatch):
    (tmp_path/'far_models.py').write_text('from torch import nn\ndef far(width=8): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    import far_models
    study = Study('far', Recipe('digits', far_models.far, epochs=1), seeds=1, baselines=None, store=tmp_path/'runs.db').run(workers=1, show=False)
    (tmp_path/'far_models.py').unlink(); del sys.modules['far_models']
    sys.path.remove(str(tmp_path))
    opened = Study.open('far', tmp_path/'runs.db')
    assert opened.report().exists() and len(opened.runs()) == 1 and str(opened.table()) == str(study.table())
    with pytest.raises(UpslopeError, match='names a function that is not there'): opened.run(show=False)

# --- to trust
def test_what_came_by_a_merge_does_not_run_before_somebody_trusts_it(tmp_path):
    (tmp_path/'theirs').mkdir()
    script = tmp_path/'theirs'/'make.py'
    script.write_text('''
import sys
from torch import nn
from upslope.lab import Recipe, Study
def net(width=8): return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
if __name__ == '__main__':
    study = Study('theirs', Recipe('digits', net, epochs=1), dict(width=[4]), seeds=2, baselines=None, store='theirs/runs.db')
    study.run(workers=1, show=False)
    study.store.db.execute("UPDATE run SET status='queued' WHERE id=1")
''')
    python(script, cwd=tmp_path, env=dict(XDG_STATE_HOME=str(tmp_path/'their state')))
    home = Store(tmp_path/'home.db')
    merged = home.merge(tmp_path/'theirs'/'runs.db')
    assert (merged, merged.recipes, merged.sources) == (3, 2, 2) and 'not to be run before somebody trusts them' in repr(merged)
    study = Study.open('theirs', home)
    assert len(study.untrusted()) == 1 and 'def net' in study.untrusted()[0].source
    with pytest.raises(TrustError, match='came from elsewhere'): study.run(workers=1, show=False)
    assert home.query("SELECT count(*) n FROM run WHERE status='queued'")[0]['n'] == 1
    Study.open('theirs', home, trust=True).run(workers=1, show=False)
    assert set(home.runs('theirs').status) == {'done'}
    Study.open('theirs', home).run(workers=1, show=False)   # asked once

def test_a_planted_text_under_our_key_is_refused_before_it_runs(tmp_path):
    study = small(tmp_path)
    study.keep()
    body = study.recipe.to_json()
    planted = body.replace('"lr": 0.01', '"lr": 0.5')
    assert planted != body
    study.store.db.execute('INSERT INTO recipe (key, body) VALUES (?,?)', (key_of(body), planted))
    with pytest.raises(StoreError, match='its text has another key'): study.run(workers=1, show=False)
    with pytest.raises(StoreError, match='its text has another key'): study.store.check_all()
    assert study.store.query("SELECT count(*) n FROM run WHERE status='done'")[0]['n'] == 0

def test_a_merge_does_not_plant_a_text_under_our_key(tmp_path):
    ours = small(tmp_path)
    (tmp_path/'theirs').mkdir()
    with Store(tmp_path/'theirs'/'runs.db') as theirs:
        theirs.declare('anything', [Config('x', '{"own": {}}')], [0], {})
        theirs.db.execute('UPDATE recipe SET key=?', (ours.recipe.key,))
        for table in ('config', 'run'): theirs.db.execute(f'UPDATE {table} SET recipe=?', (ours.recipe.key,))
        with pytest.raises(StoreError, match='its text has another key'): ours.store.merge(theirs)
    assert ours.store.studies == [] and ours.store.query('SELECT * FROM recipe') == []

# --- what is old
def killed(folder, lr, epochs, after):
    "Start a study in a process of its own and kill all of it when a checkpoint is there"
    script = folder/'killed.py'
    script.write_text(f'''
import sys
from pathlib import Path
sys.path.insert(0, {str(HERE)!r})
from test_hostile import small
if __name__ == '__main__':
    small(Path({str(folder)!r}), epochs={epochs}, lr={lr}, axes=None, seeds=1).run(workers=1, show=False, checkpoint_s=.05)
''')
    p = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    end = time.monotonic() + 240
    while not after() and p.poll() is None and time.monotonic() < end: time.sleep(.01)
    alive = p.poll() is None
    p.kill(); p.wait()
    assert alive, p.stderr.read()[-2000:]
    while workers_of(folder/'runs.db') and time.monotonic() < end: time.sleep(.01)   # its worker notes that it is alone, and leaves

def workers_of(path):
    "Worker processes that are at work on the store"
    def is_one(process):
        try: words = (process/'cmdline').read_bytes().split(b'\0')
        except OSError: return False
        return b'upslope.lab.planner' in words and str(path).encode() in words
    return [process for process in Path('/proc').glob('[0-9]*') if is_one(process)]

def test_a_store_made_anew_takes_no_checkpoint_of_the_old_one(tmp_path):
    killed(tmp_path, 1e-2, 2000, lambda: list((tmp_path).glob('runs.files/*/run-1/checkpoints/step-*.json')))
    for p in tmp_path.glob('runs.db*'): p.unlink()
    left = list(tmp_path.glob('runs.files/*/run-1/checkpoints/*'))
    assert left
    again = small(tmp_path, epochs=4, lr=1e-5, axes=None, seeds=1).run(workers=1, show=False)
    fresh = small(tmp_path/'elsewhere', epochs=4, lr=1e-5, axes=None, seeds=1).run(workers=1, show=False)
    assert list(again.history().epoch.unique()) == [0, 1, 2, 3]
    assert again.runs().valid_accuracy.tolist() == fresh.runs().valid_accuracy.tolist()
    assert all(p.exists() for p in left)   # it is not ours to remove

def test_stores_of_one_stem_share_no_folder(tmp_path):
    a,b = Store(tmp_path/'a.db'),Store(tmp_path/'a.sqlite')
    for s in (a, b): s.declare('s', [Config('c', '{}')], [0], {}); s.save(1, 'note', s.id)
    assert a.load(1, 'note') == a.id and b.load(1, 'note') == b.id and a.folder(1) != b.folder(1)

def test_a_store_of_the_layout_before_keeps_its_files(tmp_path):
    from upslope.lab.store import APPLICATION, LAYOUTS
    with contextlib.closing(sqlite3.connect(tmp_path/'old.db')) as db:
        db.executescript(''.join(LAYOUTS[:2]) + f"PRAGMA application_id={APPLICATION}; PRAGMA user_version=2;")
        db.execute("INSERT INTO study (name, declaration, created) VALUES ('s', '{}', 1.)")
        db.execute("INSERT INTO recipe (key, body) VALUES (?, '{}')", (key_of('{}'),))
        db.execute("INSERT INTO run (id, study, recipe, seed, created) VALUES (1, 's', ?, 0, 1.)", (key_of('{}'),))
        import hashlib
        db.execute("INSERT INTO artefact VALUES (1, 'note', 'text', 'note-1.txt', 5, ?, 1.)", (hashlib.sha256(b'hello').hexdigest(),))
        db.commit()
    (tmp_path/'old.files'/'run-1').mkdir(parents=True); (tmp_path/'old.files'/'run-1'/'note-1.txt').write_text('hello')
    with Store(tmp_path/'old.db') as s: assert s.load(1, 'note') == 'hello' and s.check_all()['files'] == 1
    assert (tmp_path/'old.db.v2').exists()

# --- mutations
HOSTILE = [None, True, -1, 0, 3, 2**63 - 1, 1e308, float('inf'), '', 'x', '{', '{}', '[]', 'null', '5', '"a"', '{"own": {}}', '[' * 100_000, 'ä\x00\u202e', 'x' * 1_000_000, b'\xff\xfe', '../../etc/passwd', "'; DROP TABLE run; --"]

def battery(path):
    "Everything that reads a store"
    with Store(path) as store:
        repr(store), store.contents(), store._repr_html_(), repr(Queue(store)), Queue(store).frame()
        for name in store.studies[:3]:
            store.runs(name), store.history(name)
            for run in store.runs(name).run.head(2): store.run(run).reproduce()
            study = Study.open(name, store)
            repr(study), study.table(), study.answers(), study.diary(), study.plan(), study.untrusted()
        store.check_all()

def only_our_errors(check, cases, seconds=5., megabytes=200):
    "An error of another class, a slow or a large case fails; returns how many were refused"
    refused,foreign = 0,[]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for what, case in cases:
        began = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try: check(case)
            except UpslopeError as e:
                refused += 1
                assert str(e).splitlines()[0].endswith(('.', ':', '?')), e
            except Exception as e: foreign.append(f'{what}: {type(e).__name__}: {str(e)[:200]}')
        if time.process_time() - began > seconds: foreign.append(f'{what}: {time.process_time() - began:.1f} s')
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)/1024
    assert not foreign, f'{len(foreign)} of {len(cases)}:\n' + '\n'.join(foreign[:25])
    assert grown < megabytes, f'{grown:.0f} MB'
    return refused

@pytest.fixture(scope='module')
def sound(tmp_path_factory):
    "A small store, whole, with everything in it, as one file"
    folder = tmp_path_factory.mktemp('sound')
    study = small(folder, axes=dict(width=[4], lr=[1e-2, 1e-3]), baselines='auto').run(workers=1, show=False)
    Queue(study.store).add(study)
    study.store.save(1, 'note', 'hello')
    study.store.db.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    battery(folder/'runs.db')
    return folder

def renew(path, data):
    "Put other bytes in place of a store; a connection that is still open keeps the old file"
    for end in ('', '-wal', '-shm'): Path(f'{path}{end}').unlink(missing_ok=True)
    path.write_bytes(data)

def copy_of(folder, to):
    to.mkdir()
    shutil.copy(folder/'runs.db', to/'runs.db')
    if (folder/'runs.files').exists(): shutil.copytree(folder/'runs.files', to/'runs.files')
    return to/'runs.db'

@pytest.mark.parametrize('part', range(4))
def test_a_store_with_a_changed_field_gives_only_our_errors(sound, tmp_path, part):
    chance,path = random.Random(part),copy_of(sound, tmp_path/'copy')
    whole = path.read_bytes()
    with contextlib.closing(sqlite3.connect(path)) as db:
        tables = {t: [c[1] for c in db.execute(f'PRAGMA table_info({t})')] for t, in db.execute("SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite%'")}
    def check(change):
        renew(path, whole)
        table,column,value,some = change
        with contextlib.closing(sqlite3.connect(path)) as db:
            try: db.execute(f'UPDATE OR REPLACE {table} SET {column}=? WHERE {some}', (value,)); db.commit()
            except sqlite3.IntegrityError: return   # SQLite itself refuses it
        battery(path)
    cases = []
    for _ in range(CASES//4):
        table = chance.choice([*tables, 'study', 'recipe', 'config', 'run'])
        change = table,chance.choice(tables[table]),chance.choice(HOSTILE),chance.choice(['1', 'random() % 2'])
        cases.append((str(change)[:120], change))
    assert only_our_errors(check, cases) > CASES/40

@pytest.mark.parametrize('part', range(4))
def test_a_store_with_changed_bytes_gives_only_our_errors(sound, tmp_path, part):
    chance,path = random.Random(part),copy_of(sound, tmp_path/'copy')
    whole = path.read_bytes()
    def check(change):
        data,(kind, places) = bytearray(whole),change
        if kind == 'cut': data = data[:places]
        else:
            for at, byte in places: data[at] = byte
        renew(path, data)
        battery(path)
    cases = []
    for i in range(CASES//4):
        if i % 5 == 0: change = 'cut',chance.randrange(1, len(whole))
        else:
            page = chance.randrange(len(whole)//4096)*4096
            near = lambda: page + chance.choice([chance.randrange(120), chance.randrange(4096)])
            change = 'bytes',[(near(), chance.randrange(256)) for _ in range(chance.choice([1, 4, 64]))]
        cases.append((str(change)[:120], change))
    assert only_our_errors(check, cases) > CASES/40

@pytest.mark.parametrize('kind', ['toml', 'yaml', 'json'])
def test_a_changed_recipe_gives_only_our_errors(tmp_path, kind):
    chance,recipe = random.Random(0),Recipe('digits', dense, metrics=('accuracy',), patience=3)
    if kind == 'json': text = recipe.to_json()
    else: text = recipe.save(tmp_path/f'r.{kind}').read_text()
    lines = text.split(',') if kind == 'json' else text.splitlines()
    values = ['5', '-1', '"x"', '[]', '{}', '[1, 2]', 'true', 'null', '', '=', '"""', '1e999', '{function = 3}', '{"function": 3}', '{function: [1]}', '"\\u0000"', '[' * 3000, '&a [*a]', '!!python/name:os.system', '2024-01-01']
    def changed():
        some,i = list(lines),chance.randrange(len(lines))
        way = chance.randrange(5)
        if way == 0: del some[i]
        elif way == 1: some.insert(i, some[chance.randrange(len(some))])
        elif way == 2: some[i] = some[i][:chance.randrange(len(some[i]) + 1)]
        elif way == 3:
            head,sep,_ = some[i].partition('=' if kind == 'toml' else ':')
            some[i] = f'{head}{sep} {chance.choice(values)}'
        else:
            at = chance.randrange(len(some[i]) + 1)
            some[i] = some[i][:at] + chr(chance.choice([0, 9, 34, 39, 91, 123, 0xfffd, chance.randrange(32, 127)])) + some[i][at+1:]
        return (',' if kind == 'json' else '\n').join(some)
    def check(text):
        if kind == 'json': read = Recipe.from_json(text)
        else:
            path = tmp_path/f'changed.{kind}'
            path.write_text(text, encoding='utf-8')
            read = Recipe.load(path)
        repr(read), read.key, read._repr_html_(), read.diff(recipe), read.is_estimator
        read.runnable()
    cases = [(text[:200], text) for text in (changed() for _ in range(CASES))]
    assert only_our_errors(check, cases) > CASES/10
