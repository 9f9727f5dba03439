"""What people have as data, in each place that takes data: it goes in, or an error in words says what to write; never a bare error.

A form of data is handed as it is to `loaders`, to a Learner and to a Recipe, then as the source that the errors name; with that it is trained, asked and shown."""
import re
from dataclasses import dataclass
from functools import cache
import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from torch import nn
from upslope.core.errors import ArgumentError, DataError, UpslopeError
from upslope.data import Batches, loaders, sources
from upslope.lab import Recipe
from upslope.lab.worker import execute
from upslope.layers import Dense, Embedding, Flatten, GlobalAveragePooling1D, Sequential
from upslope.train import Learner, Population
from fastai.data.core import DataLoaders

N = 60
RNG = np.random.default_rng(0)
X,Y = RNG.normal(size=(N, 4)).astype('float32'),np.arange(N) % 3
PICTURES = RNG.integers(0, 255, size=(N, 8, 6, 3), dtype='uint8')
TEXTS = [f"a {'steep' if i % 3 else 'flat'} {'hill' if i % 2 else 'sea'} number {i}" for i in range(N)]
TABLE = pd.DataFrame(dict(age=np.where(Y == 0, np.nan, X[:, 0]), city=np.array(['Ulm', 'Bonn', 'Kiel'])[Y], height=X[:, 1], kind=np.array(['a', 'b', 'c'])[RNG.permutation(Y)]))

class OwnRows(torch.utils.data.Dataset):
    "As the tutorials of PyTorch write one"
    def __len__(self): return N
    def __getitem__(self, i): return torch.tensor(X[i]), int(Y[i])

class Hub:
    "As Hugging Face's `Dataset` looks from outside: rows that are dictionaries, and a table on demand"
    column_names = list(TABLE.columns)
    def __len__(self): return N
    def __getitem__(self, i): return TABLE.iloc[i].to_dict()
    def __iter__(self): return (self[i] for i in range(N))
    def to_pandas(self): return TABLE

class InMemory:
    "As torchvision's MNIST or CIFAR10 look from outside"
    data,targets = PICTURES,Y.tolist()
    def __len__(self): return N
    def __getitem__(self, i): return torch.tensor(self.data[i]), self.targets[i]

@cache
def folder():
    import tempfile
    from pathlib import Path
    root = Path(tempfile.mkdtemp(prefix='pictures-'))
    for i in range(N):
        kind = root/['bird', 'cat', 'fish'][Y[i]]
        kind.mkdir(exist_ok=True)
        Image.fromarray(PICTURES[i]).save(kind/f'{i:02d}.png')
    return root

@cache
def csv():
    path = folder().with_suffix('.csv')
    TABLE.to_csv(path, index=False)
    return path

def image_folder(): return pytest.importorskip('torchvision').datasets.ImageFolder(folder())
def fake_pictures(): return pytest.importorskip('torchvision').datasets.FakeData(N, (3, 8, 6), 3)

def table_source(split=0): return sources.frame(TABLE, 'kind', split=split)
def array_source(split=0): return sources.arrays(X, Y, split=split)
def text_source(split=0): return sources.texts(TEXTS, Y, split=split)
def picture_source(split=0): return sources.folder(folder(), (8, 6), split=split)
def memory_source(split=0): return sources.arrays(PICTURES, Y, split=split)
def csv_source(split=0): return sources.csv(csv(), target='kind', split=split)

