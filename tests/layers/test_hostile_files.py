"""Files of models by strangers: none runs, imports or opens what it says, none costs more than it accounts for, and whatever is
wrong in one is told in words.  The files are read in processes of their own, under an audit hook (hostile_files.py)."""
import copy, hashlib, json, os, subprocess, sys, types, zipfile
from pathlib import Path
import h5py, numpy as np, pytest, torch
from safetensors.torch import save_file
from torch import nn
import upslope.layers as L
from upslope.core.errors import ArgumentError, DataError
from upslope.core.functions import lift
from upslope.core.specs import from_spec
from upslope.layers import model as played
from hostile_files import CODE, CPU_S, MARK, MEMORY_KB, parts, put, put_keras

HERE = Path(__file__).resolve().parent

def refusal(words, f, *args):
    "The DataError of `f(*args)`, whose first line has the words (a later line may quote the test)"
    with pytest.raises(DataError) as e: f(*args)
    assert words in str(e.value).split('\n')[0], str(e.value)
    return e.value

# ---- Keras's archive, written by hand: no Keras is needed

def archive(path, config, arrays, **kwargs):
    "A '.keras' file: arrays by layer, in Keras's layout"
    weights = path.with_suffix('.h5')
    with h5py.File(weights, 'w') as f:
        for layer, values in arrays.items():
            group = f.require_group(f'layers/{layer}/vars')
            for i, v in enumerate(values): group.create_dataset(str(i), data=v, **kwargs)
    with zipfile.ZipFile(path, 'w') as a:
        a.writestr('config.json', json.dumps(config))
        a.write(weights, 'model.weights.h5')
    return path

def layer(kind, name, *inputs, **config):
    nodes = [dict(args=[dict(class_name='__keras_tensor__', config=dict(keras_history=[i, 0, 0])) for i in inputs], kwargs={})] if inputs else []
    return dict(module='keras.layers', class_name=kind, name=name, config=dict(config, name=name), inbound_nodes=nodes)

def functional(units=3):
    layers = [layer('InputLayer', 'x', batch_shape=[None, 4], dtype='float32'), layer('Dense', 'a', 'x', units=units, activation='relu'), layer('Dense', 'b', 'a', units=2), layer('Add', 'sum', 'b', 'b')]
    layers[-1]['inbound_nodes'] = [dict(args=[[dict(class_name='__keras_tensor__', config=dict(keras_history=['b', 0, 0]))]*2], kwargs={})]
    return dict(module='keras', class_name='Functional', config=dict(name='m', layers=layers, input_layers=[['x', 0, 0]], output_layers=[['sum', 0, 0]]))

def zeros(*shape): return np.zeros(shape, 'float32')
def numbers(units=3): return dict(dense=[zeros(4, units), zeros(units)], dense_1=[zeros(units, 2), zeros(2)])

@pytest.fixture
def keras_file(tmp_path): return archive(tmp_path/'good.keras', functional(), numbers())

@pytest.fixture
def graph(tmp_path):
    "(header, description, tensors) of a graph with a mask, a function with keywords and a constant"
    x = L.Input((6,), dtype='int64')
    h = L.LSTM(3)(L.Embedding(9, 4, mask_zero=True)(x))
    L.Model(x, torch.cat([h, h.mean(-1, keepdim=True)], dim=-1)*torch.arange(4.)).save(tmp_path/'good')
    return parts(tmp_path/'good')

# ---- no text of a file becomes code

def pwned(tmp_path): return CODE.replace(f'{MARK} > /dev/null', f'id > {tmp_path}/PWNED')
def steps(description): return description['config']['steps']

@pytest.mark.parametrize('which', ['layer', 'function', 'mask'])
def test_a_keyword_in_a_step_runs_nothing(which, graph, tmp_path):
    header,description,tensors = graph
    test = dict(layer=lambda s: s['key'], function=lambda s: s['function'], mask=lambda s: s['mask_of'])[which]
    picked = [s for s in steps(description) if test(s)]
    assert picked, 'the graph has no such step'
    picked[0]['kwargs'] = {'dict': [[pwned(tmp_path), 1]]}
    try: L.load(put(tmp_path/'evil', header, description, tensors))
    except DataError: pass
    assert not (tmp_path/'PWNED').exists()

def test_a_keyword_in_a_file_of_keras_runs_nothing(keras_file, tmp_path):
    L.load_keras(keras_file)
    config = functional()
    config['config']['layers'][1]['inbound_nodes'][0]['kwargs'] = {pwned(tmp_path): 1}
    with pytest.raises(DataError): L.load_keras(put_keras(tmp_path/'evil', keras_file, config))
    assert not (tmp_path/'PWNED').exists()

