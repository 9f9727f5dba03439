"For each rule a trap, which it must catch, and a healthy twin, on which it must be silent: functions that give the arguments of `diagnose`"
import math, time
import numpy as np, torch, torch.nn.functional as F
from functools import cache
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from torch import nn
from torch.utils.data import DataLoader, Dataset
from upslope.data import Batches
from upslope.inspection import Watch, watch
from upslope.train import Learner

TRAPS, TWINS = {}, {}
def trap(f): TRAPS[f.__name__] = f; return f
def twin(*names):
    def register(f):
        for n in names: TWINS[n] = f
        return f
    return register

# -- data and models --------------------------------------------------------------------------------------------------
def standard(x): return (x - x.mean(0))/x.std(0).clamp_min(1e-6)
@cache
def table(name):
    x, y = dict(digits=load_digits, wine=load_wine, cancer=load_breast_cancer, diabetes=load_diabetes)[name](return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = x[order], y[order]
    return x, (y.long() if name != 'diabetes' else standard(y.float())[:,None])
@cache
def parts(name='digits'):
    "Scaled and split 3 to 1"
    x, y = table(name)
    x, n = standard(x), len(x)*3//4
    return (x[:n], y[:n]), (x[n:], y[n:])
def mlp(*sizes, act=nn.ReLU, last=()):
    torch.manual_seed(0)
    sizes = sizes or (64, 32, 10)
    layers = [m for a, b in zip(sizes, sizes[1:]) for m in (nn.Linear(a, b), act())][:-1]
    return nn.Sequential(*layers, *last)
def dls(name='digits', batch_size=64, **kwargs):
    from fastai.data.core import DataLoaders
    (x, y), (xv, yv) = parts(name)
    return DataLoaders(Batches(x, y, batch_size=batch_size, **{**dict(shuffle=True), **kwargs}), Batches(xv, yv, batch_size=batch_size))
def learner(model=None, data=None, loss='cross_entropy', opt='adam', lr=3e-3, epochs=0, cbs=None):
    learn = Learner(data or dls(), model or mlp(), loss, opt, lr=lr, cbs=cbs, verbose=False)
    torch.manual_seed(0)
    if epochs: learn.fit(epochs)
    return learn
def on(model, data=None, loss='cross_entropy', **kwargs): return dict(subject=model, data=data or parts(), loss_func=loss, **kwargs)
def of(learn, **kwargs): return dict(subject=learn, **kwargs)
def loop(model, opt, loss_func=None, steps=60, clear=True, before=None, data=None, evaluate=False):
    "A plain loop under a watch"
    (x, y), (xv, _) = data or parts()
    loss_func = loss_func or nn.CrossEntropyLoss()
    with watch(model, opt, loss_func, budget=1e9) as w:
        for i in range(steps):
            if before: before(model)
            j = (i*64) % (len(x) - 64)
            if clear: opt.zero_grad()
            loss_func(model(x[j:j+64]), y[j:j+64]).backward(); opt.step()
            if evaluate and i % 20 == 19:
                with torch.no_grad(): model(xv)
    return w
@twin('cannot_overfit', 'symmetric_units', 'detached_graph', 'softmax_before_loss', 'initial_loss', 'exploding_gradients', 'unused_parameter', 'frozen_layer', 'missing_values', 'inputs_not_scaled',
      'evaluation_differs', 'model_too_large', 'model_too_small', 'nondeterminism', 'nonfinite', 'loss_reduction', 'duplicates', 'leaking_feature', 'shuffled_labels')
def healthy_before(): return of(learner())
@twin('chance_level', 'constant_predictions', 'underfitting', 'overfitting', 'lr_too_high', 'lr_too_low', 'dead_relu', 'class_imbalance', 'unshuffled_batches', 'slow_loader', 'too_many_threads', 'not_in_optimizer', 'missing_zero_grad')
def healthy_after(): return of(learner(epochs=10, cbs=Watch(budget=1e9)))

# -- activations ------------------------------------------------------------------------------------------------------
@trap
def dead_relu():
    model = mlp(); nn.init.constant_(model[0].bias, -30.)
    return on(model)
def sparse_relu():
    "A decoy: each unit fires on one row of a hundred, and is alive"
    model = mlp(64, 32, 10)
    with torch.no_grad(): model[0].bias -= torch.quantile(model[0](parts()[0][0]), .985, dim=0)
    return on(model)
@trap
def saturated_activation():
    model = mlp(64, 32, 32, 10, act=nn.Tanh)
    with torch.no_grad(): model[2].weight *= 100
    return on(model)
@twin('saturated_activation')
def tanh(): return of(learner(mlp(64, 32, 32, 10, act=nn.Tanh), epochs=8))
class Recurrent(nn.Module):
    def __init__(self, kind, **kwargs):
        super().__init__(); torch.manual_seed(0)
        self.rnn, self.out = kind(8, 16, batch_first=True, **kwargs), nn.Linear(16, 10)
    def forward(self, x): return self.out(self.rnn(x.view(len(x), 8, 8))[0][:,-1])
@trap
def recurrent_explodes():
    model = Recurrent(nn.RNN, nonlinearity='relu')
    with torch.no_grad(): model.rnn.weight_hh_l0.copy_(1.6*torch.eye(16))
    return on(model)
@twin('recurrent_explodes')
def identity_rnn():   # Le, Jaitly, Hinton 2015: the identity is a good start for a ReLU network
    model = Recurrent(nn.RNN, nonlinearity='relu')
    with torch.no_grad(): model.rnn.weight_hh_l0.copy_(torch.eye(16)); [b.zero_() for n, b in model.rnn.named_parameters() if 'bias' in n]
    return on(model)

# -- gradients and graph ----------------------------------------------------------------------------------------------
@trap
def vanishing_gradients(): return on(mlp(64, *[32]*10, 10, act=nn.Sigmoid))
@twin('vanishing_gradients')
def deep_relu():
    model = mlp(64, *[32]*6, 10)
    for m in model:
        if isinstance(m, nn.Linear): nn.init.kaiming_normal_(m.weight, nonlinearity='relu')
    nn.init.xavier_normal_(model[-1].weight, .3)
    return on(model)
@trap
def exploding_gradients():
    model = mlp(64, *[32]*10, 10)
    with torch.no_grad(): [m.weight.mul_(12) for m in model if isinstance(m, nn.Linear)]
    return on(model)
@trap
def symmetric_units():
    model = mlp(64, 32, 10)
    for p in model.parameters(): nn.init.constant_(p, .01)
    return on(model)
class Cut(nn.Module):
    def __init__(self): super().__init__(); torch.manual_seed(0); self.body, self.head = nn.Linear(64, 32), nn.Linear(32, 10)
    def forward(self, x): return self.head(self.body(x).relu().detach())
@trap
def detached_graph(): return on(Cut())
class Idle(nn.Module):
    def __init__(self): super().__init__(); torch.manual_seed(0); self.net, self.skip = mlp(), nn.Linear(64, 10)
    def forward(self, x): return self.net(x)
@trap
def unused_parameter(): return on(Idle())
@trap
def not_in_optimizer():
    model = mlp(); opt = torch.optim.Adam(model[0].parameters())
    return on(model, opt=opt)
@trap
def frozen_layer():
    model = mlp(64, 32, 32, 10); model[2].requires_grad_(False)
    return on(model)
def frozen_on_purpose():
    "A decoy: the body is frozen and the head trains"
    model = learner(mlp(64, 32, 32, 10), epochs=6).model
    model[0].requires_grad_(False); model[2].requires_grad_(False); model[4].reset_parameters()
    return of(learner(model, epochs=6))
def frozen_and_said():
    model = mlp(64, 32, 32, 10); model[2].requires_grad_(False)
    return on(model, frozen=['2'])

# -- loss -------------------------------------------------------------------------------------------------------------
@trap
def softmax_before_loss(): return on(mlp(last=[nn.Softmax(1)]), loss=nn.CrossEntropyLoss())
def sigmoid_before_loss():
    (x, y), (xv, yv) = parts('cancer')
    return on(mlp(30, 16, 1, last=[nn.Sigmoid()]), ((x, y.float()[:,None]), (xv, yv.float()[:,None])), nn.BCEWithLogitsLoss())
@trap
def loss_reduction(): return on(mlp(), loss=nn.CrossEntropyLoss(reduction='sum'))
@trap
def initial_loss():
    model = mlp()
    with torch.no_grad(): model[-1].weight *= 60
    return on(model)
class Shuffles(nn.Module):   # the input of another row, each time
    def __init__(self): super().__init__(); self.net = mlp()
    def forward(self, x): return self.net(x[torch.randperm(len(x))])
@trap
def cannot_overfit(): return on(Shuffles())
@trap
def target_broadcast():
    (x, y), (xv, yv) = parts('diabetes')
    return on(mlp(10, 16, 1), ((x, y[:,0]), (xv, yv[:,0])), F.mse_loss)
@twin('target_broadcast')
def column_targets(): return on(mlp(10, 16, 1), parts('diabetes'), F.mse_loss)

# -- modes ------------------------------------------------------------------------------------------------------------
class AlwaysDrops(nn.Module):
    def __init__(self, right): super().__init__(); self.net, self.right = mlp(), right
    def forward(self, x): return self.net[2](F.dropout(self.net[1](self.net[0](x)), .3, **(dict(training=self.training) if self.right else {})))
@trap
def dropout_at_evaluation(): return on(AlwaysDrops(False))
def dropout_seen_by_watch():
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(.3), nn.Linear(32, 10))
    return of(loop(model, torch.optim.Adam(model.parameters(), 3e-3), evaluate=True), data=parts())