def dense(): return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
def keras_like(): return Sequential([Flatten(), Dense(3)])
def convolution(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
def words(): return Sequential([Embedding(200, 4), GlobalAveragePooling1D(), Dense(3)])

TABLE_STEPS,TEXT_STEPS,CONV_STEPS = ['onehot', 'numbers', 'impute', 'standardize'],['tokens', 'ids', 'pad'],['standardize', 'channels_first']

@dataclass
class Habit:
    has:object          # gives what the user has
    fix:str             # what the error of `loaders` tells to type
    source:object=None  # what was told, done; None: it is for a Learner with a DataLoader
    pipeline:tuple=()
    model:object=dense
    rows:object=None    # gives new rows, without targets

HABITS = dict(
    table=Habit(lambda: TABLE, "sources.frame(table, target='...')", table_source, TABLE_STEPS, keras_like, lambda: TABLE.drop(columns='kind').iloc[:7]),
    csv_file=Habit(csv, "sources.csv(path, target='...')", csv_source, TABLE_STEPS, dense, lambda: pd.read_csv(csv()).iloc[:7]),
    numpy_pair=Habit(lambda: (X, Y), 'sources.arrays(x, y)', array_source, ['standardize'], dense, lambda: X[:7].astype('float64')),
    torch_pair=Habit(lambda: (torch.tensor(X), torch.tensor(Y)), 'sources.arrays(x, y)', array_source, ['standardize'], keras_like, lambda: torch.tensor(X[:7])),
    lists=Habit(lambda: (X.tolist(), Y.tolist()), 'sources.arrays(x, y)', array_source, [], dense, lambda: X[:7].tolist()),
    texts_and_labels=Habit(lambda: (TEXTS, Y.tolist()), 'sources.texts(x, y)', text_source, TEXT_STEPS, words, lambda: ['a steep sea', 'a hill']),
    texts=Habit(lambda: TEXTS, 'sources.texts(x, y)', text_source, TEXT_STEPS, words, lambda: pd.Series(TEXTS[:7])),
    folder=Habit(folder, 'sources.folder(path, size=(32, 32))', picture_source, CONV_STEPS, convolution, lambda: sorted(folder().glob('*/*.png'))[:7]),
    folder_as_text=Habit(lambda: str(folder()), 'sources.folder(path, size=(32, 32))', picture_source, ['standardize'], keras_like, lambda: [str(p) for p in sorted(folder().glob('*/*.png'))[:7]]),
    image_folder=Habit(image_folder, 'sources.folder(data.root, size=(32, 32))', picture_source, CONV_STEPS, convolution, lambda: PICTURES[:7]),
    torchvision_in_memory=Habit(InMemory, 'sources.arrays(data.data, data.targets)', memory_source, CONV_STEPS, convolution, lambda: PICTURES[:7]),
    tensor_dataset=Habit(lambda: torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y)), 'sources.arrays(*data.tensors)', array_source, ['standardize'], dense, lambda: X[:7]),
    torch_dataset=Habit(OwnRows, 'Learner(DataLoader(data, batch_size=64, shuffle=True), model, loss)'),
    torchvision_made_up=Habit(fake_pictures, 'Learner(DataLoader(data, batch_size=64, shuffle=True), model, loss)'),
    list_of_dicts=Habit(lambda: TABLE.to_dict('records'), "sources.frame(pd.DataFrame(rows), target='...')", table_source, TABLE_STEPS, dense, lambda: TABLE.iloc[:7]),
    hub=Habit(Hub, "sources.frame(data.to_pandas(), target='...')", table_source, TABLE_STEPS, dense, lambda: TABLE.iloc[:7]),
)
WITH_SOURCE = [name for name,habit in HABITS.items() if habit.source]

def refused(call) -> UpslopeError:
    "The error in words that `call` ends in; a test that fails if it is another one, or none"
    with pytest.raises(UpslopeError) as caught: call()
    text = str(caught.value)
    assert re.search(r'^  (got|need|have|fix): ', text, re.M), text
    return caught.value

def learner(habit, **kwargs): return Learner(loaders(habit.source(), pipeline=habit.pipeline), habit.model(), opt_func='adam', verbose=False, **kwargs)

# -- as it is ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('name', HABITS)
def test_loaders_tell_what_to_write(name):
    habit = HABITS[name]
    error = refused(lambda: loaders(habit.has()))
    assert isinstance(error, DataError) and error.fix == habit.fix

@pytest.mark.parametrize('name', HABITS)
def test_a_learner_tells_that_it_needs_loaders(name):
    error = refused(lambda: Learner(HABITS[name].has(), dense(), 'cross_entropy', verbose=False).fit(1))
    assert isinstance(error, DataError)

@pytest.mark.parametrize('name', HABITS)
def test_a_recipe_tells_that_it_needs_a_name_or_a_function(name):
    thing = HABITS[name].has()
    error = refused(lambda: Recipe(thing, dense).dataset(0))   # a text may be a name, which only the search finds out
    assert 'data' in str(error)

# -- as the error says ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('name', WITH_SOURCE)
def test_a_learner_trains_on_it_without_being_told_the_loss(name):
    learn = learner(HABITS[name])
    learn.fit(2, 1e-2)
    assert len(learn.history) and np.isfinite(learn.history.value).all()
    assert learn.loss_func.name == 'cross_entropy'

