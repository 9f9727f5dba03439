"""Ends at random moments: kill -9, SIGTERM, SIGHUP and Ctrl-C.

In forked children: training with checkpoints, groups, store creation, migration, merges, bare logging, checkpoints, artefacts. In processes of their own, with workers: studies with halving, queues.

  python tests/lab/kills.py 500                so many kills, spread over the scenes; prints what was found, fails at the first loss
  python tests/lab/kills.py 500 training       the share of one scene, or of several
  python tests/lab/kills.py 50 each studying   so many of each scene that is named; of all, if none is

A parent that has loaded everything forks a child for each trial; the child says what the store has acknowledged, through a pipe.
Only kills of a child that still lived count; a scene goes on until it has had its share of them.
"""
import json, os, random, shutil, signal, sqlite3, subprocess, sys, time
from functools import partial
from pathlib import Path
from torch import nn
from upslope.lab import Recipe, Store
from upslope.lab.design import Variant, to_config
from upslope.lab.store import APPLICATION, LAYOUTS, SCHEMA, Config, key_of
from upslope.lab.worker import execute, work_on
from upslope.data.saving import load_state, save_state

KEY = key_of('{}')   # of the recipe in stores that hold no other

def dense(width=8, dropout=.1): return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.Dropout(dropout), nn.LazyLinear(10))

def net(width=8, rate=.1): return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Dropout(rate), nn.Linear(width, 10))   # such as can be stacked

def fork(scene, *args):
    "(pid, file of what the child says) of a child that does `scene`"
    r,w = os.pipe()
    pid = os.fork()
    if pid: os.close(w); return pid, os.fdopen(r)
    os.close(r)
    def say(*words): os.write(w, (json.dumps(words) + '\n').encode())   # whole or not at all: shorter than a page
    signal.signal(signal.SIGINT, signal.default_int_handler)   # who is started in the background has it ignored
    try: scene(say, *args)
    except KeyboardInterrupt: say('interrupted')
    except BaseException as e: say('error', f'{type(e).__name__}: {e}')
    os._exit(0)

ENDS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

def killed(scene, args, after_s, from_word, end=signal.SIGKILL):
    "What a child acknowledged that was killed so long after it began, or after it said `from_word`, and whether it was still alive"
    pid,said = fork(scene, *args)
    early = []
    while from_word and not any(from_word in o for o in early) and (line := said.readline()): early.append(line)
    time.sleep(after_s)
    alive = os.waitpid(pid, os.WNOHANG) == (0, 0)
    if alive: os.kill(pid, end); os.waitpid(pid, 0)
    lines = early + said.read().splitlines()
    said.close()
    words = [json.loads(o) for o in lines]
    errors = [w for w in words if w[0] == 'error']
    assert not errors, errors
    return words, alive

# --- scenes, each in the child
def train(say, path):
    "A worker: claim, train with a checkpoint after each epoch, finish"
    with Store(path) as store:
        store.requeue('s')
        say('open')
        log = store.log_rows
        def told(rows):
            said = log(rows)
            for c, epoch, values in rows: say('logged', c.run, epoch, values)
            return said
        store.log_rows = told
        while claim := store.claim('s'):
            work_on(store, claim, {}, checkpoint_s=1e-6)
            say('done', claim.run)

def group(say, path):
    "A worker that trains the runs of a family together"
    from upslope.lab.planner import Planner, work
    log = Store.log_rows
    def log_and_say(store, rows):
        reply = log(store, rows)
        for c, epoch, values in rows: say('logged', c.run, epoch, values)
        return reply
    Store.log_rows = log_and_say   # in the child alone
    with Store(path) as store: store.requeue('s')
    say('open')
    work(path, 's', checkpoint_s=0., planner=Planner('population'))

class Slow(sqlite3.Connection):
    "A moment before each statement, so that most kills fall between two of them"
    def execute(self, *args): time.sleep(.001); return super().execute(*args)

def create(say, paths):
    "Stores made, or brought up to date, one after the other"
    sqlite3.connect = partial(sqlite3.connect, factory=Slow)   # in the child alone
    for path in paths:
        with Store(path) as store: say('open', path.name); store.declare('s', [Config('c', '{}')], [0], {}); say('declared', path.name)

