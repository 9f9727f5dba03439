"Cases that copy their process, in a process of their own, which no other test has changed; and which processes can be copied"
import subprocess, sys
from pathlib import Path

import pytest

@pytest.mark.parametrize('name', ['distributed', 'trackers'])
def test_cases(name):
    cases = Path(__file__).with_name(f'{name}_cases.py')
    done = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-p', 'no:xdist', str(cases)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0 and ' passed' in done.stdout, done.stdout + done.stderr

def run(code):
    return subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, timeout=300)

POPULATION = """
from torch import nn
from upslope.data import loaders, sources
from upslope.train import Population, launch, rank
def net(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
dls = loaders(sources.digits(), pipeline='standardize')
Population(net, dls, 3, engine='stacked').fit(1)   # its first backward pass is a traced one
def step():
    net()(dls.one_batch()[0]).sum().backward()
    return rank()
print(launch(step))
"""
def test_a_process_that_has_traced_a_gradient_can_be_copied():
    done = run(POPULATION)
    assert done.stdout.strip().endswith('[0, 1]'), done.stdout + done.stderr

NESTED = """
import torch
from upslope.train import launch, rank
class Nested(torch.autograd.Function):   # PyTorch takes threads for backward passes that are deep inside of each other
    @staticmethod
    def forward(ctx, x, depth): ctx.depth = depth; return x.clone()
    @staticmethod
    def backward(ctx, g):
        with torch.enable_grad():
            if ctx.depth: Nested.apply(torch.ones(1, requires_grad=True), ctx.depth - 1).sum().backward()
        return g, None
Nested.apply(torch.ones(1, requires_grad=True), 100).sum().backward()
launch(rank)
"""
def test_one_with_threads_for_its_gradients_cannot_and_is_told_so():
    done = run(NESTED)
    assert 'ArgumentError: This process cannot be copied any more' in done.stderr and 'fix:  restart, and call launch() first' in done.stderr, done.stdout + done.stderr