@twin('dropout_at_evaluation')
def dropout(): torch.manual_seed(0); return of(learner(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(.2), nn.Linear(64, 10)), epochs=8))
class StaysEval(nn.BatchNorm1d):
    def train(self, mode=True): return super().train(False)
def normed(norm): torch.manual_seed(0); return nn.Sequential(nn.Linear(64, 32), norm(32), nn.ReLU(), nn.Linear(32, 10))
@trap
def batchnorm_mode(): return on(normed(StaysEval))
def batchnorm_on_the_batch(): return on(normed(lambda n: nn.BatchNorm1d(n, track_running_stats=False)))
def batchnorm_not_back():
    "The usual mistake: model.eval() for validation, and never train() again"
    model = normed(nn.BatchNorm1d)
    def before(m): m.train(); m[1].eval()
    return of(loop(model, torch.optim.Adam(model.parameters(), 3e-3), before=before), data=parts())
@twin('batchnorm_mode', 'batch_of_one')
def batchnorm(): return of(learner(normed(nn.BatchNorm1d), epochs=8))
@trap
def batch_of_one(): return of(learner(normed(nn.BatchNorm1d), dls(batch_size=1)))
def last_batch_of_one(): return of(learner(normed(nn.BatchNorm1d), dls(batch_size=1346)))   # 1347 rows
class Noisy(nn.Module):
    def __init__(self): super().__init__(); self.net = mlp()
    def forward(self, x): return self.net(x + .1*torch.randn_like(x))
