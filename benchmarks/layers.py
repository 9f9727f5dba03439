"""What a layer costs: our models beside the same networks written by hand in torch.nn, and beside Keras 3 on its torch backend.

    python benchmarks/layers.py            # all tables; a few minutes
    python benchmarks/layers.py hand       # one of: hand, keras, build, memory, imports

Ratios are medians of pairs: the two are run in turns in one process, so that a busy machine slows both. One thread.
"""
import os, sys
os.environ.setdefault('KERAS_BACKEND', 'torch')
import gc, statistics, subprocess, time
import torch
from torch import nn

torch.set_num_threads(1)

def timed(f, times):
    start = time.perf_counter()
    for _ in range(times): f()
    return (time.perf_counter() - start)/times

def ratio(f, g, pairs=121, budget_s=.004):
    "Median over pairs of time(f)/time(g), its quartiles, and the median times"
    for h in (f, g): h(); h()
    times = max(1, int(budget_s/max(timed(f, 3), timed(g, 3))))
    runs = [(timed(f, times), timed(g, times)) if i % 2 else (timed(g, times), timed(f, times))[::-1] for i in range(pairs)]
    q = statistics.quantiles([a/b for a, b in runs], n=4)
    return q[1], q[0], q[2], statistics.median(a for a, _ in runs), statistics.median(b for _, b in runs)

def row(name, f, g, need, higher=False, **kwargs):
    r,low,high,a,b = ratio(f, g, **kwargs)
    if higher: r,low,high = 1/r,1/high,1/low
    print(f'{name:<44} {r:6.2f}  ({low:.2f} to {high:.2f})   {1e6*a:9.1f} µs  {1e6*b:9.1f} µs   {"at least" if higher else "at most"} {need:<5} {"ok" if (r >= need if higher else r <= need) else "MISSED"}', flush=True)
    return r

def step(model, x, loss):
    "One step of training, without the optimiser, which is the same for both"
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not type(model).__module__.startswith('keras'): model.train()
    def run():
        for p in parameters: p.grad = None
        loss(model(x)).backward()
    return run

def forward(model, x):
    "A call in inference, which is what Keras's call is unless told otherwise"
    if not type(model).__module__.startswith('keras'): model.eval()
    def run():
        with torch.no_grad(): model(x)
    return run

def mlp_by_hand(sizes):
    parts = []
    for a, b in zip(sizes, sizes[1:]): parts += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*parts[:-1])

class CnnByHand(nn.Module):
    "A person's forward, on the same channels-last data"
    def __init__(self, width):
        super().__init__()
        self.conv1,self.conv2 = nn.Conv2d(3, width, 3),nn.Conv2d(width, 2*width, 3)
        self.pool,self.flatten = nn.MaxPool2d(2),nn.Flatten()
        self.head = nn.Linear(2*width*6*6, 10)
    def forward(self, x):
        x = x.permute(0, 3, 1, 2)
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        return self.head(self.flatten(x))

class ResidualByHand(nn.Module):
    def __init__(self, width, blocks):
        super().__init__()
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
    def forward(self, x):
        for a, b in zip(self.first, self.second): x = x + b(torch.relu(a(x)))
        return x

def models():
    from upslope.layers import Conv2D, Dense, Flatten, Input, LSTM, MaxPooling2D, Model, Sequential
    def mlp(sizes, functional=False):
        if not functional: return Sequential([Input((sizes[0],)), *(Dense(n, 'relu') for n in sizes[1:-1]), Dense(sizes[-1])])
        x = y = Input((sizes[0],))
        for n in sizes[1:-1]: y = Dense(n, 'relu')(y)
        return Model(x, Dense(sizes[-1])(y))
    def cnn(width): return Sequential([Input((30, 30, 3)), Conv2D(width, 3, activation='relu'), MaxPooling2D(), Conv2D(2*width, 3, activation='relu'), MaxPooling2D(), Flatten(), Dense(10)])
    def residual(width, blocks):
        x = y = Input((width,))
        for _ in range(blocks): y = y + Dense(width)(Dense(width, 'relu')(y))
        return Model(x, y)
    def lstm(units): return Sequential([Input((50, 16)), LSTM(units, return_sequences=True)])
    return mlp,cnn,residual,lstm

def hand():
    mlp,cnn,residual,_ = models()
    total = lambda y: y.sum()
    print('ours against torch.nn by hand: forward, and step of training        ours        by hand')
    for name, sizes in dict(small=[8] + [16]*3 + [2], deep=[64]*10, large=[512]*5).items():
        x = torch.rand(32, sizes[0])
        for kind in (False, True):
            ours,theirs = mlp(sizes, kind),mlp_by_hand(sizes)
            label = f'MLP {name} {"functional" if kind else "sequential"}'
            row(label + ', forward', forward(ours, x), forward(theirs, x), 1.03)
            row(label + ', step', step(ours, x, total), step(theirs, x, total), 1.03)
    for width in (16, 256):
        x,ours,theirs = torch.rand(32, width),residual(width, 4),ResidualByHand(width, 4)
        row(f'residual {width}, forward', forward(ours, x), forward(theirs, x), 1.03)
        row(f'residual {width}, step', step(ours, x, total), step(theirs, x, total), 1.03)
    for width in (8, 32):
        x,ours,theirs = torch.rand(8, 30, 30, 3),cnn(width),CnnByHand(width)
        row(f'CNN {width}, forward', forward(ours, x), forward(theirs, x), 1.03)
        row(f'CNN {width}, step', step(ours, x, total), step(theirs, x, total), 1.03)

