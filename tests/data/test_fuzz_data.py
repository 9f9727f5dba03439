"Tables, files, folders of pictures, pipelines and loaders with one thing spoiled: they work, or an error says what was wrong"
import datetime
import numpy as np, pandas as pd, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from upslope.data import Batches, Pipeline, loaders, sources
from upslope.data.sources import Dataset
from upslope.data.tables import Crop, Ids, Pad, RandomMirror, RandomShift, Tokens, Windows
from upslope.data.transforms import STEPS, Clip, Impute
import odd_values
from upslope.core.errors import UpslopeError

TABLE_STEPS = ['onehot', 'numbers', 'impute', 'standardize']

def people(n=30):
    rng = np.random.default_rng(0)
    return pd.DataFrame(dict(age=rng.normal(40, 9, n).round(1), sex=rng.choice(['f', 'm'], n), visits=rng.integers(0, 9, n), ill=rng.choice(['no', 'yes'], n), weight=rng.normal(70, 9, n)))

def look(data):
    "What anyone does with data: print it, encode it, take a batch"
    repr(data), data._repr_html_(), data.card(), data.input_shape, data.n_out
    steps = TABLE_STEPS if hasattr(data.train.x, 'columns') else ['standardize']
    dls = loaders(data, min(8, len(data.train.x)), pipeline=steps)
    x, y = dls.one_batch()
    assert len(x) == len(y)

def tried(make): return odd_values.outcome(lambda: look(make()))

# -- a table ----------------------------------------------------------------------------------------------------------
def cell(value):
    def spoil(table, column, row):
        values = table[column].astype(object).tolist()
        values[row] = value
        return table.assign(**{column: pd.Series(values, dtype=object, index=table.index)})
    return spoil
def whole(make): return lambda table, column, row: table.assign(**{column: make(table[column])})