@trap
def evaluation_differs(): return on(Noisy())

# -- numbers ----------------------------------------------------------------------------------------------------------
def halves(scale):
    (x, y), (xv, yv) = parts()
    model = mlp()
    with torch.no_grad(): model[0].weight *= scale; model[2].weight *= scale
    return on(model.half(), ((x.half(), y), (xv.half(), yv)))
@trap
def half_overflow(): return halves(1000.)
@twin('half_overflow')
def half(): return halves(1.)
class Log(nn.Module):
    def forward(self, x): return x.log()
@trap
def nonfinite(): return on(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), Log(), nn.Linear(32, 10)))
def nonfinite_in_training():
    model = mlp()
    def before(m, n=[0]):
        n[0] += 1
        if n[0] == 13: m[2].weight.data[3] = math.nan
    return of(loop(model, torch.optim.SGD(model.parameters(), .01), before=before), data=parts())
@trap
def model_too_large(): return on(mlp(13, 900, 900, 3), parts('wine'))
@trap
def model_too_small():
    return on(mlp(64, 1, 10))

# -- optimizer, training ----------------------------------------------------------------------------------------------
@trap
def lr_too_high(): return of(learner(lr=3.))
@trap
def lr_too_low(): return of(learner(lr=1e-6, epochs=2))
@trap
def decay_on_vectors(): model = normed(nn.BatchNorm1d); return on(model, opt=torch.optim.AdamW(model.parameters(), weight_decay=.05))
@twin('decay_on_vectors')
def decay_on_matrices():
    model = normed(nn.BatchNorm1d)
    return on(model, opt=torch.optim.AdamW([dict(params=[p for p in model.parameters() if p.ndim > 1]), dict(params=[p for p in model.parameters() if p.ndim < 2], weight_decay=0.)]))
