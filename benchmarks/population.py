"""What a member of a Population costs, against the plain PyTorch loop with its fused optimizer.

    python benchmarks/population.py               the table, without compilation
    python benchmarks/population.py --compiled    the rows with a compiled program (minutes of compilation)
    python benchmarks/population.py --curve       the cost from 1 to 256 members
    python benchmarks/population.py --workers     two worker processes against one
    python benchmarks/population.py --quick       fewer pairs

All in one process, one thread. A pair is an epoch of the loop that everybody writes and an epoch of `Population`'s own loop (gather, recorded
program, row optimizer, the look for NaN), one directly after the other, in changing order; the figures are medians over pairs. The arithmetic limit is
the model's number of floating-point operations over the rate that a matrix product of 1024 reaches here. What limits a row is read from PyTorch's
profiler: the share of products and convolutions, of passes over memory (activations, normalization, losses), of the optimizer, and of everything else.
There was no GPU: the CUDA path was not measured.
"""
import os
os.environ.update(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1', OMP_WAIT_POLICY='passive')
import argparse, statistics, subprocess, sys, time, warnings

import torch, torch.nn.functional as F
from torch import nn

torch.set_num_threads(1)
warnings.filterwarnings('ignore')

from upslope.data import Batches
from upslope.train import Population

PAIRS = 7

def mlp(): return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
def normed(): return nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
def cnn(side=8): return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16*(side//4)**2, 10))
def cnn28(): return cnn(28)
class Block(nn.Module):
    def __init__(self): super().__init__(); self.norm1, self.norm2, self.qkv, self.out, self.up, self.down = nn.LayerNorm(32), nn.LayerNorm(32), nn.Linear(32, 96), nn.Linear(32, 32), nn.Linear(32, 64), nn.Linear(64, 32)
    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, 4, 8).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, d))
        return x + self.down(F.gelu(self.up(self.norm2(x))))
class Transformer(nn.Module):
    def __init__(self): super().__init__(); self.embed, self.position, self.blocks, self.head = nn.Linear(8, 32), nn.Parameter(torch.randn(8, 32)*.02), nn.Sequential(Block(), Block()), nn.Linear(32, 10)
    def forward(self, x): return self.head(self.blocks(self.embed(x) + self.position).mean(1))
class Recurrent(nn.Module):
    def __init__(self, kind): super().__init__(); self.rnn, self.head = kind(8, 32, batch_first=True), nn.Linear(32, 10)
    def forward(self, x): return self.head(self.rnn(x)[0][:, -1])
def lstm(): return Recurrent(nn.LSTM)
def gru(): return Recurrent(nn.GRU)

SHAPES = {mlp: (64,), normed: (64,), cnn: (1, 8, 8), cnn28: (1, 28, 28), Transformer: (8, 8), lstm: (8, 8), gru: (8, 8)}

def batches(make, size, n=None):
    "Digits as they are, or enlarged, in the shape that the model takes; a whole number of batches"
    from sklearn.datasets import load_digits
    d = load_digits()
    x, y = torch.tensor(d.data/16, dtype=torch.float32), torch.tensor(d.target)
    n = min(n or 1408, len(x))//size*size
    x, y = x[:n], y[:n]
    if make is cnn28: x = F.interpolate(x.view(-1, 1, 8, 8), size=(28, 28), mode='bilinear')
    return Batches(x.reshape(n, *SHAPES[make]), y, batch_size=size, shuffle=True, seed=0)

class Plain:
    "The loop that everybody writes"
    def __init__(self, make, data):
        torch.manual_seed(0)
        self.model, self.data, self.steps = make(), data, len(data)
        self.opt = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
    def epoch(self):
        self.model.train()
        for x, y in self.data:
            loss = F.cross_entropy(self.model(x), y)
            loss.backward()
            self.opt.step()
            self.opt.zero_grad()

class Stacked:
    "An epoch of a population, without validation"
    def __init__(self, make, data, k, engine='stacked', rows=None, compile=False):
        self.p = p = Population(make, data, [dict(seed=s, lr=1e-3) for s in range(k)], 'cross_entropy', 'adam', engine=engine, rows=rows, compile=compile)
        slots, p._programs = p._decide(), {}
        for m in p.members: m.begin([], 1)
        p._allocate(slots)
        for s in range(slots): p._put(s, p.members[s]); p._start(p.members[s])
        p.position, p.batch_losses, p.epoch, self.k, self.steps = 0, [], 0, slots, slots*len(data)
    def epoch(self):
        from upslope.train.population import _flushed
        p = self.p
        p.position, p.batch_losses = 0, []
        with _flushed(): p._train(p.active)
        for m in p.active: m.batches.epoch += 1