SPOILS = {
    'an empty cell': cell(''), 'None': cell(None), 'nan': cell(np.nan), 'inf': cell(np.inf), 'text': cell('abc'), 'a number': cell(3), 'a list': cell([1, 2]), 'a dict': cell({'a': 1}), 'bytes': cell(b'x'), 'a date': cell(datetime.date(2020, 1, 1)),
    'NaT': cell(pd.NaT), 'NA': cell(pd.NA), '10**400': cell(10**400), '1j': cell(1j), 'a long text': cell('x'*100_000), 'a tensor': cell(torch.ones(2)), 'True': cell(True), 'half a character': cell('\ud800'), 'a zero byte': cell('\0'), 'itself': cell(pd.DataFrame({'a': [1]})),
    'all nan': whole(lambda c: c*np.nan if c.dtype.kind in 'if' else None), 'all None': whole(lambda c: [None]*len(c)), 'constant': whole(lambda c: 1), 'constant text': whole(lambda c: 'a'), 'all inf': whole(lambda c: np.inf), 'strings': whole(lambda c: c.astype(str)),
    'category': whole(lambda c: c.astype('category')), 'dates': whole(lambda c: pd.date_range('2020', periods=len(c))), 'spans': whole(lambda c: pd.to_timedelta(np.arange(len(c)), unit='s')), 'complex': whole(lambda c: 1j), 'booleans': whole(lambda c: np.arange(len(c)) % 2 == 0),
    'nullable': whole(lambda c: pd.array([None, *range(len(c)-1)], dtype='Int64')), 'nullable booleans': whole(lambda c: pd.array([None, *[True]*(len(c)-1)], dtype='boolean')), 'all different': whole(lambda c: [f'w{i}' for i in range(len(c))]), 'large': whole(lambda c: np.arange(len(c))*1e300), 'int8': whole(lambda c: np.arange(len(c), dtype='int8')),
    'float16': whole(lambda c: np.arange(len(c), dtype='float16')), 'uint64': whole(lambda c: np.arange(len(c), dtype='uint64') + 2**63), 'intervals': whole(lambda c: pd.interval_range(0, len(c))), 'periods': whole(lambda c: pd.period_range('2020', periods=len(c))), 'mixed': whole(lambda c: [1, 'a', None, 2.5]*(len(c)//4) + [1]*(len(c) % 4)), 'sparse': whole(lambda c: pd.arrays.SparseArray(np.arange(len(c)) % 3)),
    'one other class': whole(lambda c: ['a']*(len(c)-1) + ['b']), 'two names alike': lambda t, c, r: t.rename(columns={c: 'age' if c != 'age' else 'weight'}), 'a name that is a number': lambda t, c, r: t.rename(columns={c: 3}), 'no name': lambda t, c, r: t.rename(columns={c: None}), 'an empty name': lambda t, c, r: t.rename(columns={c: ''}), 'a tuple as name': lambda t, c, r: t.rename(columns={c: (1, 2)}),
    'two floors of names': lambda t, c, r: t.set_axis(pd.MultiIndex.from_product([['a'], t.columns]), axis=1), 'no rows': lambda t, c, r: t[:0], 'one row': lambda t, c, r: t[:1], 'five rows': lambda t, c, r: t[:5], 'without': lambda t, c, r: t.drop(columns=c), 'only this': lambda t, c, r: t[[c]], 'an index of texts': lambda t, c, r: t.set_index(c), 'rows named alike': lambda t, c, r: t.set_axis([0]*len(t)), 'twice': lambda t, c, r: pd.concat([t, t[[c]]], axis=1),
}

@settings(max_examples=450)
@given(st.sampled_from(sorted(SPOILS)), st.sampled_from(['age', 'sex', 'visits', 'ill', 'weight']), st.sampled_from(['ill', 'weight', 'visits']), st.integers(0, 29), st.sampled_from([None, None, 'classification', 'regression']))
def test_frame(spoil, column, target, row, task): tried(lambda: sources.frame(SPOILS[spoil](people(), column, row), target, task=task))

FRAME = dict(table=None, target='ill', name='people', task=None, split=0, licence='', citation='')

@settings(max_examples=250)
@given(st.sampled_from(sorted(FRAME)), odd_values.junk())
def test_frame_arguments(name, drawn): tried(lambda: sources.frame(**{**FRAME, 'table': people(), name: odd_values.value_of(drawn)}))

ARRAYS = dict(x=lambda: np.random.default_rng(0).normal(size=(30, 4)), y=lambda: np.arange(30) % 3, name=lambda: 'a', task=lambda: None, split=lambda: 0, classes=lambda: None)

@settings(max_examples=150)
@given(st.sampled_from(sorted(ARRAYS)), odd_values.junk())
def test_arrays_arguments(name, drawn): tried(lambda: sources.arrays(**{**{k: make() for k, make in ARRAYS.items()}, name: odd_values.value_of(drawn)}))

# -- a file -----------------------------------------------------------------------------------------------------------
LINES = people().to_csv(index=False).splitlines()
FILES = {
    'whole': LINES, 'nothing': [], 'only the header': LINES[:1], 'one row': LINES[:2], 'no header': LINES[1:], 'semicolons': [line.replace(',', ';') for line in LINES], 'tabs': [line.replace(',', '\t') for line in LINES], 'a row too long': [*LINES[:9], LINES[9] + ',1,2', *LINES[10:]], 'a row too short': [*LINES[:9], '1,2', *LINES[10:]],
    'a quote without end': [*LINES[:9], '"' + LINES[9], *LINES[10:]], 'empty lines': [o for line in LINES for o in (line, '')], 'a field of a megabyte': [*LINES[:9], LINES[9].replace('f', 'x'*10**6).replace('m', 'x'*10**6), *LINES[10:]], 'names alike': [LINES[0].replace('weight', 'age'), *LINES[1:]], 'names empty': [',,,ill,', *LINES[1:]], 'blanks': [' ' + line.replace(',', ' , ') for line in LINES], 'decimal commas': [line.replace('.', ',') for line in LINES],
    'text among numbers': [*LINES[:9], 'old' + LINES[9], *LINES[10:]], 'the target is missing once': [*LINES[:9], LINES[9].replace('yes', '').replace('no', ''), *LINES[10:]], 'one class': [line.replace('yes', 'no') for line in LINES], 'a comment': ['# made by hand', *LINES], 'inf': [*LINES[:9], 'inf' + LINES[9][4:], *LINES[10:]], 'one column': ['ill', *['yes', 'no']*9], 'only commas': [',,,,']*9,
}
BYTES = {'as it is': lambda b: b, 'BOM': lambda b: b'\xef\xbb\xbf' + b, 'UTF-16': lambda b: b.decode().encode('utf-16'), 'Latin': lambda b: b.replace(b'yes', 'já'.encode('latin-1')), 'zero bytes': lambda b: b.replace(b'f', b'\0'), 'Windows': lambda b: b.replace(b'\n', b'\r\n'), 'old Mac': lambda b: b.replace(b'\n', b'\r'), 'half': lambda b: b[:len(b)//2], 'random': lambda b: bytes(np.random.default_rng(0).integers(0, 256, 500, dtype='uint8')), 'gzip': lambda b: __import__('gzip').compress(b)}

@settings(max_examples=180)
@given(st.sampled_from(sorted(FILES)), st.sampled_from(['as it is', *sorted(BYTES)]), st.sampled_from(['ill', 'weight']))
def test_csv(tmp_path_factory, lines, coding, target):
    path = tmp_path_factory.getbasetemp()/'fuzz.csv'
    path.write_bytes(BYTES[coding](('\n'.join(FILES[lines]) + '\n').encode()))
    tried(lambda: sources.csv(path, target))

@settings(max_examples=100)
@given(st.sampled_from(['path', 'target', 'name', 'task', 'split', 'no_such']), odd_values.junk(), st.sampled_from(['csv', 'parquet']))
def test_csv_arguments(tmp_path_factory, name, drawn, kind):
    path = tmp_path_factory.getbasetemp()/'whole.csv'
    path.write_text('\n'.join(LINES))
    tried(lambda: getattr(sources, kind)(**{**dict(path=path, target='ill'), name: odd_values.value_of(drawn)}))

# -- a folder ---------------------------------------------------------------------------------------------------------
def pictures(path):
    for kind in ('cat', 'dog'):
        (path/kind).mkdir(parents=True)
        for i in range(6): Image.new('RGB', (6, 5), (40*i, 100, 10*len(kind))).save(path/kind/f'{i}.png')
    return path

def nothing(path): pass
def empty_class(path): (path/'bird').mkdir()
def one_class(path): [p.unlink() for p in (path/'dog').iterdir()], (path/'dog').rmdir()
def one_picture(path): (path/'bird').mkdir(), Image.new('RGB', (6, 5)).save(path/'bird/0.png')
def words(path): (path/'cat/notes.txt').write_text('meow')
def no_picture(path): (path/'cat/0.png').write_bytes(b'no picture')
def empty_file(path): (path/'cat/0.png').write_bytes(b'')
def cut(path): (path/'cat/0.png').write_bytes((path/'cat/0.png').read_bytes()[:40])
def broken(path):
    data = bytearray((path/'cat/0.png').read_bytes())
    data[-30:-12] = bytes(18)
    (path/'cat/0.png').write_bytes(data)
def a_folder_as_picture(path): (path/'cat/0.png').unlink(), (path/'cat/0.png').mkdir()
def loop(path): (path/'cat/again').symlink_to(path), (path/'loop').symlink_to(path/'loop')
def picture_loop(path): (path/'cat/z.png').symlink_to(path/'cat/z.png')
def nowhere(path): (path/'cat/z.png').symlink_to(path/'nowhere.png')
def bomb(path): Image.new('1', (30_000, 30_000)).save(path/'cat/0.png')
def palette(path): Image.new('P', (6, 5)).save(path/'cat/0.png')
def transparent(path): Image.new('RGBA', (6, 5)).save(path/'cat/0.png')
def deep(path): Image.new('I;16', (6, 5)).save(path/'cat/0.png')
def capital(path): (path/'cat/0.png').rename(path/'cat/0.PNG')
def pipe(path): (path/'cat/0.png').unlink(), __import__('os').mkfifo(path/'cat/0.png')
FOLDERS = [nothing, empty_class, one_class, one_picture, words, no_picture, empty_file, cut, broken, a_folder_as_picture, loop, picture_loop, nowhere, palette, transparent, deep, capital, pipe]

@pytest.mark.parametrize('spoil', [*FOLDERS, bomb])
@pytest.mark.parametrize('gray', [False, True])
def test_folder(tmp_path, spoil, gray):
    path = pictures(tmp_path/'pictures')
    spoil(path)
    result = tried(lambda: sources.folder(path, (4, 4), gray=gray))
    if spoil in (nothing, words, palette, transparent, capital): assert not isinstance(result, UpslopeError), result
    if spoil in (no_picture, empty_file, cut, nowhere, picture_loop, pipe, bomb): assert isinstance(result, UpslopeError) and "cat/" in str(result), result

@settings(max_examples=150)
@given(st.sampled_from(['path', 'size', 'gray', 'name', 'split']), odd_values.junk())
def test_folder_arguments(tmp_path_factory, name, drawn):
    path = tmp_path_factory.getbasetemp()/'all pictures'
    if not path.exists(): pictures(path)
    tried(lambda: sources.folder(**{**dict(path=path, size=(4, 4)), name: odd_values.value_of(drawn)}))

# -- steps and pipelines ----------------------------------------------------------------------------------------------
INPUTS = {
    'numbers': lambda: torch.randn(9, 4), 'no rows': lambda: torch.empty(0, 4), 'no columns': lambda: torch.empty(9, 0), 'nothing': lambda: torch.empty(0), 'one number': lambda: torch.tensor(3.), 'one axis': lambda: torch.randn(9), 'pictures': lambda: torch.rand(5, 8, 8, 1), 'no pictures': lambda: torch.empty(0, 8, 8, 1), 'six axes': lambda: torch.rand(2, 1, 1, 2, 1, 2),
    'nan': lambda: torch.full((9, 4), torch.nan), 'inf': lambda: torch.full((9, 4), torch.inf), 'whole': lambda: torch.ones(9, 4).long(), 'booleans': lambda: torch.ones(9, 4).bool(), 'complex': lambda: torch.ones(9, 4)*1j, 'half': lambda: torch.ones(9, 4).half(), 'meta': lambda: torch.empty(9, 4, device='meta'), 'sparse': lambda: torch.eye(4).to_sparse(), 'array': lambda: np.ones((9, 4)), 'array of texts': lambda: np.array(['a', 'b']), 'objects': lambda: np.array([1, None], dtype=object),
    'table': people, 'no table rows': lambda: people()[:0], 'table of numbers': lambda: people()[['age', 'visits']], 'table of lists': lambda: pd.DataFrame(dict(a=[[1], [2]])), 'table without columns': lambda: pd.DataFrame(index=[0, 1]), 'names alike': lambda: pd.concat([people(), people()[['age']]], axis=1), 'dates': lambda: pd.DataFrame(dict(a=pd.date_range('2020', periods=4))), 'Series': lambda: people().age,
    'texts': lambda: ['a b', 'c'], 'no texts': lambda: [], 'empty texts': lambda: ['', ''], 'tokens': lambda: [['a', 'b'], ['c']], 'ids': lambda: [[1, 2], [3]], 'empty lists': lambda: [[], []], 'lists of lists of lists': lambda: [[[1]], [[2]]], 'floats in lists': lambda: [[1.5], [2]], 'numbers in a list': lambda: [1, 2], 'None': lambda: None, 'text': lambda: 'abc', 'dict': lambda: {'a': 1}, 'large ids': lambda: [[10**30]], 'unhashable tokens': lambda: [[[1]], [{}]],
}
STEP = {
    'standardize': 'numbers', 'minmax': 'numbers', 'clip': 'numbers', 'impute': 'numbers', 'onehot': 'table', 'categories': 'table', 'numbers': 'table of numbers', 'tokens': 'texts', 'ids': 'tokens', 'pad': 'ids', 'crop': 'pictures', 'random_mirror': 'pictures', 'random_shift': 'pictures', 'windows': 'numbers', 'channels_first': 'pictures', 'channels_last': 'pictures',
}
def made(name): return dict(crop=lambda: Crop(4), windows=lambda: Windows(3)).get(name, STEPS[name])()

def test_every_step_is_among_them(): assert set(STEP) == set(STEPS)

@settings(max_examples=450)
@given(st.sampled_from(sorted(STEP)), st.sampled_from(sorted(INPUTS)), st.sampled_from(['fit', 'fit', 'call', 'decode']))
def test_one_step(name, data, place):
    "The step sees something else than it should: when it learns, when it changes, when it changes back"
    def call():
        pipe = Pipeline([made(name)])
        if place == 'fit': return pipe.fit(INPUTS[data]())(INPUTS[data]())
        pipe.fit(INPUTS[STEP[name]]())
        return pipe(INPUTS[data]()) if place == 'call' else pipe.decode(INPUTS[data]())
    odd_values.outcome(call)

MAKES = [(Clip, dict(low=-1., high=1.), 'numbers'), (Impute, dict(with_='mean'), 'nan'), (Tokens, dict(kind='word', lower=True), 'texts'), (Ids, dict(max_size=9, min_count=1), 'tokens'), (Pad, dict(length=3), 'ids'), (Windows, dict(length=3, stride=1), 'numbers'),
         (Crop, dict(height=4, width=4), 'pictures'), (RandomMirror, dict(p=.5), 'pictures'), (RandomShift, dict(pixels=1, fill=0.), 'pictures'), (Pipeline, dict(steps=['standardize'], split_idx=None), 'numbers')]

@settings(max_examples=300)
@given(st.sampled_from([(make, valid, name, data) for make, valid, data in MAKES for name in valid]), odd_values.junk())
def test_step_arguments(case, drawn):
    make, valid, name, data = case
    def call():
        step = make(**{**valid, name: odd_values.value_of(drawn)})
        repr(step)
        pipe = step if make is Pipeline else Pipeline([step], split_idx=0)
        return pipe.fit(INPUTS[data]())(INPUTS[data]())
    odd_values.outcome(call)

@settings(max_examples=100)
@given(odd_values.junk(), st.booleans())
def test_pipeline_steps(drawn, beside):
    steps = ['standardize', odd_values.value_of(drawn)] if beside else odd_values.value_of(drawn)
    if drawn in ('lambda', 'takes two', 'gives nothing', 'gives three', 'gives letters', 'gives itself', 'fails', 'len', 'layer', 'layers', 'class', 'int', 'dict'): return   # a function of one's own fails with its own error
    odd_values.outcome(lambda: Pipeline(steps).fit(torch.randn(9, 2))(torch.randn(9, 2)))

# -- loaders ----------------------------------------------------------------------------------------------------------
def dataset(): return sources.arrays(np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3, name='a')
LOADERS = dict(batch_size=4, seed=0, pipeline=['standardize'], target_pipeline=None, device=None, drop_last=False, augment=None)

@settings(max_examples=250)
@given(st.sampled_from(['data', *LOADERS]), odd_values.junk())
def test_loaders_arguments(name, drawn):
    if name in ('pipeline', 'target_pipeline', 'augment') and drawn in ('lambda', 'takes two', 'gives nothing', 'gives three', 'gives letters', 'gives itself', 'fails', 'len', 'layer', 'layers', 'class', 'int', 'dict'): return
    odd_values.outcome(lambda: loaders(**{**dict(data=dataset()), **LOADERS, name: odd_values.value_of(drawn)}).one_batch())

BATCHES = dict(x=lambda: torch.randn(9, 2), y=lambda: torch.arange(9), batch_size=lambda: 4, shuffle=lambda: True, drop_last=lambda: False, seed=lambda: 0, device=lambda: None, augment=lambda: None)

@settings(max_examples=200)
@given(st.sampled_from(sorted(BATCHES)), odd_values.junk())
def test_batches_arguments(name, drawn):
    if name == 'augment' and drawn in ('lambda', 'takes two', 'gives nothing', 'gives three', 'gives letters', 'gives itself', 'fails', 'len', 'layer', 'layers', 'class', 'int', 'dict'): return
    odd_values.outcome(lambda: list(Batches(**{**{k: make() for k, make in BATCHES.items()}, name: odd_values.value_of(drawn)})))

def test_a_part_of_other_rows():
    "What a pipeline was fitted on counts, also when it is empty"
    data = dataset()
    assert isinstance(odd_values.outcome(lambda: loaders(Dataset('a', 'regression', data.train, data.valid, type(data.test)(data.test.x[:0], data.test.y[:0])), 4).one_batch()), UpslopeError)
