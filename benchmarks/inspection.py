"""What watching and diagnosing cost: `Watch` against fastai's ActivationStats and against no watching at all; `diagnose`.

    python benchmarks/inspection.py            all tables
    python benchmarks/inspection.py --quick    fewer pairs
    python benchmarks/inspection.py --watch    only what watching costs
    python benchmarks/inspection.py --doctor   only `diagnose`
    python benchmarks/inspection.py --steps 300   longer trainings: the early looks weigh less
    python benchmarks/inspection.py --watch --model dense --pairs 31   one model, more pairs: a training of 60 steps is short, and the cost of one pair varies by several per cent

One process, one thread. A pair is a training with a contender and one without anything, one directly after the other, in
changing order; its ratio of times, minus one, is the cost. Wall clock and CPU time are shown; on a shared machine trust the second. Shown are the median over pairs and the quartiles, and the
ratio of ActivationStats' cost to ours. All start from the same weights and see the same batches.

  Watch                    as it comes: all its statistics, at a budget of 5 %
  Watch, activations       at each step, only the statistics that ActivationStats has too
  ActivationStats          fastai's, with histograms, of the same layers: mean, standard deviation, share near zero, histogram
"""
import argparse, os
os.environ.update(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')
import statistics, time, warnings

import torch
from torch import nn
warnings.filterwarnings('ignore')
torch.set_num_threads(1)

from upslope.data import Batches, loaders, sources
from upslope.inspection import Watch, diagnose
from upslope.inspection.hooks import layers
from upslope.train import Learner
from fastai.callback.hook import ActivationStats
from fastai.data.core import DataLoaders

STEPS, BATCH = 60, 64

def dense(): torch.manual_seed(0); return nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 10))
def conv():
    torch.manual_seed(0)
    block = lambda a, b: [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*block(1, 16), *block(16, 16), nn.MaxPool2d(2), *block(16, 32), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32*7*7, 10))
MODELS = dict(dense=(dense, (256,)), conv=(conv, (1, 28, 28)))

class ActivationsOnly(Watch):
    "Only what ActivationStats has too, at each step: activations' mean, spread, share of zeros and histogram"
    def _loss_known(self, loss, pred=None, ys=(), xs=()): super()._loss_known(loss)   # no losses row by row
    def _gradients(self): pass
    def _updates(self): pass

class Stats(ActivationStats):
    "fastai's, of the layers that we watch"
    def __init__(self, model): super().__init__(with_hist=True, modules=list(layers(model).values()))

def contender(kind, model):
    if kind == 'nothing': return []
    if kind == 'Watch': return [Watch()]
    if kind.startswith('Watch, activations'): return [ActivationsOnly(budget=1e9)]
    return [Stats(model)]

def training(name, kind):
    "Seconds for STEPS steps, and the callbacks"
    net, shape = MODELS[name]
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(BATCH*STEPS, *shape, generator=g), torch.randint(0, 10, (BATCH*STEPS,), generator=g)
    model = net()
    cbs = contender(kind, model)
    learn = Learner(DataLoaders(Batches(x, y, batch_size=BATCH), Batches(x[:BATCH], y[:BATCH])), model, 'cross_entropy', 'adam', cbs=cbs, verbose=False)
    wall, cpu = time.perf_counter(), time.process_time()
    learn.fit(1, 1e-3)
    for c in cbs:
        if isinstance(c, Watch): c.records   # what was put aside for later is paid too
    return (time.perf_counter() - wall, time.process_time() - cpu), cbs

def watching(pairs, models=MODELS):
    print(f'{"model":7}{"step":>9}  {"contender":30}{"cost, wall (quartiles)":>28}{"cost, CPU (quartiles)":>28}   looks')
    for name in models:
        for kind in ('nothing', 'Watch'): training(name, kind)
        costs, step = {}, []
        for kind in ('Watch', 'Watch, activations, each step', 'ActivationStats'):
            ratios = [], []
            for i in range(pairs):
                took = {}
                for k in ([kind, 'nothing'] if i % 2 else ['nothing', kind]):
                    took[k], cbs = training(name, k)
                    if k == kind: seen = cbs[0]
                for j in (0, 1): ratios[j].append(took[kind][j]/took['nothing'][j] - 1)
                step.append(took['nothing'][1]/STEPS)
            for r in ratios: r.sort()
            costs[kind] = [statistics.median(r) for r in ratios]
            looks = len(seen.records) if isinstance(seen, Watch) else STEPS
            shown = ''.join(f'{c:8.1%} ({r[len(r)//4]:6.1%} to {r[-1-len(r)//4]:6.1%})' for c, r in zip(costs[kind], ratios))
            print(f'{name:7}{1e3*statistics.median(step):7.1f}ms  {kind:30}{shown}   {looks} of {STEPS}', flush=True)
        for j, what in enumerate(('wall', 'CPU')):
            w, each, theirs = (max(1e-9, costs[k][j]) for k in costs)
            print(f"{name:7}{what:>9}  ActivationStats costs {theirs/w:.1f} x Watch as it comes, and {theirs/each:.1f} x the same statistics at each step")

def doctor(times):
    digits = sources.digits()
    def learner(conv):
        torch.manual_seed(0)
        if conv: model = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10))
        else: model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Dropout(.1), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
        learn = Learner(loaders(digits, pipeline=['standardize']), model, 'cross_entropy', 'adam', cbs=Watch(), verbose=False)
        learn.fit(10, 3e-3)
        return learn
    for name, conv in (('dense', False), ('conv', True)):
        learn, took, cpu = learner(conv), [], []
        for _ in range(times):
            start = time.perf_counter(); c = time.process_time(); found = diagnose(learn); took.append(time.perf_counter() - start); cpu.append(time.process_time() - c)
        print(f'diagnose of a finished digits run, {name}: first {took[0]:.2f} s, median of {times} {statistics.median(took):.2f} s (CPU time {statistics.median(cpu):.2f} s); {found._summary()}', flush=True)

if __name__ == '__main__':
    p = argparse.ArgumentParser()
    for flag in ('quick', 'watch', 'doctor'): p.add_argument(f'--{flag}', action='store_true')
    p.add_argument('--steps', type=int, default=STEPS)
    p.add_argument('--pairs', type=int)
    p.add_argument('--model', choices=MODELS)
    a = p.parse_args()
    STEPS = a.steps
    if not a.doctor: watching(a.pairs or (3 if a.quick else 15), [a.model] if a.model else MODELS)
    if not a.watch: doctor(3 if a.quick else 5)
