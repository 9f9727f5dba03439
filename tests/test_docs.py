"The documentation: built from the notebooks without a warning, no link is lost, and a browser shows it"
import inspect, json, re, subprocess, sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import docs
from fastcore.nbio import read_nb
from fastcore.xtras import dict2obj
from sphinx.util.inventory import InventoryFile

pytestmark = pytest.mark.xdist_group('docs')   # in one process, so that the site is built once

@pytest.fixture(scope='module')
def site(root, tmp_path_factory):
    "The site, built as `make docs` builds it"
    folder = tmp_path_factory.mktemp('site')
    build = f'import sys, docs; from pathlib import Path; sys.exit(not docs.build(Path({str(folder)!r})))'
    done = subprocess.run([sys.executable, '-c', build], cwd=root/'tools', capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder

def test_every_notebook_has_a_page_in_two_forms_and_a_place_in_the_contents(site, root):
    contents = set(docs.Page((site/'index.html').read_text()).links)
    for path in (root/'nbs').rglob('*.ipynb'):
        if any(part[0] in '._' for part in path.relative_to(root).parts): continue
        page = docs.nbpath2html(path.relative_to(root/'nbs')).as_posix()
        assert (site/page).exists() and (site/f'{page}.md').read_text().startswith('# '), page
        assert page == 'index.html' or page in contents, page

def test_public_definitions_are_in_the_index_that_other_projects_link_to(site):
    listed = InventoryFile.loads((site/'objects.inv').read_bytes(), uri='').data
    names = {name for kind in ('py:function', 'py:class') for name in listed[kind]}
    assert {'upslope.core.errors.ShapeError', 'upslope.core.errors.lookup', 'upslope.core.seeds.seeded'} <= names

def test_module_docstrings_point_to_pages_that_exist(site, root):
    for path in (root/'upslope').rglob('*.py'):
        for page in re.findall(rf'^Docs: {docs.SITE}(\S+?)"*$', path.read_text(), flags=re.M): assert (site/page).exists(), f'{path}: {page}'

def test_signature_is_what_python_would_accept():
    def example(a, /, b:int, *rest, c:float=.5, d=len, e=lambda x: x, **more) -> list[int]: "Any"
    assert docs.call(example) == '(a, b: int, *rest, c: float = 0.5, d=len, e=..., **more) -> list[int]'

def test_comments_of_parameters_become_a_table():
    from upslope.core.seeds import derive
    table = docs.meanings(derive)
    assert '| `seed` |' in table and '| returns |' in table and '| `names` |' in table
    def example(width:int=3, # of the picture [pixels]
                kind='a|b',  # as `nn.Linear` has it
                depth=None): "Any"
    assert docs.meanings(example).splitlines()[2:] == ['| `width` | `3` | of the picture [pixels] |',
        "| `kind` | `'a\\|b'` | as [`nn.Linear`](https://docs.pytorch.org/docs/stable/generated/torch.nn.Linear.html) has it |"]

def test_public_names_have_a_table_of_what_each_parameter_means():
    import upslope
    bare = {}
    for name, room in upslope.public_names().items():
        value = getattr(getattr(upslope, room), name)
        if not (inspect.isclass(value) or inspect.isroutine(value)): continue
        told = set(re.findall(r'^\| `(\w+)` \|', docs.meanings(value), flags=re.M))
        missing = [p.name for p in docs.parameters(value)[0] if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in told]
        if missing: bare[name] = missing
    assert bare == {}

def test_what_a_parameter_means_comes_from_where_it_is_said():
    "From the definition itself, from the class that it comes from, from the table of the room"
    from upslope.layers import Conv2D, Dense, LSTM, RNN
    table = docs.meanings(Dense)
    assert '| `kernel_initializer` |' in table and docs.shared('layers')['*_initializer'] in table
    assert docs.comments(Dense)['units'] in table and docs.shared('layers')['units'] not in table
    assert docs.comments(RNN)['return_sequences'] in docs.meanings(LSTM) and '| `dilation_rate` |' in docs.meanings(Conv2D)

def test_a_named_tuple_a_tuple_and_a_callback_are_told_as_they_are_called():
    from upslope.core import Shape
    from upslope.data import Part
    from upslope.train import MixedPrecision, Profile
    assert set(docs.comments(Part)) == {'x', 'y'} and docs.comments(Shape)['sizes'] in docs.meanings(Shape)
    assert docs.call(Profile) == '()' and docs.call(MixedPrecision) == "(amp_mode='bf16', **kwargs)"   # fastai's base classes say otherwise

ELSEWHERE = {   # a name in prose -> the page that its documentation has, as the project's own rule gives it; None: no link
    'nn.Linear': 'https://docs.pytorch.org/docs/stable/generated/torch.nn.Linear.html',
    'nn.Module.state_dict': 'https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.state_dict',
    'torch.Tensor.view': 'https://docs.pytorch.org/docs/stable/generated/torch.Tensor.view.html',
    'torch.utils.data.DataLoader': 'https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.DataLoader',
    'torch.func': 'https://docs.pytorch.org/docs/stable/func.html',
    'DataLoaders': 'https://docs.fast.ai/data.core.html#dataloaders',
    'LogisticRegression': 'https://scikit-learn.org/stable/modules/generated/sklearn.linear_model.LogisticRegression.html',
    'sklearn.pipeline.make_pipeline': 'https://scikit-learn.org/stable/modules/generated/sklearn.pipeline.make_pipeline.html',
    'keras.layers.Dense': 'https://www.tensorflow.org/api_docs/python/tf/keras/layers/Dense',
    'keras.Model.fit': 'https://www.tensorflow.org/api_docs/python/tf/keras/Model#fit',
    'np.einsum': 'https://numpy.org/doc/stable/reference/generated/numpy.einsum.html',
    'ValueError': 'https://docs.python.org/3/library/exceptions.html#ValueError',
    'upslope.layers': docs.SITE + '02-layers/', 'upslope.train.Population': docs.SITE + '04-train/population.html#population', 'Dense': docs.SITE + '02-layers/dense.html#dense',
    'nn.Lineer': None, 'keras.layers.Densest': None, 'weight_decay': None, 'os.environ.nothing': None, 'torch._C': None, 'settings.ini': None}

@pytest.mark.parametrize('name', ELSEWHERE)
def test_names_lead_to_the_page_that_has_them(name): assert docs.LINKS.doc(name) == ELSEWHERE[name]

def test_the_index_of_a_room_links_its_modules_by_their_short_names(site):
    assert 'errors.html' in docs.Page((site/'01-core/index.html').read_text().partition('<article')[2]).links

def test_a_widget_without_a_picture_of_itself_stops_the_build():
    view = {docs.WIDGET: {}, 'text/plain': 'IntSlider()'}
    def cell(**data): return dict2obj(dict(outputs=[dict(data={**view, **data})]))
    shown = cell(**{'text/html': '<svg/>'})
    docs.snapshot(shown, 'page')
    assert set(shown.outputs[0].data) == {'text/plain', 'text/html'}
    with pytest.raises(SystemExit, match='no picture of itself'): docs.snapshot(cell(), 'page')

def test_every_figure_is_in_the_gallery_and_one_click_from_its_code(site, root):
    "As many as the notebooks hold, and each link leads to an anchor right before a cell of code"
    n = sum(mime in docs.PICTURES for path in (root/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in path.parts and '/.' not in path.as_posix()[len(str(root)):]
            for cell in read_nb(path).cells for output in cell.get('outputs', ()) for mime in output.get('data', ()))
    links = re.findall(r'<a href="([^"#]+)#(figure-\d+)"><img src="([^"]+)"', (site/'gallery.html').read_text())
    assert len(links) == n > 10 and len(set(links)) == n
    for page, anchor, picture in links:
        assert (site/picture).stat().st_size > 100
        assert re.search(rf'<a id="{anchor}"></a>\s*(<a id="[^"]+"></a>\s*)*<div class="cell', (site/page).read_text()), (page, anchor)

def test_every_page_opens_in_jupyter(site, root):
    "The notebook that its link gives is the one in the repository"
    for path in (root/'nbs').rglob('*.ipynb'):
        if any(part[0] in '._' for part in path.relative_to(root).parts): continue
        page = site/docs.nbpath2html(path.relative_to(root/'nbs'))
        link, = re.findall(r'<a href="([^"]+)"[^>]*>Open in Jupyter</a>', page.read_text())
        assert (page.parent/link).read_bytes() == path.read_bytes() and 'cells' in json.loads(path.read_bytes())

def test_changelog_and_citation_are_pages(site):
    assert '0.1.0' in (site/'changelog.html').read_text()
    cited = (site/'citing.html').read_text()
    assert '@software' in cited and docs.INI['git_url'] in cited and docs.INI['version'] in cited

def test_lost_links_are_found(tmp_path):
    (tmp_path/'a.html').write_text('<p id="here"><a href="a.html#here">1</a><a href="b.html">2</a><a href="a.html#there">3</a><img src="c.png"><a href="https://d/e">4</a>')
    assert [line.split()[3].rstrip(',') for line in docs.broken_links(tmp_path)] == ['b.html', 'a.html#there', 'c.png']

def test_links_between_notebooks_lead_to_pages(root):
    there = docs.page_links('[seeds](../01-core/04_seeds.ipynb#limits)', root/'nbs'/'02-layers')
    assert there == f'[seeds]({docs.SITE}01-core/seeds.html#limits)'
    assert docs.page_links('[how](../CONTRIBUTING.md) [a](https://b/c) [here](#x)', root/'nbs') == \
        f"[how]({docs.INI['git_url']}/blob/{docs.INI['branch']}/CONTRIBUTING.md) [a](https://b/c) [here](#x)"
    for text in ('`seq[0](x)` is code', 'so is\n```\nseq[0](x)\n```', '$f[x](t)$ is a formula'): assert docs.page_links(text, root/'nbs') == text
    with pytest.raises(SystemExit, match='there is no 99_lost.ipynb'): docs.page_links('[lost](99_lost.ipynb)', root/'nbs'/'01-core')

@pytest.fixture(scope='module')
def address(site):
    "The site as a server on this machine gives it; a browser does not let pages from files read each other"
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args): "Nothing is logged"
    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=site)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()

