"""Fits with every kind of loader and model, killed with signal 9 in copies of this process and gone on with in others.

Called by test_resume.py: `resume_cases.py FOLDER` prints as JSON, for each case, the digest of the undisturbed fit and of the interrupted ones, or what was said."""
import hashlib, json, os, random, signal, sys, tempfile, traceback
from pathlib import Path

import numpy as np, torch
from torch import nn
from torch.utils.data import (BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, Sampler, SubsetRandomSampler, TensorDataset,
                              WeightedRandomSampler)
import upslope.data.saving as saving
from upslope.data import Batches
from upslope.layers import GRU, LSTM, Dense, Embedding, Flatten, Sequential
from upslope.train import Checkpoint, DictBatches, Learner
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders, TfmdDL

N, SIZE, EPOCHS, STEPS = 60, 8, 3, 8   # rows, rows in a batch, epochs, batches in an epoch
chance = torch.Generator().manual_seed(0)
X, Y = torch.randn(N, 6, 4, generator=chance), torch.randint(0, 3, (N,), generator=chance)
IDS = torch.randint(1, 20, (N, 7), generator=chance)
ROWS = TensorDataset(X, Y)
HIDDEN = np.random.default_rng(0)
def generator(seed): return torch.Generator().manual_seed(seed)

# --- samplers and data sets as people write them
class Shuffles(Sampler):
    def __init__(self, rng): self.rows, self.rng = list(range(N)), rng
    def __iter__(self): self.rng.shuffle(self.rows); return iter(self.rows)
    def __len__(self): return N
class Counts(Sampler):
    def __init__(self): self.epoch = 0
    def __iter__(self): self.epoch += 1; return iter(torch.randperm(N, generator=generator(self.epoch)).tolist())
    def __len__(self): return N
class Draws(Sampler):
    "One row after the other, from Python's global generator"
    def __iter__(self): return (random.randrange(N) for _ in range(N))
    def __len__(self): return N
class FromModule(Sampler):
    def __iter__(self): return iter(HIDDEN.permutation(N).tolist())
    def __len__(self): return N
class Noisy(Dataset):
    "Noise from all global generators, or from one of its own"
    def __init__(self, rng=None): self.rng = rng
    def __len__(self): return N
    def __getitem__(self, i):
        if self.rng is not None: return X[i] + self.rng.random(), Y[i]
        return X[i] + .1*torch.randn(6, 4) + random.random() + np.random.rand(), Y[i]
class Stream(IterableDataset):
    def __init__(self, seed): self.rng = np.random.default_rng(seed)
    def __len__(self): return N
    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        order = self.rng.permutation(N)
        for i in order if info is None else order[info.id::info.num_workers]: yield X[i] + .1*torch.randn(6, 4), Y[i]
class OnePass(IterableDataset):
    def __init__(self): self.rows = iter([(X[i], Y[i]) for i in range(N)]*EPOCHS)
    def __len__(self): return N
    def __iter__(self): return self.rows
class OwnLoader:
    def __init__(self, seed): self.rng, self.dataset, self.batch_size = np.random.RandomState(seed), ROWS, SIZE
    def __len__(self): return STEPS
    def __iter__(self):
        order = torch.as_tensor(self.rng.permutation(N))
        for rows in order.split(SIZE): yield X[rows], Y[rows]
def as_dicts(rows): return dict(x=torch.stack([x for x, _ in rows]), y=torch.stack([y for _, y in rows]))

# --- loaders: a function of the seed with which their generators begin; one that goes on begins with another
VALID = lambda: DataLoader(ROWS, 30)
KEPT = dict(
    batches=lambda seed: Batches(X, Y, batch_size=SIZE, shuffle=True),
    torch_global=lambda seed: DataLoader(ROWS, SIZE, shuffle=True),
    torch_generator=lambda seed: DataLoader(ROWS, SIZE, shuffle=True, generator=generator(seed)),
    random_sampler=lambda seed: DataLoader(ROWS, SIZE, sampler=RandomSampler(ROWS, replacement=True, generator=generator(seed))),
    weighted=lambda seed: DataLoader(ROWS, SIZE, sampler=WeightedRandomSampler(torch.arange(1., N+1), N, generator=generator(seed))),
    subset=lambda seed: DataLoader(ROWS, SIZE, sampler=SubsetRandomSampler(range(N), generator=generator(seed))),
    batch_sampler=lambda seed: DataLoader(ROWS, batch_sampler=BatchSampler(Shuffles(random.Random(seed)), SIZE, False)),
    own_sampler=lambda seed: DataLoader(ROWS, SIZE, sampler=Shuffles(np.random.default_rng(seed))),
    counts=lambda seed: DataLoader(ROWS, SIZE, sampler=Counts()),
    draws=lambda seed: DataLoader(ROWS, SIZE, sampler=Draws()),
    noisy=lambda seed: DataLoader(Noisy(), SIZE, shuffle=True),
    noisy_own=lambda seed: DataLoader(Noisy(random.Random(seed)), SIZE, shuffle=True, generator=generator(seed)),
    workers=lambda seed: DataLoader(Noisy(), SIZE, shuffle=True, num_workers=2),
    workers_generator=lambda seed: DataLoader(Noisy(random.Random(3)), SIZE, shuffle=True, num_workers=1, generator=generator(seed)),
    stream=lambda seed: DataLoader(Stream(seed), SIZE),
    stream_workers=lambda seed: DataLoader(Stream(seed), SIZE, num_workers=2),
    fastai=lambda seed: TfmdDL(list(zip(X, Y)), bs=SIZE, shuffle=True, num_workers=0),
    fastai_workers=lambda seed: TfmdDL(Noisy(), bs=SIZE, shuffle=True, num_workers=1),
    own_loader=OwnLoader,
    dicts=lambda seed: DictBatches(DataLoader(ROWS, SIZE, shuffle=True, generator=generator(seed), collate_fn=as_dicts), 'x', 'y'))