def merge(say, pairs):
    "Stores taken over by others, one after the other"
    sqlite3.connect = partial(sqlite3.connect, factory=Slow)   # in the child alone
    for path, other in pairs:
        with Store(path) as store:
            say('open', path.name)
            store.merge(other)
            say('merged', path.name)

def log(say, path):
    "Transactions of twenty rows, as fast as they go"
    with Store(path) as store:
        store.requeue('s')
        claim = store.claim('s')
        first = store.query('SELECT coalesce(max(epoch), -1)+1 e FROM metric WHERE run=?', claim.run)[0]['e']
        for epoch in range(first, first + 100_000):
            store.log(claim, epoch, {f'm{i}': epoch + i/20 for i in range(20)})
            say('logged', claim.run, epoch)

def checkpoint(say, path, first):
    "States written one after the other under new names, the last two kept, and one under a name that is there, as `Checkpoint` does"
    import torch
    for n in range(first, first + 100_000):
        save_state(path/f'step-{n:08d}', dict(n=n, w=torch.full((5000,), float(n))))
        save_state(path/'best', dict(n=n, w=torch.full((500_000,), float(n))))
        say('saved', n)
        for old in sorted(path.glob('step-*.json'))[:-2]: old.unlink(); old.with_suffix('.safetensors').unlink()

def artefacts(say, path, first):
    "Weights of one run, replaced again and again"
    import torch
    with Store(path) as store:
        for n in range(first, first + 100_000):
            store.save(1, 'weights', dict(w=torch.full((5000,), float(n))))
            say('saved', n)

def old_store(path, runs=40):
    "A store as the first layout had it, with numbers in it"
    db = sqlite3.connect(path)
    db.executescript(LAYOUTS[0] + f'PRAGMA application_id={APPLICATION}; PRAGMA user_version=1; PRAGMA journal_mode=WAL;')
    db.execute("INSERT INTO study VALUES ('s', '{}', 1., NULL, NULL)")
    db.execute("INSERT INTO recipe VALUES (?, '{}')", (KEY,))
    db.execute("INSERT INTO config VALUES ('s', 0, 0, 'c', ?, 'model', NULL, NULL)", (KEY,))
    for run in range(1, runs+1):
        db.execute("INSERT INTO run (id, study, recipe, seed, status, created) VALUES (?, 's', ?, ?, 'done', 1.)", (run, KEY, run))
        db.executemany('INSERT INTO metric VALUES (?,?,?,?)', [(run, 'a', e, run + e/100) for e in range(100)])
    db.commit(); db.close()

LEADING = """
import sys
from upslope.lab import Halving, Queue, Recipe, Study
def dense(width=8):
    from torch import nn
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.LazyLinear(10))
if __name__ == '__main__':
    path,who = sys.argv[1:]
    recipe = Recipe('digits', dense, epochs=6, lr=1e-2)
    if who == 'study':
        study = Study('s', recipe, dict(width=[2, 4, 16]), seeds=3, baselines=None, store=path)
        study.run(workers=2, threads=1, checkpoint_s=.05, halving=Halving(first=1, factor=2))
    else:
        queue = Queue(path)
        there = {r['study'] for r in queue.store.query('SELECT study FROM queue')}
        for name in {'a', 'b'} - there: queue.add(Study(name, recipe, dict(width=[4]), seeds=2, baselines=None, store=queue.store), workers=2, threads=1, engine='loop', checkpoint_s=.05)
        queue.run()
"""

