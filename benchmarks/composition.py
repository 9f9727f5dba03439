"""What composition costs: ratios to the code that one would write by hand, measured side by side in one run.

  python benchmarks/composition.py            the whole table
  python benchmarks/composition.py --quick    fewer pairs and steps, to see that it runs

Each row times two programs in turn, and gives the median of the ratios of their pairs, with quartiles. Times are
those of the processor. One thread.
"""
import argparse, os, statistics, time
os.environ.setdefault('OMP_NUM_THREADS', '1')
import torch, torch.nn.functional as F
from torch import nn
from upslope.core import compose, concat, lift, recurrently, residual, unroll, value_and_grad, zero_state
from upslope.layers import Dense

torch.set_num_threads(1)

def seconds(f, n):
    "Of the processor, for one call: other programs on the machine disturb it little"
    start = time.process_time()
    for _ in range(n): f()
    return (time.process_time() - start)/n

def pairs(ours, theirs, n_pairs, aim=.008):
    "Ratios of ours to theirs, timed in turn, first one and then the other ahead"
    for f in (ours, theirs): f(); f()
    n = max(1, int(aim/max(1e-7, seconds(theirs, 3))))
    ratios, base = [], []
    for i in range(n_pairs):
        first, second = (ours, theirs) if i % 2 else (theirs, ours)
        a, b = seconds(first, n), seconds(second, n)
        mine, other = (a, b) if i % 2 else (b, a)
        ratios.append(mine/other); base.append(other)
    q1, median, q3 = statistics.quantiles(ratios, n=4)
    return median, q1, q3, statistics.median(base)

def row(name, ours, theirs, target, args, against='by hand'):
    median, q1, q3, base = pairs(ours, theirs, 5 if args.quick else args.pairs)
    met = '' if target is None else 'met' if median <= target else 'MISSED'
    print(f'{name:<58}{median:>7.3f}  ({q1:.3f} to {q3:.3f})  {base*1e6:>10.0f} us  {"" if target is None else f"<= {target}":<9}{met}', flush=True)

class Mlp(nn.Module):
    def __init__(self, n, width, layers, out):
        super().__init__()
        sizes = [n, *[width]*layers, out]
        for i, (a, b) in enumerate(zip(sizes, sizes[1:])): setattr(self, f'fc{i}', nn.Linear(a, b))
    def forward(self, x):
        x = torch.relu(self.fc0(x))
        x = torch.relu(self.fc1(x))
        return self.fc2(x)

