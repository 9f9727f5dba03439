"""What `LiveLearner` and `LiveStudy` cost, in a real Jupyter kernel: python benchmarks/surface.py [pairs]

The same fit with and without it, interleaved, in one kernel from which the widget really sends its pictures. Printed: the
share of the processor time that goes into drawing and sending, which a busy machine does not disturb (of a study: how much
more the kernel takes, over what kernel and workers take together); the
median over the pairs of the ratio of the kernel's processor times, its quartiles, the same for the clock on the wall, which
is only of use on an idle machine, and how often the view was drawn. For a study, the processor time is that of the kernel
and of the workers together, and the study has many short runs, which is when there is most to look at.
"""
import json, sys
from statistics import median, quantiles

from jupyter_client.manager import start_new_kernel

FITS = """
import time, json
from upslope.core.seeds import seeded
from upslope.data import sources, loaders
from upslope.layers import Dense, Flatten, Input, Sequential
from upslope.train import Learner
from upslope.surface import LiveLearner
import upslope.surface.live as live

drawn = 0
spent = 0.
class Counted(LiveLearner):
    def _draw(self, now):
        global drawn
        drawn += 1
        super()._draw(now)
    def _tick(self, now):
        global spent
        begun = time.thread_time()
        super()._tick(now)
        spent += time.thread_time() - begun

def seconds(cbs, epochs):
    with seeded(0): model = Sequential([Input((8, 8, 1)), Flatten(), Dense(UNITS, 'relu'), Dense(10)])
    learn = Learner(loaders(sources.digits(), batch_size=64), model, 'cross_entropy', 'adam', metrics='accuracy', verbose=False)
    begun = time.process_time(), time.perf_counter(), time.thread_time(), spent
    with seeded(0): learn.fit(epochs, 1e-3, cbs=cbs)
    all_threads, own = time.process_time() - begun[0], time.thread_time() - begun[2]
    return all_threads, time.perf_counter() - begun[1], all_threads - own + spent - begun[3]   # the last: of the view, and of the threads that send it

assert live.front_end() == 'live'
for cbs in (None, Counted()): seconds(cbs, 3)
epochs = max(5, round(5*SECONDS/seconds(None, 5)[0]))
rows = []
for i in range(PAIRS):
    order = [None, Counted()] if i % 2 else [Counted(), None]
    drawn = 0
    found = {cbs is not None: seconds(cbs, epochs) for cbs in order}
    rows.append((found[True], found[False], drawn))
print('ROWS' + json.dumps(rows))
"""

STUDIES = """
import json, os, tempfile, time
from IPython.display import display
from upslope.lab import Recipe, Study
from upslope.surface import LiveStudy
from upslope.surface.demo import dense

drawn = 0
class Counted(LiveStudy):
    def _redraw(self):
        global drawn
        drawn += 1
        return super()._redraw()

def seconds(watched):
    study = Study('widths', Recipe('digits', dense, epochs=EPOCHS), dict(width=[.5, 1, 2]), seeds=SEEDS, baselines=None, placebo=False, store=tempfile.mkdtemp() + '/store.db')
    begun = os.times(), time.perf_counter()
    live = Counted(study) if watched else LiveStudy(study)
    live.run(workers=1, engine='loop')
    if watched: display(live)
    live.wait()
    assert live.error is None, live.error
    live._watching = False
    end = os.times()
    return sum(end[:4]) - sum(begun[0][:4]), time.perf_counter() - begun[1], sum(end[:2]) - sum(begun[0][:2])   # the last: of the kernel

seconds(False)
rows = []
for i in range(PAIRS):
    drawn = 0
    found = {watched: seconds(watched) for watched in ((False, True) if i % 2 else (True, False))}
    rows.append((found[True], found[False], drawn))
print('ROWS' + json.dumps(rows))
"""

def measure(code, **settings):
    "((processor, wall) with, the same without, drawings) for each pair"
    manager, client = start_new_kernel(kernel_name='python3')
    said = []
    try:
        def hear(message):
            content = message['content']
            said.append(content.get('text') or '\n'.join(content.get('traceback', [])))
        reply = client.execute_interactive(f'globals().update({settings})' + code, output_hook=hear, timeout=600)
        if reply['content']['status'] != 'ok': sys.exit(''.join(said))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return json.loads(''.join(said).partition('ROWS')[2].splitlines()[0])

def show(name, rows):
    cpu, wall = ([a[i]/b[i] for a, b, _ in rows] for i in (0, 1))
    low, _, high = quantiles(cpu, n=4)
    share = median((a[2] - b[2])/b[0] for a, b, _ in rows)
    print(f'{name:>28} {share:8.2%}   {median(cpu):9.3f}   {low:.3f} to {high:.3f}   {median(wall):6.3f}   {median(n for *_, n in rows):.0f}', flush=True)

if __name__ == '__main__':
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    print(f'{"":>28} {"share":>8}   {"processor":>9}   quartiles        {"wall":>6}   drawings')
    for units in (64, 1024): show(f'a fit, {units} dense units', measure(FITS, UNITS=units, PAIRS=pairs, SECONDS=6))
    for epochs, seeds in ((4, 60), (40, 12)): show(f'a study, {3*seeds} runs', measure(STUDIES, EPOCHS=epochs, SEEDS=seeds, PAIRS=pairs))