def timed(f):
    start = time.process_time()
    f()
    return time.process_time() - start

def compare(a, b, pairs=None):
    "Medians over pairs of epochs: seconds per member and step of each, and the ratio with its quartiles"
    for o in (a, b): o.epoch(); o.epoch()
    many = max(1, round(.1/max(1e-4, timed(a.epoch))))   # the loop's epochs are short: several, so that both are measured over a tenth of a second or more
    ratios, ours, theirs = [], [], []
    for i in range(pairs or PAIRS):
        found = {}
        for o in ((a, b) if i % 2 else (b, a)):
            n = many if o is a else max(1, round(.1/max(1e-4, statistics.median(ours)*o.steps))) if ours else 1
            found[o] = timed(lambda: [o.epoch() for _ in range(n)])/n/o.steps
        theirs.append(found[a]); ours.append(found[b]); ratios.append(found[a]/found[b])
    return statistics.median(theirs), statistics.median(ours), statistics.median(ratios), statistics.quantiles(ratios, n=4)

def peak_rate():
    "Floating-point operations a second in a large matrix product"
    a = torch.randn(1024, 1024)
    a@a
    return 2*1024**3/min(timed(lambda: a@a) for _ in range(5))

def operations(make, size):
    "Floating-point operations of one step, forward and backward"
    from torch.utils.flop_counter import FlopCounterMode
    torch.manual_seed(0)
    model, count = make(), FlopCounterMode(display=False)
    x, y = batches(make, size).one_batch()
    with count: F.cross_entropy(model(x), y).backward()
    return count.get_total_flops()

def shares(contender):
    "Where the time of a population goes: products and convolutions, optimizer, other kernels, everything else"
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as p: contender.epoch()
    kinds = dict(products=0., optimizer=0., passes=0.)
    cheap = ('view', 'reshape', 'transpose', 'permute', 'expand', 'unsqueeze', 'select', 'slice', 'empty', 'as_strided', 'detach', 'to', 'result_type', 'unflatten', 'flatten', 'item', 'local_scalar')
    for e in p.key_averages():
        name = e.key.removeprefix('aten::')
        if not e.key.startswith('aten::') or name.strip('_').split('_')[0] in cheap: continue
        kinds['products' if any(w in name for w in ('mm', 'conv', 'mkldnn')) else 'optimizer' if 'fused' in name else 'passes'] += e.self_cpu_time_total
    total = sum(e.self_cpu_time_total for e in p.key_averages())
    kinds['overhead'] = total - sum(kinds.values())
    return {k: v/total for k, v in kinds.items()}

def bytes_each(s): 
    from upslope.train.choice import footprint
    return footprint(s.p.program, s.p.rows)/s.k

ROWS = [('MLP 64-64-64-10, batch 64', mlp, 64, (32, 128), 3.5), ('the same, batch 16', mlp, 16, (32, 128), 5), ('with batch normalization, batch 64', normed, 64, (32,), 3),
        ('transformer d 32, batch 16', Transformer, 16, (32,), 2), ('CNN on 8x8, batch 16', cnn, 16, (32,), 2.7), ('GRU, batch 64', gru, 64, (32,), None)]

