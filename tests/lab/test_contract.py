"What the store promises, clause by clause; kills stand in `kills.py`, damage and full disks in the middle of a commit in `test_store.py`"
import json, os, resource, signal, socket, sqlite3, subprocess, sys
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch
import pytest
from torch import nn
from upslope.core import StoreError
from upslope.lab import Store
from upslope.lab.claims import Writer
from upslope.lab.store import APPLICATION, LAYOUTS, SCHEMA, Config, key_of, this_process

CONFIGS = [Config(f'c{i}', json.dumps(dict(i=i))) for i in range(4)]
DEAD = json.dumps(dict(host=socket.gethostname(), pid=2**22 + 1, start='0'))

def tiny(): return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
def python(code, *args, **kwargs): return subprocess.Popen([sys.executable, '-c', code, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)

# --- 1: durable
def test_durable_reaches_the_workers(tmp_path):
    "A store that shall survive a power cut is opened so by its workers too, and each commit of theirs is synced"
    from upslope.lab.runners import Workers
    for durable, level in ((False, 1), (True, 2)):
        store = Store(tmp_path/f'{durable}.db', durable=durable)
        store.declare('s', CONFIGS, [0], {})
        seen = {}
        class Seen(Workers):
            def launch(self, command, env, log): seen.update(env); return None
        Seen(store, 's', 1)._start(0)
        with patch.dict(os.environ, seen): assert Store(store.path, check=False).query('PRAGMA synchronous')[0]['synchronous'] == level

# --- 3: one claim, a lease, an attempt
def test_lease_of_another_machine(tmp_path, monkeypatch):
    "A worker of another machine is given up only when its heartbeat has not changed for a lease, whatever any clock says"
    store = Store(tmp_path/'s.db')
    store.declare('s', CONFIGS[:1], [0], {})
    far = json.dumps(dict(host='elsewhere', pid=1, start='1'))
    now = [1000.]
    monkeypatch.setattr('upslope.lab.store.time.monotonic', lambda: now[0])
    old = store.claim('s', process=far)
    for _ in range(5):
        now[0] += 50; store.beat(claims=[old])
        assert store.requeue('s') == 0   # alive
    now[0] += 59
    assert store.requeue('s') == 0
    now[0] += 2
    assert store.requeue('s') == 1       # a lease without a sign
    new = store.claim('s')
    assert (new.run, new.attempt) == (old.run, 2)
    with pytest.raises(StoreError, match='no longer'): store.finish(old, dict(a=1), {})

# --- 5: a checkpoint and its folder
def test_checkpoint_is_synced_before_the_older_one_goes(tmp_path):
    "bytes, name, folder, and only then is the oldest removed: what a power cut leaves is at least one whole checkpoint"
    if not os.path.exists('/proc/self/fd'): pytest.skip('needs /proc to see which file is synced')
    from upslope.data.saving import load_state
    from upslope.lab import Recipe
    from upslope.lab.worker import RunCheckpoint, execute
    calls = []
    fsync,rename,unlink = os.fsync,os.replace,Path.unlink
    def noted(fd): calls.append(('sync', os.readlink(f'/proc/self/fd/{fd}'))); fsync(fd)
    def renamed(a, b): calls.append(('name', str(b))); rename(a, b)
    def removed(self, missing_ok=False): calls.append(('remove', str(self))) if self.exists() else None; unlink(self, missing_ok=missing_ok)
    folder = tmp_path/'checkpoints'
    with patch('os.fsync', noted), patch('os.replace', renamed), patch.object(Path, 'unlink', removed):
        execute(Recipe('digits', tiny, epochs=4, lr=1e-2), 0, checkpoint=RunCheckpoint(folder, 1e-6))
    jsons = [i for i, c in enumerate(calls) if c[0] == 'name' and c[1].endswith('.json')]
    removals = [i for i, c in enumerate(calls) if c[0] == 'remove' and c[1].endswith('.json')]
    assert len(jsons) >= 4 and len(removals) == len(jsons) - 2   # two are kept
    for i in jsons:
        assert calls[i-1] == ('sync', calls[i][1] + '.part') and ('sync', str(folder)) in calls[i:min([r for r in removals if r > i], default=None)], calls[i-2:i+4]
    for state in folder.glob('*.json'): load_state(state.with_suffix(''))

def test_leftovers_are_swept(tmp_path):
    "Half files of a worker that was killed while it wrote a checkpoint go when the run is taken up again"
    from upslope.lab.worker import RunCheckpoint
    for name in ('step-1-a.json.part', 'step-1-a.safetensors.part', 'step-2-a.safetensors'): (tmp_path/name).write_bytes(b'half')
    RunCheckpoint(tmp_path)
    assert list(tmp_path.iterdir()) == []

def test_weights_are_written_under_our_own_names(tmp_path):
    "Never through a name of safetensors' own, which would stay after a kill; so others may read them as the umask says"
    import torch
    from upslope.data.saving import save_state
    before = os.umask(0o022)
    try:
        store = Store(tmp_path/'s.db')
        store.declare('s', CONFIGS, [0], {})
        save_state(tmp_path/'state', dict(w=torch.ones(3)))
        kept = [store.save(1, 'weights', dict(w=torch.ones(3))), tmp_path/'state.safetensors', tmp_path/'state.json']
    finally: os.umask(before)
    assert [oct(p.stat().st_mode & 0o777) for p in kept] == ['0o644']*3

# --- 6: every call that writes, on a disk that is full, a file that is locked, one that may not be written
def calls_of(store):
    "name -> a call that writes, on a store in which each of them can"
    claims = iter([store.claim('s', process=DEAD), store.claim('s', process=json.dumps(json.loads(this_process()) | dict(name='w')))] + [store.claim('s') for _ in range(7)])
    next(claims); next(claims)   # one for requeue, one for crashed
    from upslope.lab import Queue, Recipe, Study
    import pandas as pd
    paused = next(claims); store.pause(paused)
    a,b,c,d,e,f = claims
    def queue():
        study = Study('queued', Recipe('digits', tiny), seeds=1, baselines=None, store=store)
        Queue(store).add(study)
    other = Store(store.path.with_name('other.db'))
    other.add_runs('theirs', pd.DataFrame(dict(config=['x'], seed=[0], score=[1.])))
    def owned():
        with store.owned('s'): pass
    return dict(log=lambda: store.log(a, 0, {f'm{i}': i for i in range(50)}), log_rows=lambda: store.log_rows([(a, e, dict(x=e)) for e in range(100)]), finish=lambda: store.finish(b, dict(score=1), {}), fail=lambda: store.fail(c, 'no', {}),
        pause=lambda: store.pause(d), stopped=lambda: store.stopped(e, dict(score=1), {}), stop=lambda: store.stop([f.run], 'why'), beat=lambda: store.beat('s', [a]), requeue=lambda: store.requeue('s'), crashed=lambda: store.crashed('s', 'w', 'SIGKILL'),
        go_on=lambda: store.go_on([paused.run]), unpause=lambda: store.unpause('s'), claim=lambda: store.claim('s'), claim_group=lambda: store.claim_group('t', 2), declare=lambda: store.declare('new', CONFIGS, [0, 1], {}), owned=owned, rename=lambda: store.rename('t', 'renamed'),
        save=lambda: store.save(a.run, 'note', 'text'), add_runs=lambda: store.add_runs('in', pd.DataFrame(dict(config=['x'], seed=[0], score=[1.]))), merge=lambda: store.merge(other), queue=queue)

@contextmanager
def full(store):
    "The system lets no file grow"
    wal = Path(f'{store.path}-wal').stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(wal, 1), before[1]))
    try: yield
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, before); signal.signal(signal.SIGXFSZ, ignored)
@contextmanager
def locked(store):
    with Store(store.path, check=False).transaction(), store.patience(0): yield
