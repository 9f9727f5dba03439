"""What the site adds to the pages that notebooks give: its table of contents, folded by room, and the pages of the project.

The sidebar has four parts. Start is for who has never seen this; Guides has a line for each room, which opens when one is
there; API has all public names, room by room; Project has the rest. A page that is added to one of them is a line here.
"""
import ast, inspect, re
from html import escape
from importlib import import_module

import yaml
from names import names
from project import ROOT, settings
from upslope import public_names

INI, LINKS = settings(ROOT), names(ROOT)
PROJECT = ['00-start/map', 'contributing', 'benchmarks', 'gallery', 'changelog', 'citing']
FIRST = '90-stories/ten_minutes'   # stands among the first lines, not among the stories
REPOSITORY = f"{INI['git_url']}/blob/{INI['branch']}"

# -- the table of contents --------------------------------------------------------------------------------------------
def toctree(entries, caption=None):
    "Lines of the sidebar, which the page itself does not show"
    caption = [f':caption: {caption}'] if caption else []
    return '\n'.join(['```{toctree}', ':hidden:', *caption, '', *(f'/{entry}' if entry != 'self' else f'Why {INI["lib_name"]} <self>' for entry in entries), '```'])

def rooms(pages):
    "The folders that have a page of their own, in reading order: folder -> its other pages"
    folders = {page.removesuffix('/index'): [] for page in pages if page.endswith('/index')}
    for page in pages:
        folder, _, name = page.rpartition('/')
        if folder in folders and name != 'index': folders[folder].append(page)
    return folders

def title(folder):
    titles = dict(rl='Reinforcement learning', diffeq='Differential equations')
    name = folder.partition('-')[2]
    return titles.get(name, name.capitalize())

def front(pages):
    "The sidebar's parts, for the front page"
    guides = [f'{folder}/index' for folder in rooms(pages) if folder != '90-stories']
    parts = {'Start': ['self', 'install', FIRST, '90-stories/index'], 'Guides': guides, 'API': ['names/index'], 'Project': ['project']}
    return '\n\n'.join(toctree(entries, caption) for caption, entries in parts.items())

def inside(page, pages):
    "The lines that unfold when one is at a page: those of its folder, if it is the page of a room"
    folder, _, name = page.rpartition('/')
    if name != 'index' or not folder: return ''
    return toctree([other for other in rooms(pages)[folder] if other != FIRST])

# -- all public names -------------------------------------------------------------------------------------------------
def modules_of(room):
    "The public names of a room by the module that its page imports them from; None: names that the page itself makes"
    package, public = import_module(f"{INI['lib_name']}.{room}"), public_names()
    modules = {}
    for node in ast.walk(ast.parse(inspect.getsource(package))):
        if not isinstance(node, ast.ImportFrom): continue
        home = package.__name__.rsplit('.', node.level - 1)[0] if node.level else None   # of a relative import
        module = '.'.join(filter(None, [home, node.module]))
        modules.setdefault(module, []).extend(alias.asname or alias.name for alias in node.names)
    imported = {name for listed in modules.values() for name in listed}
    modules[None] = [name for name in package.__all__ if name not in imported]
    listed = {module: [name for name in listed if public.get(name) == room] for module, listed in modules.items()}
    return {module: listed for module, listed in listed.items() if listed}

def line_of(room, module, name):
    "A public name, linked to its definition or, if it is none, to what its module says of it; and the first line of what it says of itself"
    package = import_module(f"{INI['lib_name']}.{room}")
    value = getattr(package, name)
    documented = inspect.isclass(value) or inspect.isroutine(value)
    text = inspect.getdoc(value) if documented else None
    if documented: address = LINKS.own[f"{'.'.join(value.__module__.split('.')[:2])}.{value.__name__}"]   # of a second name, such as MaxPool2D, that of the first
    else: address = LINKS.own.get(f'{package.__name__}.{name}') or f'{LINKS.own[module]}#{name.lower()}'   # a module, or a table
    return f'* [`{name}`]({address})' + (f": {text.splitlines()[0]}" if text else '')

def names_of(room, folder):
    "The page of the public names of a room"
    parts = [f"# Names of {title(folder)}\n\n> What `from {INI['lib_name']}.{room} import …` gives; each name leads to its definition."]
    for module, listed in modules_of(room).items():
        parts.append(f"## {module.rpartition('.')[2].replace('_', ' ').capitalize() if module else 'More'}")
        parts.append('\n'.join(line_of(room, module, name) for name in sorted(listed, key=str.lower)))
    return '\n\n'.join(parts) + '\n'