def table():
    rate = peak_rate()
    print(f'A product of 1024 x 1024 matrices: {rate/1e9:.0f} GFLOP/s on one thread. Adam; microseconds of CPU per member and step, medians of {PAIRS} pairs.\n')
    print(f"{'':<36}{'members':>8}{'loop':>8}{'stacked':>9}{'gain':>7}  {'quartiles':<14}{'target':>7}{'limit':>8}{'of it':>7}{'KB each':>9}   products passes optimizer overhead")
    for name, make, size, ks, target in ROWS:
        limit = operations(make, size)/rate
        for k in ks:
            data = batches(make, size, 1408 if k*size < 4096 else 704)
            s = Stacked(make, data, k)
            theirs, ours, gain, q = compare(Plain(make, data), s)
            share = shares(s)
            print(f"{name:<36}{k:>8}{1e6*theirs:>8.0f}{1e6*ours:>9.1f}{gain:>7.2f}  {q[0]:.2f} - {q[2]:<7.2f}{'' if target is None else f'{target:g}':>7}{1e6*limit:>8.1f}{limit/ours:>7.0%}{bytes_each(s)/1024:>9.0f}   {share['products']:>8.0%}{share['passes']:>7.0%}{share['optimizer']:>10.0%}{share['overhead']:>9.0%}", flush=True)
    for name, make, size, n in (('CNN on 28x28, batch 64', cnn28, 64, 256), ('LSTM, batch 64', lstm, 64, 704)):
        data = batches(make, size, n)
        s = Stacked(make, data, 8, engine='auto')
        theirs, ours, gain, q = compare(Plain(make, data), s)
        print(f"{name:<36}{'chosen: ' + s.p.kind:>16}{1e6*theirs:>8.0f}{1e6*ours:>9.1f}{gain:>7.2f}  {q[0]:.2f} - {q[2]:<7.2f}{'0.97':>7}   {s.p.explanation.reason.split(';')[0]}", flush=True)

def compiled():
    print(f"{'compiled':<36}{'members':>8}{'loop':>8}{'stacked':>9}{'gain':>7}  {'quartiles':<14}{'target':>7}{'seconds to record and compile':>32}")
    for name, make, size, k, target in (('transformer d 32, batch 16', Transformer, 16, 32, 4), ('MLP 64-64-64-10, batch 64', mlp, 64, 32, 3.5), ('MLP 64-64-64-10, batch 16', mlp, 16, 32, 5)):
        data = batches(make, size)
        s = Stacked(make, data, k, compile=True)
        theirs, ours, gain, q = compare(Plain(make, data), s)
        print(f"{name:<36}{k:>8}{1e6*theirs:>8.0f}{1e6*ours:>9.1f}{gain:>7.2f}  {q[0]:.2f} - {q[2]:<7.2f}{target:>7g}{s.p.program.recorded_s:>32.0f}", flush=True)

def curve():
    print('microseconds per member and step, and KB per member')
    for name, make, size in (('MLP, batch 16', mlp, 16), ('MLP, batch 64', mlp, 64), ('CNN 8x8, batch 16', cnn, 16)):
        data, cells = batches(make, size, 352 if size == 16 else 704), []
        for k in (1, 2, 4, 8, 16, 32, 64, 128, 256):
            s = Stacked(make, data, max(2, k)) if k > 1 else Stacked(make, data, 1, engine='loop')
            _, ours, gain, _ = compare(Plain(make, data), s, 3)
            cells.append(f"{k}: {1e6*ours:.0f} ({gain:.1f}x, {bytes_each(s)/1024:.0f} KB)")
        print(f"{name:<20}" + '  '.join(cells), flush=True)

WORKER = '''
import sys, time
import runpy
globals().update(runpy.run_path({file!r}, run_name='worker'))
s = Stacked(mlp, batches(mlp, 64), 32)
s.epoch(); s.epoch()
print('ready', flush=True); sys.stdin.readline()
start, n = time.perf_counter(), 0
while time.perf_counter() - start < {seconds}: s.epoch(); n += s.steps
print(n/(time.perf_counter() - start), flush=True)
'''
def workers(seconds=4.):
    def rate(n):
        ps = [subprocess.Popen([sys.executable, '-W', 'ignore', '-c', WORKER.format(file=os.path.abspath(__file__), seconds=seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(n)]
        for p in ps: p.stdout.readline()
        for p in ps: p.stdin.write('go\n'); p.stdin.flush()
        return sum(float(p.communicate()[0]) for p in ps)
    ratios = []
    for _ in range(3):
        one, two = rate(1), rate(2)
        ratios.append(two/one)
    print(f'member-steps a second, MLP, batch 64, 32 members each: one worker {one:.0f}, two {two:.0f}; {statistics.median(ratios):.2f} times (median of 3; target 1.8)')

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    for name in ('compiled', 'curve', 'workers', 'quick'): parser.add_argument(f'--{name}', action='store_true')
    asked = parser.parse_args()
    if asked.quick: PAIRS = 5
    for f in [f for f in (compiled, curve, workers) if getattr(asked, f.__name__)] or [table]: f()