@pytest.mark.parametrize('name', ['torch_dataset', 'torchvision_made_up'])
def test_a_dataset_of_torchs_trains_in_its_own_loader(name):
    data = HABITS[name].has()
    if name == 'torchvision_made_up': data.transform = pytest.importorskip('torchvision').transforms.ToTensor()
    loader = torch.utils.data.DataLoader(data, batch_size=16, shuffle=True)
    learn = Learner(loader, dense(), 'cross_entropy', 'adam', verbose=False)
    learn.fit(1)
    assert np.isfinite(learn.recorder.values[-1][0])
    error = refused(lambda: Learner(loader, dense()))   # whose task nobody knows
    assert "'cross_entropy' for classes" in error.fix

WITH_DEFAULTS = [name for name in WITH_SOURCE if HABITS[name].pipeline != CONV_STEPS]

@pytest.mark.parametrize('name', WITH_SOURCE)
def test_a_study_runs_on_a_function_that_gives_it(name):
    habit = HABITS[name]
    scores = execute(Recipe(habit.source, habit.model, epochs=1, batch_size=16, pipeline=habit.pipeline), seed=0)
    assert np.isfinite(scores['test_accuracy'])

@pytest.mark.parametrize('name', WITH_DEFAULTS)
def test_a_study_runs_with_the_default_steps(name):
    habit = HABITS[name]
    scores = execute(Recipe(habit.source, habit.model, epochs=1, batch_size=16), seed=0)
    assert np.isfinite(scores['test_accuracy'])

def test_a_study_runs_with_the_default_batch_on_few_rows():
    assert np.isfinite(execute(Recipe(array_source, dense, epochs=1), seed=0)['test_accuracy'])

# -- fastai's words ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('name', WITH_SOURCE)
def test_new_rows_go_the_way_of_the_training_part(name):
    habit = HABITS[name]
    learn = learner(habit)
    learn.fit(1, 1e-2)
    rows = habit.rows()
    loader = learn.dls.test_dl(rows)
    assert len(loader.xs[0]) == len(rows) and loader.ys == () and not loader.shuffle
    assert loader.xs[0].shape[1:] == learn.dls.train.xs[0].shape[1:]
    predictions,targets = learn.get_preds(dl=loader)
    assert targets is None and predictions.shape == (len(rows), 3)
    torch.testing.assert_close(predictions.sum(1), torch.ones(len(rows)))
    torch.testing.assert_close(learn.predict(rows), predictions)

@pytest.mark.parametrize('name', WITH_SOURCE)
def test_a_row_of_the_training_part_comes_out_as_it_was_encoded(name):
    "The new rows are those of the training part: what `test_dl` gives must be what the model was trained on"
    habit = HABITS[name]
    data = habit.source()
    dls = loaders(data, pipeline=habit.pipeline)
    assert torch.equal(dls.test_dl(data.train.x).xs[0], dls.train.xs[0])

@pytest.mark.parametrize('name', WITH_SOURCE)
def test_loaders_are_shown(name):
    habit = HABITS[name]
    data = habit.source()
    dls = loaders(data, pipeline=habit.pipeline)
    for shown in (dls.show_batch(max_n=4), dls.train.show_batch(max_n=4), dls.valid.show_batch(dls.valid.one_batch(), max_n=4)):
        if isinstance(shown, pd.DataFrame):
            assert len(shown) == 4 and set(shown.iloc[:, -1]) <= set(data.classes)
            assert shown.columns[-1] == data.target
        else: assert {ax.get_title() for ax in shown.axes if ax.get_title()} <= set(data.classes) and len(shown.axes) == 4
    page = dls._repr_html_()
    assert data.name in page and '36 train, 12 valid, 12 test' in page and 'Pipeline' in page

def test_fastais_names_of_loaders():
    dls = loaders(array_source(), pipeline=['standardize'])
    assert (dls.c, list(dls.vocab), len(dls), dls.bs, dls.device) == (3, ['0', '1', '2'], 3, 36, torch.device('cpu'))
    assert dls.valid is dls[1] and dls.train_ds.n == 36 and len(dls.valid_ds) == 1
    for moved in (dls.to('cpu'), dls.cpu(), dls.cuda()): assert moved is dls
    dls.to('cpu')
    x,y = dls.one_batch()
    assert x.shape == (36, 4) and y.shape == (36,) and torch.equal(dls.train.one_batch()[0], x)
    numbers = loaders(sources.diabetes())
    assert numbers.c == 1 and not hasattr(numbers, 'vocab')