def pages_of_names(pages):
    "A page for each room that has public names, and the page that leads to them: name -> text"
    folders = {folder.partition('-')[2]: folder for folder in rooms(pages)}
    made = {f'names/{room}': names_of(room, folder) for room, folder in folders.items() if room in set(public_names().values())}
    lines = [f'* [{title(folders[page.partition("/")[2]])}]({page.partition("/")[2]}.md)' for page in made]
    first = f"# All names\n\n> Every public name, room by room; `from {INI['lib_name']}.all import *` gives them all. From A to Z, with methods: {{ref}}`genindex`."
    return {'names/index': '\n\n'.join([first, '\n'.join(lines), toctree(made)]) + '\n', **made}

# -- the pages of the project -----------------------------------------------------------------------------------------
def extras():
    "A table of what pip installs more, when it is asked to"
    rows = ['| | Packages |', '|---|---|']
    for key in INI:
        extra = key.removesuffix('_requirements')
        if extra == key or extra in ('dev', 'docs', 'bench'): continue
        packages = [re.match(r'[\w-]+', line)[0] for line in INI[key].split('\n') if line]
        rows.append(f"| `pip install \"{INI['lib_name']}[{extra}]\"` | {', '.join(packages)} |")
    return '\n'.join(rows)

def install():
    "The page for who wants to begin; the commands in a checkout are the README's"
    commands, = re.findall(r'```sh\nmake .*?```', (ROOT/'README.md').read_text(encoding='utf-8'), flags=re.S)
    return f"""# Install

> One line by pip, or a checkout in which everything can be read, run and changed.

```sh
pip install {INI['lib_name']}
{INI['lib_name']} demo    # a complete small study, in a minute
```

Python {INI['min_python']} or newer. On Linux, pip takes PyTorch's CUDA build, some 6 GB with what it needs; an installed PyTorch is used as it is. If you have no GPU and little room, install PyTorch's CPU build first, the way [pytorch.org](https://pytorch.org/get-started/locally/) tells.

## What some parts need in addition
`{INI['lib_name']} info` says what is there and what is lacking; `[all]` brings all of these.

{extras()}

## From a checkout
The first command also sets up `.venv`, which takes some minutes.

{commands}
"""

def benchmarks():
    "The page of what is measured: the first words of each script, and its first example"
    parts = ['# Benchmarks\n\n> What it costs, measured beside the code that one would write by hand and beside other libraries.\n\n'
             'No figures stand here, since they are those of one machine. `make bench` runs all of them on yours, each in a few minutes.']
    for path in sorted((ROOT/'benchmarks').glob('*.py')):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8')))
        parts.append(f"* [{path.name}]({REPOSITORY}/benchmarks/{path.name}): {' '.join(docstring.partition(chr(10)*2)[0].split())}")
    return '\n\n'.join(parts) + '\n'

def gallery(figures, folder):
    "The page of all figures, each one click from its code; the pictures go into `folder`"
    folder.mkdir(parents=True)
    cards = []
    for number, (page, heading_of_page, heading, suffix, content) in enumerate(figures, 1):
        (folder/f'{number}{suffix}').write_bytes(content)
        caption = escape(heading.replace('`', '').rstrip(' -'))
        picture = f'<img src="_gallery/{number}{suffix}" alt="{caption}" loading="lazy">'
        cards.append(f'<a href="{page}.html#figure-{number}">{picture}<span><b>{caption}</b><br>{escape(heading_of_page)}</span></a>')
    return '# Gallery\n\n> All figures of these pages; a click leads to the code that drew one.\n\n```{raw} html\n<div class="gallery">\n' + '\n'.join(cards) + '\n</div>\n```\n'

def citing():
    "The page made from CITATION.cff"
    cited = yaml.safe_load((ROOT/'CITATION.cff').read_text(encoding='utf-8'))
    authors = ' and '.join(author.get('name') or f"{author['given-names']} {author['family-names']}" for author in cited['authors'])
    fields = dict(title=f"{cited['title']}: {' '.join(cited['abstract'].split())}", author=authors if ' and ' in authors else f'{{{authors}}}', version=INI['version'], url=cited['repository-code'])
    entry = ',\n'.join([f"@software{{{cited['title']}", *(f'  {key} = {{{value}}}' for key, value in fields.items())])
    return (f"# Citing\n\n> {cited['message']}\n\n```bibtex\n{entry}\n}}\n```\n\nThe same for other programs stands in [CITATION.cff]({REPOSITORY}/CITATION.cff). "
            'A number that upslope computed rests on the papers and libraries that its notebook names under “Sources”: cite those, too.\n')

def about():
    "The page of the project's own pages, which unfolds in the sidebar"
    return f"""# The project

> How it is built, how to change it, what it costs, what is new, and how to cite it.

* [Map](00-start/map.ipynb): which notebook stands on which
* [Contributing](contributing.md): set up, change a notebook, get it landed
* [Benchmarks](benchmarks.md): what is measured, and how to measure it on your machine
* [Gallery](gallery.md): every figure of these pages
* [Changelog](changelog.md): what is new
* [Citing](citing.md): for your paper

{toctree(PROJECT)}
"""
