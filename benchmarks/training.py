"""What a training step costs: upslope, fastai, Lightning, skorch and Keras against a plain PyTorch loop.

    python benchmarks/training.py            all tables
    python benchmarks/training.py --quick    fewer pairs
    python benchmarks/training.py --idle     only what ten idle callbacks add
    python benchmarks/training.py --alarm    only what it costs that the Learner looks whether the fit is plainly wrong
    python benchmarks/training.py --dense    only upslope's dense row
    python benchmarks/training.py --peers    only the dense table
    python benchmarks/training.py --cnn      only the convolutional table
    python benchmarks/training.py --imports  only what importing costs, and which package costs how much

All in one process, one thread, the same weights, data and optimizer (Adam, fused where PyTorch's is used). Each figure is
the median over pairs: the contender and the plain loop one directly after the other, in changing order, so that whatever else
the machine does hits both. Wall clock and CPU time are both shown; on a shared machine trust the second.
Peers that are not installed are left out: pip install upslope[bench]
"""
import os
os.environ.update(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1', KERAS_BACKEND='torch')
import contextlib, io, logging, statistics, subprocess, sys, tempfile, time, warnings
from pathlib import Path

import torch
from torch import nn

torch.set_num_threads(1)
warnings.filterwarnings('ignore')

from upslope.data import Batches
from upslope.data.batches import import_fastai
import_fastai()
from fastai.callback.core import Callback
from fastai.callback.progress import CSVLogger as FastaiCSV
from fastai.data.core import DataLoaders
from fastai.learner import Learner as FastaiLearner
from fastai.optimizer import OptimWrapper
from unittest.mock import patch
from upslope.train import CSVLogger, Learner, learner as learner_module
from upslope.train.alarm import Alarm

EPOCHS, BATCH = 5, 64
FOLDER = Path(tempfile.mkdtemp())

def mlp(): torch.manual_seed(0); return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
def cnn():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16*7*7, 10))

class Task:
    def __init__(self, net, shape, n_batches):
        g = torch.Generator().manual_seed(0)
        n = BATCH*n_batches
        self.net, self.n_batches = net, n_batches
        self.x, self.y = torch.randn(n, *shape, generator=g), torch.randint(0, 10, (n,), generator=g)
        self.vx, self.vy = self.x[:BATCH], self.y[:BATCH]
    def loaders(self): return DataLoaders(Batches(self.x, self.y, shuffle=True), Batches(self.vx, self.vy))

class Plain:
    "The loop that everybody writes: train on all batches, then one validation batch, each epoch"
    def __init__(self, task):
        self.task, self.model, self.loss, self.batches = task, task.net(), nn.CrossEntropyLoss(), Batches(task.x, task.y, shuffle=True)
        self.opt = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
    def run(self):
        for _ in range(EPOCHS):
            self.model.train()
            for x, y in self.batches:
                loss = self.loss(self.model(x), y)
                loss.backward()
                self.opt.step()
                self.opt.zero_grad()
            self.model.eval()
            with torch.no_grad(): self.loss(self.model(self.task.vx), self.task.vy).item()

class Upslope:
    "recorder, progress bar, CSV file; `idle`: so many callbacks that listen to nothing"
    def __init__(self, task, idle=0):
        self.task = task
        self.learn = Learner(task.loaders(), task.net(), 'cross_entropy', 'adam', cbs=[CSVLogger(FOLDER/f'upslope-{idle}.csv'), *(type(f'Idle{i}', (Callback,), {})() for i in range(idle))])
    def run(self): self.learn.fit(EPOCHS, 1e-3)

class Fastai:
    "fastai's Learner with its recorder, progress bar and CSV file, on our loader, with PyTorch's fused Adam"
    opt_func = staticmethod(lambda params, lr: OptimWrapper(params, torch.optim.Adam, lr=lr, fused=True))
    def __init__(self, task):
        self.learn = FastaiLearner(task.loaders(), task.net(), loss_func=nn.CrossEntropyLoss(), opt_func=self.opt_func, path=FOLDER, cbs=FastaiCSV('fastai.csv'))
    def run(self): self.learn.fit(EPOCHS, 1e-3)

class FastaiAdam(Fastai):
    "the same with fastai's own Adam, its default"
    from fastai.optimizer import Adam
    opt_func = staticmethod(Adam)

