"""What the lab's store costs: rows a second against MLflow's own SQLite store, a scalar, a table, a reopening.

    python benchmarks/store.py            all
    python benchmarks/store.py --quick    a tenth of the rows

One process, one thread. The pairs with MLflow are interleaved on the same work, a run from its beginning to its end; the ratio
is the median over pairs, of wall clock and of CPU time (the honest one where others use the disk). Four ways to do that work:

  each epoch         three numbers an epoch, written before the call returns: `mlflow.log_metrics` as its users call it, our `log`;
                     each program as it comes: MLflow survives a power cut, we survive the death of any process
  each epoch, soft   the same with MLflow's SQLite set to what ours has (WAL, synchronous=NORMAL)
  each epoch, hard   the same with ours set to what MLflow's has (durable=True)
  batches of 999     as many numbers as MLflow's API takes in one call: `log_batch`, our `log_rows`; each as it comes

"SQLite alone" is the physical limit: the same numbers through `executemany` into a table with the same key, without claim,
checksum or status. MLflow is left out if it is not installed: pip install upslope[bench]
"""
import os
os.environ.update(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')
import contextlib, io, logging, random, sqlite3, statistics, subprocess, sys, tempfile, time, warnings
from pathlib import Path
from upslope.lab.store import LAYOUTS, Config, Store
from upslope.lab.claims import Writer

warnings.filterwarnings('ignore')
QUICK = '--quick' in sys.argv
NAMES = 'train_loss', 'valid_loss', 'valid_accuracy'
folder = Path(tempfile.mkdtemp())
median = statistics.median

def timed(f, *args):
    began = time.perf_counter()
    f(*args)
    return time.perf_counter() - began

def new(name, runs=1, configs=1):
    store = Store(folder/name)
    store.declare('s', [Config(f'c{i}', f'k{i}', '{}') for i in range(configs)], list(range(max(1, runs//configs))), {})
    return store

# --- rows a second, and MLflow on the same work
def batches(epochs): return ([(e, {n: .1*e for n in NAMES}) for e in range(a, min(a + 333, epochs))] for a in range(0, epochs, 333))

def ours(store, epochs, batched):
    claim = store.claim('s')
    if batched:
        for rows in batches(epochs): store.log_rows([(claim, *r) for r in rows])
    else:
        for e in range(epochs): store.log(claim, e, {n: .1*e for n in NAMES})
    store.finish(claim, {n: 1. for n in NAMES}, {})

def sqlite(db, epochs, run=iter(range(10**6))):
    run = next(run)
    for rows in batches(epochs):
        db.execute('BEGIN IMMEDIATE')
        db.executemany('INSERT OR REPLACE INTO metric VALUES (?,?,?,?)', [(run, k, e, v) for e, values in rows for k, v in values.items()])
        db.execute('COMMIT')

def mlflow_work(name, soft):
    "function (epochs, batched) that does a run in a store of MLflow's"
    os.environ['MLFLOW_DISABLE_TELEMETRY'] = 'true'
    logging.disable(logging.INFO)
    import mlflow, sqlalchemy
    from mlflow.entities import Metric
    if soft:
        @sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, 'connect')
        def as_ours(connection, _):
            if any(str(folder/name) == row[2] for row in connection.execute('PRAGMA database_list')): connection.execute('PRAGMA journal_mode=WAL'); connection.execute('PRAGMA synchronous=NORMAL')
    address = f'sqlite:///{folder/name}'
    client = mlflow.MlflowClient(address)
    with contextlib.redirect_stderr(io.StringIO()): client.create_experiment('s')
    def work(epochs, batched):
        if mlflow.get_tracking_uri() != address: mlflow.set_tracking_uri(address)
        mlflow.set_experiment('s')
        with mlflow.start_run() as run:
            if batched:
                for rows in batches(epochs): client.log_batch(run.info.run_id, [Metric(k, v, 0, e) for e, values in rows for k, v in values.items()])
            else:
                for e in range(epochs): mlflow.log_metrics({n: .1*e for n in NAMES}, step=e)
    return work

def clocks(f, *args):
    began = time.perf_counter(),time.process_time()
    f(*args)
    return time.perf_counter() - began[0], time.process_time() - began[1]

pairs,rows = 3 if QUICK else 9,lambda epochs: len(NAMES)*epochs
plain,hard = new('rows.db', runs=2000),Store(folder/'hard.db', durable=True)
hard.declare('s', [Config('c', 'k', '{}')], list(range(2000)), {})
alone = sqlite3.connect(folder/'alone.db', isolation_level=None)
for sql in ('PRAGMA journal_mode=WAL', 'PRAGMA synchronous=NORMAL', LAYOUTS[0].split(';')[-3].replace(' REFERENCES run', '')): alone.execute(sql)
try: theirs = {soft: mlflow_work(f'mlflow-{soft}.db', soft) for soft in (False, True)}
except ImportError as e: print(f'MLflow is left out: {e}'); theirs = None
print(f"{'':<26}{'upslope':>22}{'MLflow':>20}{'ratio, wall clock':>20}{'CPU time':>10}")
for title, store, soft, epochs, batched in (('each epoch', plain, False, 30, False), ('each epoch, soft', plain, True, 30, False), ('each epoch, hard', hard, False, 30, False), ('batches of 999', plain, False, 999, True), ('batches of 999, hard', hard, False, 999, True)):
    epochs = 10 if QUICK and not batched else epochs
    both = [(ours, store, epochs, batched)] + ([(theirs[soft], epochs, batched)] if theirs else [])
    for f in both: f[0](*f[1:])   # the first call sets things up
    took = [[], []]
    for i in range(pairs):
        for j in range(len(both))[::1 if i % 2 else -1]: took[j].append(clocks(*both[j]))
    rate = lambda j: f'{rows(epochs)/median(w for w, _ in took[j]):,.0f} rows/s'
    ratio = lambda k: f'{median(b[k]/a[k] for a, b in zip(*took)):.0f}' if theirs else '-'
    print(f"{title:<26}{rate(0):>22}{rate(1) if theirs else '-':>20}{ratio(0):>20}{ratio(1):>10}")
found = [(clocks(ours, plain, 999, True)[1], clocks(sqlite, alone, 999)[1]) for _ in range(3*pairs)]
print(f'batches of 999, CPU time: upslope {rows(999)/median(a for a, _ in found):,.0f} rows/s (target 100,000), SQLite alone {rows(999)/median(b for _, b in found):,.0f}; we take {median(a/b for a, b in found):.2f} of its time')
store = plain

# --- one scalar, through the writer that a run has
claim,n = store.claim('s'),10_000 if QUICK else 100_000
writer = Writer(store)
def scalars():
    for i in range(n): writer.log(claim, i, dict(loss=.5))
    writer.flush()
print(f'one scalar logged, amortised:   {1e6*timed(scalars)/n:.1f} us   (target 50)')

# --- a table over 10,000 runs x 100 epochs: a study as its workers leave it, 1,000 learning rates x 10 seeds
def mlp():
    from torch import nn
    return nn.Linear(64, 10)

def big_study(path, settings, seeds, epochs=100):
    from upslope.lab import Recipe, Study
    from upslope.lab.design import Variant
    from upslope.lab.study import Sheet
    lrs = [float(f'{10**(-4 + 3*i/settings):.6g}') for i in range(settings)]
    study = Study('s', Recipe('digits', mlp, epochs=epochs, lr=lrs[0]), dict(lr=lrs[1:]), seeds=seeds, baselines=None, placebo=False, store=path)
    sheet,base = Sheet(study, 'valid_accuracy', 'max'),Variant('mlp', study.recipe)
    sheet.add([base], 0); sheet.text['bases'].append('mlp')
    sheet.text['compare'] |= {c: 'mlp' for c in sheet.add(study.design.variants(base.recipe, study.steps[0], 'mlp'), 0) if c != 'mlp'}
    sheet.declare()
    rng,store = random.Random(0),study.store
    while claims := store.claim_group('s', 100):
        store.log_rows([(c, e, {n: rng.random() for n in NAMES}) for c in claims for e in range(epochs)])
        for c in claims: store.finish(c, dict(epochs=epochs, parameters=650, **{f'{part}_{m}': rng.random() for part in ('valid', 'test') for m in ('loss', 'accuracy')}), {}, 'loop')
    return study
settings = 100 if QUICK else 1000
big = big_study(folder/'big.db', settings, 10)
runs = len(big.runs()); big.table()   # pandas and SciPy are loaded
took = {f.__name__: [clocks(f) for _ in range(5)] for f in (big.runs, big.table)}
took['history'] = [clocks(big.history)]
size = (folder/'big.db').stat().st_size/1e6
for name, times in took.items(): print(f"{name + '()':<10} of {runs:,} runs x 100 epochs ({size:.0f} MB): {median(w for w, _ in times):.2f} s, CPU {median(c for _, c in times):.2f} s" + ('' if name == 'history' else '   (target 1)'))

# --- reopening after a kill
def killed(path):
    code = "import sys; from upslope.lab.store import Store; s = Store(sys.argv[1], check=False); c = s.claim('s'); print(1, flush=True)\nfor i in range(10**9): s.log(c, i, dict(a=i))"
    p = subprocess.Popen([sys.executable, '-c', code, str(path)], stdout=subprocess.PIPE)
    p.stdout.readline(); time.sleep(.2); p.kill(); p.communicate()
    began = time.perf_counter()
    Store(path).close()
    return 1000*(time.perf_counter() - began)
new('killed.db', runs=100).close()
with big.store.transaction() as db: db.execute("UPDATE run SET status='queued' WHERE id>?", (runs - 50,))
big.store.close()
k = 3 if QUICK else 9
print(f"reopening after kill -9:        {median([killed(folder/'killed.db') for _ in range(k)]):.1f} ms with its check; {median([killed(folder/'big.db') for _ in range(k)]):.1f} ms for one of {size:.0f} MB, whose check goes on beside   (target 50)")
