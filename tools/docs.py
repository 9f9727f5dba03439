"""Build the documentation in _docs/ from the notebooks, with Sphinx, MyST-NB and the theme furo: python tools/docs.py

The pages show the outputs that the notebooks were saved with; nothing is run and nothing is downloaded. After each exported
cell comes the entry of what it defines (signature, docstring, the comments of its parameters), made from the package, and
the code itself folded. A warning of Sphinx or a link that leads nowhere is an error.
"""
import ast, inspect, re, shutil, sys
from base64 import b64decode
from fnmatch import fnmatch
from functools import cache, partial
from html import escape
from html.parser import HTMLParser
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

import contents
from docutils.nodes import SkipNode
from fastai.callback.core import event
from fastcore.basics import listify
from fastcore.docments import docments
from fastcore.nbio import mk_cell, read_nb, write_nb
from latex2mathml.converter import convert
from nbdev.config import nbpath2html
from nbdev.process import NBProcessor
from nbdev.processors import clean_magics, hide_, hide_line, rm_header_dash, strip_ansi
from nbdev.showdoc import showdoc_nm
from contents import INI, LINKS
from project import ROOT, relink
from sphinx.application import Sphinx
from upslope import public_names

SITE = INI['doc_url'].rstrip('/') + '/'
WIDGET, PICTURES = 'application/vnd.jupyter.widget-view+json', {'image/png': '.png', 'image/svg+xml': '.svg'}
LOGO = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><path d="M4 56 L22 38 L34 44 L58 10" fill="none" stroke="#2f6fdf" stroke-width="8" stroke-linecap="round" stroke-linejoin="round"/><circle cx="58" cy="10" r="6" fill="#f0883e"/></svg>"""
CSS = """
.content { width: 54em; max-width: 100%; }
.sidebar-logo { max-width: 3.2rem; margin: 0 auto 0 0; }
article > section > blockquote:first-of-type { border: 0; background: none; font-size: 1.15em; font-style: normal; padding-left: 0; margin-bottom: .4rem; color: var(--color-foreground-secondary); }
p.notebook { margin: 0 0 1.5rem; font-size: 85%; color: var(--color-foreground-secondary); }
.highlight .nn { text-decoration: none !important; }
dl.py { border-left: 3px solid var(--color-brand-primary); padding-left: .8rem; }
dl.py > dd { margin-left: 1rem; }
dl.py .table-wrapper table { margin-left: 0; font-size: 90%; }
div.cell details.hide { font-size: 85%; box-shadow: none; }
div.cell details.hide, div.cell details.hide > summary, div.cell details.hide > summary > p.admonition-title { background: none !important; border-left-color: var(--color-background-border) !important; font-weight: normal; }
div.cell details.hide > summary > p.admonition-title { font-size: inherit; }
div.cell details.hide > summary > p.admonition-title::before { display: none; }
div.cell_output { overflow-x: auto; }
@media (min-width: 63em) { div.cell_output pre { white-space: pre-wrap; } }
div.cell_output img { border-radius: 4px; max-width: 100%; height: auto; }
div.cell_output img[src$=".svg"] { background: #fff; padding: .5rem; max-width: max(100%, 44em); }
div.cell_output table { border: 0; border-collapse: collapse; font-size: 85%; margin: .6rem 0; }
div.cell_output table :is(td, th) { padding: .2rem .6rem; border: 0; border-bottom: 1px solid var(--color-background-border); }
div.cell_output tbody tr > th:first-child { text-align: left; }
div.cell_output dl :is(dt, dd) { margin-top: 0; margin-bottom: 0; }
div.cell_output table caption { text-align: left; padding: .2rem .6rem; color: var(--color-foreground-secondary); }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem; }
.gallery a { border: 1px solid var(--color-background-border); border-radius: 6px; overflow: hidden; text-decoration: none; color: var(--color-foreground-primary); font-size: 80%; }
.gallery img { width: 100%; height: 8.5rem; object-fit: contain; background: #fff; display: block; }
.gallery span { display: block; padding: .5rem .7rem; }
math { font-size: 1.05em; }
math[display=block] { overflow-x: auto; }
body { --toc-title-font-size: var(--font-size--small--2); --toc-font-size: var(--font-size--small); }
@media (max-width: 46em) { table.genindextable td { display: block; width: 100%; overflow-wrap: anywhere; } article h1 { font-size: 2em; } article h2 { font-size: 1.5em; } dl.py { padding-left: .5rem; } dl.py > dd { margin-left: .2rem !important; } dl.py .table-wrapper :is(td, th) { padding: .25rem .4rem; } dl.py .table-wrapper td:not(:first-child) { overflow-wrap: anywhere; } dl.py .table-wrapper td:nth-child(2):not(:last-child) { min-width: 4.5em; } }
"""

# The line of the page that is open stands in sight, also in a long room
SCRIPT = """addEventListener('DOMContentLoaded', () => {
  const box = document.querySelector('.sidebar-scroll'), line = document.querySelector('.sidebar-tree li.current-page')
  if (box && line) box.scrollTo({top: line.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight/2, behavior: 'instant'})
})
"""

# -- API entries ------------------------------------------------------------------------------------------------------
def show(value):
    "A default as one reads it; what has no name, such as a lambda, is three dots"
    said = getattr(value, '__qualname__', None) or re.sub(r' at 0x[0-9a-f]+', '', repr(value))
    return '...' if said.endswith('<lambda>') or said == '<factory>' else said

def annotation(of): return '' if of in (inspect.Parameter.empty, None) else of if isinstance(of, str) else inspect.formatannotation(of)

def parameters(symbol):
    "The parameters that a caller gives, and the annotation of what comes back; not those of every fastai `Callback`, functions for its events"
    own = symbol.__init__ if isinstance(symbol, type) and '__init__' in vars(symbol) else symbol   # a base class may have left its signature
    try: signature = inspect.signature(own)
    except (TypeError, ValueError): return [], ''
    return [p for p in signature.parameters.values() if p.name not in ('self', 'cls') and not hasattr(event, p.name)], '' if isinstance(symbol, type) else annotation(signature.return_annotation)

def call(symbol):
    "The signature as Sphinx reads it"
    listed, result, parts, star = *parameters(symbol), [], False
    for p in listed:
        if p.kind == p.KEYWORD_ONLY and not star: parts.append('*')
        star = star or p.kind in (p.VAR_POSITIONAL, p.KEYWORD_ONLY)
        kind = annotation(p.annotation)
        default = '' if p.default is p.empty else (' = ' if kind else '=') + show(p.default)
        parts.append({p.VAR_POSITIONAL: '*', p.VAR_KEYWORD: '**'}.get(p.kind, '') + p.name + (f': {kind}' if kind else '') + default)
    return f"({', '.join(parts)})" + (f' -> {result}' if result else '')

def cell_of(text): return ' '.join(text.split()).replace('|', '\\|')

@cache
def shared(room):
    "What arguments mean that many definitions of a room share, from the table on the room's own page: name or pattern -> meaning"
    index = next((ROOT/'nbs').glob(f'[0-9]*-{room}/index.ipynb'), None)
    return dict(re.findall(r'^\| `([\w*]+)` \| (.*) \|$', '\n'.join(cell.source for cell in read_nb(index).cells if cell.cell_type == 'markdown'), flags=re.M)) if index else {}

def comments(symbol):
    "Beside the parameters of a definition, or the fields of a named tuple: name -> what its comment says"
    if getattr(symbol, '_fields', None): return dict(re.findall(r'^ +(\w+) *:[^#\n]*#\s*(.*)$', inspect.getsource(symbol).partition('def ')[0], flags=re.M))
    if isinstance(symbol, type) and symbol.__init__ is object.__init__: symbol = symbol.__new__   # of a tuple
    return {name: of['docment'] for name, of in docments(symbol, full=True).items() if isinstance(of.get('docment'), str)}

def meanings(symbol):
    "A table of the comments beside the parameters, if there are any; where there is none, that of the class it comes from counts, then what the room says"
    said, common = comments(symbol), shared((symbol.__module__ or '').partition('.')[2].partition('.')[0]) if hasattr(symbol, '__module__') else {}
    for base in symbol.__mro__[1:] if isinstance(symbol, type) else ():
        if base.__module__.startswith(f"{INI['lib_name']}.") and '__init__' in vars(base): said = {**comments(base), **said}
    cell = getattr(symbol, 'cell_class', None)   # a recurrent layer hands its arguments to a cell
    for base in cell.__mro__ if isinstance(cell, type) else ():
        if base.__module__.startswith(f"{INI['lib_name']}.") and '__init__' in vars(base): said = {**comments(base), **said}
    given = {p.name: '' if p.default is p.empty else f'`{cell_of(show(p.default))}`' for p in parameters(symbol)[0]}
    for name in given:
        if name not in said and (like := name if name in common else next((pattern for pattern in common if fnmatch(name, pattern)), None)): said[name] = common[like]
    if not isinstance(symbol, type): given['return'] = ''
    rows = [(f'`{name}`' if name != 'return' else 'returns', default, LINKS.linkify(cell_of(said[name]))) for name, default in given.items() if name in said]
    if not any(default for _, default, _ in rows): rows = [(name, meaning) for name, _, meaning in rows]
    title = ('Parameter', 'Default', 'Meaning') if rows and len(rows[0]) == 3 else ('Parameter', 'Meaning')
    return '\n'.join(f"| {' | '.join(row)} |" for row in [title, ['---']*len(title), *rows]) if rows else ''

def anchor(name): return f'```{{raw}} html\n<a id="{name.lower()}"></a>\n```'

def methods(name, symbol, given):
    "The public methods that stand in the body of a class: an anchor for each, and what it says of itself"
    found = []
    for method in given:
        made = vars(symbol).get(method)
        made = made.fget if isinstance(made, property) else getattr(symbol, method, None)
        said = inspect.getdoc(made) if getattr(made, '__doc__', None) else None
        found.append(anchor(f'{name}.{method}'))
        if said: found.append(f'````{{py:method}} {method}{call(made)}\n\n' + '\n\n'.join(filter(None, [LINKS.linkify(said), meanings(made)])) + '\n````')
    return found

def entry(name, symbol, module, given=()):
    "One definition as an object of Sphinx's Python domain, and the anchor that links in prose lead to; `given`: the methods in the body of a class"
    kind = 'class' if isinstance(symbol, type) else 'method' if '.' in name else 'function'
    own = symbol.__doc__ if isinstance(symbol, type) else inspect.getdoc(symbol)
    page, line = f"{INI['git_url']}/blob/{INI['branch']}/{module.__name__.replace('.', '/')}", ''
    if inspect.getsourcefile(module).endswith('__init__.py'): page += '/__init__'
    try: line = f'#L{inspect.getsourcelines(symbol)[1]}'
    except (OSError, TypeError): pass   # an object without source, such as a partial
    body = '\n\n'.join(filter(None, [LINKS.linkify(inspect.cleandoc(own or '')), meanings(symbol), f'[source]({page}.py{line})', *methods(name, symbol, given)]))
    return f'{anchor(name)}\n\n`````{{py:{kind}}} {name}{call(symbol)}\n:module: {module.__name__}\n\n{body}\n`````'

def table_of_names(name, module, source):
    "A public name that is neither class nor function: the comment beside it"
    line = next(number for number, text in enumerate(inspect.getsource(module).splitlines(), 1) if re.match(rf'{name} *=', text))
    said = re.search(rf'^{name} *=(?:[^#\n]|\n )*#\s*(.*)$', source, flags=re.M)
    if not said: sys.exit(f'{module.__name__}: nothing says what {name} is.\n  fix:  a comment at the end of its line')
    page = f"{INI['git_url']}/blob/{INI['branch']}/{module.__name__.replace('.', '/')}.py#L{line}"
    return f'{anchor(name)}\n\n`````{{py:data}} {name}\n:module: {module.__name__}\n\n{LINKS.linkify(said[1])}\n\n[source]({page})\n`````'

def entries(source, module_name):
    "An entry for each public definition in an exported cell"
    body = ast.parse(source).body
    nodes = [node for node in body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))]
    names = [name for node in nodes for name in listify(showdoc_nm(node))]   # a method patched into two classes has two names
    names = [name for name in dict.fromkeys(names) if not name.rpartition('.')[2].startswith('_')]
    tables = [node.targets[0].id for node in body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and public_names().get(node.targets[0].id) == module_name.partition('.')[2].partition('.')[0]]
    module = import_module(module_name) if names or tables else None
    bodies = {node.name: [n.name for n in node.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)) and not n.name.startswith('_')] for node in nodes if isinstance(node, ast.ClassDef)}
    shown = [entry(name, attrgetter(name)(module), module, dict.fromkeys(bodies.get(name, ()))) for name in names]
    shown += [table_of_names(name, module, source) for name in tables if not (inspect.isclass(getattr(module, name)) or inspect.isroutine(getattr(module, name)))]
    return [mk_cell(text, 'markdown') for text in shown]

# -- pages ------------------------------------------------------------------------------------------------------------
def page_links(text, folder):
    "Links to notebooks become links to their pages, whole addresses until the site is built; other files are in the repository"
    def page(path):
        target = (folder/path).resolve()
        if not target.exists(): sys.exit(f'{folder}: there is no {path} to link to.')
        if target.suffix == '.ipynb': return SITE + nbpath2html(target.relative_to(ROOT/'nbs')).as_posix()
        return path if target.is_relative_to(ROOT/'nbs') else f"{INI['git_url']}/blob/{INI['branch']}/{target.relative_to(ROOT).as_posix()}"
    return relink(text, page)

def buttons(source, page):
    "The line under a page's title that leads to the notebook behind it"
    file, path = f"{page.rpartition('/')[2]}.ipynb", source.relative_to(ROOT).as_posix()
    links = {file: ('Open in Jupyter', 'Download this notebook; in JupyterLab, File > Open from URL takes its address'),
             f"https://colab.research.google.com/github/{INI['user']}/{INI['repo']}/blob/{INI['branch']}/{path}": ('in Colab', 'Run this notebook in Google Colab'),
             f"{INI['git_url']}/blob/{INI['branch']}/{path}": ('on GitHub', 'The source of this page')}
    return '```{raw} html\n<p class="notebook">' + ' · '.join(f'<a href="{link}" title="{escape(title)}">{text}</a>' for link, (text, title) in links.items()) + '</p>\n```'

def snapshot(cell, page):
    "A widget's picture of itself takes the place of the widget, which would need a server"
    for output in cell.get('outputs', ()):
        if output.get('data', {}).pop(WIDGET, None) is not None and 'text/html' not in output.data:
            sys.exit(f'{page}: a widget has no picture of itself.\n  fix:  show an object that gives text/html beside the widget, as those of upslope.surface do')

def figures_of(cell):
    "The pictures that a cell shows: (suffix of a file, its bytes)"
    for output in cell.get('outputs', ()):
        for mime, content in output.get('data', {}).items():
            if mime in PICTURES: yield PICTURES[mime], b64decode(''.join(content)) if mime == 'image/png' else ''.join(content).encode()

def stage(source, target, page, figures):
    "Write the notebook as the page shows it; add its figures to those of the gallery"
    nb = read_nb(source)
    title = heading = next(m[1] for cell in nb.cells if cell.cell_type == 'markdown' and (m := re.match(r'# (.*)', cell.source)))
    LINKS.room = f"{INI['lib_name']}.{source.parent.name.partition('-')[2]}" if source.name == 'index.ipynb' else None
    module = next((m[1] for cell in nb.cells if (m := re.search(r'^#\| *default_exp +([\w.]+)', cell.source, flags=re.M))), None)
    module = f"{INI['lib_name']}.{module}".removesuffix('.__init__')
    cells = []
    for cell in nb.cells:
        exported = cell.cell_type == 'code' and re.match(r'#\| *export', cell.source)
        if cell.cell_type == 'code' and re.match(r'#\| *default_exp', cell.source): continue
        if exported:
            nodes = ast.parse(cell.source).body
            if all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in nodes): continue
            cells += entries(cell.source, module)
            cell.metadata['tags'] = ['hide-input']
        elif cell.cell_type == 'markdown':
            heading = ([heading] + re.findall(r'^#{2,} (.*)', cell.source, flags=re.M))[-1]
            cell.source = LINKS.linkify(page_links(cell.source, source.parent))
            if cell.source.startswith('# '): cell.source = re.sub(r'\A(# .*\n(?:\n*>.*\n?)*)', lambda m: f'{m[1].rstrip()}\n\n{buttons(source, page)}\n\n', cell.source)
        else:
            snapshot(cell, page)
            for suffix, content in figures_of(cell):
                figures.append((page, title, heading, suffix, content))
                cells.append(mk_cell(f'```{{raw}} html\n<a id="figure-{len(figures)}"></a>\n```', 'markdown'))
        cells.append(cell)
    nb.cells = cells
    for number, cell in enumerate(cells): cell.idx_ = number
    NBProcessor(nb=nb, procs=[strip_ansi, hide_line, rm_header_dash, clean_magics, hide_], rm_directives=True).process()
    nb.cells = [cell for cell in nb.cells if cell.source]
    for number, cell in enumerate(nb.cells):
        cell.pop('idx_', None)
        cell.metadata.pop('execution', None)   # how long it took is no part of the page
        cell.id = cell.get('id') or f'entry-{number}'
    nb.metadata.setdefault('kernelspec', dict(display_name='python3', language='python', name='python3'))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_nb(nb, target)

def append(path, text):
    "Write one more cell of text, if there is any, at the end of a staged notebook"
    if not text: return
    nb = read_nb(path)
    nb.cells.append(mk_cell(text, 'markdown'))
    write_nb(nb, path)

def as_markdown(page):
    "The page for a reader, human or not, who wants plain text; module docstrings point here"
    parts = []
    for cell in read_nb(page).cells:
        if cell.cell_type == 'markdown': parts.append(re.sub(r'```\{(raw|toctree)\}.*?```\n*', '', cell.source, flags=re.S))
        else:
            parts.append(f'```python\n{cell.source}\n```')
            texts = [output.get('text') or output.get('data', {}).get('text/plain') for output in cell.outputs]
            parts += ['```\n' + ''.join(text).rstrip() + '\n```' for text in texts if text]
    return '\n\n'.join(filter(None, parts)) + '\n'

def project_pages(pages, staged, figures):
    "The pages that no notebook gives: name -> text"
    def markdown(name): return LINKS.linkify(page_links((ROOT/name).read_text(encoding='utf-8'), ROOT))
    drawn = contents.gallery(figures, staged.parent/'gallery/_gallery')
    made = dict(install=contents.install(), project=contents.about(), benchmarks=contents.benchmarks(), gallery=drawn, citing=contents.citing())
    return dict(**made, changelog=markdown('CHANGELOG.md'), contributing=markdown('CONTRIBUTING.md'), **contents.pages_of_names(pages))

# -- links ------------------------------------------------------------------------------------------------------------
class Page(HTMLParser):
    "The anchors and links of a page"
    def __init__(self, text):
        super().__init__()
        self.anchors, self.links = set(), []
        self.feed(text)
    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given[key] for key in ('id', 'name') if given.get(key)}
        self.links += [given[key] for key in ('href', 'src') if given.get(key) and tag in ('a', 'img', 'script', 'link')]

def links_within(site):
    "Links to our own address work in every copy of the site"
    for path in site.rglob('*.html'):
        text = path.read_text(encoding='utf-8')
        up = '../'*(len(path.relative_to(site).parts) - 1)
        path.write_text(re.sub(f'<a class="reference external" href="{re.escape(SITE)}', f'<a class="reference internal" href="{up}', text), encoding='utf-8')

def broken_links(site):
    "One line for each link inside the site that leads to no file or no anchor"
    pages = {path: Page(path.read_text(encoding='utf-8')) for path in sorted(site.rglob('*.html'))}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc: continue
            target = (path.parent/unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir(): target /= 'index.html'
            lost = not target.exists() or (parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors)
            if lost: yield f'{path.relative_to(site)} links to {link}, which is not there'

# -- the site ---------------------------------------------------------------------------------------------------------
def options(static):
    "Sphinx's settings"
    return dict(project=INI['lib_name'], author=INI['author'], version=INI['version'], release=INI['version'],
        extensions=['myst_nb', 'sphinx_copybutton', 'docs'], html_math_renderer='mathml', nb_execution_mode='off', nb_merge_streams=True, nb_code_prompt_show='Source', nb_code_prompt_hide='Source',
        myst_enable_extensions=['dollarmath', 'amsmath', 'colon_fence', 'deflist'], myst_heading_anchors=4,
        python_maximum_signature_line_length=88, python_use_unqualified_type_names=True, add_module_names=False, exclude_patterns=['llms.txt'], html_favicon=str(static/'upslope.svg'), html_logo=str(static/'upslope.svg'), html_extra_path=[str(static.parent/'gallery')],
        html_theme='furo', html_show_copyright=False, html_title=INI['lib_name'], html_baseurl=SITE, html_static_path=[str(static)], html_css_files=['upslope.css'], html_js_files=['upslope.js'],
        html_theme_options=dict(source_repository=INI['git_url'], source_branch=INI['branch'], source_directory='nbs/'))

def mathml(writer, node, display):
    "A formula as MathML, which browsers show without a script"
    writer.body.append(convert(node.astext(), display=display))
    raise SkipNode

def setup(app):
    "What Sphinx calls, since this file is one of its extensions"
    app.add_html_math_renderer('mathml', (partial(mathml, display='inline'), None), (partial(mathml, display='block'), None))

def source_link(pages, app, page, template, context, doctree):
    "The page's view and edit buttons lead to its notebook"
    if page not in pages: return context.update(theme_source_view_link='', theme_source_edit_link='', page_source_suffix='')
    context['theme_source_view_link'] = context['theme_source_edit_link'] = f"{INI['git_url']}/blob/{INI['branch']}/{pages[page].relative_to(ROOT).as_posix()}"

def build(site):
    with TemporaryDirectory() as folder:
        staged = Path(folder).resolve()/'pages'
        notebooks = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if not any(part[0] in '._' for part in p.relative_to(ROOT).parts))
        pages = {nbpath2html(p.relative_to(ROOT/'nbs')).with_suffix('').as_posix(): p for p in notebooks}
        figures = []
        for page, source in pages.items(): stage(source, staged/f'{page}.ipynb', page, figures)
        (staged/'names').mkdir()
        for page, text in project_pages(pages, staged, figures).items(): (staged/f'{page}.md').write_text(text, encoding='utf-8')
        if (ROOT/'nbs/images').exists(): shutil.copytree(ROOT/'nbs/images', staged/'images')
        append(staged/'index.ipynb', contents.front(pages))
        for page in pages: append(staged/f'{page}.ipynb', contents.inside(page, pages))
        (staged.parent/'static').mkdir()
        (staged.parent/'static/upslope.css').write_text(CSS)
        (staged.parent/'static/upslope.js').write_text(SCRIPT)
        (staged.parent/'static/upslope.svg').write_text(LOGO)
        built = staged.parent/'site'   # MyST-NB writes beside it, too
        app = Sphinx(staged, None, built, staged.parent/'doctrees', 'html', confoverrides=options(staged.parent/'static'), status=None,
                     warning=sys.stderr, warningiserror=True, freshenv=True)
        app.connect('html-page-context', partial(source_link, pages))
        app.build()
        shutil.rmtree(site, ignore_errors=True)
        shutil.copytree(built, site)
        for page, source in pages.items():
            (site/f'{page}.html.md').write_text(as_markdown(staged/f'{page}.ipynb'), encoding='utf-8')
            shutil.copy(source, site/f'{page}.ipynb')
    if (ROOT/'nbs/llms.txt').exists(): shutil.copy(ROOT/'nbs/llms.txt', site)
    (site/'.nojekyll').touch()   # GitHub Pages then serves folders that begin with an underscore
    links_within(site)
    broken = list(broken_links(site))
    print(*broken, f'{len(pages)} pages in {site.name}/; open {site.name}/index.html', sep='\n')
    return not broken and app.statuscode == 0

if __name__ == '__main__':
    import docs   # under the name that Sphinx knows it by
    sys.exit(not docs.build(ROOT/'_docs'))