class Lightning:
    "Trainer with its progress bar and CSVLogger, on our loader"
    def __init__(self, task):
        import lightning as pl
        from lightning.pytorch.loggers import CSVLogger as PLCSV
        for name in ('lightning', 'lightning.pytorch', 'lightning.fabric'): logging.getLogger(name).setLevel(logging.ERROR)
        loss = nn.CrossEntropyLoss()
        class Module(pl.LightningModule):
            def __init__(self): super().__init__(); self.net = task.net()
            def training_step(self, b, i): l = loss(self.net(b[0]), b[1]); self.log('train_loss', l); return l
            def validation_step(self, b, i): self.log('valid_loss', loss(self.net(b[0]), b[1]))
            def configure_optimizers(self): return torch.optim.Adam(self.parameters(), lr=1e-3, fused=True)
        self.module, self.pl, self.csv, self.task = Module(), pl, PLCSV, task
    def run(self):
        trainer = self.pl.Trainer(max_epochs=EPOCHS, accelerator='cpu', logger=self.csv(FOLDER), enable_checkpointing=False, num_sanity_val_steps=0, enable_model_summary=False)
        trainer.fit(self.module, Batches(self.task.x, self.task.y, shuffle=True), Batches(self.task.vx, self.task.vy))

class Skorch:
    "NeuralNetClassifier with its own loader and its printed table"
    def __init__(self, task):
        from skorch import NeuralNetClassifier
        from skorch.dataset import Dataset
        from skorch.helper import predefined_split
        self.net = NeuralNetClassifier(task.net(), criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam, optimizer__fused=True, lr=1e-3, batch_size=BATCH, max_epochs=EPOCHS,
                                       iterator_train__shuffle=True, train_split=predefined_split(Dataset(task.vx, task.vy)))
        self.task = task
    def run(self): self.net.partial_fit(self.task.x, self.task.y)

class Keras:
    "Model.fit on arrays with its progress bar and CSVLogger, PyTorch backend"
    def __init__(self, task):
        import keras
        if task.net is not mlp: raise ImportError('only the dense network is written down for Keras')
        keras.utils.set_random_seed(0)
        L = keras.layers
        self.model = keras.Sequential([keras.Input((64,)), L.Dense(64, 'relu'), L.Dense(64, 'relu'), L.Dense(10)])
        self.model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        self.task, self.csv = task, keras.callbacks.CSVLogger
    def run(self): t = self.task; self.model.fit(t.x.numpy(), t.y.numpy(), batch_size=BATCH, epochs=EPOCHS, validation_data=(t.vx.numpy(), t.vy.numpy()), callbacks=[self.csv(FOLDER/'keras.csv')])

def timed(f):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        wall, cpu = time.perf_counter(), time.process_time()
        f()
        return time.perf_counter() - wall, time.process_time() - cpu

def compare(contender, base, pairs):
    "Medians over pairs: ratio by wall clock, ratio by CPU time, microseconds of CPU a batch of the contender"
    for o in (contender, base): timed(o.run)
    ratios = []
    for i in range(pairs):
        first, second = (contender, base) if i % 2 else (base, contender)
        a, b = timed(first.run), timed(second.run)
        mine, other = (a, b) if i % 2 else (b, a)
        ratios.append((mine[0]/other[0], mine[1]/other[1], mine[1]))
    return [statistics.median(column) for column in zip(*ratios)] + [statistics.quantiles([r[1] for r in ratios], n=4)]

def table(title, task, contenders, pairs):
    print(f'\n{title} ({task.n_batches} batches of {BATCH}, {EPOCHS} epochs, median of {pairs} pairs)')
    print(f"{'':<34}{'wall':>8}{'CPU':>8}  {'quartiles':<16}{'µs CPU a batch':>14}")
    for name, kind, n in contenders:
        try: contender = kind(task)
        except ImportError as e: print(f'{name:<34}  left out: {e}'); continue
        wall, cpu, seconds, quartiles = compare(contender, Plain(task), max(3, round(pairs*n)))
        print(f'{name:<34}{wall:>8.3f}{cpu:>8.3f}  {quartiles[0]:.3f} - {quartiles[2]:<8.3f}{1e6*seconds/EPOCHS/task.n_batches:>14.0f}', flush=True)

def interval(values, level=.95):
    "A confidence interval of the median, from the order of the values alone (binomial)"
    values, n = sorted(values), len(values)
    k = max(0, int(n/2 - statistics.NormalDist().inv_cdf((1 + level)/2)*n**.5/2))
    return values[k], values[n - 1 - k]

def calls_a_batch(contender):
    "Python functions called for one training batch, counted in the middle of a fit"
    counts, n = [], 0
    class Count(Callback):
        order, run_valid = 1000, False
        def after_batch(self): counts.append(n)
    def look(frame, kind, arg):
        nonlocal n
        n += kind == 'call'
    learn = contender.learn
    learn.add_cb(Count())
    for p in [cb for cb in learn.cbs if type(cb).__name__ == 'ProgressCallback']: p.every = 1e9   # the bar is drawn by the clock
    def run():
        sys.setprofile(look)
        try: learn.fit(1, 1e-3)
        finally: sys.setprofile(None)
    timed(run)
    learn.remove_cb(Count)
    steps = [b - a for a, b in zip(counts[10:-2], counts[11:-1])]
    return statistics.median(steps)

