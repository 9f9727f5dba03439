"A process that is killed with signal 9 and started again ends with the same bits as one that was not"
import json, multiprocessing, os, random, signal, subprocess, sys, time
from multiprocessing import forkserver
from pathlib import Path

import pytest, resume_run

ROOT = Path(__file__).resolve().parents[2]

RUN = '''
import hashlib, json, os, signal, sys
from pathlib import Path
folder, seed, where, when, kind = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5]
import torch
from torch import nn
from upslope.data import sources, loaders
from upslope.train import Learner, EarlyStopping, CSVLogger, JSONLogger, Checkpoint, EMA, SWA, ReduceOnPlateau, GradientAccumulation, MixUpCallback
import upslope.train.checkpoint as checkpoint
from fastai.callback.core import Callback

torch.manual_seed(seed)
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(.3), nn.Linear(32, 10))
learn = Learner(loaders(sources.digits(), batch_size=64, pipeline='standardize'), model, 'cross_entropy', 'adamw', metrics=['accuracy', 'f1'], verbose=False)
if seed == 0: torch.manual_seed(7)

class Dies(Callback):
    "kill -9 from inside, at a given point of the loop"
    order = 2000
    def __init__(self): self.events = 0
    def state_dict(self): return {}
    def load_state_dict(self, state): pass
    def __call__(self, event):
        self.events += 1
        if where == 'event' and self.events == when: os.kill(os.getpid(), signal.SIGKILL)

writes = 0
replace = os.replace
def dying_replace(a, b):
    global writes
    writes += 1
    if where == 'write' and writes == when:
        Path(a).write_bytes(Path(a).read_bytes()[:200])   # half a file under its temporary name
        os.kill(os.getpid(), signal.SIGKILL)
    replace(a, b)
    if where == 'after_write' and writes == when: os.kill(os.getpid(), signal.SIGKILL)
os.replace = dying_replace

stop = EarlyStopping(patience=4)
more = dict(schedule=[], ema=[EMA(.9), ReduceOnPlateau(patience=1, min_delta=.2, factor=.5)], swa=[SWA(.2), ReduceOnPlateau(patience=1, min_delta=.2, factor=.5)],
            stops=[EMA(.9), EarlyStopping('accuracy', patience=1, min_delta=.02)], mixed=[GradientAccumulation(100), MixUpCallback(.4)])[kind]
cbs = [stop, *more, CSVLogger(folder/'log.csv'), JSONLogger(folder/'log.jsonl'), Checkpoint(folder/'run', steps=3, monitor='accuracy'), Dies()]
learn.fit(5, 1e-2, schedule='one_cycle' if kind == 'schedule' else None, cbs=cbs)
plain = lambda v: v if isinstance(v, (int, float, str, list, type(None))) else str(v)
callbacks = [[type(cb).__name__, {k: plain(v) for k, v in vars(getattr(cb, 'rule', cb)).items() if k in ('best', 'best_epoch', 'epoch', 'n', 'count')}, getattr(cb, 'epochs', None) if type(cb) is ReduceOnPlateau else None, getattr(cb, 'reason', None)] for cb in more]

def digest(tensors): return hashlib.sha256(b''.join(t.detach().numpy().tobytes() for t in tensors)).hexdigest()
opt = [v for s in learn.opt.opt.state.values() for v in s.values()]
rows = [{k: v for k, v in r.items() if k != 'time'} for r in learn.recorder.rows]
print(json.dumps(dict(weights=digest(learn.model.state_dict().values()), opt=digest(opt), losses=digest(learn.recorder.losses), lrs=learn.recorder.lrs, hps={k: list(map(float, v)) for k, v in vars(learn.recorder).get('hps', {}).items()},
    rows=rows, random=digest([torch.get_rng_state()]), loader=learn.dls.train.state_dict(), best=stop.best_epoch, callbacks=callbacks,
    csv=[','.join(line.split(',')[:-1]) for line in (folder/'log.csv').read_text().splitlines()],
    jsonl=[{k: v for k, v in json.loads(line).items() if k != 'time'} for line in (folder/'log.jsonl').read_text().splitlines()])))
'''

