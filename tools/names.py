"""Where a name in prose leads: our pages, those of fastai and fastcore, and those of the packages that upslope stands on.

No index is downloaded. A documentation site names its pages by a rule, and whether a name exists is asked of the installed
package. So `nn.Linear` becomes a link, `nn.Lineer` stays code, and both are known without a network.
"""
import builtins, inspect, os, runpy, sys
from functools import cache
from importlib import import_module

from nbdev.config import get_config
from nbdev.doclinks import NbdevLookup

ALIASES = {'nn': 'torch.nn', 'F': 'torch.nn.functional', 'optim': 'torch.optim', 'np': 'numpy', 'pd': 'pandas', 'plt': 'matplotlib.pyplot', 'widgets': 'ipywidgets'}
# A name in capitals without a package is looked for in these, in this order; ours, fastai's and fastcore's come first.
BARE = ('torch.nn', 'torch.utils.data', 'sklearn.linear_model', 'sklearn.ensemble', 'sklearn.dummy', 'sklearn.preprocessing', 'sklearn.pipeline',
        'sklearn.compose', 'sklearn.impute', 'sklearn.neighbors', 'sklearn.svm', 'sklearn.tree', 'sklearn.neural_network', 'pandas')

def torch_page(full, module, parts, value):
    "PyTorch: a page for each name, but whole modules where its manual has one page for a module"
    base, whole = 'https://docs.pytorch.org/docs/stable/', {'torch.utils.data': 'data', 'torch.nn.init': 'nn.init', 'torch.distributions': 'distributions'}
    if full == 'torch.Tensor': return f'{base}tensors.html#torch.Tensor'
    if module in whole: return f'{base}{whole[module]}.html' + (f'#{full}' if parts else '')
    if not parts: return f"{base}{dict(torch='torch').get(full, full.removeprefix('torch.'))}.html"
    if len(parts) == 2 and parts[0] != 'Tensor': return f'{base}generated/{module}.{parts[0]}.html#{full}'   # a method, on the page of its class
    return f'{base}generated/{full}.html'

def sklearn_page(full, module, parts, value):
    base = 'https://scikit-learn.org/stable/'
    if not parts: return f'{base}api/{full}.html'
    return f'{base}modules/generated/{module}.{parts[0]}.html' + (f'#{full}' if len(parts) > 1 else '')

def keras_page(full, module, parts, value):
    "Keras's own site names its pages by hand; TensorFlow's shows the same objects under a rule"
    page = [*module.split('.')[1:], *parts[:1]]
    return 'https://www.tensorflow.org/api_docs/python/tf/keras' + ''.join(f'/{part}' for part in page) + (f'#{parts[1]}' if len(parts) > 1 else '')

def python_page(full, module, parts, value):
    if module == 'builtins': return f"https://docs.python.org/3/library/{'exceptions' if inspect.isclass(value) and issubclass(value, BaseException) else 'functions'}.html#{full}"
    return f'https://docs.python.org/3/library/{module}.html' + (f'#{full}' if parts else '')

def generated(base):
    "The rule of numpy, pandas and scipy: a page for each public name, its methods too"
    def page(full, module, parts, value): return f'{base}{full}.html' if parts else None
    return page

SITES = dict(torch=torch_page, sklearn=sklearn_page, keras=keras_page, numpy=generated('https://numpy.org/doc/stable/reference/generated/'),
             pandas=generated('https://pandas.pydata.org/docs/reference/api/'), scipy=generated('https://docs.scipy.org/doc/scipy/reference/generated/'),
             matplotlib=lambda full, module, parts, value: f'https://matplotlib.org/stable/api/_as_gen/{full}.html' if module == 'matplotlib.pyplot' and parts else None)

def locate(full):
    "(the module's name, the rest of the name in parts, the object); None if there is no such public name"
    parts = full.split('.')
    if any(part.startswith('_') or not part.isidentifier() for part in parts): return
    for n in range(len(parts), 0, -1):
        module = '.'.join(parts[:n])
        try: value = import_module(module)
        except ImportError: continue
        for part in parts[n:]:
            if not hasattr(value, part): return
            value = getattr(value, part)
        return module, parts[n:], value

@cache
def elsewhere(name):
    "The address of a name of another package, or None"
    os.environ.setdefault('KERAS_BACKEND', 'torch')
    root, dot, rest = name.partition('.')
    full = ALIASES.get(root, root) + dot + rest if dot else name
    if not dot:
        if inspect.isclass(getattr(builtins, name, None)) and issubclass(getattr(builtins, name), BaseException): return python_page(name, 'builtins', [name], getattr(builtins, name))
        if not name[:1].isupper() or not name.isidentifier() or name.isupper(): return
        full = next((f'{module}.{name}' for module in BARE if inspect.isclass(getattr(import_module(module), name, None))), None)
        if full is None: return
    package = full.partition('.')[0]
    page = SITES.get(package, python_page if package in sys.stdlib_module_names else None)
    found = page and locate(full)
    return found and page(full, *found)

class Names(NbdevLookup):
    "nbdev's `NbdevLookup`, which also knows the packages that publish no index for nbdev"
    own, room = {}, None   # our names; the room whose modules the page at hand calls by their short names
    def __getitem__(self, name):
        if name in self.own: return self.own[name]
        if self.room and f'{self.room}.{name}' in self.own: return self.own[f'{self.room}.{name}']
        if name.islower() and '.' not in name: return   # a bare word in lower case is more often a parameter than a function of another package
        return super().__getitem__(name) or elsewhere(name)

def names(root):
    "Ours from the index just made, fastcore's and fastai's from theirs, the others by rule"
    config = get_config(root)
    lookup = Names(strip_libs=tuple(lib for lib in config.strip_libs if lib != config.lib_name), incl_libs=())
    site, own = config.doc_host + config.doc_baseurl.rstrip('/'), {}
    for module, symbols in runpy.run_path(str(root/'upslope'/'_modidx.py'))['d']['syms'].items():
        for name, (page, _) in symbols.items():
            name = name.removeprefix(module + '.')
            if not name.rpartition('.')[2].startswith('_'): own.setdefault(name, f'{site}/{page}')
            own.setdefault(module, f"{site}/{page.partition('#')[0]}")
            room, _, rest = module.partition('.')[2].partition('.')
            if rest: own.setdefault(f'{config.lib_name}.{room}', f"{site}/{page.partition('/')[0]}/")
            if room and not name.rpartition('.')[2].startswith('_'): own.setdefault(f'{config.lib_name}.{room}.{name}', f'{site}/{page}')   # as one imports it
    lookup.own = own
    return lookup
