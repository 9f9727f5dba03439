"""What many runs cost: a whole study against joblib over skorch, Ray Tune over Lightning, and a hand-written pool of processes.

    python benchmarks/lab.py                                 40 settings x 5 seeds
    python benchmarks/lab.py --settings 200                  1,000 runs
    python benchmarks/lab.py --settings 4 --epochs 3         to see it work
    python benchmarks/lab.py --settings 200 --epochs 60      longer runs: starting up weighs less
    python benchmarks/lab.py --only study,plain              some contenders
    python benchmarks/lab.py --overhead                      one run of about ten seconds: by hand and through the worker

Every contender trains the same runs: a network of 64-64-64-10 units on scikit-learn's digits, Adam, batches of 64, validated
after each epoch; settings are learning rates and weight decays, drawn once. Each is a program of its own, started one after
another in changing order, and does the whole: start, imports, data, training on all cores, and a table with mean and standard
deviation of each setting over its seeds; the study also stores every epoch and tests its differences.
The last line is the physical limit: the matrix products of all runs at the rate at which this machine multiplies stacks of 64 x 64 matrices.
Wall clock and, for machines that others use too, CPU time of the program and all its processes; the median over rounds.
Peers that are not installed are left out: pip install upslope[bench]
"""
import os
os.environ.update(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1', OMP_WAIT_POLICY='passive')
import argparse, importlib.util, json, math, resource, statistics, subprocess, sys, tempfile, time
from pathlib import Path

WORKERS = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()

def settings(n):
    "n pairs of learning rate and weight decay, the same for all"
    import numpy as np
    rng = np.random.default_rng(0)
    return [(float(f'{10**a:.4g}'), float(f'{10**b:.4g}')) for a, b in zip(rng.uniform(-4, -2, n), rng.uniform(-6, -3, n))]

def mlp():
    from torch import nn
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

def parts(seed):
    "Training and validation part as the study divides them, standardised"
    from upslope.data import Pipeline, sources
    d = sources.digits(split=seed)
    pipe = Pipeline(('standardize',)).fit(d.train.x)
    return pipe(d.train.x).flatten(1), d.train.y, pipe(d.valid.x).flatten(1), d.valid.y

def table(rows):
    "The table that everybody makes"
    import pandas as pd
    return pd.DataFrame(rows, columns=['lr', 'wd', 'seed', 'accuracy']).groupby(['lr', 'wd']).accuracy.agg(['count', 'mean', 'std'])

# ---- the contenders ----
def study(pairs, seeds, epochs):
    from upslope.lab import Recipe, Study
    recipe = Recipe('digits', mlp, epochs=epochs, lr=pairs[0][0], weight_decay=pairs[0][1], schedule='constant')
    axes = dict(lr=sorted({lr for lr, _ in pairs}))
    class Listed:   # the settings that all contenders train: a design like any other
        name,together,options = 'grid',True,{}
        def variants(self, recipe, axes, label=None):
            from upslope.lab.design import Variant, label_of
            return [Variant(label_of(label or 'mlp', dict(lr=lr, weight_decay=wd)) if i else 'mlp', recipe.but(lr=lr, weight_decay=wd)) for i, (lr, wd) in enumerate(pairs)]
        def to_json(self): return 'grid'
    with tempfile.TemporaryDirectory() as folder:
        s = Study('bench', recipe, axes, seeds=seeds, baselines=None, design='grid', placebo=False, store=Path(folder)/'store.db')
        s.design = Listed()
        s.run(show=False)
        found = s.table()
        engines = s.runs().engine.value_counts().to_dict() if 'engine' in s.runs() else {}
        return found['mean'].tolist(), f"engines: {engines or 'loop'}"

def _plain_run(job):
    import torch
    torch.set_num_threads(1)
    lr, wd, seed, epochs = job
    x, y, vx, vy = parts(seed)
    torch.manual_seed(seed)
    model,loss = mlp(),torch.nn.CrossEntropyLoss()
    opt = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=wd, fused=True)
    for _ in range(epochs):
        model.train()
        for i in torch.randperm(len(x)).split(64):
            loss(model(x[i]), y[i]).backward(); opt.step(); opt.zero_grad()
        model.eval()
        with torch.no_grad(): accuracy = (model(vx).argmax(1) == vy).float().mean().item()
    return lr, wd, seed, accuracy

