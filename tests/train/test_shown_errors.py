"An error of a model or callback is shown without the frames of the training loop: in a script, in IPython, in pytest"
import os, subprocess, sys, traceback
from pathlib import Path

import pytest
from torch import nn
from upslope.data import loaders, sources
from upslope.data.batches import import_fastai
import_fastai()
from fastai.callback.core import Callback
from upslope.core.errors import UpslopeError
from upslope.train import Learner

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = '''
from torch import nn
from upslope.data import loaders, sources
from upslope.train import Learner
class Mine(nn.Module):
    def __init__(self): super().__init__(); self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(16, 10))
    def forward(self, x):
        return self.net(x)
def experiment():
    learn = Learner(loaders(sources.digits(), pipeline='standardize'), Mine(), 'cross_entropy', 'adam', verbose=False)
    learn.fit(1)
'''
PLACES = {'script': ([], 'experiment()', 24), 'ipython': (['-m', 'IPython', '--colors=nocolor'], 'experiment()', 45),
          'pytest': (['-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-p', 'no:xdist', '--color=no', '--noconftest'], 'def test_it(): experiment()', 75)}

def shown(folder, place):
    "What a person sees"
    how, last, _ = PLACES[place]
    path = folder/'test_mine.py'
    path.write_text(SCRIPT + last + '\n')
    where = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]), IPYTHONDIR=str(folder/'ipython'), PYTHONWARNINGS='ignore', COLUMNS='100')
    done = subprocess.run([sys.executable, *how, str(path)], capture_output=True, text=True, timeout=300, cwd=folder, env=where)
    return done.stdout + done.stderr

@pytest.mark.parametrize('place', PLACES)
def test_what_is_shown(tmp_path, place):
    text = shown(tmp_path, place)
    lines = text.strip().splitlines()
    assert len(lines) <= PLACES[place][2], f'{len(lines)} lines\n{text}'
    for own in ('learn.fit(1)', 'return self.net(x)'): assert own in text, f'{own} is gone\n{text}'
    for loop in ('_with_events', 'one_batch', '_call_impl', 'fastai/learner.py', 'fastai\\learner.py'): assert loop not in text, f'{loop} is shown\n{text}'
    assert "raised by Linear 'net.3', which was given (64, 32) float32; training, epoch 0, batch 0 of 17" in text
    if place != 'pytest': assert lines[-1].startswith("raised by Linear 'net.3'"), lines[-3:]

def dls(): return loaders(sources.digits(), pipeline='standardize')
def net(n=10): return nn.Sequential(nn.Flatten(), nn.Linear(64, n))
def frames(caught): return [f.name for f in traceback.extract_tb(caught.value.__traceback__)]

LOOP = {'one_batch', '_do_one_batch', '_with_events', '_do_epoch', '_do_fit', 'all_batches', '_call_impl', '_wrapped_call_impl', '__call__'}
class Narrow(nn.Module):
    def __init__(self): super().__init__(); self.net = nn.Linear(63, 10)
    def forward(self, x): return self.net(x.flatten(1))
WAYS = {'fit': lambda l: l.fit(1), 'one_cycle': lambda l: l.fit_one_cycle(1), 'fine_tune': lambda l: l.fine_tune(1), 'lr_find': lambda l: l.lr_find(), 'validate': lambda l: l.validate(),
        'get_preds': lambda l: l.get_preds()}
@pytest.mark.parametrize('way', WAYS)
def test_every_way_into_the_loop(way):
    with pytest.raises(RuntimeError, match='cannot be multiplied') as caught: WAYS[way](Learner(dls(), Narrow(), 'cross_entropy', verbose=False))
    shown = frames(caught)
    assert not LOOP & set(shown) and shown[0] == 'test_every_way_into_the_loop' and shown[-2:] == ['forward', 'forward'] and len(shown) < 12, shown

def test_a_callback_keeps_its_frames():
    class Broken(Callback):
        def after_batch(self): self.helper()
        def helper(self): {}['key']
    with pytest.raises(KeyError) as caught: Learner(dls(), net(), 'cross_entropy', cbs=Broken(), verbose=False).fit(1)
    assert frames(caught) == ['test_a_callback_keeps_its_frames', 'fit', 'after_batch', 'helper']

def test_an_error_of_the_house_is_its_words():
    with pytest.raises(UpslopeError) as caught: Learner(dls(), net(7), 'cross_entropy', verbose=False).fit(1)
    assert 'one_batch' not in frames(caught) and frames(caught)[0] == 'test_an_error_of_the_house_is_its_words' and len(frames(caught)) < 7, frames(caught)

def test_the_last_frame_stays_where_an_error_of_the_loop_itself_begins():
    learn = Learner(dls(), net(), 'cross_entropy', verbose=False)
    learn.dls.train.__class__ = type('Broken', (type(learn.dls.train),), {'__len__': lambda self: None})
    with pytest.raises(TypeError) as caught: learn.fit(1)
    assert frames(caught)[-1] in ('all_batches', '__len__', 'fit_of', '_do_epoch_train') and len(frames(caught)) > 1, frames(caught)

def test_causes_are_cut_too():
    class Wraps(nn.Module):
        def __init__(self): super().__init__(); self.inner = nn.Linear(3, 3)
        def forward(self, x):
            try: return self.inner(x.flatten(1))
            except RuntimeError as e: raise ValueError('the wrong width') from e
    with pytest.raises(ValueError, match='the wrong width') as caught: Learner(dls(), Wraps(), 'cross_entropy', verbose=False).fit(1)
    cause = [f.name for f in traceback.extract_tb(caught.value.__cause__.__traceback__)]
    assert cause == ['forward', 'forward'], cause   # of Wraps, of Linear; none of `_call_impl`
    assert frames(caught) == ['test_causes_are_cut_too', 'fit', 'forward']

def test_the_same_error_twice_is_not_cut_to_nothing():
    learn = Learner(dls(), nn.Sequential(nn.Flatten(), nn.Linear(63, 10)), 'cross_entropy', verbose=False)
    for _ in range(2):
        with pytest.raises(RuntimeError) as caught: learn.fit(1)
        assert frames(caught)[-1] == 'forward'

def test_what_stops_a_fit_from_outside_keeps_its_traceback():
    class Stops(Callback):
        def after_batch(self): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt) as caught: Learner(dls(), net(), 'cross_entropy', cbs=Stops(), verbose=False).fit(1)
    assert 'one_batch' in frames(caught)