# --- the trials, in the parent
class Kills:
    def __init__(self, folder, seed=0): self.folder,self.chance,self.count,self.trials,self.facts = Path(folder),random.Random(seed),{},{},{}
    def kill(self, name, scene, args, low, high, from_word=None, ends=(signal.SIGKILL,)):
        words,alive = killed(scene, args, self.chance.uniform(low, high), from_word, self.chance.choice(ends))
        self.count[name] = self.count.get(name, 0) + alive
        self.trials[name] = self.trials.get(name, 0) + 1
        return words
    def more(self, name, n):
        "Whether the scene has not had its share yet"
        assert self.trials.get(name, 0) < 20 + 10*n, f'{name}: {self.count.get(name)} kills in {self.trials[name]} trials; the child is too fast to be killed'
        return self.count.get(name, 0) < n
    def opened(self, path):
        "The store after a kill, and how long it took to open it"
        began = time.perf_counter()
        store = Store(path)
        self.facts.setdefault('open_ms', []).append(1000*(time.perf_counter() - began))
        assert store.query('PRAGMA integrity_check')[0]['integrity_check'] == 'ok'
        return store

    def training(self, n):
        path = self.folder/'train.db'
        recipes = [Recipe('digits', dense, epochs=6, lr=1e-2, width=w) for w in (4, 8)]
        configs = [to_config(Variant(f'w{r["width"]}', r), 0) for r in recipes]
        with Store(path) as s: s.declare('s', configs, list(range(40)), {})
        said,done = {},set()
        while self.more('training', n):
            for word, *rest in self.kill('training', train, (path,), 0, .5, from_word=self.chance.choice(['open', 'logged', 'logged', 'done'])):
                if word == 'logged': said[rest[0], rest[1]] = rest[2]
                if word == 'done': done.add(rest[0])
            with self.opened(path) as store:
                there = {}
                for r in store.query('SELECT run, name, epoch, value FROM metric'): there.setdefault((r['run'], r['epoch']), {})[r['name']] = r['value']
                for key, values in said.items(): assert there.get(key) == values, f'run, epoch {key}: acknowledged {values}, there is {there.get(key)}'
                status = {r['id']: r['status'] for r in store.query('SELECT id, status FROM run')}
                assert all(status[run] == 'done' for run in done)
                if sum(s in ('queued', 'running') for s in status.values()) < 10: store.declare('s', configs, list(range(len(status)//2 + 20)), {})   # enough for all kills
        with self.opened(path) as store:
            for r in store.query("SELECT id, seed, recipe FROM run WHERE status='done' ORDER BY id LIMIT 6"):   # as if nobody had been killed
                recipe = next(o for o in recipes if o.key == r['recipe'])
                assert store.run(r['id']).results() == execute(recipe, r['seed']), f"run {r['id']} did not come out as it does without kills"
            self.facts['runs done'] = store.query("SELECT count(*) n FROM run WHERE status='done'")[0]['n']
            self.facts['epochs acknowledged'] = len(said)

    def _stage(self, name, paths, said):
        "Note how far the child had come with the store that it was at when it was killed"
        path = next((p for p in paths if ('declared', p.name) not in said), None)
        if path is None: stage = 'all done'
        else:
            copy,wal = path.with_name(path.name + '.v1'),path.with_name(path.name + '-wal')
            stage = 'open' if ('open', path.name) in said else 'copied' if copy.exists() else 'half a copy' if any(self.folder.glob(f'{copy.name}.part*')) else 'a log' if wal.exists() else 'a file' if path.exists() else 'nothing'
        stages = self.facts.setdefault(f'{name}, killed at', {})
        stages[stage] = stages.get(stage, 0) + 1

    def grouping(self, n):
        "Three learning rates, two seeds, as a population, until it is done; then anew"
        recipe = Recipe('digits', net, epochs=12, lr=1e-2)
        configs = [to_config(Variant(f'lr={lr}', recipe.but(lr=lr)), 0) for lr in (.001, .01, .03)]
        def declared(name):
            with Store(self.folder/name) as s: s.declare('s', configs, [0, 1], {})
            return self.folder/name
        def numbers(path):
            with Store(path) as s: return s.runs('s').drop(columns='seconds'), len(s.history('s'))
        calm = declared('group-calm.db')
        killed(group, (calm,), 0, 'no such word')
        rows,logged = numbers(calm)
        assert set(rows.status) == {'done'} and set(rows.engine) == {'population'}, [Store(calm).run(1).reason, *rows.engine]
        while self.more('grouping', n):
            path,said = declared(f"group-{self.trials.get('grouping', 0)}.db"),{}
            while self.more('grouping', n):
                words = self.kill('grouping', group, (path,), 0, .6, from_word=self.chance.choice(['open', 'open', 'logged']), ends=ENDS)
                for word, *rest in words:
                    if word == 'logged': said[rest[0], rest[1]] = rest[2]
                with self.opened(path) as store:
                    self._logged(store, said)
                    if set(store.runs('s').status) == {'done'}: break
            killed(group, (path,), 0, 'no such word')
            with self.opened(path) as store: assert self._logged(store, said) == len(said), 'an epoch that was acknowledged is lost'
            torn,n_logged = numbers(path)
            assert set(torn.status) == {'done'} and n_logged == logged
            numeric = rows.select_dtypes('number').columns
            off = (torn[numeric] - rows[numeric]).abs().max(axis=1)
            together = torn.engine == 'population'   # the last one that is left is trained alone, from its beginning: the same but for rounding
            assert (off[together] < 1e-9).all() and (off < 1e-6).all(), f'not as if nobody had been killed: {[*zip(torn.run, torn.engine, off)]}'

    def _logged(self, store, said):
        "How many of the epochs that were acknowledged are there; an error if one has other numbers"
        n = 0
        for (run, epoch), values in said.items():
            there = {r['name']: r['value'] for r in store.query('SELECT name, value FROM metric WHERE run=? AND epoch=?', run, epoch)}
            if not there: continue   # of a run that was begun anew, alone: it is on its way there
            assert there.keys() == values.keys() and all(abs(there[k] - v) < 1e-6 for k, v in values.items()), f'run {run}, epoch {epoch}'
            n += 1
        return n

    def merging(self, n):
        "Two stores with runs of their own and some in common"
        def made(name, runs):
            old_store(self.folder/name, 40)
            with Store(self.folder/name) as s:
                with s.transaction() as db:
                    for table, column in (('metric', 'run'), ('run', 'id')): db.execute(f"DELETE FROM {table} WHERE {column} NOT IN ({','.join(map(str, runs))})")
                s.query('PRAGMA wal_checkpoint(TRUNCATE)')
            return self.folder/name
        a,b = made('merge-a.db', range(1, 26)),made('merge-b.db', range(16, 41))
        while self.more('merging', n):
            pairs = []
            for i in range(10):
                pairs.append((self.folder/f"merge-{self.trials.get('merging', 0)}-{i}.db", b))
                shutil.copyfile(a, pairs[-1][0])
            said = {(w, *r) for w, *r in self.kill('merging', merge, (pairs,), 0, .15, from_word=self.chance.choice(['open', 'merged']), ends=ENDS)}
            for path, other in pairs[:len(said)//2 + 2]:
                with self.opened(path) as store:
                    seeds = {r['seed'] for r in store.query('SELECT seed FROM run')}
                    assert seeds == set(range(1, 41)) or ('merged', path.name) not in said and seeds == set(range(1, 26)), 'half a merge'
                    store.merge(other)
                    assert store.query('SELECT count(*) n, sum(value) s FROM metric')[0] == dict(n=4000, s=sum(r + e/100 for r in range(1, 41) for e in range(100)))
            for path, _ in pairs:
                for p in self.folder.glob(f'{path.name}*'): p.unlink()

    def studying(self, n): self._leading('studying', n, 'study')
    def queueing(self, n): self._leading('queueing', n, 'queue')

    def _leading(self, name, n, who):
        "A process that leads two workers, begun again after each kill, until its studies are done; then anew"
        script = self.folder/f'leading_{who}.py'
        script.write_text(LEADING)
        self._lead(script, self.folder/f'{who}-first.db', who).wait(timeout=300)   # it may be the one for which the libraries are loaded
        began = time.monotonic()
        calm = self.folder/f'{who}-calm.db'
        code = self._lead(script, calm, who).wait(timeout=300)
        whole = time.monotonic() - began
        assert code == 0, (self.folder/'output').read_text()
        reference = self._table(calm)
        self.facts[f'{name}, undisturbed'] = f'{len(reference)} runs in {whole:.0f} s'
        while self.more(name, n):
            path = self.folder/f'{who}-{self.trials.get(name, 0)}.db'
            done = {}
            while self.more(name, n):
                process = self._lead(script, path, who)
                time.sleep(self.chance.uniform(0, 1.1*whole))
                workers = self._workers(path)
                end = self.chance.choice(ENDS)
                alive = process.poll() is None
                if alive: process.send_signal(end)
                process.wait(timeout=60)
                self.count[name] = self.count.get(name, 0) + alive
                self.trials[name] = self.trials.get(name, 0) + 1
                ends = self.facts.setdefault(f'{name}, ends', {})
                if alive: ends[end.name] = ends.get(end.name, 0) + 1
                assert alive or process.returncode == 0, (self.folder/'output').read_text()
                self._none_left(path, workers)
                if not path.exists(): continue
                with self.opened(path) as store: now = {(r['study'], r['recipe'], r['seed']): (r['attempt'], r['finished']) for r in store.query("SELECT * FROM run WHERE status IN ('done', 'stopped')")}
                assert done.items() <= now.items(), 'a run that was done is lost, or was done again'
                done = now
                if not alive: break
            assert self._lead(script, path, who).wait(timeout=300) == 0, (self.folder/'output').read_text()
            assert self._table(path) == reference, 'not as if nobody had been killed'
            self._none_left(path, [])

    def _lead(self, script, path, who):
        with (self.folder/'output').open('w') as output:
            return subprocess.Popen([sys.executable, str(script), str(path), who], stdout=output, stderr=output, cwd=self.folder,
                                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    def _workers(self, path):
        "Processes whose command line names the store"
        found = []
        for p in Path('/proc').glob('[0-9]*'):
            try: words = (p/'cmdline').read_bytes().split(b'\0')
            except OSError: continue
            if b'upslope.lab.planner' in words and str(path.resolve()).encode() in words: found.append(p)
        return found
    def _none_left(self, path, workers):
        "An error if a worker outlives the process that started it by twenty seconds"
        until = time.monotonic() + 20
        while left := self._workers(path):
            assert time.monotonic() < until, f'{len(left)} workers are left'
            time.sleep(.05)
    def _table(self, path):
        with Store(path) as store:
            store.check()
            rows = [[(k, v) for k, v in r.items() if k not in ('run', 'seconds')] for study in store.studies for r in store.runs(study).sort_values(['config', 'seed']).to_dict('records')]
            return sorted(map(repr, rows))

    def creating(self, n):
        while self.more('creating', n):
            paths = [self.folder/f"new-{self.trials.get('creating', 0)}-{i}.db" for i in range(1000)]
            said = {(w, *r) for w, *r in self.kill('creating', create, (paths,), 0, .1, from_word=self.chance.choice(['open', 'declared']))}
            self._stage('creating', paths, said)
            for path in paths[:len(said)//2 + 2]:
                with self.opened(path) as store:
                    assert store.version == SCHEMA and (('declared', path.name) not in said or store.studies == ['s'])
                    store.declare('t', [Config('c', '{}')], [0], {})
            for p in self.folder.glob('new-*'): p.unlink()

    def migrating(self, n):
        template = self.folder/'template.db'
        old_store(template)
        while self.more('migrating', n):
            paths = [self.folder/f"old-{self.trials.get('migrating', 0)}-{i}.db" for i in range(10)]
            for path in paths: shutil.copyfile(template, path)
            said = {(w, *r) for w, *r in self.kill('migrating', create, (paths,), 0, .1, from_word=self.chance.choice([None, 'open', 'declared']), ends=ENDS)}
            self._stage('migrating', paths, said)
            for path in paths[:len(said)//2 + 2]:
                with self.opened(path) as store:
                    assert store.version == SCHEMA and store.query('SELECT count(*) n, sum(value) s FROM metric')[0] == dict(n=4000, s=sum(r + e/100 for r in range(1, 41) for e in range(100)))
                    assert ('declared', path.name) not in said or store.query("SELECT count(*) n FROM run WHERE recipe=? AND seed=0", KEY)[0]['n'] == 1
                kept = sqlite3.connect(path.with_name(path.name + '.v1'))
                assert kept.execute('SELECT count(*) FROM metric').fetchone() == (4000,) and kept.execute('PRAGMA user_version').fetchone() == (1,)
                kept.close()
                assert not list(self.folder.glob(f'{path.name}.v1.part*'))
            for p in self.folder.glob('old-*'): p.unlink()

    def logging(self, n):
        path,last = self.folder/'log.db',-1
        with Store(path) as s: s.declare('s', [Config('c', '{}')], [0], {})
        while self.more('logging', n):
            words = self.kill('logging', log, (path,), .01, .12)
            last = max([last] + [w[2] for w in words])
            with self.opened(path) as store:
                rows = store.query('SELECT epoch, count(*) n, sum(value) s FROM metric GROUP BY epoch ORDER BY epoch')
                assert [r['epoch'] for r in rows] == list(range(len(rows))) and len(rows) >= last+1, f'{last+1} acknowledged, {len(rows)} there'
                assert all(r['n'] == 20 and abs(r['s'] - (20*r['epoch'] + 9.5)) < 1e-6 for r in rows), 'half a transaction'
        self.facts['transactions acknowledged'] = last + 1

    def checkpointing(self, n):
        path,last = self.folder/'checkpoints',0
        path.mkdir()
        while self.more('checkpointing', n):
            last = max([last] + [w[1] for w in self.kill('checkpointing', checkpoint, (path, last + 1), 0, .1, from_word=self.chance.choice([None, 'saved']))])
            for file in path.glob('*.json'):
                state = load_state(file.with_suffix(''))   # none of those that have a name is half
                assert bool((state['w'] == state['n']).all())
            assert last == 0 or load_state(path/'best')['n'] >= last
            assert last == 0 or (path/f'step-{last:08d}.json').exists() or any(int(p.stem[5:]) > last for p in path.glob('step-*.json'))
        self.facts['checkpoints acknowledged'] = last

    def artefacts(self, n):
        path,last = self.folder/'artefacts.db',0
        with Store(path) as s: s.declare('s', [Config('c', '{}')], [0], {})
        while self.more('artefacts', n):
            last = max([last] + [w[1] for w in self.kill('artefacts', artefacts, (path, last + 1), 0, .1, from_word=self.chance.choice([None, 'saved']))])
            with self.opened(path) as store:
                if not last: continue
                w = store.load(1, 'weights')['w']   # its checksum is compared
                assert w[0] >= last and bool((w == w[0]).all()), f'{last} was acknowledged, {w[0]} is there'
                store.save(1, 'weights', dict(w=w))
                left = [p.name for p in store.folder(1).iterdir()]
                assert len(left) == 1, f'leftovers: {left}'
        self.facts['artefacts acknowledged'] = last

    def report(self):
        ms = sorted(self.facts.pop('open_ms', [0]))
        return f"{sum(self.count.values())} kills of living processes in {sum(self.trials.values())} trials: {self.count}; opening with the check: median {ms[len(ms)//2]:.1f} ms, 99 % {ms[int(len(ms)*.99)]:.1f} ms, longest {ms[-1]:.1f} ms; {self.facts}"

SHARES = dict(training=.3, creating=.2, migrating=.2, logging=.1, checkpointing=.1, artefacts=.1, grouping=.075, merging=.075, studying=.075, queueing=.075)

def run(folder, n, scenes=SHARES, seed=0, each=False):
    k = Kills(folder, seed)
    for scene in scenes: getattr(k, scene)(n if each else round(n*SHARES[scene]))
    return k

if __name__ == '__main__':
    import tempfile
    began,each = time.monotonic(),'each' in sys.argv
    scenes = [name for name in sys.argv[2:] if name != 'each'] or SHARES
    with tempfile.TemporaryDirectory() as folder: print(run(folder, int(sys.argv[1]), scenes, each=each).report())
    print(f'{time.monotonic() - began:.0f} s')