def plain(pairs, seeds, epochs):
    import multiprocessing
    with multiprocessing.get_context('spawn').Pool(WORKERS) as pool:
        rows = pool.map(_plain_run, [(lr, wd, s, epochs) for s in range(seeds) for lr, wd in pairs], chunksize=4)
    return table(rows)['mean'].tolist(), ''

def _skorch_run(lr, wd, seed, epochs):
    import torch
    from skorch import NeuralNetClassifier
    from skorch.dataset import Dataset
    from skorch.helper import predefined_split
    torch.set_num_threads(1)
    x, y, vx, vy = parts(seed)
    torch.manual_seed(seed)
    model = NeuralNetClassifier(mlp(), criterion=torch.nn.CrossEntropyLoss, optimizer=torch.optim.Adam, optimizer__weight_decay=wd, optimizer__fused=True, lr=lr, max_epochs=epochs, batch_size=64, iterator_train__shuffle=True,
                                train_split=predefined_split(Dataset(vx, vy)), verbose=0).fit(x, y)
    return lr, wd, seed, model.history[-1, 'valid_acc']

def joblib_skorch(pairs, seeds, epochs):
    from joblib import Parallel, delayed
    return table(Parallel(n_jobs=WORKERS)(delayed(_skorch_run)(lr, wd, s, epochs) for s in range(seeds) for lr, wd in pairs))['mean'].tolist(), ''

def ray_lightning(pairs, seeds, epochs):
    import logging
    import ray
    from ray import tune
    here = str(Path(__file__).resolve().parent)
    def trainable(config):
        import sys, warnings; sys.path.insert(0, here); warnings.filterwarnings('ignore')
        import lightning as L, torch
        from lab import mlp, parts
        torch.set_num_threads(1); logging.getLogger('lightning.pytorch').setLevel(logging.ERROR)
        x, y, vx, vy = parts(config['seed'])
        class Module(L.LightningModule):
            def __init__(self): super().__init__(); self.model = mlp()
            def training_step(self, batch, _): return torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])
            def validation_step(self, batch, _): self.log('accuracy', (self.model(batch[0]).argmax(1) == batch[1]).float().mean())
            def configure_optimizers(self): return torch.optim.Adam(self.parameters(), lr=config['pair'][0], weight_decay=config['pair'][1], fused=True)
        L.seed_everything(config['seed'], verbose=False)
        load = lambda a, b, bs, shuffle: torch.utils.data.DataLoader(torch.utils.data.TensorDataset(a, b), batch_size=bs, shuffle=shuffle)
        trainer = L.Trainer(max_epochs=epochs, accelerator='cpu', logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
        trainer.fit(Module(), load(x, y, 64, True), load(vx, vy, len(vx), False))
        return dict(accuracy=trainer.callback_metrics['accuracy'].item())
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        results = tune.Tuner(trainable, param_space=dict(pair=tune.grid_search(pairs), seed=tune.grid_search(list(range(seeds)))), run_config=tune.RunConfig(storage_path=folder, verbose=0)).fit()
        rows = [(*r.config['pair'], r.config['seed'], r.metrics['accuracy']) for r in results]
    return table(rows)['mean'].tolist(), ''

CONTENDERS = dict(study=(study, ()), plain=(plain, ()), joblib_skorch=(joblib_skorch, ('joblib', 'skorch')), ray_lightning=(ray_lightning, ('ray', 'lightning')))

def limit(runs, epochs):
    "Seconds that the matrix products of all runs take on all cores, and the rate [GFLOP/s] of one"
    import torch
    torch.set_num_threads(1)
    def seconds(*shape):   # of one product of two stacks, the best of several bursts
        a,b,out,took = torch.randn(32, shape[0], shape[1]),torch.randn(32, shape[1], shape[2]),torch.empty(32, shape[0], shape[2]),[]
        for _ in range(20):
            began = time.process_time()
            for _ in range(20): torch.bmm(a, b, out=out)
            took.append((time.process_time() - began)/20/32)
        return min(took)
    wide,out = seconds(64, 64, 64),seconds(64, 64, 10)
    x,_,vx,_ = parts(0)
    step = 5*wide + out + seconds(10, 64, 64) + seconds(64, 10, 64)   # forward, weights, and back to the inputs of all layers but the first
    return runs*epochs*(len(x)/64*step + len(vx)/64*(2*wide + out))/WORKERS, 2*64**3/wide/1e9

# ---- what the lab adds to one run ----
def conv():
    from torch import nn
    return nn.Sequential(nn.Flatten(), nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))

