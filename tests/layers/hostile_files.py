"Hostile files of models, read under an audit hook; a process of its own, since such a hook is never removed.  python hostile_files.py PART FOLDER"
import copy, json, random, resource, sys, time, zipfile
from pathlib import Path
import torch
from safetensors import safe_open
from safetensors.torch import save as as_bytes
from torch import nn
import upslope.layers as L
from upslope.core.errors import UpslopeError
from upslope.core.functions import lift
from upslope.core.specs import from_spec
from upslope.layers import saving

torch.set_num_threads(1)
MEMORY_KB,CPU_S = 200_000,5.   # more than any single file may take

# ---- what is watched

MARK = 'zqx_marker'   # in every hostile text
watching,seen = [False],[]

def _mentions(o, depth=0):
    "Does an argument of an event hold the mark: text, bytes, or code made from it?"
    if isinstance(o, (bytes, bytearray)): o = bytes(o).decode('latin-1')
    if isinstance(o, str): return MARK in o
    if hasattr(o, 'co_consts') and depth < 5: return any(_mentions(v, depth + 1) for v in (*o.co_consts, *o.co_names, *o.co_varnames, o.co_name))
    return isinstance(o, (tuple, list)) and depth < 5 and any(_mentions(v, depth + 1) for v in o)

EVENTS = {'exec', 'compile', 'import', 'open', 'os.system', 'os.exec', 'os.posix_spawn', 'os.fork', 'subprocess.Popen', 'socket.connect', 'ctypes.dlopen', 'pickle.find_class'}
NEVER = {'os.system', 'os.exec', 'os.posix_spawn', 'os.fork', 'subprocess.Popen', 'socket.connect', 'pickle.find_class'}   # whatever they are called with

def watch(event, args):
    if watching[0] and event in EVENTS and (event in NEVER or _mentions(args)): seen.append((event, repr(args)[:200]))
sys.addaudithook(watch)

def read(reader, *args):
    "The class of the error with which a file is read; '' if it is read; with its CPU seconds and the kB by which the memory's peak grew"
    before,start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,time.process_time()
    watching[0],told = True,''
    try: reader(*args)
    except BaseException as e: told = f'{type(e).__name__}{"" if isinstance(e, UpslopeError) else " (foreign) " + repr(e)[:200]}'
    finally: watching[0] = False
    return told,time.process_time() - start,resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

# ---- valid files

def models():
    "One of every kind"
    I = L.Input
    yield 'sequential', L.Sequential([I((6, 6, 1)), L.Conv2D(2, 3, activation='relu', kernel_regularizer='l2'), L.BatchNormalization(), L.Flatten(), L.Dropout(.1), L.Dense(3)])
    x,y,twin = I((4,), name='left'),I((4,), name='right'),L.Dense(4, name='twin')
    u = torch.cat([torch.relu(twin(x)) + y, twin(y).mean(-1, keepdim=True)], dim=-1)*torch.arange(5.)
    yield 'graph', L.Model(dict(left=x, right=y), dict(a=L.Dense(2)(u[:, 1:3]), b=u.clamp(min=0., max=1.), c=u.split(2, -1)[1]))
    words = I((6,), dtype='int64', name='words')
    h = L.Bidirectional(L.LSTM(3, return_sequences=True))(L.Embedding(9, 4, mask_zero=True)(words))
    h = L.RNN([L.GRUCell(3), L.GRUCell(2)], return_sequences=True)(h)
    yield 'masks', L.Model(words, L.TimeDistributed(L.Dense(2))(L.MultiHeadAttention(2, 2)(h, h)))
    x,inner = I((4,)),L.Sequential([I((4,)), L.Dense(3, 'gelu'), L.LayerNormalization()], name='inner')
    yield 'nested', L.Model(x, L.Dense(2)(inner(x)*torch.ones(3)), name='outer')
    yield 'strings', L.StringLookup(vocabulary=['a', 'b', 'c'], output_mode='tf_idf', idf_weights=[1., 2., 3.])
    yield 'texts', L.TextVectorization(max_tokens=50, output_sequence_length=4, vocabulary=['earth', 'wind', 'fire'], ngrams=2)
    yield 'integers', L.IntegerLookup(vocabulary=[3, 5], num_oov_indices=2)
    table = L.Discretization(num_bins=3)
    table.adapt(torch.rand(20)); table(torch.rand(2))
    yield 'bins', table
    yield 'sound', L.Sequential([I((800,)), L.MelSpectrogram(fft_length=64, sequence_stride=32, num_mel_bins=8), L.Flatten(), L.Dense(2)])
    typed = lift(nn.Linear(6, 5)) >> torch.relu >> L.Dense(2)
    typed(torch.rand(2, 6))
    yield 'typed', typed

def parts(path):
    "(header, description, tensors) of a model's file"
    with safe_open(path, 'pt') as f: header,tensors = f.metadata(),{k: f.get_tensor(k) for k in f.keys()}
    return header,json.loads(header['upslope_model']),tensors

def put(path, header, description, tensors):
    "Such a file, its checksum right"
    text = json.dumps(description)
    path.write_bytes(as_bytes(tensors, metadata={**header, 'upslope_model': text, 'sha256': saving._digest(text, tensors)}))
    return path

def put_keras(path, archive, config):
    "A '.keras' file with another configuration"
    with zipfile.ZipFile(archive) as a: rest = {n: a.read(n) for n in a.namelist()}
    with zipfile.ZipFile(path, 'w') as a:
        for n, data in rest.items(): a.writestr(n, json.dumps(config) if n == 'config.json' else data)
    return path

# ---- mutations

