"""Build the documentation in _docs/ from the notebooks, with Sphinx, MyST-NB and the theme furo: python tools/docs.py

The pages show the outputs that the notebooks were saved with; nothing is run and nothing is downloaded. After each exported
cell comes the entry of what it defines (signature, docstring, the comments of its parameters), made from the package, and
the code itself folded. A warning of Sphinx or a link that leads nowhere is an error.
"""
import ast, inspect, re, shutil, sys
from functools import partial
from html.parser import HTMLParser
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

from docutils.nodes import SkipNode
from fastcore.basics import listify
from fastcore.docments import docments
from fastcore.nbio import mk_cell, read_nb, write_nb
from latex2mathml.converter import convert
from nbdev.config import get_config, nbpath2html
from nbdev.process import NBProcessor
from nbdev.processors import clean_magics, hide_, hide_line, rm_header_dash, strip_ansi
from nbdev.showdoc import showdoc_nm
from project import ROOT, doclinks, relink, settings
from sphinx.application import Sphinx

CONFIG, INI, LINKS = get_config(ROOT), settings(ROOT), doclinks(ROOT)
SITE = INI['doc_url'].rstrip('/') + '/'
CSS = """
.content { width: 54em; max-width: 100%; }
article > section > blockquote:first-of-type { border: 0; background: none; font-size: 1.15em; font-style: normal; padding-left: 0; color: var(--color-foreground-secondary); }
dl.py { border-left: 3px solid var(--color-brand-primary); padding-left: .8rem; }
dl.py > dd { margin-left: 1rem; }
dl.py .table-wrapper table { margin-left: 0; font-size: 90%; }
div.cell details.hide > summary { background: none; border-left-color: var(--color-background-border); font-size: 85%; }
math { font-size: 1.05em; }
"""

# -- API entries ------------------------------------------------------------------------------------------------------
def show(value): return getattr(value, '__qualname__', None) or repr(value)

def annotation(of): return '' if of in (inspect.Parameter.empty, None) else of if isinstance(of, str) else inspect.formatannotation(of)

def parameters(symbol):
    "The parameters that a caller gives, and the annotation of what comes back"
    try: signature = inspect.signature(symbol)
    except (TypeError, ValueError): return [], ''
    return [p for p in signature.parameters.values() if p.name not in ('self', 'cls')], '' if isinstance(symbol, type) else annotation(signature.return_annotation)

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

def meanings(symbol):
    "A table of the comments beside the parameters, if there are any"
    said = {name: of.get('docment') for name, of in docments(symbol, full=True).items()}
    names = [p.name for p in parameters(symbol)[0]] + ([] if isinstance(symbol, type) else ['return'])
    rows = [(f'`{name}`' if name != 'return' else 'returns', ' '.join(said[name].split()).replace('|', '\\|')) for name in names if isinstance(said.get(name), str)]
    return '\n'.join(f"| {' | '.join(row)} |" for row in [('Parameter', 'Meaning'), ('---', '---'), *rows]) if rows else ''

def entry(name, symbol, module):
    "One definition as an object of Sphinx's Python domain, and the anchor that links in prose lead to"
    kind = 'class' if isinstance(symbol, type) else 'method' if '.' in name else 'function'
    own = symbol.__doc__ if isinstance(symbol, type) else inspect.getdoc(symbol)
    page, line = f"{INI['git_url']}/blob/{INI['branch']}/{module.__name__.replace('.', '/')}", ''
    if inspect.getsourcefile(module).endswith('__init__.py'): page += '/__init__'
    try: line = f'#L{inspect.getsourcelines(symbol)[1]}'
    except (OSError, TypeError): pass   # an object without source, such as a partial
    body = '\n\n'.join(filter(None, [LINKS.linkify(inspect.cleandoc(own or '')), meanings(symbol), f'[source]({page}.py{line})']))
    return f'```{{raw}} html\n<a id="{name.lower()}"></a>\n```\n\n`````{{py:{kind}}} {name}{call(symbol)}\n:module: {module.__name__}\n\n{body}\n`````'

def entries(source, module_name):
    "An entry for each public definition in an exported cell"
    nodes = [node for node in ast.parse(source).body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))]
    names = [name for node in nodes for name in listify(showdoc_nm(node))]   # a method patched into two classes has two names
    names = [name for name in dict.fromkeys(names) if not name.rpartition('.')[2].startswith('_')]
    module = import_module(module_name) if names else None
    return [mk_cell(entry(name, attrgetter(name)(module), module), 'markdown') for name in names]