@trap
def chance_level(): return of(learner(lr=1e-7, epochs=2))
@trap
def constant_predictions():
    model = mlp(); nn.init.constant_(model[0].bias, -100.)
    return on(model, trained=True)
@trap
def underfitting():
    model = mlp()
    with torch.no_grad(): model[0].weight.mul_(.05)
    return of(learner(model, lr=2e-4, opt='sgd', epochs=3))
@trap
def overfitting():
    x, y = table('diabetes')
    x, y = standard(x), (y[:,0] > 0).long()
    from fastai.data.core import DataLoaders
    return of(learner(mlp(10, 256, 256, 2), DataLoaders(Batches(x[:120], y[:120], batch_size=32, shuffle=True), Batches(x[120:], y[120:])), epochs=60))
@trap
def missing_zero_grad():
    model = mlp()
    return of(loop(model, torch.optim.SGD(model.parameters(), .01), clear=False), data=parts())

# -- data -------------------------------------------------------------------------------------------------------------
@trap
def missing_values():
    (x, y), valid = parts('wine')
    x = x.clone(); x[3, 4] = math.nan
    return on(mlp(13, 16, 3), ((x, y), valid))
@trap
def inputs_not_scaled():
    x, y = table('wine')
    return on(mlp(13, 16, 3), ((x[:130], y[:130]), (x[130:], y[130:])))
def unscaled_but_normalized():
    "A decoy: raw inputs, and a first layer that scales them"
    x, y = table('wine'); torch.manual_seed(0)
    return on(nn.Sequential(nn.BatchNorm1d(13), *mlp(13, 16, 3)), ((x[:130], y[:130]), (x[130:], y[130:])))
@trap
def constant_inputs():
    (x, y), valid = parts('wine')
    x = x.clone(); x[:,5] = 1.
    return on(mlp(13, 16, 3), ((x, y), valid))
@twin('constant_inputs')
def border_pixels(): return on(mlp(), parts('digits'))   # a decoy: three pixels of the digits are always black
def border_pixels_of_images():
    (x, y), (xv, yv) = parts('digits')
    torch.manual_seed(0)
    return on(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)), ((x.view(-1, 1, 8, 8), y), (xv.view(-1, 1, 8, 8), yv)))
@trap
def class_imbalance():
    (x, y), (xv, yv) = parts('cancer')
    def rare(x, y): keep = torch.cat([(y == 1).nonzero()[:,0], (y == 0).nonzero()[:12,0]]).sort().values; return x[keep], y[keep]
    return on(mlp(30, 16, 2), (rare(x, y), rare(xv, yv)))
@trap
def shuffled_labels():
    (x, y), (xv, yv) = parts()
    return on(mlp(), ((x, y[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]), (xv, yv)))
def shuffled_validation():
    (x, y), (xv, yv) = parts()
    return on(mlp(), ((x, y), (xv, yv[torch.randperm(len(yv), generator=torch.Generator().manual_seed(1))])))
@trap
def duplicates():
    (x, y), (xv, yv) = parts()
    return on(mlp(), ((x, y), (torch.cat([xv, x[:30]]), torch.cat([yv, y[:30]]))))
def near_duplicates():
    (x, y), (xv, yv) = parts('cancer')
    noise = 1e-5*torch.randn(15, 30, generator=torch.Generator().manual_seed(0))
    return on(mlp(30, 16, 2), ((x, y), (torch.cat([xv, x[:15] + noise]), torch.cat([yv, y[:15]]))))