@pytest.fixture(scope='module')
def visit(address, browser):
    "Opens pages, one after the other; whatever goes wrong on the way is noted in `visit.wrong`"
    page, wrong = browser.new_page(), []
    page.set_default_timeout(300_000)   # no machine is so slow; only a failure takes so long
    page.on('pageerror', lambda error: wrong.append(str(error)))
    page.on('console', lambda said: wrong.append(said.text) if said.type in ('error', 'warning') else None)
    # the browser itself aborts pictures that are still on their way when the next page is opened; that is no failure of the site
    page.on('requestfailed', lambda request: wrong.append(request.url) if request.failure != 'net::ERR_ABORTED' else None)
    def go(path):
        page.goto(f'{address}/{path}')
        return page
    go.wrong = wrong
    yield go
    page.close()

LOOK = """() => ({wide: document.documentElement.scrollWidth - innerWidth,
                  cut: [...document.querySelectorAll('article :is(table, img, svg)')].filter(e => {
                      if (e.getBoundingClientRect().right <= innerWidth + 1) return false
                      for (let p = e.parentElement; p.tagName != 'ARTICLE'; p = p.parentElement) if (['auto', 'scroll'].includes(getComputedStyle(p).overflowX)) return false
                      return true }).map(e => e.outerHTML.slice(0, 80)), lost: [...document.images].filter(i => i.loading != 'lazy' && !(i.complete && i.naturalWidth)).map(i => i.src),
                  title: document.querySelector('h1')?.innerText, outside: performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith(location.origin) && !n.startsWith('data:'))})"""