def by_hand(recipe, seed):
    "The same training as a plain PyTorch loop: the same network, data, batches of 64, Adam, loss and accuracy on the validation part after each epoch"
    import torch
    from upslope.data import Pipeline
    d = recipe.dataset(seed)
    pipe = Pipeline(('standardize',)).fit(d.train.x)
    x, y, vx, vy = pipe(d.train.x), d.train.y, pipe(d.valid.x), d.valid.y
    torch.manual_seed(seed)
    model,loss,log = conv(),torch.nn.CrossEntropyLoss(),[]
    opt = torch.optim.Adam(model.parameters(), lr=recipe['lr'], fused=True)
    for epoch in range(recipe['epochs']):
        model.train()
        total = 0.
        for i in torch.randperm(len(x)).split(64):
            out = loss(model(x[i]), y[i])
            out.backward(); opt.step(); opt.zero_grad()
            total += out.detach()
        model.eval()
        with torch.no_grad(): out = model(vx)
        log.append((total.item(), loss(out, vy).item(), (out.argmax(1) == vy).float().mean().item()))
    return log[-1]

def overhead(epochs, rounds):
    import torch
    from upslope.lab import Recipe, Store
    from upslope.lab.design import Variant, to_config
    from upslope.lab.claims import Writer
    from upslope.lab.worker import Pulse, RunCheckpoint, context, execute, work_on
    torch.set_num_threads(1)
    recipe = Recipe('digits', conv, epochs=epochs, lr=1e-3, schedule='constant', opt='adam')
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder)/'store.db')
        store.declare('s', [to_config(Variant('conv', recipe), 0)], list(range(rounds + 1)), {})
        about,pulse = context(),Pulse(store)
        inside = [0.]   # CPU seconds in the lab's own calls
        def counted(owner, name):
            call = getattr(owner, name)
            def timed(*args, **kwargs):
                began = time.thread_time()
                try: return call(*args, **kwargs)
                finally: inside[0] += time.thread_time() - began
            setattr(owner, name, timed)
        for owner, name in ((Writer, 'log'), (Writer, 'insist'), (RunCheckpoint, 'after_epoch'), (store, 'claim'), (store, 'beat')): counted(owner, name)
        shares = []
        def worker(seed):
            inside[0],began = 0.,time.process_time()
            claim = store.claim('s')
            pulse.claims = claim,
            work_on(store, claim, about)
            pulse.claims = ()
            shares.append(100*inside[0]/(time.process_time() - began))
            assert store.run(claim.run).status == 'done'
        ways = dict(hand=lambda seed: by_hand(recipe, seed), fit=lambda seed: execute(recipe, seed), worker=worker)
        took = {n: [] for n in ways}
        for r in range(rounds + 1):
            for n in list(ways)[r % 3:] + list(ways)[:r % 3]:
                began = time.perf_counter(),time.process_time()
                ways[n](r)
                if r: took[n].append((time.perf_counter() - began[0], time.process_time() - began[1]))   # the first round warms up
        rows = store.query('SELECT count(*) n FROM metric')[0]['n']
    mid = lambda n, k: statistics.median(t[k] for t in took[n])
    more = lambda a, b, k: 100*(statistics.median(x[k]/y[k] for x, y in zip(took[a], took[b])) - 1)
    print(f"one training of {epochs} epochs in one process, by hand {mid('hand', 0):.1f} s, {mid('hand', 1):.1f} s of CPU time; {rounds} interleaved rounds, median of pairs; {rows/(rounds + 1):.0f} numbers logged a run")
    print(f"claim, log, checkpoints, signs of life and finish are {statistics.median(shares[1:]):.2f} % of the worker's CPU time   (target 2)")
    print(f"the worker (claim, log, signs of life, checkpoints every 30 s, final scores, finish) takes more than\n  the same fit without the lab:  {more('worker', 'fit', 0):+.1f} % wall clock, {more('worker', 'fit', 1):+.1f} % CPU time   (target 2)"
          f"\n  the loop written by hand:      {more('worker', 'hand', 0):+.1f} % wall clock, {more('worker', 'hand', 1):+.1f} % CPU time   (target 2)")