@trap
def leaking_feature():
    (x, y), (xv, yv) = parts('cancer')
    def leak(x, y): x = x.clone(); x[:,7] = 2.*y - 1 + .1*torch.randn(len(y), generator=torch.Generator().manual_seed(0)); return x, y
    return on(mlp(30, 16, 2), (leak(x, y), leak(xv, yv)))
def honest():
    "A decoy: breast cancer is learned to 98 %, by many columns together"
    return of(learner(mlp(30, 16, 2), dls('cancer', 32), epochs=12))
@trap
def unshuffled_batches():
    (x, y), (xv, yv) = parts()
    order = y.argsort(stable=True)
    from fastai.data.core import DataLoaders
    return of(learner(data=DataLoaders(Batches(x[order], y[order]), Batches(xv, yv))))
@trap
def embedding_range():
    x, y = load_digits(return_X_y=True)
    torch.manual_seed(0)
    return on(nn.Sequential(nn.Embedding(16, 4), nn.Flatten(), nn.Linear(256, 10)), (torch.tensor(x).long(), torch.tensor(y)))   # grey values go to 16
@twin('embedding_range')
def embedding():
    x, y = load_digits(return_X_y=True)
    torch.manual_seed(0)
    return on(nn.Sequential(nn.Embedding(17, 4), nn.Flatten(), nn.Linear(256, 10)), (torch.tensor(x).long(), torch.tensor(y)))

# -- machine ----------------------------------------------------------------------------------------------------------
class Slow(Dataset):
    def __init__(self, x, y): self.x, self.y = x, y
    def __len__(self): return len(self.x)
    def __getitem__(self, i): time.sleep(4e-4); return self.x[i], self.y[i]
@trap
def slow_loader():
    (x, y), _ = parts()
    return on(mlp(), DataLoader(Slow(x[:256], y[:256]), batch_size=32, shuffle=True))
class Threads:
    "More threads than cores, until the examination is over"
    def __enter__(self): self.before = torch.get_num_threads(); torch.set_num_threads(64)
    def __exit__(self, *_): torch.set_num_threads(self.before)
@trap
def too_many_threads(): return dict(on(mlp(), parts()), around=Threads())
class OwnChance(nn.Module):
    def __init__(self): super().__init__(); self.net = mlp()
    def forward(self, x): return self.net(x) + (.1*torch.randn(10, generator=torch.Generator().manual_seed(time.perf_counter_ns() % 2**31)) if self.training else 0.)
@trap
def nondeterminism(): return on(OwnChance())

# -- loops of the user's own, seen by watch(model, opt) as it comes -----------------------------------------------------
def own_loop(model, opt, epochs=3, clear=None, clip=None, accumulate=1, before=None, validate=None, told=False):
    "A plain loop with what a case changes in it; the watch knows no loss unless it is told"
    (x, y), (xv, _) = parts()
    loss_func = nn.CrossEntropyLoss()
    with watch(model, opt, *([loss_func] if told else [])) as w:
        for epoch in range(epochs):
            if before: before(model, epoch)
            for i, j in enumerate(range(0, len(x) - 64, 64)):
                if clear and i % accumulate == 0: clear(opt)
                (loss_func(model(x[j:j+64]), y[j:j+64])/accumulate).backward()
                if clip: nn.utils.clip_grad_norm_(model.parameters(), clip)
                if i % accumulate == accumulate - 1: opt.step()
            if validate: validate(model, xv)
    return of(w, data=parts())
def clears(opt): opt.zero_grad()
def never_cleared(): model = mlp(); return own_loop(model, torch.optim.SGD(model.parameters(), .01))
def never_cleared_adam(): model = mlp(); return own_loop(model, torch.optim.Adam(model.parameters(), 1e-3), told=True)
def never_cleared_momentum(): model = mlp(); return own_loop(model, torch.optim.SGD(model.parameters(), .01, momentum=.9), epochs=1)
def never_cleared_but_clipped(): model = mlp(); return own_loop(model, torch.optim.SGD(model.parameters(), .01), clip=1.)
def never_cleared_wide(): model = mlp(64, 600, 600, 10); return own_loop(model, torch.optim.Adam(model.parameters(), 1e-3), epochs=1)
def cleared(): model = mlp(); return own_loop(model, torch.optim.Adam(model.parameters(), 3e-3), clear=clears, epochs=6)
def cleared_to_zero(): model = mlp(); return own_loop(model, torch.optim.Adam(model.parameters(), 3e-3), clear=lambda opt: opt.zero_grad(set_to_none=False), epochs=6)
def cleared_and_clipped(): model = mlp(); return own_loop(model, torch.optim.SGD(model.parameters(), .5), clear=clears, clip=.01, epochs=6)
def accumulated(): model = mlp(); return own_loop(model, torch.optim.Adam(model.parameters(), 3e-3), clear=clears, accumulate=5, epochs=12)