def test_browser_opens_every_page_on_a_phone_and_on_a_screen(visit, site):
    "No error in the console, no picture missing, nothing fetched from elsewhere, no page that scrolls sideways, and nothing cut at its edge"
    pages = sorted(path.relative_to(site).as_posix() for path in site.rglob('*.html'))
    assert len(pages) > 60
    for path in pages:
        page = visit(path)
        for width in (360, 768, 1280):
            page.set_viewport_size(dict(width=width, height=900))
            seen = page.evaluate(LOOK)
            assert seen['wide'] <= 0 and seen['cut'] == [] and seen['lost'] == [] and seen['outside'] == [] and (seen['title'] or path in ('genindex.html', 'search.html')), (path, width, seen)
        assert visit.wrong == [], path

SIDEBAR = """() => {
    const lines = [...document.querySelectorAll('.sidebar-tree a.reference')], shown = lines.filter(line => line.offsetParent)
    const box = document.querySelector('.sidebar-scroll').getBoundingClientRect()
    const here = document.querySelector('.sidebar-tree li.current-page > a'), place = here.getBoundingClientRect()
    return {all: lines.length, shown: shown.map(line => line.innerText), here: here.innerText,
            in_sight: box.top <= place.top && place.bottom <= box.bottom}}"""

def sidebar(visit, path):
    page = visit(path)
    page.set_viewport_size(dict(width=1280, height=900))
    page.reload()   # it scrolls to the page's line when it is opened, at the size that the window has then
    return page.evaluate(SIDEBAR)