def plan_with(text):
    "A plan in which a text stands wherever a text can stand"
    x,y = played.Ref(0),played.Ref(1)
    steps = [played.Step(text, None, (x, played.Weight(text), [text]), {text: {text: x}}, {(text, 0): 1}, None), played.Step(None, max, (y,), {'key': text}, {(): 2}, None), played.Step(None, None, (y, None), {}, {(): 3}, None, text)]
    return played.Plan(['x'], [0], x, steps, {text: y, 'b': (text, slice(None, text))}, [])

@pytest.mark.parametrize('text', [CODE, MARK, "'", '"""', '\\', 'é', 'class'])
def test_the_code_of_a_plan_is_made_of_numbers(text):
    source,env = played.written(plan_with(text))
    other,_ = played.written(plan_with('another'))
    assert source == other                                   # the code does not depend on any text ...
    assert text in env.values()                              # ... which stands beside it

@pytest.mark.parametrize('part', ['fields', 'own_bytes', 'keras_fields', 'keras_bytes', 'specs'])
def test_mutated_files(part, keras_file, tmp_path):
    "500 each: only errors of ours, nothing run, imported or opened that the file names, no file above 200 MB or 5 s of CPU"
    done = subprocess.run([sys.executable, '-W', 'ignore', HERE/'hostile_files.py', part, tmp_path], capture_output=True, text=True, env=os.environ | dict(OMP_NUM_THREADS='1'))
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    rows = answer['rows']
    assert answer['seen'] == []
    assert [r for r in rows if 'foreign' in r[1]] == []
    assert [r for r in rows if r[0].endswith('as it is') and r[1]] == []
    assert [r for r in rows if r[2] > CPU_S or r[3] > MEMORY_KB] == []
    assert len(rows) >= 500 and sum(bool(r[1]) for r in rows) > 150   # most mutations are seen

def test_the_audit_hook_sees_what_it_must():
    "Else the test above could not fail"
    code = f"import hostile_files as h\nh.watching[0] = True\nfor f in (lambda: exec('{MARK} = 1'), lambda: compile('{MARK}', '<s>', 'eval'), lambda: __import__('{MARK}'), lambda: open('/tmp/{MARK}')):\n    try: f()\n    except Exception: pass\nprint(sorted({{e for e,_ in h.seen}}))"
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, cwd=HERE)
    assert done.stdout.strip() == "['compile', 'exec', 'import', 'open']", done.stderr

# ---- malformed, and enormous

def changed(description, path, value):
    description = copy.deepcopy(description)
    o = description
    for k in path[:-1]: o = o[k]
    o[path[-1]] = value
    return description

@pytest.mark.parametrize('units', [10**11, 2**62, 10**6, -1, 0, 1.5, 'many', None, [3]])
def test_units_of_any_size(units, graph, keras_file, tmp_path):
    header,description,tensors = graph
    name = next(k for k in description['config']['layers'] if k.startswith('lstm'))
    with pytest.raises(DataError): L.load(put(tmp_path/'evil', header, changed(description, ['config', 'layers', name, 'config', 'units'], units), tensors))
    with pytest.raises(DataError): L.load_keras(put_keras(tmp_path/'evil', keras_file, functional(units)))

def test_a_graph_that_is_none(graph, tmp_path):
    header,good,tensors = graph
    def refused(change, words):
        description = copy.deepcopy(good)
        change(description['config'])
        return refusal(words, L.load, put(tmp_path/'evil', header, description, tensors))
    assert isinstance(refused(lambda c: c.pop('inputs'), 'malformed').__cause__, KeyError)
    refused(lambda c: c['steps'][0].update(args={'tuple': [{'ref': 77}]}), 'reads what no step before')
    refused(lambda c: c['steps'].append(c['steps'][-1]), 'fill one slot')
    refused(lambda c: c['steps'].reverse(), 'reads what no step before')
    refused(lambda c: c.update(constants={}), 'reads what no step before')
    refused(lambda c: c['constants']['constant_0'].__setitem__(0, [10**11]), 'otherwise than it is described')
    refused(lambda c: c['layers'].update({'a/b': next(iter(c['layers'].values()))}), 'A name is a word')
    for text in ('[' *100_000, '{"a": '*1000 + '1' + '}'*1000, 'null', '[]', '3'):
        data = hashlib.sha256(text.encode()).hexdigest()
        save_file({}, tmp_path/'evil', metadata=dict(upslope_model=text, sha256=data))
        with pytest.raises(DataError): L.load(tmp_path/'evil')