def stays_in_evaluation(model, xv):
    model.eval()
    with torch.no_grad(): model(xv)
def evaluates_with_gradients(model, xv): model.eval(); model(xv)
def goes_back(model, epoch): model.train()
def adam(model): return torch.optim.Adam(model.parameters(), 3e-3)
def evaluation_from_the_start():
    model = normed(nn.BatchNorm1d).eval()
    return own_loop(model, adam(model), clear=clears)
def evaluation_after_validation():
    model = normed(nn.BatchNorm1d)
    return own_loop(model, adam(model), clear=clears, validate=stays_in_evaluation)
def evaluation_of_our_layers():
    from upslope.layers import BatchNormalization, Dense, Input, Sequential
    torch.manual_seed(0)
    model = Sequential([Input((64,)), Dense(32), BatchNormalization(), Dense(10)]).eval()
    return own_loop(model, adam(model), clear=clears)
def evaluation_in_a_learner():
    from fastai.callback.core import Callback
    class Evaluates(Callback):
        def before_batch(self): self.learn.model.eval()
    return of(learner(normed(nn.BatchNorm1d), epochs=3, cbs=[Evaluates(), Watch()]))
def back_after_validation():
    model = normed(nn.BatchNorm1d)
    return own_loop(model, adam(model), clear=clears, before=goes_back, validate=evaluates_with_gradients, epochs=6)
def tuned(freeze):
    "A network that was trained before, tuned while its averages are kept"
    learn = learner(normed(nn.BatchNorm1d), epochs=6)
    model = learn.model.train()
    if freeze: model[1].requires_grad_(False)
    def before(model, epoch): model.train(); model[1].eval()
    return own_loop(model, torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-4), clear=clears, before=before)
def tuned_with_frozen_norm(): return tuned(True)
def tuned_with_kept_averages(): return tuned(False)
def tuned_all_in_evaluation():
    model = learner(normed(nn.BatchNorm1d), epochs=6).model.eval()
    return own_loop(model, torch.optim.Adam(model.parameters(), 1e-4), clear=clears)

# -- rows that are nearly in both parts ---------------------------------------------------------------------------------
@cache
def pictures():
    "Digits as pictures from 0 to 1, unscaled and split 3 to 1"
    x, y = table('digits')
    x = x.view(-1, 1, 8, 8)/16
    n = len(x)*3//4
    return (x[:n], y[:n]), (x[n:], y[n:])
def convolution():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
def planted(change, model=convolution, data=pictures, n=12):
    "Rows of the training part, changed a little, among those of validation"
    (x, y), (xv, yv) = data()
    pick = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))[:n]
    return on(model(), ((x, y), (torch.cat([xv, change(x[pick].clone())]), torch.cat([yv, y[pick]]))))
def noise(x, size=.02): return x + size*torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
def one_value(x):
    flat = x.flatten(1)
    for i, row in enumerate(flat): row[(7*i) % len(row)] = row.max()
    return x
def saved_again(x):
    import io
    from PIL import Image
    pictures = []
    for row in x:
        file = io.BytesIO()
        Image.fromarray((row[0]*255).byte().numpy()).save(file, 'JPEG', quality=90)
        pictures.append(torch.tensor(np.asarray(Image.open(file))).view(1, 8, 8)/255)
    return torch.stack(pictures)
