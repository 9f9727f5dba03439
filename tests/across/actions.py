"What people do with a model. Each action compares with the plain loop of PyTorch, on the same seed and data; it returns what to look at, or raises"
import copy, io, tempfile
from contextlib import contextmanager, redirect_stdout
from functools import cache
import fastai.learner, torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.optimizer import Adam as FastaiAdam
from forms import FORMS, PARTS, halves, of_pictures, of_tokens, tokens
from torch import nn
from upslope.core import derive, seeded
from upslope.core.functions import Function
from upslope.data import Batches, loaders
from upslope.inspection import diagnose, watch
from upslope.lab import Recipe, Study
from upslope.layers import load, save
from upslope.stress import stress
from upslope.train import EMA, Checkpoint, EarlyStopping, Learner, Population, Predictor
from upslope.train.learner import has_weights_to_come

TRAIN,VALID,TEST = PARTS
EPOCHS,BATCH,LR = 2,32,1e-2
ACTIONS = {}

class NotMeant(Exception): "This action is not for this form"

def action(f):
    "Register what is done with each form"
    ACTIONS[f.__name__] = f
    return f

# -- what all of them share -------------------------------------------------------------------------------------------
def batches(form, seed=0):
    "Training part in a shuffled order, and validation part"
    (x, y),(valid_x, valid_y) = form.data(TRAIN),form.data(VALID)
    return Batches(x, y, BATCH, shuffle=True, seed=seed),Batches(valid_x, valid_y, BATCH)

def new_model(form):
    torch.manual_seed(0)
    return form.make()

@contextmanager
def as_in_a_fit():
    "From here on, chance falls as in every other fit of this file"
    torch.manual_seed(1)
    yield

def show_one_batch(model, loader):
    "Make the weights that wait"
    model.eval()
    with torch.no_grad(): model(*loader.one_batch()[:loader.n_inp])
    model.train()

def plain_loop(form, optimizer):
    "(weights before, weights after, largest gradient of each number) of a loop as one writes it by hand"
    train,valid = batches(form)
    model = new_model(form)
    with as_in_a_fit():
        show_one_batch(model, train)
        before = copy.deepcopy(model.state_dict())
        opt = optimizer(model.parameters())
        felt = {name: torch.zeros_like(p) for name,p in model.named_parameters()}
        for _ in range(EPOCHS):
            model.train()
            for *x,y in train:
                nn.functional.cross_entropy(model(*x), y).backward()
                for name,p in model.named_parameters(): felt[name] = torch.maximum(felt[name], p.grad.abs())
                opt.step()
                opt.zero_grad()
            model.eval()
            with torch.no_grad():
                for *x,y in valid: model(*x)
    return before,model.state_dict(),felt

OPTIMIZERS = dict(
    adam=lambda ps: torch.optim.Adam(ps, lr=LR),
    momentum=lambda ps: torch.optim.SGD(ps, lr=LR, momentum=.9),
    fastai=lambda ps: FastaiAdam([list(ps)], lr=LR, wd=0.))   # fastai spares biases and normalization the decay

@cache
def reference(name, optimizer='adam'): return plain_loop(FORMS[name], OPTIMIZERS[optimizer])

def check_weights(form, state, optimizer='adam'):
    "Every weight is where the plain loop has it, and has moved as far"
    before,after,felt = reference(form.name, optimizer)
    assert set(state) == set(after), f'{set(state) ^ set(after)}'
    for name in after: check_close(state[name], after[name], felt.get(name), name)
    still = [name for name in after if torch.equal(before[name], after[name])]
    assert [name for name in after if torch.equal(before[name], state[name])] == still
    assert len(still) <= len(after)//3, f'the plain loop itself leaves most weights still: {still}'

def check_close(a, b, felt, name):
    "Equal, but where a gradient was no more than rounding, which Adam blows up to a whole step"
    counts = torch.ones_like(b, dtype=torch.bool) if felt is None else felt > 1e-6
    torch.testing.assert_close(a[counts], b[counts], rtol=5e-3, atol=5e-5, msg=lambda text: f'{name}: {text}')

def learner(form, opt_func='adam', cls=Learner, model=None, **kwargs):
    if cls is Learner: kwargs = dict(verbose=False, **kwargs)
    model = new_model(form) if model is None else model
    return cls(DataLoaders(*batches(form)), model, loss_func=nn.CrossEntropyLoss(), opt_func=opt_func, lr=LR, wd=0., **kwargs)

def fitted(form, **kwargs):
    learn = learner(form, **kwargs)
    with as_in_a_fit(): learn.fit(EPOCHS)
    return learn

