"fastai's own Learner with our layers, where nothing of `upslope.train` is loaded: its optimizer is made before the weights, and that is said"
import subprocess, sys

SCRIPT = '''
import sys, torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from upslope.layers import Dense

class Holding(nn.Module):
    def __init__(self):
        super().__init__()
        self.first,self.last = nn.Linear(4, 3),Dense(2)
    def forward(self, x): return self.last(self.first(x))

data = TensorDataset(torch.rand(40, 4), torch.arange(40) % 2)
learn = Learner(DataLoaders(DataLoader(data, 8), DataLoader(data, 8)), Holding(), loss_func=nn.CrossEntropyLoss())
assert 'upslope.train' not in sys.modules
with learn.no_logging():
    try: learn.fit(1)
    except ValueError as e: print('REFUSED', e)
    learn.model(data[:3][0])
    learn.opt = None
    learn.fit(1)
print('TRAINED', [len(group) for group in learn.opt.param_lists])
'''

def test_weights_that_would_come_after_the_optimizer_are_refused():
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', SCRIPT], capture_output=True, text=True, timeout=300)
    assert "REFUSED Dense 'dense' would get its weights after the optimizer was made" in done.stdout, done.stderr
    assert 'TRAINED [4]' in done.stdout