def test_the_sidebar_is_folded_by_room(visit, root):
    "A line for each room and no page of one; no page is lost"
    seen = sidebar(visit, 'index.html')
    first = ['Why upslope', 'Install', 'Ten minutes with upslope', 'Stories', 'Core', 'Layers']
    assert seen['shown'][:6] == first and seen['shown'][-2:] == ['All names', 'The project'] and len(seen['shown']) <= 22
    assert seen['here'] == 'Why upslope' and seen['in_sight']
    assert seen['all'] > 150 and visit.wrong == []

@pytest.mark.parametrize('path, room, other', [('06-lab/study.html', '06-lab', 'Dropout'), ('02-layers/mixed_augmentation.html', '02-layers', 'Halving')])
def test_the_sidebar_is_open_where_one_is(visit, site, path, room, other):
    "All pages of the room, none of another, and the line of this page is in sight, also at the end of a long room"
    seen = sidebar(visit, path)
    headings = [re.search('<h1>(.*?)<a class="headerlink"', file.read_text())[1] for file in (site/room).glob('*.html')]
    pages = {re.sub('<[^>]+>', '', heading) for heading in headings}
    assert pages <= set(seen['shown']) and other not in seen['shown']
    assert seen['here'] in pages and seen['in_sight'] and visit.wrong == []

def test_code_on_the_front_page_is_not_cut(visit):
    "As wide as its box or narrower, on a screen of 1280 pixels"
    page = visit('index.html')
    page.set_viewport_size(dict(width=1280, height=900))
    widths = page.evaluate("() => [...document.querySelectorAll('article pre')].map(code => [code.scrollWidth, code.clientWidth])")
    assert len(widths) >= 4 and all(code <= box for code, box in widths), widths

def test_every_public_name_leads_from_the_list_of_its_room_to_its_definition(site):
    import upslope
    for room in upslope.rooms():
        page = (site/f'names/{room}.html').read_text()
        listed = set(re.findall(r'<a class="reference internal" href="[^"]+"><code[^>]*><span class="pre">(\w+)</span>', page))
        assert {name for name, owner in upslope.public_names().items() if owner == room} <= listed

def test_the_gallery_shows_its_pictures(visit):
    page = visit('gallery.html')
    pictures = page.locator('.gallery img')
    pictures.last.scroll_into_view_if_needed()
    page.wait_for_function("() => { const i = [...document.querySelectorAll('.gallery img')].at(-1); return i.complete && i.naturalWidth > 0 }")
    page.locator('.gallery a').first.click()
    page.wait_for_load_state('networkidle')
    assert '#figure-1' in page.url and visit.wrong == []

def test_browser_finds_a_name(visit):
    page = visit('search.html?q=ShapeError')
    page.locator('#search-results li a').first.wait_for()
    assert 'upslope.core.errors.ShapeError' in page.locator('#search-results').inner_text()
    page.wait_for_load_state('networkidle')   # it fetches the pages that it found, for their first words
    page = visit('01-core/seeds.html')
    entry = page.locator('dl.py.function').first
    assert page.locator('h1').inner_text().startswith('Seeds') and entry.is_visible() and entry.bounding_box()['width'] > 300 and visit.wrong == []

def test_the_theme_switches_and_stays(visit):
    page = visit('index.html')
    page.set_viewport_size(dict(width=1280, height=900))
    def ground(): return page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    seen = [ground()]
    for _ in range(2):   # automatic, light, dark
        page.locator('.theme-toggle:visible').first.click()
        seen.append(ground())
    assert len(set(seen)) == 2, seen
    chosen = ground()
    visit('citing.html')
    assert ground() == chosen and visit.wrong == []
