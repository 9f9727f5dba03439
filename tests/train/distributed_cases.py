"A fit in several processes has the numbers of a fit in one, with every kind of loader, started by torchrun, killed and resumed"
import os, runpy, signal, socket, subprocess, sys, time
from pathlib import Path

import pytest, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from upslope.data import Batches, loaders, sources
from upslope.data.batches import import_fastai
import_fastai()
from fastai.data.core import DataLoaders, TfmdDL
from fastai.metrics import F1Score, accuracy
from fastai.callback.core import Callback
from upslope.train import CSVLogger, Checkpoint, DictBatches, EMA, GradientClip, Learner, MixUpCallback, StopOnNaN, launch, rank

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='launch needs fork')

def data(n):
    g = torch.Generator().manual_seed(n)
    x = torch.randn(n, 6, generator=g, dtype=torch.float64)
    return x, (x[:, 0] + x[:, 1]**2 > .7).long()
TRAIN, VALID = data(203), data(51)
def net(): torch.manual_seed(0); return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)).double()

LOADERS = {
    'batches': lambda: DataLoaders(Batches(*TRAIN, batch_size=20, shuffle=True), Batches(*VALID, batch_size=20)),
    'torch': lambda: DataLoaders(DataLoader(TensorDataset(*TRAIN), 20, shuffle=True), DataLoader(TensorDataset(*VALID), 20)),
    'torch_workers': lambda: DataLoaders(DataLoader(TensorDataset(*TRAIN), 20, num_workers=1), DataLoader(TensorDataset(*VALID), 20)),
    'fastai': lambda: DataLoaders(TfmdDL(list(zip(*TRAIN)), bs=20, shuffle=True, num_workers=0), TfmdDL(list(zip(*VALID)), bs=20, num_workers=0)),
    'plain': lambda: DataLoaders(*([(x[i:i+20], y[i:i+20]) for i in range(0, len(x), 20)] for x, y in (TRAIN, VALID))),
    'dict': lambda: DataLoaders(*(DictBatches([dict(a=x[i:i+20], b=y[i:i+20]) for i in range(0, len(x), 20)], 'a', 'b') for x, y in (TRAIN, VALID)))}
def fit(loader, opt='adam', cbs=lambda: [], metrics=('accuracy', 'f1', 'roc_auc')):
    torch.manual_seed(5); __import__('random').seed(5)   # the order of the loaders that draw it
    dls = LOADERS[loader]()
    if rank(): torch.manual_seed(99); __import__('random').seed(99)   # another process has drawn other numbers: rank 0's order counts
    learn = Learner(dls, net(), 'cross_entropy', opt, metrics=list(metrics), cbs=cbs(), verbose=False)
    if not rank(): torch.manual_seed(6)
    with learn.distrib_ctx(): learn.fit(3, 1e-2)
    return [[float(v) for k, v in r.items() if k not in ('epoch', 'time')] for r in learn.recorder.rows], [p.detach().numpy() for p in learn.model.parameters()], [float(v) for v in learn.recorder.losses]

def equal(one, several):
    first = several[0]
    for other in several:
        assert other[0] == first[0] and all((a == b).all() for a, b in zip(other[1], first[1]))
    for a, b in zip(one[1], first[1]): assert abs(a - b).max() < 1e-9
    for r, s in zip(one[0], first[0]): assert s == pytest.approx(r, abs=1e-6)
    assert first[2] == pytest.approx(one[2], abs=1e-6)

@pytest.mark.parametrize('loader', LOADERS)
@pytest.mark.parametrize('processes', [2, 3])
def test_the_numbers_of_one_process(loader, processes): equal(fit(loader), launch(fit, loader, processes=processes))

def test_one_row_for_two_processes_and_fastais_metrics():
    "203 rows in batches of 20 leave 3; in batches of 101 they leave 1, and one process sits by"
    def odd(): LOADERS['odd'] = lambda: DataLoaders(Batches(*TRAIN, batch_size=101, shuffle=True), Batches(*VALID, batch_size=50)); return fit('odd', metrics=(accuracy, F1Score(), "roc_auc"))
    equal(odd(), launch(odd))

CALLBACKS = {'clip': lambda: [GradientClip(norm=.05)], 'ema': lambda: [EMA(.9)], 'nan': lambda: [StopOnNaN()]}
@pytest.mark.parametrize('name', CALLBACKS)
def test_with_callbacks(name): equal(fit('batches', cbs=CALLBACKS[name]), launch(fit, 'batches', 'adam', CALLBACKS[name]))

def test_mixup_draws_for_each_process_but_all_stay_together(tmp_path):
    first, second = launch(digits, 0, tmp_path, -1, [MixUpCallback()])
    assert first[:2] == second[:2] and first[2] != second[2]

def test_batch_norm_keeps_one_model():
    def go():
        torch.manual_seed(0)
        learn = Learner(DataLoaders(Batches(*TRAIN, batch_size=40, shuffle=True, drop_last=True), Batches(*VALID)), nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)).double(), 'cross_entropy', 'sgd', verbose=False)
        with learn.distrib_ctx(): learn.fit(2, 1e-2)
        return [t.double().numpy() for t in learn.model.state_dict().values()], learn.recorder.rows[-1]['valid_loss']
    first, second = launch(go)
    assert first[1] == second[1] and all((a == b).all() for a, b in zip(first[0], second[0]))