@contextmanager
def read_only(store):
    store.db.execute('PRAGMA query_only=1')   # what a file says that may not be written, also to root
    try: yield
    finally: store.db.execute('PRAGMA query_only=0')

@pytest.mark.parametrize('trouble,words', [(full, 'disk'), (locked, 'kept the store locked'), (read_only, 'read-only')])
def test_every_call_names_the_cause_and_loses_nothing(tmp_path, trouble, words):
    "Refused, the store is as it was; when the trouble is over the same call does what it should"
    store = Store(tmp_path/'s.db')
    store.declare('s', CONFIGS, [0, 1, 2], {})
    store.declare('t', [Config('c', '{}', family='f')], range(8), {})
    calls = calls_of(store)
    content = lambda: list(store.db.iterdump())
    for name, call in calls.items():
        before = content()
        with trouble(store):
            try: call(); pytest.fail(f'{name}: no error')
            except StoreError as e: said = str(e)
        assert words in said or name == 'save' and 'could not be written' in said, f'{name}: {said}'
        assert content() == before, name
        call()
        store.check()
    assert not list(store.folder(1).glob('*part*'))

def test_opening_names_the_cause(tmp_path):
    "The same when a store is made or brought up to date"
    for name, prepare in dict(new=lambda p: None, old=old_store).items():
        path = tmp_path/f'{name}.db'
        prepare(path)
        before = path.read_bytes() if path.exists() else None
        ignored,limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN),resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
        try:
            with pytest.raises(StoreError, match='disk'): Store(path)
        finally: resource.setrlimit(resource.RLIMIT_FSIZE, limits); signal.signal(signal.SIGXFSZ, ignored)
        with Store(path) as s: s.check(); assert s.version == SCHEMA
        if before: assert Path(f'{path}.v1').exists()
    holder = sqlite3.connect(tmp_path/'new.db', isolation_level=None)
    holder.execute('BEGIN IMMEDIATE')
    with Store(tmp_path/'new.db', timeout_s=.1) as s, pytest.raises(StoreError, match='locked'): s.declare('x', CONFIGS, [0], {})   # it opens: reading needs no lock
    holder.close()

