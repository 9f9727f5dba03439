"The store's promises, kept through kills, full disks and many processes at once"
import json, os, random, subprocess, sys, threading, time
import pytest
from hypothesis import given, settings, strategies as st
from upslope.core import StoreError, UpslopeError
from upslope.lab.store import SCHEMA, Config, Store

CONFIGS = [Config(f'c{i}', json.dumps(dict(i=i))) for i in range(4)]

def python(code, *args, **kwargs):
    return subprocess.Popen([sys.executable, '-c', code, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)

WORKER = """
import sys, time
from upslope.lab.store import Store
store = Store(sys.argv[1])
print('ready', flush=True)
while (claim := store.claim('s')) is not None:
    for epoch in range(5):
        time.sleep(.02)
        sys.stdin.readline()   # one line for each epoch: it cannot run away from its test
        store.log(claim, epoch, dict(loss=claim.run*100 + epoch, acc=epoch))
        print('logged', claim.run, claim.attempt, epoch, flush=True)   # only now it is acknowledged
    store.finish(claim, dict(score=claim.run), {})
    print('done', claim.run, flush=True)
"""

def test_kill_at_random_moments(tmp_path):
    "Workers are killed again and again: nothing acknowledged is lost, nothing is torn, every run is done once"
    store = Store(tmp_path/'s.db')
    store.declare('s', CONFIGS, list(range(15)), {})
    chance,acknowledged,kills = random.Random(0),{},0
    for trial in range(21):   # 20 rounds of kills, then they may finish
        store.requeue('s')
        workers = [python(WORKER, store.path, stdin=subprocess.PIPE) for _ in range(2)]
        for w in workers: w.stdin.write('\n'*(chance.randrange(1, 7) if trial < 20 else 1000)); w.stdin.flush()
        if trial < 20:
            for w in workers: assert w.stdout.readline() == 'ready\n', w.communicate()
            time.sleep(chance.uniform(0, .15))   # at work, or, on a fast machine, waiting for its next line
            for w in workers: kills += w.poll() is None; w.kill()
        for w in workers:
            for line in w.communicate()[0].splitlines(keepends=True):
                if not line.endswith('\n'): continue   # killed in mid-word (PYTHONUNBUFFERED writes word by word): not acknowledged
                word,*numbers = line.split()
                if word == 'ready': continue
                acknowledged.setdefault(word, set()).add(tuple(map(int, numbers)))
        store.check()
        for run, attempt, epoch in acknowledged.get('logged', ()):
            now = store.query('SELECT attempt FROM run WHERE id=?', run)[0]['attempt']
            rows = store.query('SELECT name, value FROM metric WHERE run=? AND epoch=? ORDER BY name', run, epoch)
            if now == attempt: assert [r['value'] for r in rows] == [epoch, run*100 + epoch]
            else: assert len(rows) in (0, 2)   # a later attempt began again; an epoch is there whole or not at all
        for run, in acknowledged.get('done', ()): assert store.query('SELECT status FROM run WHERE id=?', run)[0]['status'] == 'done'
    assert kills == 40 and acknowledged['logged']
    assert store.query('SELECT status, count(*) n FROM run GROUP BY status') == [dict(status='done', n=60)]
    assert store.query('SELECT count(*) n FROM metric')[0]['n'] == 60*10
    assert len(acknowledged['done']) <= 60 and store.query('SELECT sum(value) t FROM result')[0]['t'] == sum(range(1, 61))

def test_eight_processes_make_one_store(tmp_path):
    code = "import sys; from upslope.lab.store import Store; s = Store(sys.argv[1]); s.check(); print(s.query('PRAGMA user_version')[0]['user_version'])"
    for trial in range(3):
        made = [python(code, tmp_path/f'{trial}.db') for _ in range(8)]
        assert [p.communicate() for p in made] == [(f'{SCHEMA}\n', '')]*8

def test_killed_while_being_made(tmp_path):
    "A store whose making was interrupted is made anew, not taken for a foreign file"
    code = "import sys; from upslope.lab.store import Store; print('go', flush=True); Store(sys.argv[1])"
    for trial in range(25):
        path = tmp_path/f'{trial}.db'
        p = python(code, path)
        p.stdout.readline()
        time.sleep(trial*.0008)
        p.kill(); p.communicate()
        with Store(path) as s: s.check(); s.declare('s', CONFIGS, [0], {})

def test_each_run_is_claimed_once(tmp_path):
    store = Store(tmp_path/'s.db')
    store.declare('s', CONFIGS, list(range(50)), {})
    code = "import sys; from upslope.lab.store import Store; s = Store(sys.argv[1])\nwhile (c := s.claim('s')): print(c.run)"
    claimed = [int(o) for p in [python(code, store.path) for _ in range(4)] for o in p.communicate()[0].split()]
    assert sorted(claimed) == list(range(1, 201))

def test_disk_full(tmp_path):
    "A full disk is named as the cause; what was stored before is intact, and goes on when there is room"
    store = Store(tmp_path/'s.db')
    store.declare('s', CONFIGS, [0], {})
    claim = store.claim('s')
    store.log(claim, 0, {f'm{i}': i for i in range(100)})
    pages = store.query('PRAGMA page_count')[0]['page_count']
    store.query(f'PRAGMA max_page_count={pages}')
    with pytest.raises(StoreError, match='disk is full'):
        for epoch in range(1, 1000): store.log(claim, epoch, {f'm{i}': i for i in range(100)})
    kept = store.query('SELECT epoch, count(*) n FROM metric GROUP BY epoch')
    assert kept and all(r['n'] == 100 for r in kept)
    store.query(f'PRAGMA max_page_count={pages+1000}')
    store.log(claim, epoch, {f'm{i}': i for i in range(100)})
    store.check()

def test_file_size_limit(tmp_path):
    "The system's own limit, in the middle of a commit"
    code = """if 1:
        import resource, signal, sys
        from upslope.core import StoreError, UpslopeError
        from upslope.lab.store import Store, Config
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store = Store(sys.argv[1])
        store.declare('s', [Config('c', '{}')], [0], {})
        claim = store.claim('s')
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        for epoch in range(100_000):
            try: store.log(claim, epoch, {f'm{i}': i for i in range(50)})
            except StoreError as e: print(epoch, str(e).splitlines()[0]); break
    """
    out,err = python(code, tmp_path/'s.db').communicate()
    assert not err, err
    epochs = int(out.split()[0])
    with Store(tmp_path/'s.db') as store:
        store.check()
        assert store.query('SELECT count(*) n FROM metric')[0]['n'] == 50*epochs and epochs > 10

@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_read_only(tmp_path):
    with Store(tmp_path/'s.db') as store: store.declare('s', CONFIGS, [0], {})
    (tmp_path/'s.db').chmod(0o444)
    with pytest.raises(StoreError, match='read-only'): Store(tmp_path/'s.db').claim('s')

def test_damage_is_told(tmp_path):
    "Random bytes inside the file: whatever is read is either told to be damaged, or is what was written"
    with Store(tmp_path/'s.db') as store:
        store.declare('s', CONFIGS, list(range(20)), {})
        while claim := store.claim('s'):
            store.log_rows([(claim, e, {f'm{i}': .1*i + e for i in range(20)}) for e in range(2)])
            store.finish(claim, {f'm{i}': .1*i for i in range(5)}, {})
        store.query('PRAGMA wal_checkpoint(TRUNCATE)')
        runs,history = [f.drop(columns=['seconds', 'error', 'engine'], errors='ignore') for f in (store.runs('s'), store.history('s'))]
    whole,chance,found,told = (tmp_path/'s.db').read_bytes(),random.Random(1),0,0
    for trial in range(100):
        at,n = chance.randrange(4096, len(whole) - 64),chance.choice([1, 4, 64])   # not the header: a file without one is no store
        (tmp_path/'d.db').write_bytes(whole[:at] + chance.randbytes(n) + whole[at+n:])
        for tail in ('-wal', '-shm'): (tmp_path/f'd.db{tail}').unlink(missing_ok=True)
        try:
            with Store(tmp_path/'d.db') as store:
                found += 1   # SQLite's own check has seen nothing
                assert store.runs('s')[runs.columns].equals(runs), f'{n} bytes at {at} changed the table, and nothing was said'
                assert store.history('s').equals(history), f'{n} bytes at {at} changed the history, and nothing was said'
        except UpslopeError: told += 1
    print(f'{told} of 100 told, {found} passed the integrity check')
    assert told >= 40 and found >= 20, (told, found)   # both happen, else this proves nothing

def test_late_results_of_a_given_up_worker(tmp_path):
    "However claims, deaths and results are interleaved: what an attempt logs replaces all from its first epoch on, what was before stays, nothing of a late worker is taken"
    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.sampled_from(['log', 'die', 'late log', 'late finish', 'finish']), max_size=12), st.integers(0, 10**9))
    def holds(events, salt):
        path = tmp_path/f'{salt}-{time.monotonic_ns()}.db'
        with Store(path) as store:
            store.declare('s', CONFIGS[:1], [0], {})
            dead = json.dumps(dict(host=__import__('socket').gethostname(), pid=2**22 + 1, start='0'))
            claims,logged,finished,fresh = [store.claim('s', process=dead)],{},False,True
            for i, event in enumerate(events):
                if event == 'die' and not finished:
                    assert store.requeue('s') == 1
                    claims.append(store.claim('s', process=dead)); fresh = True
                elif event == 'log' and not finished:
                    epoch = i % 5
                    if fresh: logged,fresh = {k: v for k, v in logged.items() if k < epoch},False
                    store.log(claims[-1], epoch, dict(a=i)); logged[epoch] = i
                elif event == 'finish' and not finished: store.finish(claims[-1], dict(score=i), {}); finished = True
                elif event.startswith('late') and len(claims) > 1:
                    with pytest.raises(StoreError, match='no longer'):
                        store.log(claims[0], 99, dict(a=99)) if event == 'late log' else store.finish(claims[0], dict(score=99), {})
            assert {r['epoch']: r['value'] for r in store.query('SELECT epoch, value FROM metric')} == logged
    holds()