def small_difference(a, b, pairs):
    "Many short pairs, since the difference is far below the noise of one"
    for o in (a, b): timed(o.run)
    ratios = []
    for i in range(pairs):
        first, second = (a, b) if i % 2 else (b, a)
        s, t = timed(first.run), timed(second.run)
        mine, other = (s, t) if i % 2 else (t, s)
        ratios.append((mine[0]/other[0], mine[1]/other[1]))
    for name, column in zip(('wall clock', 'CPU time'), zip(*ratios)):
        low, high = interval(column)
        print(f'  {name}: median {statistics.median(column):.4f}, 95 % interval {low:.4f} to {high:.4f}, {pairs} pairs of {EPOCHS} epochs of {a.task.n_batches} batches')

class Unwatched(Upslope):
    "the same, and nobody looks whether the fit is plainly wrong"
    class NoAlarm(Alarm):
        def __init__(self, learn): self.active = False
    def run(self):
        with patch.object(learner_module, 'Alarm', self.NoAlarm): super().run()

def alarm(task, pairs):
    print(f'\nThe alarm: {calls_a_batch(Upslope(task)):.0f} Python calls a batch, against {calls_a_batch(Unwatched(task)):.0f} without it')
    small_difference(Upslope(task), Unwatched(task), 8*pairs)

def idle(task, pairs):
    print(f'\nTen idle callbacks more: {calls_a_batch(Upslope(task, 10)):.0f} Python calls a batch, against {calls_a_batch(Upslope(task)):.0f} without them')
    small_difference(Upslope(task, 10), Upslope(task), 8*pairs)

def import_parts(times=3):
    "Where the time of `import upslope.train` goes: own time of the modules of each package"
    found = []
    for _ in range(times):
        err = subprocess.run([sys.executable, '-X', 'importtime', '-W', 'ignore', '-c', 'import upslope.train'], capture_output=True, text=True, check=True, env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}).stderr
        own = {}
        for line in err.splitlines():
            if line.startswith('import time:') and 'self [us]' not in line:
                us, _, name = line.removeprefix('import time:').split('|')
                name = name.strip()
                part = 'upslope' if name.startswith('upslope') else name.partition('.')[0]
                own[part] = own.get(part, 0) + int(us)
        found.append(own)
    median = {k: statistics.median(o.get(k, 0) for o in found)/1e6 for k in found[0]}
    rows = sorted(median.items(), key=lambda kv: -kv[1])
    shown = rows[:10] + [r for r in rows[10:] if r[0] == 'upslope']
    print('\nOwn time of each package in `import upslope.train` (median of', times, 'runs under -X importtime)')
    for k, v in shown: print(f'  {k:<20}{v:6.2f} s')
    print(f"  {'all others':<20}{sum(v for k, v in rows if k not in dict(shown)):6.2f} s")

def imports(times):
    print(f'\nSeconds to import, in a fresh process (median of {times}, in turns)')
    lines = ['import torch', 'import upslope.data', 'import fastai.learner', 'import fastai.callback.schedule', 'import upslope.train']
    seconds = {line: [] for line in lines}
    for _ in range(times):
        for line in lines:
            code = f"import time, warnings; warnings.filterwarnings('ignore'); s = time.process_time(); {line}; print(time.process_time() - s)"
            seconds[line].append(float(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}).stdout))
    base = statistics.median(seconds['import torch'])
    for line, s in seconds.items(): print(f'{line:<34}{statistics.median(s):>8.2f}   {statistics.median(s) - base:+.2f} over torch')

def cnn_table(pairs): table('Convolutional, 28x28', Task(cnn, (1, 28, 28), 20), [('upslope', Upslope, 1), ('fastai, torch Adam', Fastai, .5), ('Lightning', Lightning, .3), ('skorch', Skorch, .3)], pairs)

def main():
    pairs = 5 if '--quick' in sys.argv else 15
    print(f'torch {torch.__version__}, Python {sys.version.split()[0]}, one thread; 1.000 is the plain loop')
    task = Task(mlp, (64,), 100)
    if '--idle' in sys.argv: return idle(task, pairs)
    if '--alarm' in sys.argv: return alarm(task, pairs)
    if '--imports' in sys.argv: return imports(3 if pairs == 5 else 5), import_parts()
    if '--cnn' in sys.argv: return cnn_table(pairs)
    if '--dense' in sys.argv: return table('Dense 64-64-64-10', task, [('upslope', Upslope, 1)], pairs)
    table('Dense 64-64-64-10', task, [('upslope', Upslope, 1), ('upslope, 10 idle callbacks', lambda t: Upslope(t, 10), 1), ('fastai, torch Adam', Fastai, .5), ('fastai, its own Adam', FastaiAdam, .5),
                                      ('Lightning', Lightning, .3), ('skorch', Skorch, .3), ('Keras on torch', Keras, .3)], pairs)
    if '--peers' not in sys.argv: cnn_table(pairs); idle(task, pairs); alarm(task, pairs); imports(3 if pairs == 5 else 5); import_parts()

if __name__ == '__main__': main()
