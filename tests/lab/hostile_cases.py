"""Read what a store, a recipe or a merge from elsewhere holds, and watch what Python does meanwhile. A process of its own:

  python tests/lab/hostile_cases.py read FOLDER    every way to read; prints JSON: ways that worked, errors, what was seen
"""
import builtins, io, json, sys, warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

MARK = 'upslope_hostile_mark'        # stands in every text that must not run
MODULES = 'upslope_hostile_module', 'antigravity', 'this'   # named in recipes; nobody imports them
seen = []

def watch(event, args):
    "An audit hook: what a text of a file would cause"
    if event == 'compile' and args[0] is not None and MARK in str(args[0]): seen.append(['compile', str(args[0])[:200]])
    if event == 'exec' and getattr(args[0], 'co_filename', '').startswith('<recipe_'): seen.append(['exec', args[0].co_filename])
    if event == 'import' and str(args[0]).split('.')[0] in MODULES: seen.append(['import', args[0]])
    if event in ('os.system', 'os.exec', 'os.posix_spawn', 'subprocess.Popen') and MARK in repr(args): seen.append([event, repr(args)[:200]])
    if event == 'open' and MARK in str(args[0]) and 'state' not in str(args[0]): seen.append(['open', str(args[0])])

SOURCE = f'open({MARK!r}, "w")\nimport os\nos.system("touch {MARK}")\nfrom torch import nn\ndef net(width=8): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n'

def functions():
    "Functions as hostile texts: a source, and names that lead to commands or to modules that run when they are imported"
    yield dict(function='net', source=SOURCE)
    for ref in ('os:system', 'upslope_hostile_module:net', 'antigravity:net', 'upslope.lab.recipe:sys.exit', 'builtins:eval', 'upslope.surface.starter:new_project'):
        yield dict(function='net', ref=ref, hash='0'*16)

def write(folder):
    "A store with a study for each hostile function, done runs and waiting ones, and a recipe file for each"
    from upslope.lab import Store
    from upslope.lab.store import Config
    store = Store(folder/'theirs.db')
    own = dict(data='digits', loss=None, opt='adam', lr=.01, weight_decay=0., schedule='one_cycle', epochs=2, batch_size=64, metrics=None, pipeline=['standardize'], target_pipeline=None, patience=None, split='seed')
    for i, function in enumerate(functions()):
        for name, data in ((f'model {i}', 'digits'), (f'data {i}', function)):
            bodies = [json.dumps(dict(own={**own, 'model': function, 'data': data, 'lr': lr}, args=dict(width=8)), sort_keys=True) for lr in (.01, .02)]
            axis = function if i == 0 else [.01, .02]
            declaration = dict(recipe=bodies[0], steps=[dict(lr=axis)], seeds=[0, 1, 2], baselines=[function], design=['one_at_a_time', {}], metric='valid_accuracy', mode='max', nuisance={}, placebo=False, half_width=None,
                               bases=['net'], compare={'net, lr=0.02': 'net'}, decisions=[])
            configs = [Config('net', bodies[0]), Config('net, lr=0.02', bodies[1], axis='lr', value='0.02')]
            store.declare(name, configs, [0, 1, 2], declaration)
            for _ in range(5):   # one of six still waits
                claim = store.claim(name)
                store.log(claim, 0, dict(train_loss=1., valid_loss=1., valid_accuracy=.5))
                store.finish(claim, dict(valid_accuracy=.9 + claim.seed/100, valid_loss=.1, test_accuracy=.8), dict(torch='2', data='digits 1'), 'loop')
        text = 'data = "digits"\n[model]\nfunction = "net"\n' + (f"source = '''\n{SOURCE}'''\n" if 'source' in function else f'ref = "{function["ref"]}"\nhash = "0"\n')
        (folder/f'recipe{i}.toml').write_text(text + '[arguments]\nwidth = 8\n')
    store.close()