@pytest.mark.parametrize('function,shape,args', [('torch.bincount', [None], dict(minlength=10**10)), ('torch.full_like', [None, 10**9], dict(fill_value=1, device='cpu')), ('torch.zeros_like', [None, 10**5, 10**6], dict(device='cpu'))])
def test_a_function_cannot_ask_for_more_than_the_file_accounts_for(function, shape, args, tmp_path):
    x = L.Input((3,), dtype='int64')
    L.Model(x, torch.relu(x)).save(tmp_path/'good')
    header,description,tensors = parts(tmp_path/'good')
    steps(description)[0].update(function=function, kwargs={'dict': [[k, v] for k, v in args.items()]})
    description['config']['inputs'][0]['batch_shape'] = shape
    refusal('asks for a tensor that it does not account for', L.load, put(tmp_path/'evil', header, description, tensors))

def test_an_archive_that_grows(keras_file, tmp_path):
    config = json.dumps(functional())
    with zipfile.ZipFile(tmp_path/'bomb', 'w', zipfile.ZIP_DEFLATED, compresslevel=9) as a:
        a.writestr('config.json', config + ' '*200_000_000)
        a.writestr('model.weights.h5', b'')
    refusal('grows without measure: config.json', L.load_keras, tmp_path/'bomb')

def test_weights_that_the_bytes_do_not_account_for(tmp_path):
    config,n = functional(60_000),60_000
    path = archive(tmp_path/'m.keras', config, {})
    with h5py.File(tmp_path/'m.h5', 'w') as f:
        for name, shapes in dict(dense=[(4, n), (n,)], dense_1=[(n, 2), (2,)], dense_2=[(n, n)]).items():
            for i, shape in enumerate(shapes): f.create_dataset(f'layers/{name}/vars/{i}', shape, 'float32', chunks=True, compression='gzip')
    with zipfile.ZipFile(path, 'w') as a:
        a.writestr('config.json', json.dumps(config))
        a.write(tmp_path/'m.h5', 'model.weights.h5')
    refusal('more numbers than its bytes account for', L.load_keras, path)

@pytest.mark.parametrize('link', [lambda f, p: h5py.ExternalLink(str(p), 'secret'), lambda f, p: h5py.SoftLink('/layers/dense/vars/0')])
def test_links_in_the_weights_are_not_followed(link, keras_file, tmp_path):
    with h5py.File(tmp_path/'secret.h5', 'w') as f: f['secret'] = zeros(3)
    with zipfile.ZipFile(keras_file) as a: config,weights = a.read('config.json'),a.read('model.weights.h5')
    (tmp_path/'w.h5').write_bytes(weights)
    with h5py.File(tmp_path/'w.h5', 'r+') as f:
        del f['layers/dense/vars/1']
        f['layers/dense/vars/1'] = link(f, tmp_path/'secret.h5')
        f['more'] = zeros(100)   # so that there is room for the weights
    with zipfile.ZipFile(tmp_path/'evil', 'w') as a:
        a.writestr('config.json', config)
        a.write(tmp_path/'w.h5', 'model.weights.h5')
    refusal('links are not followed', L.load_keras, tmp_path/'evil')

# ---- nothing that a file names is opened or imported

@pytest.mark.parametrize('cls', [L.StringLookup, L.IntegerLookup, L.TextVectorization])
def test_a_path_of_a_vocabulary_is_not_opened(cls, tmp_path):
    path = tmp_path/'words.txt'
    path.write_text('1\n2\n')
    if cls is not L.IntegerLookup: assert cls(vocabulary=str(path)).get_vocabulary()[-1] == '2'   # one's own is
    cls(vocabulary=[1, 2] if cls is L.IntegerLookup else ['1', '2']).save(tmp_path/'good')
    header,description,tensors = parts(tmp_path/'good')
    refusal('opens no file', L.load, put(tmp_path/'evil', header, changed(description, ['config', 'vocabulary'], str(path)), tensors))

@pytest.mark.parametrize('name', ['os:system', 'posix:system', 'subprocess:Popen', 'builtins:exec', 'torch:load', 'torch.hub:load', 'torch:compile', 'torch.nn:os', 'upslope.core.specs:importlib', 'upslope.core.specs:Path.unlink', 'upslope.__main__:main', 'numpy:load', 'fastcore.xtras:run', 'this_is_no_module:f', ':', '', 'os', None, 3])
def test_a_spec_names_parts_of_compositions_only(name):
    with pytest.raises(DataError): from_spec({'function': name})
    with pytest.raises(DataError): from_spec({'make': name, 'arguments': {}})