REFUSED = dict(
    from_module=lambda seed: DataLoader(ROWS, SIZE, sampler=FromModule()),
    one_pass=lambda seed: DataLoader(OnePass(), SIZE),
    persistent=lambda seed: DataLoader(ROWS, SIZE, shuffle=True, num_workers=1, persistent_workers=True),
    noise=lambda seed: DataLoader(ROWS, SIZE, sampler=Shuffles(random.SystemRandom())))

# --- models: those whose weights come with the first batch, too
class Masked(nn.Module):
    def __init__(self): super().__init__(); self.embed, self.read, self.head = Embedding(20, 8, mask_zero=True), LSTM(5), Dense(3)
    def forward(self, x): return self.head(self.read(self.embed(x)))
FORMS = dict(
    plain=lambda: nn.Sequential(nn.Flatten(), nn.Linear(24, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(.3), nn.Linear(8, 3)),
    sequential=lambda: Sequential([Flatten(), Dense(8, 'relu'), Dense(3)]),
    typed=lambda: Flatten() >> Dense(8, 'relu') >> Dense(3),
    mask=Masked,
    nested=lambda: nn.Sequential(GRU(5), nn.Dropout(.2), nn.Linear(5, 3)),
    lazy=lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.Dropout(.2), nn.LazyLinear(3)))

class Dies(Callback):
    "kill -9 from inside: after a batch, or at the end of an epoch"
    order = 2000
    def __init__(self, batch=None, epoch=None): self.batch, self.at = batch, epoch
    def after_batch(self):
        if self.training and self.train_iter == self.batch: os.kill(os.getpid(), signal.SIGKILL)
    def after_epoch(self):
        if self.epoch == self.at: os.kill(os.getpid(), signal.SIGKILL)
    def state_dict(self): return {}
    def load_state_dict(self, state): pass

def digest(tensors): return hashlib.sha256(b''.join(t.detach().numpy().tobytes() for t in tensors)).hexdigest()
def fit(folder, loader, form, seed, **kill):
    for set_seed in (torch.manual_seed, random.seed, np.random.seed): set_seed(seed)
    train = loader(seed) if form != 'mask' or loader is not KEPT['torch_generator'] else DataLoader(TensorDataset(IDS, Y), SIZE, shuffle=True, generator=generator(seed))
    if form == 'mask' and loader is KEPT['batches']: train = Batches(IDS, Y, batch_size=SIZE, shuffle=True)
    valid = DataLoader(TensorDataset(IDS, Y), 30) if form == 'mask' else DataLoader(Noisy(), 30, shuffle=True, generator=generator(seed + 1))
    learn = Learner(DataLoaders(train, valid), FORMS[form](), 'cross_entropy', 'adamw', metrics='accuracy', verbose=False)
    learn.fit(EPOCHS, 1e-2, schedule='one_cycle', cbs=[Checkpoint(folder, steps=3), Dies(**kill)])
    opt = [v for s in learn.opt.opt.state.values() for v in s.values()]
    rows = [{k: v for k, v in r.items() if k != 'time'} for r in learn.recorder.rows]
    return dict(weights=digest(learn.model.state_dict().values()), opt=digest(opt), held=sum(len(g) for g in learn.opt.param_lists), losses=digest(learn.recorder.losses),
                n=len(learn.recorder.losses), rows=rows, random=digest([torch.get_rng_state()]))

def copied(path, *args, **kwargs):
    "The answer of a copy of this process, or the number of the signal that ended it"
    child = os.fork()
    if child == 0:
        try: answer = fit(*args, **kwargs)
        except BaseException as e: answer = dict(error=type(e).__name__, told=str(e), trace=traceback.format_exc())
        path.write_text(json.dumps(answer))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else json.loads(path.read_text())

def case(folder, loader, form):
    "The undisturbed fit; one killed in the middle of the second epoch, one at its end, one at both"
    found = dict(whole=copied(folder/'whole.json', folder/'whole', loader, form, 0))
    for name, kills in dict(middle=[dict(batch=11)], end=[dict(epoch=1)], both=[dict(batch=5), dict(epoch=1)]).items():
        ends = [copied(folder/f'{name}.json', folder/name, loader, form, seed, **kill) for seed, kill in enumerate(kills)]
        found[name] = dict(ends=ends, again=copied(folder/f'{name}.json', folder/name, loader, form, 7))
    return found

if __name__ == '__main__':
    folder, answers = Path(sys.argv[1]), {}
    saving.sync = lambda path: None                                        # the power stays on
    with tempfile.TemporaryDirectory() as first:
        for form in FORMS: fit(Path(first)/form, KEPT['batches'], form, 0)  # what a first fit loads, all copies have
    cases = {name: (loader, 'plain') for name, loader in KEPT.items()}
    cases |= {f'{form} {name}': (KEPT[name], form) for form in FORMS if form != 'plain' for name in ('batches', 'torch_generator')}
    chosen = sys.argv[2:] or [*cases, *REFUSED]
    for name, args in cases.items():
        if name not in chosen: continue
        (folder/name).mkdir()
        answers[name] = case(folder/name, *args)
    for name, loader in REFUSED.items():
        if name not in chosen: continue
        (folder/name).mkdir()
        answers[name] = copied(folder/name/'whole.json', folder/name/'run', loader, 'plain', 0)
    print(json.dumps(answers))