def outputs(form, model):
    x,_ = form.data(TEST)
    model.eval()
    with torch.no_grad(): return model(*x)

def same(a, b): torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)

# -- training ---------------------------------------------------------------------------------------------------------
@action
def learner_with_a_name(form): check_weights(form, fitted(form).model.state_dict())
@action
def learner_with_a_class(form): check_weights(form, fitted(form, opt_func=torch.optim.Adam).model.state_dict())
@action
def learner_with_a_function(form):
    check_weights(form, fitted(form, opt_func=lambda ps, lr: torch.optim.SGD(ps, lr=lr, momentum=.9)).model.state_dict(), 'momentum')
@action
def learner_by_default(form):
    learn = Learner(DataLoaders(*batches(form)), new_model(form), nn.CrossEntropyLoss(), lr=LR, wd=0., verbose=False)
    with as_in_a_fit(): learn.fit(EPOCHS)
    check_weights(form, learn.model.state_dict(), 'fastai')
@action
def learner_twice(form):
    "Two fits of half the length are one"
    learn = learner(form)
    with as_in_a_fit():
        learn.fit(1)
        learn.fit(EPOCHS - 1)
    check_weights(form, learn.model.state_dict())
@action
def learner_after_lr_find(form):
    "The search leaves everything as it was"
    learn = learner(form)
    with as_in_a_fit(): learn.lr_find(num_it=4, show_plot=False)
    with as_in_a_fit(): learn.fit(EPOCHS)
    moved = [n for n,p in learn.model.named_parameters() if not torch.equal(p, reference(form.name)[0][n])]
    assert len(moved) > len(list(learn.model.parameters()))/2
@action
def learner_one_cycle(form):
    learn = learner(form)
    with as_in_a_fit(): learn.fit_one_cycle(EPOCHS, LR)
    before = reference(form.name)[0]
    assert not [n for n,p in learn.model.named_parameters() if torch.equal(p, before[n]) and not torch.equal(before[n], reference(form.name)[1][n])]
@action
def learner_with_a_mean_of_weights(form):
    learn = learner(form, cbs=[EMA(.5), EarlyStopping('valid_loss', patience=5)])
    with as_in_a_fit(): learn.fit(EPOCHS)
    before,after,_ = reference(form.name)
    for name,p in learn.model.named_parameters(): assert torch.equal(before[name], after[name]) or not torch.equal(p, before[name]), f'{name} has not moved'
@action
def fastai_learner_of_a_built_model(form):
    model = new_model(form)
    with as_in_a_fit():
        show_one_batch(model, batches(form)[0])
        learn = learner(form, FastaiAdam, fastai.learner.Learner, model)
        with learn.no_bar(), learn.no_logging(): learn.fit(EPOCHS)
    check_weights(form, learn.model.state_dict(), 'fastai')
@action
def fastai_learner(form):
    "fastai's own, which by itself makes the optimizer of the weights that are there"
    learn = learner(form, FastaiAdam, fastai.learner.Learner)
    with learn.no_bar(), learn.no_logging(), as_in_a_fit(): learn.fit(EPOCHS)
    check_weights(form, learn.model.state_dict(), 'fastai')
@action
def population(form):
    "Two members as one program; each is the plain loop with its seed"
    train,valid = batches(form)
    felt = reference(form.name)[2]
    members = Population(form.make, DataLoaders(train, valid), members=2, loss='cross_entropy', opt='adam', lr=LR).fit(EPOCHS)
    lone = Population(form.make, DataLoaders(train, valid), members=2, loss='cross_entropy', opt='adam', lr=LR, engine='loop').fit(EPOCHS)
    for i in range(2):
        state,alone = members.member(i).state_dict(),lone.member(i).state_dict()
        for name in alone: check_close(state[name], alone[name], felt.get(name), name)
    if 'dropout' in form.name: return   # a population has its own chance, the same for a member in company and alone
    with seeded(0, 'init'):
        model = form.make()
        show_one_batch(model, train)
    opt,train = torch.optim.Adam(model.parameters(), lr=LR),batches(form, seed=0)[0]
    for _ in range(EPOCHS):
        for *x,y in train:
            nn.functional.cross_entropy(model(*x), y).backward()
            opt.step()
            opt.zero_grad()
    state = members.member(0).state_dict()
    for name,p in model.state_dict().items(): check_close(state[name], p, felt.get(name), name)