def test_threads_share_one_store(tmp_path):
    "A heartbeat may come from another thread while the run logs"
    store = Store(tmp_path/'s.db')
    store.declare('s', CONFIGS[:1], [0], {})
    claim,stop = store.claim('s'),threading.Event()
    def pulse():
        while not stop.is_set(): store.beat('s', [claim])
    t = threading.Thread(target=pulse); t.start()
    for epoch in range(300): store.log(claim, epoch, dict(a=epoch))
    stop.set(); t.join()
    assert store.query('SELECT count(*) n FROM metric')[0]['n'] == 300

def test_many_stores_in_one_process(tmp_path):
    "A file that is opened and closed by others of this process keeps its locks: nothing is damaged while another process works on it"
    path = tmp_path/'s.db'
    store = Store(path)
    store.declare('s', CONFIGS, list(range(40)), {})
    workers = [python(WORKER.replace('time.sleep(.02)', 'time.sleep(.001)'), path, stdin=subprocess.DEVNULL) for _ in range(2)]
    while any(w.poll() is None for w in workers):
        with Store(path) as other: other.query('SELECT count(*) FROM metric')
        store.query('SELECT count(*) FROM metric')
    for w in workers: assert 'Error' not in w.communicate()[1]
    with pytest.raises(StoreError, match='no store'): Store(__file__)
    locks = open('/proc/locks').read() if os.path.exists('/proc/locks') else ''
    inode = os.stat(path).st_ino
    if locks: assert any(f'{os.getpid()} ' in line and f':{inode} ' in line for line in locks.splitlines()), 'our connection has lost its lock'
    store.check()
    assert store.query("SELECT count(*) n FROM run WHERE status='done'")[0]['n'] == 160