@pytest.mark.skipif(not hasattr(os, 'setuid') or os.geteuid() != 0, reason='needs root, who can become somebody else; test_read_only is the same for those who are not')
def test_read_only_for_somebody_else(tmp_path):
    "A real file of root's, and a user who may not write it"
    import tempfile
    folder = Path(tempfile.mkdtemp()); folder.chmod(0o755)
    with Store(folder/'s.db') as s: s.declare('s', CONFIGS, [0], {})
    code = """if 1:
        import os, sys
        from upslope.core import StoreError
        from upslope.lab.store import Store
        import upslope.lab.claims
        Store(sys.argv[1]).close()   # loads what Python loads late: its own files may be out of that user's reach
        os.setuid(65534)
        try: Store(sys.argv[1]).claim('s'); print('claimed')
        except StoreError as e: print(str(e).splitlines()[0], e.reason)
    """
    out,err = python(code, folder/'s.db').communicate()
    assert out.strip() == 'This store was opened to be read, and nothing is written into it. opened to read', out + err
    with Store(folder/'s.db') as s: s.check(); assert s.claim('s')

def test_training_goes_on_while_the_store_cannot_be_written(tmp_path):
    "The numbers of a run wait in memory while the disk is full, and are written when there is room; its result is the same as without trouble"
    from upslope.lab import Recipe
    from upslope.lab.design import Variant, to_config
    from upslope.lab.worker import execute, work_on
    recipe,store = Recipe('digits', tiny, epochs=12, lr=1e-2),Store(tmp_path/'s.db')
    store.declare('s', [to_config(Variant('tiny', recipe), 0)], [0], {})
    claim,n = store.claim('s'),[0]
    log_rows = store.log_rows
    def sometimes(rows):
        n[0] += 1
        if n[0] <= 2:
            with full(store): return log_rows(rows)
        return log_rows(rows)
    store.log_rows = sometimes
    with patch('upslope.lab.worker.Writer', lambda store, tell: Writer(store, every_s=0, tell=tell)): work_on(store, claim, {})
    assert n[0] > 2 and store.run(claim.run).status == 'done' and store.run(claim.run).results() == execute(recipe, 0)
    assert store.query('SELECT count(DISTINCT epoch) n FROM metric')[0]['n'] == 12