class Block(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.norm, self.a, self.b = nn.LayerNorm(n), nn.Linear(n, 4*n), nn.Linear(4*n, n)
    def forward(self, x): return x + self.b(F.gelu(self.a(self.norm(x))))
class Residuals(nn.Module):
    def __init__(self, n, depth):
        super().__init__()
        self.blocks = nn.ModuleList(Block(n) for _ in range(depth))
    def forward(self, x):
        for block in self.blocks: x = block(x)
        return x

def step_of(model, x):
    def step():
        model.zero_grad()
        model(x).square().mean().backward()
    return step

def models(args):
    for n, batch in ((784, 128), (64, 32)):
        hand = Mlp(n, 128, 2, 10)
        ours = lift(hand.fc0) >> torch.relu >> hand.fc1 >> torch.relu >> hand.fc2       # the same weights
        x = torch.randn(batch, n)
        assert torch.equal(ours(x), hand(x))
        with torch.no_grad(): row(f'MLP {n}-128-128-10, batch {batch}, forward', lambda: ours(x), lambda: hand(x), 1.02, args)
        row(f'MLP {n}-128-128-10, batch {batch}, forward and backward', step_of(ours, x), step_of(hand, x), 1.02, args)
    hand = Residuals(64, 4)
    ours = compose(*(residual(lift(b.norm) >> b.a >> F.gelu >> b.b) for b in hand.blocks))
    x = torch.randn(64, 64)
    assert torch.equal(ours(x), hand(x))
    with torch.no_grad(): row('4 residual blocks of 64, batch 64, forward', lambda: ours(x), lambda: hand(x), 1.02, args)
    row('4 residual blocks of 64, batch 64, forward and backward', step_of(ours, x), step_of(hand, x), 1.02, args)
    hand = Mlp(784, 128, 2, 10)
    ours = lift(hand.fc0) >> torch.relu >> hand.fc1 >> torch.relu >> hand.fc2
    x = torch.randn(128, 784)
    pure = value_and_grad(lambda params, x: ours.apply(params, x).square().mean())
    params = ours.params
    row('MLP 784, value and gradient as a function of its parameters', lambda: pure(params, x), step_of(hand, x), None, args)
    both = torch.func.grad_and_value(lambda params, x: ours.apply(params, x).square().mean())
    row('  the same by torch.func.grad', lambda: both(params, x), step_of(hand, x), None, args)

class Loop(nn.Module):
    def __init__(self, n, units):
        super().__init__()
        self.dense, self.units = nn.Linear(n + units, units), units
    def forward(self, xs):
        h, hs = xs.new_zeros(xs.shape[0], self.units), []
        for x in xs.unbind(1):
            h = torch.tanh(self.dense(torch.cat([x, h], -1)))
            hs.append(h)
        return torch.stack(hs, 1)

def recurrence(args):
    hand = Loop(8, 32)
    ours = zero_state(unroll(recurrently(concat >> hand.dense >> torch.tanh)))
    xs = torch.randn(16, 100, 8)
    assert torch.equal(ours(xs), hand(xs))
    with torch.no_grad(): row('unroll of a cell of 32 over 100 steps, forward', lambda: ours(xs), lambda: hand(xs), 1.1, args)
    row('unroll of a cell of 32 over 100 steps, forward and backward', step_of(ours, xs), step_of(hand, xs), 1.1, args)

def compiled(args):
    hand = Loop(8, 32)
    ours = zero_state(unroll(recurrently(concat >> hand.dense >> torch.tanh)))
    xs = torch.randn(16, 100, 8)
    ours(xs)
    for how, options in (('', {}), (', with the C++ wrapper', dict(cpp_wrapper=True))):   # which calls the kernels from C++
        torch._dynamo.reset()
        start = time.perf_counter()
        with torch.no_grad():
            run = torch.compile(ours, fullgraph=True, options=options)
            assert torch.allclose(run(xs), hand(xs), atol=1e-5)
            took = time.perf_counter() - start
            row(f'unroll, 100 steps, compiled{how} ({took:.0f} s) to the loop', lambda: run(xs), lambda: hand(xs), .5, args)

def checking(args):
    def chain(n):
        layers = [Dense(8) for _ in range(n)]
        f = lift(layers[0])
        start = time.process_time()
        for layer in layers[1:]: f = f >> layer
        made = time.process_time() - start
        f.on('B', 8)
        return made, time.process_time() - start
    chain(50)
    times = {}
    for n in (250, 500, 1000, 2000):
        found = [chain(n) for _ in range(1 if args.quick else 3)]
        times[n] = min(b for _, b in found)
        print(f'checking a composition of {n} layers: >> {min(a for a, _ in found):.3f} s, with all shapes after on() {times[n]:.3f} s', flush=True)
    print(f'1,000 layers under a second: {"met" if times[1000] < 1 else "MISSED"}; 2,000 take {times[2000]/times[1000]:.2f} times as long as 1,000, which take {times[1000]/times[500]:.2f} times as long as 500')

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--quick', action='store_true', help='fewer pairs, to see that it runs')
    parser.add_argument('--pairs', type=int, default=60, help='how many pairs of measurements for each row')
    parser.add_argument('--no-compile', action='store_true', help='leave out torch.compile, which takes a minute')
    args = parser.parse_args()
    print(f'torch {torch.__version__}, one thread, load {os.getloadavg()[0]:.1f}\n{"":<58}  ratio  (quartiles)          by hand       target', flush=True)
    models(args)
    recurrence(args)
    checking(args)
    if not args.no_compile: compiled(args)