def copied_with_noise(): return planted(noise)
def copied_with_one_pixel(): return planted(one_value)
def copied_and_brighter(): return planted(lambda x: 1.05*x + .03)
def copied_and_saved_again(): return planted(saved_again)
def copied_table_with_noise(): return planted(noise, lambda: mlp(30, 16, 2), lambda: parts('cancer'))
def copied_table_with_one_value(): return planted(one_value, lambda: mlp(30, 16, 2), lambda: parts('cancer'))
def digits_as_pictures(): return on(convolution(), pictures())
def split(x, y): n = len(x)*3//4; return (x[:n], y[:n]), (x[n:], y[n:])
def few_values():
    "A table of yes, no and grades: rows are equal by nature, and so are their targets often"
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 3, (900, 20), generator=g).float()
    x[:,4:] = x[:,:1]   # few columns are free
    y = ((x[:,0] + x[:,1] + .8*torch.randn(900, generator=g)) > 2).long()
    return on(mlp(20, 16, 2), split(x, y))
def points_of_a_plane():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(600, 2, generator=g)
    return on(mlp(2, 16, 2), split(x, (x[:,0]*x[:,1] + .5*torch.randn(600, generator=g) > 0).long()))
def windows_of_a_series():
    t = torch.arange(1200.)
    wave = (t/9).sin() + .05*torch.randn(1200, generator=torch.Generator().manual_seed(0))
    x = wave.unfold(0, 24, 1)[:-1]
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))   # split at random, so that neighbours in time are in both parts
    return on(mlp(24, 16, 1), split(x[order], wave[24:][order][:,None]), F.mse_loss)
def slow_series():
    "Weekly CO2: the last weeks nearly are the next one, each of them"
    from upslope.data import sources
    data = sources.co2()
    x, y, xv, yv = (torch.as_tensor(t) for t in (data.train.x, data.train.y, data.valid.x, data.valid.y))
    mean, spread, level, wide = x.mean(), x.std(), y.mean(), y.std()
    return on(mlp(52, 16, 1), (((x.flatten(1) - mean)/spread, (y.view(-1, 1) - level)/wide), ((xv.flatten(1) - mean)/spread, (yv.view(-1, 1) - level)/wide)), F.mse_loss, rules=['leaking_feature', 'duplicates'])
def constant_pictures():
    "Some pictures are empty; some have one grey"
    (x, y), (xv, yv) = pictures()
    grey = torch.linspace(0, 1, 80).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(0))
    return on(convolution(), ((torch.cat([x, grey[order[:60]]]), torch.cat([y, order[:60] % 10])), (torch.cat([xv, grey[order[60:]]]), torch.cat([yv, order[60:] % 10]))))

EXTRA_TRAPS = {  # more ways into the same trap: rule -> cases
    'softmax_before_loss': [sigmoid_before_loss], 'dropout_at_evaluation': [dropout_seen_by_watch], 'batchnorm_mode': [batchnorm_on_the_batch, batchnorm_not_back, evaluation_from_the_start, evaluation_after_validation, evaluation_of_our_layers, evaluation_in_a_learner], 'batch_of_one': [last_batch_of_one],
    'nonfinite': [nonfinite_in_training], 'shuffled_labels': [shuffled_validation], 'duplicates': [near_duplicates, copied_with_noise, copied_with_one_pixel, copied_and_brighter, copied_and_saved_again, copied_table_with_noise, copied_table_with_one_value],
    'missing_zero_grad': [never_cleared, never_cleared_adam, never_cleared_momentum, never_cleared_but_clipped, never_cleared_wide],
}
DECOYS = dict(sparse_relu=sparse_relu, frozen_on_purpose=frozen_on_purpose, frozen_and_said=frozen_and_said, bumpy_batchnorm=batchnorm, border_pixels=border_pixels, border_pixels_of_images=border_pixels_of_images, honest=honest, unscaled_but_normalized=unscaled_but_normalized,
    **{f.__name__: f for f in (cleared, cleared_to_zero, cleared_and_clipped, accumulated, back_after_validation, tuned_with_frozen_norm, tuned_with_kept_averages, tuned_all_in_evaluation,
                               digits_as_pictures, few_values, points_of_a_plane, windows_of_a_series, slow_series, constant_pictures)})