def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--settings', type=int, default=40); parser.add_argument('--seeds', type=int, default=5); parser.add_argument('--epochs', type=int, default=20)
    parser.add_argument('--rounds', type=int, default=1); parser.add_argument('--only', default=','.join(CONTENDERS)); parser.add_argument('--one'); parser.add_argument('--overhead', action='store_true')
    o = parser.parse_args()
    if o.overhead: return overhead(350 if o.epochs == 20 else o.epochs, 5 if o.rounds == 1 else o.rounds)
    if o.one:
        means, note = CONTENDERS[o.one][0](settings(o.settings), o.seeds, o.epochs)
        return print(json.dumps(dict(best=max(means), n=len(means), note=note)))
    names = [n for n in o.only.split(',') if all(importlib.util.find_spec(m) for m in CONTENDERS[n][1])]
    least,rate = limit(o.settings*o.seeds, o.epochs)
    times,cpu,said = {n: [] for n in names},{n: [] for n in names},{}
    def spent(): used = resource.getrusage(resource.RUSAGE_CHILDREN); return used.ru_utime + used.ru_stime
    for r in range(o.rounds):
        for n in names if r % 2 == 0 else names[::-1]:
            begin,before = time.perf_counter(),spent()
            done = subprocess.run([sys.executable, __file__, '--one', n, '--settings', str(o.settings), '--seeds', str(o.seeds), '--epochs', str(o.epochs)], capture_output=True, text=True)
            times[n].append(time.perf_counter() - begin); cpu[n].append(spent() - before)
            if done.returncode: said[n] = done.stderr.strip().splitlines()[-1:]; times[n][-1] = math.nan
            else: said[n] = json.loads(done.stdout.strip().splitlines()[-1])
    wall,work = ({n: statistics.median(t) for n, t in kind.items()} for kind in (times, cpu))
    def ratio(kind, n): return f"{kind[n]/kind['study']:.{1 if kind[n] > kind['study'] else 2}f} x" if 'study' in kind and n != 'study' else ''
    print(f'{o.settings} settings x {o.seeds} seeds, {o.epochs} epochs, {WORKERS} processes; the whole program')
    print(f"{'':<16}{'wall s':>9}{'ms a run':>10}{'over study':>12}{'CPU s':>9}{'over study':>12}  best mean")
    for n in names:
        print(f"{n:<16}{wall[n]:>9.1f}{1000*wall[n]/(o.settings*o.seeds):>10.0f}{ratio(wall, n):>12}{work[n]:>9.1f}{ratio(work, n):>12}  {said[n]['best']:.4f} {said[n]['note']}" if isinstance(said[n], dict) else f'{n:<16} failed: {said[n]}')
    print(f"{'products alone':<16}{least:>9.1f}{1000*least/(o.settings*o.seeds):>10.0f}{ratio(dict(wall, limit=least), 'limit'):>12}  at {rate:.0f} GFLOP/s a core")

if __name__ == '__main__': main()