def start(folder, seed, where='never', when=0, kind='schedule'):
    "A process of a new interpreter"
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}
    return subprocess.Popen([sys.executable, '-c', RUN, str(folder), str(seed), where, str(when), kind], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

class Forked:
    "The same without the seconds of its imports: a copy of a process that has loaded everything; asked like a `Popen`"
    def __init__(self, folder, *settings):
        self.files = [Path(f'{folder}-{time.monotonic_ns()}.{name}') for name in ('out', 'error')]
        self.process = FORKS.Process(target=resume_run.run, args=(RUN, [str(folder), *map(str, settings)], *map(str, self.files)))
        self.process.start()
    def poll(self): return self.process.exitcode
    @property
    def returncode(self): return self.process.exitcode
    def kill(self): self.process.kill()
    def communicate(self):
        self.process.join()
        return [path.read_text() if path.exists() else '' for path in self.files]

def fork(folder, seed, where='never', when=0, kind='schedule'): return Forked(folder, seed, where, when, kind)

FORKS = multiprocessing.get_context('forkserver')
FORKS.set_forkserver_preload(['resume_run'])

@pytest.fixture(scope='module', autouse=True)
def server():
    "Before 3.12 the server of forks finds only what stands on PYTHONPATH"
    with pytest.MonkeyPatch.context() as patch:
        for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS'): patch.setenv(name, '1')
        patch.setenv('PYTHONPATH', os.pathsep.join([str(Path(__file__).parent), str(ROOT)]))
        forkserver.ensure_running()
    yield

@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole')
    out, err = start(folder, 0).communicate()
    assert out, err
    return json.loads(out)

@pytest.mark.parametrize('kills', [[('event', 400), ('event', 300)], [('event', 700)], [('write', 12), ('write', 7)], [('after_write', 9), ('after_write', 4)]], ids=str)
def test_killed_and_resumed_is_the_same_bit_for_bit(whole, tmp_path, kills):
    begin = start if len(kills) == 1 else fork   # once as people do it
    for seed, (where, when) in enumerate(kills):
        process = begin(tmp_path, seed, where, when)
        out, err = process.communicate()
        assert process.returncode == -signal.SIGKILL, (out, err)   # else nothing was tried
    out, err = begin(tmp_path, len(kills)).communicate()
    assert out, err
    again = json.loads(out)
    for key, value in whole.items(): assert again[key] == value, key

def test_killed_from_outside_at_a_random_moment(whole, tmp_path):
    "The kill falls where it falls; what was not begun is begun again with the same seed"
    generator = random.Random(time.time_ns())
    killed = 0
    for _ in range(3):
        seed = 0 if not list(tmp_path.glob('run/*.json')) else 5
        process = fork(tmp_path, seed)
        end = time.monotonic() + 60
        while not list(tmp_path.glob('run/*.json')) and process.poll() is None and time.monotonic() < end: time.sleep(.01)
        time.sleep(generator.uniform(0, .6))
        process.kill(); out, err = process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed, 'nothing was killed'
    out, err = fork(tmp_path, 9).communicate()
    assert out, err
    again = json.loads(out)
    for key, value in whole.items(): assert again[key] == value, key

@pytest.mark.parametrize('kind,proof', [('ema', 'epochs'), ('swa', 'epochs'), ('stops', 'reason'), ('mixed', None)])
def test_averages_plateaus_and_accumulation_go_on_too(tmp_path, kind, proof):
    "Killed in the middle of an epoch, while validation holds the averaged weights, and in the middle of a write"
    (tmp_path/'a').mkdir(); (tmp_path/'b').mkdir()
    out, err = fork(tmp_path/'a', 0, kind=kind).communicate()
    assert out, err
    whole = json.loads(out)
    if proof == 'epochs': assert whole['callbacks'][1][2], 'the rate was never lowered: nothing is proved'
    if proof == 'reason': assert whole['callbacks'][1][3] and len(whole['rows']) < 5, whole['callbacks']
    for seed, (where, when) in enumerate([('event', 300), ('write', 6)]):
        process = fork(tmp_path/'b', seed, where, when, kind)
        out, err = process.communicate()
        assert process.returncode == -signal.SIGKILL, (out, err)
    out, err = fork(tmp_path/'b', 9, kind=kind).communicate()
    assert out, err
    again = json.loads(out)
    for key, value in whole.items(): assert again[key] == value, key

# --- every kind of loader, and models whose weights come with the first batch

LOADERS = ('batches torch_global torch_generator random_sampler weighted subset batch_sampler own_sampler counts draws noisy noisy_own workers workers_generator '
           'stream stream_workers fastai fastai_workers own_loader dicts').split()
MODELS = [f'{form} {loader}' for form in 'sequential typed mask nested lazy'.split() for loader in ('batches', 'torch_generator')]
REFUSED = dict(from_module='two different first batches', one_pass='two different first batches', persistent='fix:  persistent_workers=False', noise='random.SystemRandom in sampler.rng')
WEIGHTS = dict(sequential=4, typed=4, mask=6, nested=5, lazy=6)

@pytest.fixture(scope='module')
def answers(tmp_path_factory):
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}
    run = subprocess.run([sys.executable, Path(__file__).with_name('resume_cases.py'), tmp_path_factory.mktemp('cases')], capture_output=True, text=True, env=env, timeout=1200)
    assert run.returncode == 0, run.stderr[-4000:]
    answers = json.loads(run.stdout)
    assert set(answers) == {*LOADERS, *MODELS, *REFUSED}
    return answers

@pytest.mark.parametrize('name', LOADERS + MODELS)
def test_killed_with_any_loader_and_model(answers, name):
    "In the middle of an epoch, at the end of one, and at both, one after the other"
    answer = answers[name]
    whole = answer['whole']
    assert 'error' not in whole, whole['trace']
    assert whole['n'] == 24 and whole['held'] == WEIGHTS.get(name.split()[0], 6)
    for kills in ('middle', 'end', 'both'):
        assert all(end == -signal.SIGKILL for end in answer[kills]['ends']), answer[kills]   # else nothing was tried
        again = answer[kills]['again']
        assert 'error' not in again, again['trace']
        for key, value in whole.items(): assert again[key] == value, (kills, key)

def test_the_cases_differ(answers):
    "An order that is always the same would be kept by doing nothing"
    weights = [answers[name]['whole']['weights'] for name in LOADERS]
    alike = [name for name, w in zip(LOADERS, weights) if weights.count(w) > 1]
    assert len(set(weights)) > len(LOADERS) - 4, alike

@pytest.mark.parametrize('name', REFUSED)
def test_a_loader_whose_chance_cannot_be_kept_is_refused_before_the_first_step(answers, name):
    answer = answers[name]
    assert answer['error'] == 'DataError' and REFUSED[name] in answer['told'], answer
    assert 'one_batch' not in answer['trace'], answer['trace']   # no batch was trained