@action
def study(form):
    "A run of the lab, in a process of its own, is the plain loop on the lab's seeds"
    if form.data is halves: raise NotMeant('a data set has one input')
    result = studied(form.data).loc[form.name]
    assert result.status == 'done', result
    data = dataset(form)
    dls = loaders(data, BATCH, seed=derive(0, 'batches'))
    with seeded(0, 'init'):
        model = form.make()
        show_one_batch(model, dls.train)
    opt = torch.optim.Adam(model.parameters(), lr=LR)
    for _ in range(EPOCHS):
        for x,y in dls.train:
            nn.functional.cross_entropy(model(x), y).backward()
            opt.step()
            opt.zero_grad()
    model.eval()
    with torch.no_grad(): loss = nn.functional.cross_entropy(model(data.valid.x), data.valid.y)
    if 'dropout' not in form.name: assert abs(float(loss) - result.valid_loss) < 1e-3, (float(loss), result.valid_loss)
def dataset(form): return of_tokens(0) if form.data is tokens else of_pictures(0)
@cache
def studied(data):
    "The results of all forms on these data, by the form's name"
    forms = [form for form in FORMS.values() if form.data is data]
    recipe = Recipe(of_tokens if data is tokens else of_pictures, forms[0].make, epochs=EPOCHS, lr=LR, batch_size=BATCH, schedule='constant', pipeline=())
    with tempfile.TemporaryDirectory() as folder:
        study = Study('forms', recipe, dict(model=[form.make for form in forms[1:]]), seeds=[0], baselines=None, placebo=False, store=f'{folder}/store.db')
        runs = study.run(workers=1, show=False).runs()
    return runs.set_index('config')

# -- looking ----------------------------------------------------------------------------------------------------------
@action
def watched(form):
    "A fit that is watched ends where it ends unwatched, and each part with weights was seen"
    learn = learner(form)
    record = watch(learn, every=1)
    with as_in_a_fit(): learn.fit(EPOCHS)
    check_weights(form, learn.model.state_dict())
    check_seen(learn.model, record)
@action
def watched_loop(form):
    "A loop of one's own, watched from before the first batch"
    train,_ = batches(form)
    model = new_model(form)
    with as_in_a_fit():
        show_one_batch(model, train)
        opt = OPTIMIZERS['adam'](model.parameters())
        with watch(model, opt, nn.functional.cross_entropy, every=1) as record:
            for _ in range(EPOCHS):
                for *x,y in train:
                    nn.functional.cross_entropy(model(*x), y).backward()
                    opt.step()
                    opt.zero_grad()
    if 'dropout' not in form.name: check_weights(form, model.state_dict())
    check_seen(model, record)
def check_seen(model, record):
    layers = set(record.history.layer.dropna())
    for name,_ in model.named_parameters():
        place = name.rpartition('.')[0]
        assert any(place == layer or place.startswith(f'{layer}.') or layer.startswith(place) for layer in layers), f'nothing of {name} among {sorted(layers)}'
@action
def diagnosed_before(form):
    "A diagnosis changes nothing of the fit that follows"
    learn = learner(form)
    waits = has_weights_to_come(learn.model)
    with as_in_a_fit(): diagnose(learn, seconds=1.)
    assert has_weights_to_come(learn.model) == waits, 'the diagnosis has made the weights'
    with as_in_a_fit(): learn.fit(EPOCHS)
    check_weights(form, learn.model.state_dict())
    assert not broken(diagnose(learn, seconds=1.))
@action
def diagnosed_after(form):
    learn = fitted(form)
    state = copy.deepcopy(learn.model.state_dict())
    found = diagnose(learn, seconds=1.)
    for name,p in learn.model.state_dict().items(): assert torch.equal(p, state[name]), f'{name} was changed'
    assert not broken(found), broken(found)
    assert errors(found) <= {'chance_level', 'constant_predictions'}, errors(found)   # six steps are few
@action
def diagnosed_as_model(form):
    model,(train, valid) = new_model(form),batches(form)
    found = diagnose(model, DataLoaders(train, valid), 'cross_entropy', opt=None, seconds=1.)
    assert not broken(found), broken(found)
def broken(diagnosis): return [why for why in diagnosis.skipped.values() if 'the rule itself failed' in why]
def errors(diagnosis): return {f.rule.name for f in diagnosis.findings if f.severity == 'error'}
@action
def stressed(form):
    model = fitted(form).model
    data = None if form.data is halves else dataset(form)
    state = copy.deepcopy(model.state_dict())
    card = stress(model, data, pushes=['weight_noise', 'replaced' if form.data is tokens else 'noise'], rows=20, draws=1)
    assert len(card.table())
    for name,p in model.state_dict().items(): assert torch.equal(p, state[name]), f'{name} was changed'