def ways(folder):
    "Name and function of every way to read"
    from upslope.lab import Queue, Recipe, Store, Study
    from upslope.surface.cli import main
    store = Store(folder/'theirs.db')
    yield 'faces', lambda: (repr(store), store._repr_html_(), store.contents(), store.studies, Queue(store)._repr_html_(), repr(Queue(store)))
    yield 'check_all', store.check_all
    for name in store.studies:
        yield f'runs {name}', lambda: (store.runs(name), store.history(name), store.artefacts(name))
        yield f'run {name}', lambda: [(store.run(r).reproduce(), repr(store.run(r))) for r in store.runs(name).run]
        study = Study.open(name, store)
        yield f'open {name}', lambda: (repr(study), repr(study.recipe), study.recipe._repr_html_(), study.recipe.diff(study['net, lr=0.02'].recipe), study.untrusted())
        yield f'table {name}', lambda: (study.table(), study.table()._repr_html_(), study.answers(), study.best(), study.find('net', 0))
        yield f'effects {name}', lambda: (study.effects(), study.diary(), study.decisions(), study.failures())
        yield f'plan {name}', study.plan
        yield f'plot {name}', study.plot
        yield f'report {name}', lambda: study.report(folder/'out'/'report.html')
        yield f'export {name}', lambda: store.export(name, folder/'out'/name)
        yield f'recipe again {name}', lambda: Recipe.load(study.recipe.but(lr=.5).save(folder/'out'/'again.yaml'))
    yield 'live', lambda: _live(Study.open('model 0', store))
    yield 'merge', lambda: repr(Store(folder/'out'/'ours.db').merge(store))
    for path in sorted(folder.glob('*.toml')): yield f'load {path.name}', lambda: (repr(Recipe.load(path)), Recipe.load(path).key)
    db = str(folder/'theirs.db')
    for command in (['study', db], ['report', db, '--path', str(folder/'out'/'all.html')], ['runs', db], ['runs', db, '--run', '1'], ['runs', db, '--failed'], ['queue', db], ['store', 'check', db],
                    ['store', 'export', db, str(folder/'out'/'csv'), '--study', 'model 0'], ['store', 'merge', str(folder/'out'/'cli.db'), db], ['store', 'salvage', db, '--to', str(folder/'out'/'salvaged.db')],
                    ['queue', db, 'add', 'model 0']):
        yield ' '.join(['upslope', *command[:1], *command[2:3]]), lambda: main(command) == 0 or _failed(command)

def _failed(command): raise AssertionError(f'{command} failed')

def _live(study):
    from upslope.surface import LiveStudy
    view = LiveStudy(study)
    return view

def refused():
    "Ways to run, each of which must ask first"
    from upslope.lab import Store, Study
    from upslope.lab.worker import again
    folder = Path(sys.argv[2])
    store = Store(folder/'theirs.db')
    for name in store.studies:
        yield f'run {name}', lambda: Study.open(name, store).run(show=False)
        yield f'call {name}', lambda: [f() for f in (Study.open(name, store).recipe['model'], Study.open(name, store).recipe['data']) if callable(f)]
        yield f'again {name}', lambda: again(store.path, int(store.runs(name).run.iloc[0]))
        yield f'dataset {name}', lambda: (Study.open(name, store).recipe.dataset(0), Study.open(name, store).recipe['model']())

def read(folder):
    from upslope.core.errors import UpslopeError
    write(folder); (folder/'out').mkdir()
    sys.addaudithook(watch)
    builtins.input = lambda *_: 'n'
    result = dict(worked=[], failed={}, ran=[], refused=0)
    for name, way in ways(folder):
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings(): warnings.simplefilter('ignore'); way()
            result['worked'].append(name)
        except Exception as e: result['failed'][name] = f'{type(e).__name__}: {e}'[:300]
    for name, way in refused():
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()): way()
            result['ran'].append(name)
        except UpslopeError as e: result['refused'] += 'came from elsewhere' in str(e)
    result |= dict(seen=list(seen), marks=[str(p) for p in Path().glob(f'*{MARK}*')])
    seen.clear(); control()
    return result | dict(control=seen)

def control():
    "The same texts, run after somebody has said yes: the hook must see it"
    from upslope.lab.recipe import FunctionText, allow
    texts = [FunctionText(f) for f in functions()]
    allow(texts[0])
    texts[0]()
    try: __import__(MODULES[0])
    except ImportError: pass

if __name__ == '__main__': print(json.dumps(read(Path(sys.argv[2]))))