def test_the_loss_of_the_task_is_known():
    def loss(data): return Learner(loaders(data), nn.Sequential(nn.Flatten(), nn.LazyLinear(data.n_out)), verbose=False).loss_func.name
    assert [loss(sources.load(name)) for name in ('digits', 'breast_cancer', 'diabetes')] == ['cross_entropy', 'cross_entropy', 'mse']
    several = sources.arrays(X, np.eye(3)[Y].astype('float32'))   # numbers: a yes or no for each column must be said
    assert loss(several) == 'mse'
    error = refused(lambda: sources.arrays(X, np.ones((N, 3), int)))
    assert "'bce'" in error.fix
    fastais = __import__('fastai.learner', fromlist=['Learner']).Learner(loaders(array_source()), nn.Linear(4, 3))
    assert fastais.loss_func.name == 'cross_entropy'

def test_columns_come_in_any_order():
    numbers = pd.DataFrame(X, columns=list('abcd'))
    dls = loaders(sources.arrays(numbers, Y))
    assert torch.equal(dls.test_dl(numbers.assign(more='word')[['more', 'd', 'c', 'b', 'a']]).xs[0], torch.tensor(X))

def test_wrong_new_rows_are_told():
    dls = loaders(array_source(), pipeline=['standardize'])
    assert refused(lambda: dls.test_dl(X[0])).fix == 'x[None]'
    for wrong in (X[:, :3], PICTURES, ['a', 'b'], [], 'train', object()): refused(lambda: dls.test_dl(wrong))
    tables = loaders(table_source(), pipeline=TABLE_STEPS)
    assert 'city' in refused(lambda: tables.test_dl(TABLE[['age', 'height']])).need
    for wrong in (X, TABLE.city, [], 'city'): refused(lambda: tables.test_dl(wrong))
    pictures = loaders(picture_source())
    for wrong in ([folder()/'no.png'], [csv()], folder(), [3]): refused(lambda: pictures.test_dl(wrong))
    texts = loaders(text_source(), pipeline=TEXT_STEPS)
    for wrong in ('a hill', [3], 3): refused(lambda: texts.test_dl(wrong))

# -- few rows, one class, names twice ----------------------------------------------------------------------------------
@pytest.mark.parametrize('drop_last', [False, True])
def test_a_default_batch_fits_few_rows(drop_last):
    dls = loaders(array_source(), drop_last=drop_last)
    assert [dl.batch_size for dl in dls] == [36]*3 and len(dls.train) == 1
    own = Batches(torch.tensor(X), torch.tensor(Y), drop_last=drop_last)
    assert (own.batch_size, len(list(own))) == (N, 1)
    for data in (dls, DataLoaders(own, own)):
        population = Population(lambda: nn.Linear(4, 3), data, [dict(seed=0), dict(seed=1)]).fit(1)
        assert np.isfinite(population.history.value).all()
    assert loaders(sources.digits()).train.batch_size == Batches(torch.zeros(100, 2)).batch_size == 64

def test_a_batch_that_was_typed_is_refused():
    assert refused(lambda: loaders(array_source(), batch_size=64)).fix == 'batch_size=36'
    assert refused(lambda: Batches(torch.tensor(X), batch_size=64, drop_last=True)).fix == 'batch_size=60'

@pytest.mark.parametrize('make', [lambda: sources.arrays(X, np.zeros(N, int)), lambda: sources.arrays(X, ['a']*N), lambda: sources.frame(TABLE.assign(kind='a'), 'kind'), lambda: sources.texts(TEXTS, ['a']*N),
                                  lambda: sources.arrays(X, np.zeros(N, int), classes=['a', 'b'])])
def test_one_class_is_refused(make):
    error = refused(make)
    assert 'all rows have one class' in str(error) and '60 rows' in error.got

def test_a_folder_gives_the_pixels_that_were_written():
    paths = [folder()/['bird', 'cat', 'fish'][Y[i]]/f'{i:02d}.png' for i in range(N)]
    assert np.array_equal(picture_source().read(paths), PICTURES.astype('float32'))