# --- 7: old files, eight processes at once
def old_store(path):
    db = sqlite3.connect(path)
    db.executescript(LAYOUTS[0] + f'PRAGMA application_id={APPLICATION}; PRAGMA user_version=1;')
    db.execute("INSERT INTO study VALUES ('s', '{}', 1., NULL, NULL)")
    db.execute("INSERT INTO recipe VALUES (?, '{}')", (key_of('{}'),))
    db.execute("INSERT INTO config VALUES ('s', 0, 0, 'c', ?, 'model', NULL, NULL)", (key_of('{}'),))
    for run in range(1, 41):
        db.execute("INSERT INTO run (id, study, recipe, seed, status, created) VALUES (?, 's', ?, ?, 'done', 1.)", (run, key_of('{}'), run))
        db.executemany('INSERT INTO metric VALUES (?,?,?,?)', [(run, 'a', e, run + e/100) for e in range(100)])
    db.commit(); db.close()

def test_eight_processes_bring_an_old_store_up_to_date(tmp_path):
    "One of them does it, the others wait; nothing is lost, the copy is the old file"
    code = """if 1:
        import sys
        from upslope.lab.store import Config, Store
        import upslope.lab.claims
        input()
        s = Store(sys.argv[1])
        s.declare(sys.argv[2], [Config('c', '{}')], [0], {})
        print(s.version, s.query('SELECT count(*) n FROM metric')[0]['n'])
    """
    for trial in range(2):
        path = tmp_path/f'{trial}.db'
        old_store(path)
        ready = [python(code, path, f's{i}', stdin=subprocess.PIPE) for i in range(8)]
        for p in ready: p.stdin.write('\n'); p.stdin.flush()
        assert [p.communicate() for p in ready] == [(f'{SCHEMA} 4000\n', '')]*8
        with Store(path) as s: s.check(); assert len(s.studies) == 9
        kept = sqlite3.connect(f'{path}.v1')
        assert kept.execute('SELECT count(*) FROM metric').fetchone() == (4000,) and kept.execute('PRAGMA user_version').fetchone() == (1,)
        kept.close()
        assert not list(tmp_path.glob('*.part*'))

def test_eight_writers_and_a_reader(tmp_path):
    "8 x 250 transactions at once, each acknowledged, none refused as locked; who reads meanwhile sees whole ones only"
    code = """if 1:
        import sys
        from upslope.lab.store import Store
        import upslope.lab.claims
        s = Store(sys.argv[1], check=False)
        c = s.claim('s')
        for e in range(250): s.log(c, e, dict(a=e, b=-e))
        s.finish(c, dict(a=c.run), {})
    """
    store = Store(tmp_path/'s.db')
    store.declare('s', CONFIGS, [0, 1], {})
    writers = [python(code, store.path) for _ in range(8)]
    while any(p.poll() is None for p in writers): assert not store.query('SELECT run, epoch FROM metric GROUP BY run, epoch HAVING count(*) != 2 OR sum(value) != 0')
    assert [p.communicate() for p in writers] == [('', '')]*8
    assert store.query('SELECT count(*) n FROM metric')[0]['n'] == 8*250*2 and set(store.runs('s').status) == {'done'}

# --- 8: network file systems
@pytest.mark.parametrize('kind', ['nfs4', 'cifs', 'fuse.sshfs', 'lustre', '9p'])
def test_network_file_systems(tmp_path, kind):
    "Refused in words; with node=True each machine has a file of its own, and they are merged"
    with patch('upslope.lab.store.filesystem', lambda path: kind):
        with pytest.raises(StoreError, match=f'(?s)not safe.*on {kind}.*node=True.*merge'): Store(tmp_path/'s.db')
        assert list(tmp_path.iterdir()) == []
        for host, seed in (('one', 0), ('two', 1)):
            with patch('socket.gethostname', lambda: host):
                with Store(tmp_path/'s.db', node=True) as s:
                    assert s.path.name == f's.{host}.db' and s.query('PRAGMA journal_mode') == [dict(journal_mode='truncate')]
                    s.declare('s', CONFIGS, [seed], {})
                    while c := s.claim('s'): s.log(c, 0, dict(a=c.seed)); s.finish(c, dict(a=c.seed), {})
    with Store(tmp_path/'all.db') as s:
        assert [s.merge(tmp_path/f's.{host}.db') for host in ('one', 'two', 'one')] == [4, 4, 0]
        assert s.runs('s').a.tolist() == [0., 1.]*4 and len(s.history('s')) == 8

