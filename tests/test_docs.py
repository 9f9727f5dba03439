"The documentation: built from the notebooks without a warning, no link is lost, and a browser shows it"
import re, subprocess, sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import docs
from fastcore.nbio import mk_cell, read_nb
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
    def example(a, /, b:int, *rest, c:float=.5, d=len, **more) -> list[int]: "Any"
    assert docs.call(example) == '(a, b: int, *rest, c: float = 0.5, d=len, **more) -> list[int]'

def test_comments_of_parameters_become_a_table():
    from upslope.core.seeds import derive
    table = docs.meanings(derive)
    assert '| `seed` |' in table and '| returns |' in table and '| `names` |' in table

def test_lost_links_are_found(tmp_path):
    (tmp_path/'a.html').write_text('<p id="here"><a href="a.html#here">1</a><a href="b.html">2</a><a href="a.html#there">3</a><img src="c.png"><a href="https://d/e">4</a>')
    assert [line.split()[3].rstrip(',') for line in docs.broken_links(tmp_path)] == ['b.html', 'a.html#there', 'c.png']

def test_links_between_notebooks_lead_to_pages(root):
    there = docs.page_links('[seeds](../01-core/03_seeds.ipynb#limits)', root/'nbs'/'02-layers')
    assert there == f'[seeds]({docs.SITE}01-core/seeds.html#limits)'
    assert docs.page_links('[how](../CONTRIBUTING.md) [a](https://b/c) [here](#x)', root/'nbs') == \
        f"[how]({docs.INI['git_url']}/blob/{docs.INI['branch']}/CONTRIBUTING.md) [a](https://b/c) [here](#x)"
    for text in ('`seq[0](x)` is code', 'so is\n```\nseq[0](x)\n```', '$f[x](t)$ is a formula'): assert docs.page_links(text, root/'nbs') == text
    with pytest.raises(SystemExit, match='there is no 99_lost.ipynb'): docs.page_links('[lost](99_lost.ipynb)', root/'nbs'/'01-core')

@pytest.fixture
def address(site):
    "The site as a server on this machine gives it; a browser does not let pages from files read each other"
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args): "Nothing is logged"
    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=site)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()

def test_browser_shows_a_page_and_finds_a_name(address, browser):
    page, wrong = browser.new_page(), []
    page.on('pageerror', lambda error: wrong.append(str(error)))
    page.on('requestfailed', lambda request: wrong.append(request.url))
    page.goto(f'{address}/search.html?q=ShapeError')
    page.locator('#search-results li a').first.wait_for(timeout=20_000)
    assert 'upslope.core.errors.ShapeError' in page.locator('#search-results').inner_text()
    page.wait_for_load_state('networkidle')
    page.goto(f'{address}/01-core/seeds.html')
    page.wait_for_load_state('networkidle')
    entry = page.locator('dl.py.function').first
    assert page.locator('h1').inner_text().startswith('Seeds') and entry.is_visible() and entry.bounding_box()['width'] > 300
    assert wrong == []