def test_a_folder_with_one_class_is_refused(tmp_path):
    (tmp_path/'bird').mkdir()
    for i in range(6): Image.fromarray(PICTURES[i]).save(tmp_path/'bird'/f'{i}.png')
    assert "6 rows of 'bird'" in refused(lambda: sources.folder(tmp_path, (8, 6))).got
    (tmp_path/'empty').mkdir()
    refused(lambda: sources.folder(tmp_path, (8, 6)))

@pytest.mark.parametrize('column', ['kind', 'age'])
def test_a_name_that_stands_twice_is_refused(column, tmp_path):
    twice = pd.concat([TABLE, TABLE[[column]]], axis=1)
    assert refused(lambda: sources.frame(twice, 'kind')).got == repr(column)
    twice.to_csv(tmp_path/'twice.csv', index=False)
    assert refused(lambda: sources.csv(tmp_path/'twice.csv', 'kind')).got == repr(column)   # pandas would call the second one kind.1, and the target would be an input
    numbers = pd.concat([TABLE[['height']]]*2, axis=1)
    assert refused(lambda: sources.arrays(numbers, Y)).got == "'height'"
    dls = loaders(table_source(), pipeline=TABLE_STEPS)
    if column == 'age': refused(lambda: dls.pipeline(twice.drop(columns='kind')))

def test_a_column_of_row_numbers_has_no_name(tmp_path):
    (tmp_path/'t.csv').write_text(',,a,y\n' + ''.join(f'{i},{i},{i},{i % 2}\n' for i in range(20)))   # written twice with its index
    assert sources.csv(tmp_path/'t.csv', 'y').features[-1] == 'a'

# -- channels ------------------------------------------------------------------------------------------------------------
def test_a_convolution_of_torchs_is_told_where_the_channels_stand():
    with pytest.raises(RuntimeError) as caught: Learner(loaders(picture_source(), pipeline=['standardize']), convolution(), verbose=False).fit(1)
    notes = '\n'.join([str(caught.value), *getattr(caught.value, '__notes__', [])])
    assert "fix:  pipeline=['standardize', 'channels_first']" in notes
    learn = Learner(loaders(picture_source(), pipeline=['standardize', 'channels_first']), convolution(), verbose=False)   # as it says
    learn.fit(1)
    assert np.isfinite(learn.recorder.values[-1][0])

def test_channels_first_is_the_plain_loop_on_permuted_pictures():
    dls = loaders(memory_source(), pipeline=['channels_first'])
    assert torch.equal(dls.train.xs[0], memory_source().train.x.permute(0, 3, 1, 2))
    assert torch.equal(dls.pipeline.decode(dls.train.xs[0]), memory_source().train.x)
    x,_ = dls.one_batch()
    assert x.is_contiguous() and x.shape == (36, 3, 8, 6)

def test_chance_moves_pictures_and_not_channels():
    plain = loaders(memory_source(), pipeline=['standardize', 'channels_first'])
    mirrored = loaders(memory_source(), pipeline=['standardize', 'channels_first'], augment=['random_mirror'])
    rows = plain.train.xs[0][plain.train.order(0)]
    (x, _), = list(mirrored.train)
    turned = [torch.equal(a, b.flip(2)) for a,b in zip(x, rows)]
    same = [torch.equal(a, b) for a,b in zip(x, rows)]
    assert all(t or s for t,s in zip(turned, same)) and 0 < sum(turned) < 36
    assert isinstance(refused(lambda: loaders(memory_source(), pipeline=['channels_first', 'standardize'])), ArgumentError)

# -- kept in a file ------------------------------------------------------------------------------------------------------
def test_an_exported_learner_still_takes_new_rows(tmp_path):
    from fastai.learner import load_learner
    learn = learner(HABITS['numpy_pair'], path=tmp_path)
    learn.fit(1, 1e-2)
    learn.export('model.pkl')
    back = load_learner(tmp_path/'model.pkl')
    assert torch.equal(back.dls.test_dl(X[:5]).xs[0], learn.dls.test_dl(X[:5]).xs[0]) and list(back.dls.vocab) == ['0', '1', '2']
    torch.testing.assert_close(back.get_preds(dl=back.dls.test_dl(X[:5]))[0], learn.predict(X[:5]))
    assert sum(len(part.x) for part in back.dls.train.origin.data.parts.values()) == 3   # the rows themselves stay at home
