"""What the lab's store costs: rows a second against MLflow's own SQLite store, a scalar, a table, a reopening, a run.

    python benchmarks/store.py            all
    python benchmarks/store.py --quick    a tenth of the rows

One process, one thread. The pairs with MLflow are interleaved on the same work: so many runs, each with so many epochs of
three metrics, in batches as large as MLflow's API takes (1,000); the ratio is the median over pairs.
MLflow is left out if it is not installed: pip install upslope[bench]
"""
import os
os.environ.update(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')
import contextlib, io, logging, statistics, subprocess, sys, tempfile, time, warnings
from pathlib import Path
from upslope.lab.store import Config, Store
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
def ours(store, epochs):
    claim = store.claim('s')
    for a in range(0, epochs, 333): store.log_rows([(claim, e, {n: .1*e for n in NAMES}) for e in range(a, min(a + 333, epochs))])
    store.finish(claim, {n: 1. for n in NAMES}, {})

def mlflow_store():
    try:
        os.environ['MLFLOW_DISABLE_TELEMETRY'] = 'true'
        logging.disable(logging.INFO)
        from mlflow.entities import Metric
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
        with contextlib.redirect_stderr(io.StringIO()): theirs = SqlAlchemyStore(f'sqlite:///{folder}/mlflow.db', str(folder/'artefacts'))
    except ImportError as e: print(f'MLflow is left out: {e}'); return None
    experiment = theirs.create_experiment('s')
    def work(epochs):
        run = theirs.create_run(experiment, 'me', 0, [], 'r').info.run_id
        for a in range(0, epochs, 333): theirs.log_batch(run, [Metric(n, .1*e, 0, e) for e in range(a, min(a + 333, epochs)) for n in NAMES], [], [])
        from mlflow.entities import RunStatus
        theirs.update_run_info(run, RunStatus.FINISHED, 1, 'r')
    return work

pairs,epochs = (3, 333) if QUICK else (9, 999)
store,theirs = new('rows.db', runs=200),mlflow_store()
if theirs: theirs(epochs)   # its first call sets things up
ours(store, epochs)
a,b = [],[]
for i in range(pairs):
    for which in ((0, 1), (1, 0))[i % 2]:
        if which == 0: a.append(timed(ours, store, epochs))
        elif theirs: b.append(timed(theirs, epochs))
rows = 3*epochs
print(f'rows a second, batches of 999:  upslope {rows/median(a):,.0f}' + (f'   MLflow {rows/median(b):,.0f}   ratio {median(y/x for x, y in zip(a, b)):.0f} (target 50)' if b else '') + '   (target 100,000)')

# --- with durable=True, for the record
durable = Store(folder/'durable.db', durable=True)
durable.declare('s', [Config('c', 'k', '{}')], list(range(20)), {})
d = [timed(ours, durable, epochs) for _ in range(3)]
print(f'the same with durable=True:     upslope {rows/median(d):,.0f}')

# --- one scalar, through the writer that a run has
claim,n = store.claim('s'),10_000 if QUICK else 100_000
writer = Writer(store)
def scalars():
    for i in range(n): writer.log(claim, i, dict(loss=.5))
    writer.flush()
print(f'one scalar logged, amortised:   {1e6*timed(scalars)/n:.1f} us   (target 50)')

# --- a table over 10,000 runs x 100 epochs
runs = 1000 if QUICK else 10_000
big = new('big.db', runs=runs, configs=runs//5)
with big.transaction() as db:   # as their workers would have left them
    db.execute("UPDATE run SET status='done', started=1, finished=2")
    ids = [r[0] for r in db.execute('SELECT id FROM run')]
    db.executemany('INSERT INTO metric VALUES (?,?,?,?)', ((i, k, e, .5) for i in ids for k in ('train_loss', 'valid_accuracy') for e in range(100)))
    db.executemany('INSERT INTO result VALUES (?,?,?)', ((i, k, .5 + (i % 97)/1000) for i in ids for k in ('test_accuracy', 'valid_accuracy', 'valid_loss')))
from upslope.lab.claims import _seal
with big.transaction() as db:
    for i in ids: _seal(db, i)
import pandas   # noqa: F401  so that the first reading does not pay for it
print(f'runs() of {runs:,} runs x 100 epochs:   {median([timed(big.runs, "s") for _ in range(3)]):.2f} s   (target 1); history(): {timed(big.history, "s"):.1f} s; the file has {(folder/"big.db").stat().st_size/1e6:.0f} MB')

# --- reopening after a kill
def killed(path):
    code = "import sys; from upslope.lab.store import Store; s = Store(sys.argv[1], check=False); c = s.claim('s'); print(1, flush=True)\nfor i in range(10**9): s.log(c, i, dict(a=i))"
    p = subprocess.Popen([sys.executable, '-c', code, str(path)], stdout=subprocess.PIPE)
    p.stdout.readline(); time.sleep(.2); p.kill(); p.communicate()
    began = time.perf_counter()
    Store(path).close()
    return 1000*(time.perf_counter() - began)
small = new('killed.db', runs=100)
small.close()
with big.transaction() as db: db.execute("UPDATE run SET status='queued' WHERE id>?", (len(ids) - 50,))
size = (folder/'big.db').stat().st_size/1e6
big.close()
k = 3 if QUICK else 9
print(f"reopening after kill -9:        {median([killed(folder/'killed.db') for _ in range(k)]):.1f} ms with its check; {median([killed(folder/'big.db') for _ in range(k)]):.1f} ms for one of {size:.0f} MB, whose check goes on beside   (target 50)")