def keras():
    import keras
    mlp,cnn,_,lstm = models()
    K = keras.layers
    total = lambda y: y.sum()
    def row(*args): return globals()['row'](*args, pairs=31, budget_s=.04)   # longer turns: what Keras runs through leaves our caches cold
    def theirs_mlp(sizes): return keras.Sequential([K.Input((sizes[0],)), *(K.Dense(n, 'relu') for n in sizes[1:-1]), K.Dense(sizes[-1])])
    print('Keras 3 on torch against ours: how many times faster               ours         Keras')
    x = torch.rand(32, 64)
    ours,theirs = mlp([64]*10),theirs_mlp([64]*10)
    row('MLP of 9 layers, call', forward(ours, x), forward(theirs, x), 4, True)
    row('MLP of 9 layers, step', step(ours, x, total), step(theirs, x, total), 4, True)
    ours,theirs = mlp([8, 16, 16, 2]),theirs_mlp([8, 16, 16, 2])
    x = torch.rand(32, 8)
    row('small MLP, call', forward(ours, x), forward(theirs, x), 4, True)
    row('small MLP, step', step(ours, x, total), step(theirs, x, total), 4, True)
    ours,theirs = lstm(16),keras.Sequential([K.Input((50, 16)), K.LSTM(16, return_sequences=True)])
    x = torch.rand(8, 50, 16)
    row('LSTM over 50 steps, call', forward(ours, x), forward(theirs, x), 10, True)
    row('LSTM over 50 steps, step', step(ours, x, total), step(theirs, x, total), 1, True)
    ours,theirs = cnn(8),keras.Sequential([K.Input((30, 30, 3)), K.Conv2D(8, 3, activation='relu'), K.MaxPooling2D(), K.Conv2D(16, 3, activation='relu'), K.MaxPooling2D(), K.Flatten(), K.Dense(10)])
    x = torch.rand(8, 30, 30, 3)
    row('small CNN, call', forward(ours, x), forward(theirs, x), 1, True)
    row('small CNN, step', step(ours, x, total), step(theirs, x, total), 1, True)

def build():
    from upslope.layers import Dense, Input, Sequential
    from upslope.layers.summary import Summary
    print('building and summary')
    for n in (250, 500, 1000, 2000):
        start = time.perf_counter(); model = Sequential([Input((8,))] + [Dense(8) for _ in range(n)]); built = time.perf_counter() - start
        start = time.perf_counter(); text = Summary(model).text(); shown = time.perf_counter() - start
        print(f'{n:5} layers: build {built:.3f} s, summary {shown:.3f} s ({len(text.splitlines())} lines)')

def memory():
    import resource
    from upslope.layers import Dense, Input, Sequential
    def resident(): return int(open('/proc/self/statm').read().split()[1])*resource.getpagesize()/1e6 if os.path.exists('/proc/self/statm') else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1e3
    model,x = Sequential([Input((64,)), Dense(64, 'relu'), Dense(10)]),torch.rand(32, 64)
    def calls(n):
        for _ in range(n): model(x).sum().backward()
    def builds(n):
        for _ in range(n): Sequential([Input((64,)), Dense(64, 'relu'), Dense(10)])(x)
        gc.collect()
    for name, f, n in (('calls', calls, 10_000), ('built models', builds, 1_000)):
        f(n//10); gc.collect()
        before,objects = resident(),len(gc.get_objects())
        f(n); gc.collect()
        print(f'{n:6} {name}: {resident() - before:+.2f} MB resident, {len(gc.get_objects()) - objects:+} objects')

def imports():
    def seconds(what):
        start = time.perf_counter()
        subprocess.run([sys.executable, '-c', f'import {what}'], check=True)
        return time.perf_counter() - start
    seconds('upslope.layers')
    ratios = [seconds('upslope.layers')/seconds('torch') if i % 2 else 1/(seconds('torch')/seconds('upslope.layers')) for i in range(11)]
    q = statistics.quantiles(ratios, n=4)
    print(f'import upslope.layers against import torch: {q[1]:.3f} ({q[0]:.3f} to {q[2]:.3f}), at most 1.1')

if __name__ == '__main__':
    for name in sys.argv[1:] or ['hand', 'keras', 'build', 'memory', 'imports']: globals()[name]()