# --- 9: the queue
TAKES = """if 1:
    import sys
    from upslope.lab import Queue
    queue = Queue(sys.argv[1])
    input()
    entry = queue._take()
    print(entry and entry[1], flush=True)
    input()
"""

def test_one_study_at_a_time(tmp_path):
    "Of four processes that ask at one moment one gets the first study, the others nothing, however often they ask; killed, its study comes first again; `active=2` lets one more in, and no third"
    from upslope.lab import Queue, Recipe, Study
    store = Store(tmp_path/'s.db')
    queue = Queue(store)
    for name in 'abc': queue.add(Study(name, Recipe('digits', tiny, epochs=1, lr=1e-2), seeds=1, baselines=None, store=store), workers=1)
    asked = [python(TAKES, store.path, stdin=subprocess.PIPE) for _ in range(4)]
    try:
        for p in asked: p.stdin.write('\n'); p.stdin.flush()
        said = [p.stdout.readline().strip() for p in asked]
        assert sorted(said) == ['None', 'None', 'None', 'a'], said
        first = asked[said.index('a')]
        assert queue.run(show=False) == 0 and queue.frame().status.tolist() == ['active', 'waiting', 'waiting'] and not store.query('SELECT 1 FROM run')
        assert repr(queue).endswith('a (at work), b, c)')
        two = Queue(store, active=2)
        assert two._take()[1] == 'b' and two._take() is None and queue._take() is None
        store.db.execute("UPDATE queue SET status='waiting', process=NULL WHERE study='b'")
        first.kill(); first.wait()
        assert queue._take()[1] == 'a' and queue._take() is None
    finally:
        for p in asked: p.kill(); p.communicate()

def test_a_study_that_somebody_runs_outside_of_the_queue_keeps_its_place(tmp_path):
    "It is not marked as failed, and the one behind it does not overtake it"
    from upslope.lab import Queue, Recipe, Study
    queue = Queue(Store(tmp_path/'s.db'))
    for name in 'ab': queue.add(Study(name, Recipe('digits', tiny, epochs=1), seeds=1, baselines=None, store=queue.store), workers=1)
    with queue.store.owned('a'): assert queue.run(show=False) == 0
    assert queue.frame()[['study', 'status']].values.tolist() == [['a', 'waiting'], ['b', 'waiting']] and queue.frame().error.isna().all() and queue._take()[1] == 'a'

def test_queue_is_first_in_first_out_across_kills(tmp_path):
    "A process that works off the line is killed in each study; the next goes on at the same place"
    from upslope.lab import Queue, Recipe, Study
    store = Store(tmp_path/'s.db')
    queue = Queue(store)
    for name in 'bac': queue.add(Study(name, Recipe('digits', tiny, epochs=1, lr=1e-2), seeds=2, baselines=None, store=store), workers=1)
    code = "import sys; from upslope.lab import Queue; print('at work', flush=True); Queue(sys.argv[1]).run(show=False, on_event=lambda e: (print(e, flush=True), input()))"
    for kills in range(2):   # in the first study, and, as the same place in the line was kept, in it again
        p = python(code, store.path, stdin=subprocess.PIPE, env={**os.environ, 'PYTHONPATH': os.pathsep.join(o or os.getcwd() for o in sys.path)})   # this file must be found
        seen = [p.stdout.readline() for _ in range(2)]
        p.kill(); words = p.communicate()[1]
        assert "study='b'" in seen[1], (seen, words, queue.frame().error.tolist())
        frame = queue.frame()
        assert frame.study.tolist() == ['b', 'a', 'c'] and frame.status.tolist() == ['active', 'waiting', 'waiting'], frame
    assert queue.run(show=False) == 3
    frame = queue.frame()
    assert frame.status.tolist() == ['done']*3 and frame.started.is_monotonic_increasing and frame.finished.is_monotonic_increasing, frame
    assert set(store.query('SELECT status FROM run')[0].values()) == {'done'} and len(store.query('SELECT 1 FROM run')) == 6