# -- pages ------------------------------------------------------------------------------------------------------------
def page_links(text, folder):
    "Links to notebooks become links to their pages, whole addresses until the site is built; other files are in the repository"
    def page(path):
        target = (folder/path).resolve()
        if not target.exists(): sys.exit(f'{folder}: there is no {path} to link to.')
        if target.suffix == '.ipynb': return SITE + nbpath2html(target.relative_to(ROOT/'nbs')).as_posix()
        return path if target.is_relative_to(ROOT/'nbs') else f"{INI['git_url']}/blob/{INI['branch']}/{target.relative_to(ROOT).as_posix()}"
    return relink(text, page)

def stage(source, target):
    "Write the notebook as the page shows it"
    nb = read_nb(source)
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
        elif cell.cell_type == 'markdown': cell.source = LINKS.linkify(page_links(cell.source, source.parent))
        cells.append(cell)
    nb.cells = cells
    for number, cell in enumerate(cells): cell.idx_ = number
    NBProcessor(nb=nb, procs=[strip_ansi, hide_line, rm_header_dash, clean_magics, hide_], rm_directives=True).process()
    nb.cells = [cell for cell in nb.cells if cell.source]
    for number, cell in enumerate(nb.cells):
        cell.pop('idx_', None)
        cell.id = cell.get('id') or f'entry-{number}'
    nb.metadata.setdefault('kernelspec', dict(display_name='python3', language='python', name='python3'))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_nb(nb, target)

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

def contents(pages):
    "The table of contents: a group for each folder, in reading order"
    groups = {}
    for page in pages:
        folder, _, name = page.rpartition('/')
        if folder: groups.setdefault(folder, []).insert(0 if name == 'index' else len(pages), page)
    return '\n\n'.join(f"```{{toctree}}\n:hidden:\n:caption: {folder.partition('-')[2].capitalize()}\n\n" + '\n'.join(group) + '\n```' for folder, group in groups.items())

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
        python_maximum_signature_line_length=88, python_use_unqualified_type_names=True, add_module_names=False, exclude_patterns=['llms.txt'],
        html_theme='furo', html_title=INI['lib_name'], html_baseurl=SITE, html_static_path=[str(static)], html_css_files=['upslope.css'],
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
    if page not in pages: return
    context['theme_source_view_link'] = context['theme_source_edit_link'] = f"{INI['git_url']}/blob/{INI['branch']}/{pages[page].relative_to(ROOT).as_posix()}"

def build(site):
    with TemporaryDirectory() as folder:
        staged = Path(folder).resolve()/'pages'
        notebooks = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if not any(part[0] in '._' for part in p.relative_to(ROOT).parts))
        pages = {nbpath2html(p.relative_to(ROOT/'nbs')).with_suffix('').as_posix(): p for p in notebooks}
        for page, source in pages.items(): stage(source, staged/f'{page}.ipynb')
        if (ROOT/'nbs/images').exists(): shutil.copytree(ROOT/'nbs/images', staged/'images')
        start = read_nb(staged/'index.ipynb')
        start.cells.append(mk_cell(contents(pages), 'markdown'))
        write_nb(start, staged/'index.ipynb')
        (staged.parent/'static').mkdir()
        (staged.parent/'static/upslope.css').write_text(CSS)
        built = staged.parent/'site'   # MyST-NB writes beside it, too
        app = Sphinx(staged, None, built, staged.parent/'doctrees', 'html', confoverrides=options(staged.parent/'static'), status=None,
                     warning=sys.stderr, warningiserror=True, freshenv=True)
        app.connect('html-page-context', partial(source_link, pages))
        app.build()
        shutil.rmtree(site, ignore_errors=True)
        shutil.copytree(built, site)
        for page in pages: (site/f'{page}.html.md').write_text(as_markdown(staged/f'{page}.ipynb'), encoding='utf-8')
    if (ROOT/'nbs/llms.txt').exists(): shutil.copy(ROOT/'nbs/llms.txt', site)
    (site/'.nojekyll').touch()   # GitHub Pages then serves folders that begin with an underscore
    links_within(site)
    broken = list(broken_links(site))
    print(*broken, f'{len(pages)} pages in {site.name}/; open {site.name}/index.html', sep='\n')
    return not broken and app.statuscode == 0

if __name__ == '__main__':
    import docs   # under the name that Sphinx knows it by
    sys.exit(not docs.build(ROOT/'_docs'))