def digits(seed, folder, die=-1, more=()):
    class Dies(Callback):
        order = 2000
        def state_dict(self): return {}
        def load_state_dict(self, state): pass
        def after_batch(self):
            if self.learn.train_iter == die and rank() == 1: os.kill(os.getpid(), signal.SIGKILL)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(.3), nn.Linear(32, 10))
    learn = Learner(loaders(sources.digits(), pipeline='standardize'), model, 'cross_entropy', 'adam', metrics='accuracy', verbose=False)
    with learn.distrib_ctx(): learn.fit(3, 1e-2, schedule='one_cycle', cbs=[*more, CSVLogger(folder/'log.csv'), Checkpoint(folder/'run', steps=4), Dies()])
    rows = [{k: v for k, v in r.items() if k != 'time'} for r in learn.recorder.rows]
    return [p.detach().numpy().tobytes() for p in learn.model.parameters()], rows, torch.get_rng_state().numpy().tobytes(), [','.join(l.split(',')[:-1]) for l in (folder/'log.csv').read_text().splitlines()]

ENDS = {'kill': (lambda: os.kill(os.getpid(), signal.SIGKILL), 'signal SIGKILL, as the system sends when memory runs out'),
        'crash': (lambda: os.kill(os.getpid(), signal.SIGSEGV), 'signal SIGSEGV'),
        'exit': (lambda: os._exit(7), 'exit code 7')}
@pytest.mark.parametrize('end', ENDS)
@pytest.mark.parametrize('victim', [0, 1])
@pytest.mark.parametrize('together', [True, False])
def test_the_reason_of_a_process_that_does_not_answer_is_told(end, victim, together):
    "Whichever rank it is, whether the other fails by it in the middle of a call of both, or works for itself"
    die, reason = ENDS[end]
    def work():
        if rank() == victim:
            print('some words', 'the last words', sep='\n', file=sys.stderr)
            die()
        if together: torch.distributed.all_reduce(torch.ones(1))
        else: time.sleep(30)
    start = time.monotonic()
    with pytest.raises(RuntimeError) as caught: launch(work)
    assert f'Process {victim} of 2 has failed' in str(caught.value)
    assert f'got:  rank {victim}: {reason}; its last words: some words | the last words' in str(caught.value), caught.value
    assert time.monotonic() - start < 25, 'it was noticed only when the other had ended'

def test_one_that_has_ended_well_is_not_blamed():
    def work():
        if rank() == 0: return 0
        time.sleep(2)
        raise ValueError('the own words of rank 1')
    with pytest.raises(RuntimeError, match='got:  rank 1: ValueError: the own words of rank 1'): launch(lambda: work())

def test_much_on_stderr_is_passed_on_and_blocks_nobody(capfd):
    def work(): sys.stderr.write('x'*300_000); return rank()
    assert launch(work) == [0, 1]
    assert capfd.readouterr().err.count('x') == 600_000

def test_killed_and_resumed_bit_for_bit(tmp_path):
    "With dropout, which each process draws for itself; kill -9 of one ends the other"
    whole = launch(digits, 7, tmp_path/'a')
    with pytest.raises(RuntimeError, match='Process 1 of 2 has failed'): launch(digits, 7, tmp_path/'b', 26)
    assert [p.name for p in (tmp_path/'b'/'run').glob('*24*.json')], 'nothing was written before the kill'
    newest = sorted((tmp_path/'b'/'run'/'process-1').glob('step-*.json'))[-1]
    newest.unlink()   # rank 1 was killed before it had written: the one before is used by both
    again = launch(digits, 3, tmp_path/'b')
    assert again == whole and whole[0][0] == whole[1][0] and whole[0][2] != whole[1][2] and len(whole[0][3]) == 4

SCRIPT = '''
import sys, torch
from pathlib import Path
from torch import nn
from upslope.data import loaders, sources
from upslope.train import Learner, rank
torch.manual_seed(0)
learn = Learner(loaders(sources.diabetes(), pipeline='standardize', target_pipeline='standardize'), nn.Linear(10, 1), 'mse', 'adam', verbose=False)
with learn.distrib_ctx():
    learn.fit(2, 1e-2)
    Path(sys.argv[1], f'{rank()}').write_text(repr([float(p.detach().double().sum()) for p in learn.model.parameters()] + [learn.recorder.rows[-1]['valid_loss']]))
'''
def test_torchrun(tmp_path, monkeypatch):
    script = tmp_path/'script.py'; script.write_text(SCRIPT)
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
    run = subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2', '--master-addr', '127.0.0.1', '--master-port', str(port), str(script), str(tmp_path)], capture_output=True, text=True, env=env, timeout=240)
    assert run.returncode == 0, run.stderr
    first, second = (eval((tmp_path/name).read_text()) for name in '01')
    assert first == second
    monkeypatch.setattr(sys, 'argv', ['script', str(tmp_path)])
    runpy.run_path(str(script))   # the same script alone
    assert eval((tmp_path/'0').read_text()) == pytest.approx(first, abs=1e-5)

def test_a_checkpoint_of_another_number_of_processes(tmp_path):
    def go(n=2):
        learn = Learner(LOADERS['batches'](), net(), 'cross_entropy', 'adam', verbose=False)
        with learn.distrib_ctx(): learn.fit(n, 1e-2, cbs=Checkpoint(tmp_path/'run'))
    go()
    with pytest.raises(RuntimeError, match='another number of processes'): launch(go)