@action
def summary(form):
    "Every weight is counted, before and after a fit"
    learn = learner(form)
    words = text_of(learn.summary)
    n = sum(p.numel() for p in learn.model.parameters())
    assert n and str(n) in words, words
    if isinstance(learn.model, Function): assert str(n) in text_of(learn.model.summary)
@action
def plotted(form):
    model = fitted(form).model
    if not isinstance(model, Function): raise NotMeant('PyTorch modules have no plot')
    assert '<svg' in model.plot()._repr_svg_() if hasattr(model.plot(), '_repr_svg_') else model.plot()._repr_html_()
def text_of(show):
    out = io.StringIO()
    with redirect_stdout(out): value = show()
    text = value.to_string() if hasattr(value, 'to_string') else str(value)
    return f'{out.getvalue()} {text}'.replace(',', '')

# -- keeping ----------------------------------------------------------------------------------------------------------
@action
def saved_and_loaded(form, folder):
    model = fitted(form).model
    save(model, folder/'model.safetensors')
    same(outputs(form, load(folder/'model.safetensors')), outputs(form, model))
@action
def weights_into_a_new_model(form, folder):
    "PyTorch's way: a state_dict in a file, and a new model that takes it"
    model = fitted(form).model
    torch.save(model.state_dict(), folder/'weights.pt')
    new = form.make()
    new.load_state_dict(torch.load(folder/'weights.pt', weights_only=True))
    same(outputs(form, new), outputs(form, model))
@action
def learner_saved_and_loaded(form, folder):
    "fastai's way: learn.save, and a new Learner that takes it and goes on"
    learn = learner(form, path=folder)
    with as_in_a_fit(): learn.fit(1)
    learn.save('half')
    new = learner(form, path=folder)
    new.load('half')
    same(outputs(form, new.model), outputs(form, learn.model))
    new.fit(1)
    before = reference(form.name)[0]
    assert all(not torch.equal(p, before[n]) for n,p in new.model.named_parameters() if not torch.equal(before[n], reference(form.name)[1][n]))
@action
def exported(form, folder):
    learn = fitted(form, path=folder)
    learn.export('whole.pkl')
    same(outputs(form, fastai.learner.load_learner(folder/'whole.pkl').model), outputs(form, learn.model))
@action
def exported_safely(form, folder):
    learn = fitted(form)
    learn.export_safely(folder/'model')
    same(outputs(form, Predictor.load(folder/'model', form.make()).model), outputs(form, learn.model))
@action
def killed_and_resumed(form, folder):
    "Interrupted after four of six steps; a new Learner of a new model goes on, and ends where an undisturbed one does"
    learn = learner(form, cbs=[Checkpoint(folder, steps=1), Interrupt(after=4)])
    try:
        with as_in_a_fit(): learn.fit(EPOCHS)
    except KeyboardInterrupt: pass
    assert any(folder.iterdir())
    new = learner(form, cbs=[Checkpoint(folder, steps=1)])
    new.fit(EPOCHS)
    assert new.recorder.rows[-1]['epoch'] == EPOCHS - 1
    check_weights(form, new.model.state_dict())
    undisturbed = fitted(form).model.state_dict()
    for name,p in new.model.state_dict().items(): assert torch.equal(p, undisturbed[name]), f'{name} differs from the undisturbed fit'
class Interrupt(Callback):
    order,only_looks = 1000,True   # a kill from outside is no part of the fit
    def __init__(self, after): self.steps = after
    def after_batch(self):
        if self.training and self.train_iter >= self.steps: raise KeyboardInterrupt
@action
def copied(form):
    "A deep copy, before the first batch and after a fit"
    learn = learner(form, model=copy.deepcopy(new_model(form)))
    with as_in_a_fit(): learn.fit(EPOCHS)
    check_weights(form, learn.model.state_dict())
    same(outputs(form, copy.deepcopy(learn.model)), outputs(form, learn.model))

# -- using ------------------------------------------------------------------------------------------------------------
@action
def predictions_of_a_learner(form):
    learn = fitted(form)
    with learn.no_bar(): preds,y = learn.get_preds(ds_idx=1)
    (x, valid_y) = form.data(VALID)
    learn.model.eval()
    with torch.no_grad(): want = learn.model(*x)
    same(preds, want)
    assert torch.equal(y, valid_y)
    with learn.no_bar(): loss = learn.validate()[0]
    assert abs(loss - float(nn.functional.cross_entropy(want, y))) < 1e-4
@action
def as_a_function_of_its_weights(form):
    "torch.func: what Populations and simulations stand on"
    model = fitted(form).model
    x,_ = form.data(TEST)
    want = outputs(form, model)
    with torch.no_grad(): same(torch.func.functional_call(model, dict(model.named_parameters()), x), want)
