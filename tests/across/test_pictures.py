"In a kernel that imports nothing but upslope, each function of the house that draws shows one picture as the last line of a cell, and none in the middle of one"
import os, re
import pytest
from jupyter_client.manager import start_new_kernel

PATIENCE = 300   # [s]: no machine is so slow; only a failure takes so long
SETUP = """
import matplotlib, pandas as pd, torch
from torch import nn
matplotlib.rcParams['figure.dpi'] = 25   # that a picture comes is asked, not how fine it is
from upslope.all import *
from upslope.data import loaders, sources
from upslope.inspection import *
from upslope.lab.plots import curves_figure, effects_figure, pairs_figure, parallel_figure, points_figure
from upslope.lab import Recipe, Study
from upslope.stress.retraining import Sweep
from upslope.train import schedules
from upslope.train.trackers import LivePlot
torch.manual_seed(0)
digits, wine = sources.digits(), sources.breast_cancer()
dls, tables = loaders(digits, pipeline=['standardize']), loaders(wine, batch_size=32, pipeline=['standardize'])
def net(width:int=8): return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
learn = Learner(dls, net(), 'cross_entropy', 'adam', verbose=False)
w = watch(learn)
learn.fit(1, 3e-3)
p = predictions(learn)
members = Population(net, dls, 2, lr=.01, opt='sgd', engine='stacked')
seen = watch(members)
members.fit(1)
broken = diagnose(nn.Sequential(*net(), nn.Softmax(1)), dls.data, 'cross_entropy')
line, plane = (loss_surface(learn, n=3, dims=k, limit=50) for k in (1, 2))
table = pd.DataFrame(dict(signed=[1., .4], absolute=[1., .5], **{'standard error': [0., .1]}), index=['none', 'out'])
sweep = Sweep('wrong labels', 'accuracy', pd.DataFrame(dict(share=[0., .2], at=[0., .2], seed=[0, 0], subject=['net', 'net'], value=[.9, .8])), {0.: 9, .2: 9})
def run(i, config, width, seed, value): return dict(run=i, config=config, seed=seed, status='done', kind='model', axis='width' if width else None, value=width, base='net' if width else None, valid_accuracy=value, valid_loss=1 - value)
runs = pd.DataFrame([run(3*k + s, config, width, s, .8 + .03*k + .01*s) for k,(config,width) in enumerate((('net', None), ('net, width=16', 16), ('net, width=32', 32))) for s in range(3)])
history = pd.DataFrame([dict(run=r, epoch=e, metric='valid_loss', value=1./(1 + r + e)) for r in range(9) for e in range(3)])
live = LivePlot()
live.start(['epoch', 'train_loss', 'accuracy'])
live.rows.append(dict(epoch=0, train_loss=1., accuracy=.5))
study = Study('widths', Recipe('digits', net, epochs=1), dict(width=[4, 8]), seeds=2, baselines=None, store='store.db')
study.run(workers=1, show=False)
"""
UNTAUGHT = """from matplotlib.figure import Figure
assert Figure not in get_ipython().display_formatter.formatters['image/png'].type_printers, 'this kernel draws figures by itself, so nothing is tested'"""
DRAWN = ['study.plot()', "study.plot('points')", "study.plot('curves')", "study.plot('pairs')", 'effects_figure(runs)', 'points_figure(runs)', "curves_figure(history, runs, 'valid_loss')", 'pairs_figure(runs)',
         "parallel_figure(runs, {'net, width=16': dict(width=16), 'net, width=32': dict(width=32)})",
         'w.plot()', "w.plot('loss')", 'seen.plot()', 'seen.member(1).plot()', 'show_batch(dls)', 'show_batch(tables)', 'plot_class_balance(digits)', 'plot_outliers(wine)', 'p.plot_confusion()', 'p.plot_top_losses()', 'p.calibration(resamples=10).plot()',
         'embed(learn).plot()', 'attribute(learn, rows=2).plot()', 'plot_randomization(table)', 'line.plot()', 'plane.plot()', 'list(broken)[0].plot()', 'schedules.Cosine().plot()', 'live.figure()', 'digits_shown(dls)', 'sweep.plot()', "stress(learn, pushes=['gaussian_noise'], rows=60, draws=1).plot()"]

class Kernel:
    "Cells, and the pictures that a front end would show below each"
    def __init__(self, client): self.client = client
    def run(self, source):
        pictures,errors = [],[]
        def hear(message):
            kind,content = message['msg_type'],message['content']
            if kind == 'error': errors.append(re.sub(r'\x1b\[[0-9;]*m', '', '\n'.join(content['traceback'])))
            if kind in ('display_data', 'execute_result'): pictures.append([m for m in content['data'] if m.startswith('image/')])
        self.client.execute_interactive(source, timeout=PATIENCE, output_hook=hear)
        assert not errors, errors[0]
        return [kinds for kinds in pictures if kinds]

@pytest.fixture(scope='module')
def kernel(root, tmp_path_factory):
    env = {**os.environ, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'}
    env.pop('MPLBACKEND', None)
    manager,client = start_new_kernel(kernel_name='python3', env=env, cwd=tmp_path_factory.mktemp('pictures'), startup_timeout=PATIENCE)
    kernel = Kernel(client)
    kernel.run(SETUP)
    kernel.run('def digits_shown(dls): return dls.pipeline.show(dls.one_batch()[0], 3)')
    yield kernel
    client.stop_channels()
    manager.shutdown_kernel(now=True)

pytestmark = pytest.mark.xdist_group('one_kernel')   # in one process, and in this order

@pytest.fixture(params=['nothing else imported', 'after pyplot', 'formats chosen'])
def state(kernel, request):
    "The three follow each other in one kernel"
    kernel.run({'nothing else imported': UNTAUGHT, 'after pyplot': '%matplotlib inline\nimport matplotlib.pyplot as plt', 'formats chosen': "%config InlineBackend.figure_formats = ['svg']"}[request.param])
    return request.param

def test_one_picture_where_it_is_the_last_line_and_none_in_the_middle(kernel, state):
    kind = ['image/svg+xml'] if state == 'formats chosen' else ['image/png']
    wrong = {}
    for call in DRAWN if state != 'formats chosen' else DRAWN[:3]:
        last,middle = kernel.run(call),kernel.run(f'_ = {call}')
        if last != [kind] or middle: wrong[call] = last,middle
    assert not wrong
    if state != 'nothing else imported': assert not kernel.run("assert not plt.get_fignums(), 'a figure stayed in the list of pyplot'")

def test_axes_of_the_users_own_are_drawn_into_and_shown_once(kernel):
    kernel.run("%config InlineBackend.figure_formats = ['png']\nimport matplotlib.pyplot as plt")
    assert kernel.run('fig, ax = plt.subplots()\np.plot_confusion(ax)') == [['image/png']]
    assert kernel.run("drawn = line.plot()\nline.plot(ax=drawn.axes[0])") == [['image/png']]
    assert kernel.run('drawn.show()\n1') == [['image/png']]