def test_a_spec_imports_nothing(tmp_path, monkeypatch):
    (tmp_path/'lying_in_wait.py').write_text('raise SystemExit("it was imported")')
    monkeypatch.syspath_prepend(tmp_path)
    refusal('has not imported', from_spec, 'function = "lying_in_wait:f"')

def test_a_module_of_ones_own_is_named_when_it_is_imported(monkeypatch):
    own = types.ModuleType('module_of_ones_own')
    exec('import os\nfrom os import system\nfrom torch import nn\ndef double(x): return 2*x\nclass Tripled(nn.Module):\n    def forward(self, x): return 3*x\nclass NoModule: pass', vars(own))
    monkeypatch.setitem(sys.modules, 'module_of_ones_own', own)
    f = lift(nn.Linear(2, 2)) >> own.double >> own.Tripled()
    g = from_spec(f.spec().toml())
    g.load_state_dict(f.state_dict())
    x = torch.rand(3, 2)
    torch.testing.assert_close(g(x), f(x))
    for name in ('os', 'system', 'os.system', 'NoModule', 'double.__globals__'):
        with pytest.raises(DataError): from_spec({'function': f'module_of_ones_own:{name}'})

def test_a_setting_in_a_spec_is_no_code(tmp_path):
    evil = f"0) or __import__('os').system('id > {tmp_path}/PWNED') or (0"
    for make, options in (('composition:Iterate', dict(n=evil)), ('recurrence:Unroll', dict(axis=evil, last=False)), ('recurrence:Feedback', dict(n=2, axis=evil))):
        with pytest.raises((DataError, ArgumentError)):
            from_spec(dict(make=f'upslope.core.{make}', options=options, parts=[{'make': 'torch.nn.modules.linear:Linear', 'arguments': dict(in_features=2, out_features=2)}]))(torch.rand(1, 2, 2))
    assert not (tmp_path/'PWNED').exists()

# ---- what is saved comes back, or is refused

class Unregistered(L.Layer):
    def call(self, x): return x

@L.register(name='another name')
class Renamed(L.Layer):
    def call(self, x): return 3*x

@L.register
def own_activation(x): return x*x
@L.register
def own_cost(w): return w.abs().sum()

def built(f, *shape):
    f(torch.rand(2, *shape))
    return f

@pytest.mark.parametrize('make,shape', [(lambda: L.Dense(4, 'relu') >> L.Dense(2), (5,)), (lambda: (L.Dense(4) >> L.Dense(2)).on('B', 5), (5,)), (lambda: lift(nn.LazyLinear(4)) >> torch.relu >> nn.Linear(4, 2), (5,)), (lambda: L.Dense(3), (5,)),
    (lambda: L.BatchNormalization(), (5,)), (lambda: L.Conv2D(2, 3), (6, 6, 1)), (lambda: L.Sequential([L.Dense(3), L.Dense(2)]), (5,)), (lambda: L.Sequential([L.Dense(2)]), (5,)), (lambda: L.Bidirectional(L.LSTM(3)), (4, 5)),
    (lambda: L.TimeDistributed(L.Bidirectional(L.RNN([L.LSTMCell(3), L.GRUCell(2)]))), (3, 4, 5)), (lambda: L.BatchNormalization(renorm=True), (5,)), (lambda: L.TimeDistributed(Renamed()), (4, 5)), (lambda: L.Dense(3, own_activation, kernel_regularizer=own_cost), (5,))])
def test_what_is_saved_comes_back(make, shape, tmp_path):
    f = built(make(), *shape).eval()
    L.save(f, tmp_path/'m')
    x = torch.rand(3, *shape)
    again = L.load(tmp_path/'m').eval()
    torch.testing.assert_close(again(x), f(x), rtol=0, atol=0)
    for a, b in zip(again.state_dict().values(), f.state_dict().values(), strict=True): assert torch.equal(a, b)

@pytest.mark.parametrize('make,words', [(lambda: L.Dense(4) >> L.Dense(2), 'has no weights to save yet'), (lambda: L.Sequential([L.Dense(2)]), 'has no weights to save yet'), (lambda: lift(nn.LazyLinear(2)) >> torch.relu, 'has no weights to save yet'),
    (lambda: nn.Linear(2, 3), 'A plain module cannot be written down'), (lambda: nn.LazyLinear(3), 'A plain module cannot be written down'), (lambda: built(lift(nn.Linear(2, 2)) >> (lambda x: x), 2), 'name'), (lambda: built(Unregistered(), 2), '@register'), (lambda: 'model', 'Only a model can be saved')])
def test_what_is_not_saved_is_refused_in_words(make, words, tmp_path):
    with pytest.raises(ArgumentError, match=words): L.save(make(), tmp_path/'m')
    assert list(tmp_path.iterdir()) == []