CODE = f"a=1)\n return t0\n__import__('os').system('{MARK} > /dev/null')\ndef run2(m):\n x=dict(b"
HOSTILE = [None, -1, 0, 1, 2**63, 10**11, 10**9, 10**6, -10**11, 1.5, float('nan'), True, '', MARK, CODE, f'/tmp/{MARK}', f'/tmp/{MARK}.txt', f'{MARK}:system', 'os:system', 'subprocess:Popen', '__class__',
           [], {}, [[]], [10**6]*3, [10**11], {'ref': 0}, {'ref': 10**9}, {'weight': 'constant_0'}, {'dtype': 'load'}, {'tuple': [{'ref': 0}]*3}, {'class_name': 'Dense', 'config': {'units': 10**11}},
           {'class_name': '__lambda__', 'config': {}}, {'class_name': 'Model', 'config': {}}, {'class_name': 'StringLookup', 'config': {'vocabulary': f'/tmp/{MARK}.txt'}}, ['a']*50, 'float64', 'relu', 'torch.ones_like',
           'torch.Tensor.new_full', 'torch.bincount', 'torch.nn.functional.one_hot', 'operator.getitem', 'registered.x']

def places(o, at=()):
    "Every place in a nest"
    yield at
    for k, v in o.items() if isinstance(o, dict) else enumerate(o) if isinstance(o, list) else (): yield from places(v, (*at, k))

def mutated(nest, rng):
    "A copy with one field replaced, deleted, doubled, renamed or buried"
    nest = copy.deepcopy(nest)
    *way,last = rng.choice(list(places(nest))[1:])
    o,how = nest,rng.choice(['replace']*4 + ['delete', 'double', 'rename', 'bury'])
    for k in way: o = o[k]
    if how == 'replace': o[last] = rng.choice(HOSTILE)
    elif how == 'delete': del o[last]
    elif how == 'double' and isinstance(o, list): o.insert(last, copy.deepcopy(o[last]))
    elif how == 'double': o[f'{last}2'] = copy.deepcopy(o[last])
    elif how == 'rename' and isinstance(o, dict): o[rng.choice([CODE, 'mask', '', '/', MARK])] = o.pop(last)
    else:
        for _ in range(rng.choice([1, 30, 400])): o[last] = [o[last]]
    return nest, f'{how} {(*way, last)}'

def with_other_bytes(data, rng):
    "One to eight bytes changed, or the end cut off"
    data = bytearray(data)
    if rng.random() < .1: return bytes(data[:rng.randrange(len(data))])
    where = min(len(data), 4000) if rng.random() < .5 else len(data)   # the header as often as the rest
    for _ in range(rng.randint(1, 8)): data[rng.randrange(where)] = rng.randrange(256)
    return bytes(data)

# ---- the parts

def fields(folder, n=500):
    "Mutated fields of files of models, checksums right"
    rng,bases = random.Random(0),[]
    for k, m in models():
        L.save(m, folder/k)
        bases.append((k, *parts(folder/k)))
        yield f'{k}, as it is', *read(L.load, folder/k)
    for i in range(n):
        k,header,description,tensors = rng.choice(bases)
        description,how = mutated(description, rng)
        yield f'{k}: {how}', *read(L.load, put(folder/'evil', header, description, tensors))

def own_bytes(folder, n=500):
    "Mutated bytes of a file of a model"
    rng = random.Random(1)
    L.save(dict(models())['graph'], folder/'good')
    data = (folder/'good').read_bytes()
    for i in range(n):
        (folder/'evil').write_bytes(with_other_bytes(data, rng))
        yield f'bytes {i}', *read(L.load, folder/'evil')

def keras_fields(folder, n=500):
    "Mutated fields of a file of Keras's"
    rng = random.Random(2)
    bases = sorted(folder.glob('*.keras'))
    for path in bases: yield f'{path.name}, as it is', *read(L.load_keras, path)
    for i in range(n):
        path = rng.choice(bases)
        with zipfile.ZipFile(path) as a: config = json.loads(a.read('config.json'))
        config,how = mutated(config, rng)
        yield f'{path.name}: {how}', *read(L.load_keras, put_keras(folder/'evil', path, config))

def keras_bytes(folder, n=500):
    "Mutated bytes of a file of Keras's: of the archive; and of its weights, the archive being right"
    rng = random.Random(3)
    good = sorted(folder.glob('*.keras'))[0]
    data = good.read_bytes()
    with zipfile.ZipFile(good) as a: config,weights = a.read('config.json'),a.read('model.weights.h5')
    for i in range(n):
        if i % 2: (folder/'evil').write_bytes(with_other_bytes(data, rng))
        else:
            with zipfile.ZipFile(folder/'evil', 'w') as a:
                a.writestr('config.json', config)
                a.writestr('model.weights.h5', with_other_bytes(weights, rng))
        yield f'bytes {i}', *read(L.load_keras, folder/'evil')

def specs(folder, n=500):
    "Mutated fields of specs"
    rng,typed = random.Random(4),dict(models())['typed']
    base = json.loads(json.dumps(typed.spec()))
    yield 'as it is', *read(from_spec, base)
    for i in range(n):
        spec,how = mutated(base, rng)
        yield how, *read(from_spec, spec)

if __name__ == '__main__':
    part,folder = sys.argv[1],Path(sys.argv[2])
    if part.startswith('keras'): L.load_keras(sorted(folder.glob('*.keras'))[0])   # HDF5 is imported, which asks for the machine's name by a process
    rows = list(globals()[part](folder))
    print(json.dumps(dict(rows=rows, seen=seen, cpu_s=time.process_time())))
