"A real JupyterLab and a real Notebook 7 on this machine, and a browser that looks at them: the widgets move, their buttons work, a reload finds them again"
import json, os, re, subprocess, sys, time
from importlib.metadata import version
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.xdist_group('jupyter')   # one server

FIT = """from upslope.core.seeds import seeded
from upslope.data import sources, loaders
from upslope.layers import Dense, Flatten, Input, Sequential
from upslope.train import Learner
from upslope.surface import LiveLearner
model = Sequential([Input((8, 8, 1)), Flatten(), Dense(32, 'relu'), Dense(10)])
learn = Learner(loaders(sources.digits(), batch_size=32), model, 'cross_entropy', 'adam', metrics='accuracy')
live = LiveLearner()"""
STUDY = """from upslope.lab import Recipe, Study
from upslope.surface import LiveStudy
def unhurried(width:float=1.):
    "No machine is so fast that the study ends before the test"
    import time
    from upslope.surface.demo import dense
    time.sleep(1)
    return dense(width)
study = Study('widths', Recipe('digits', unhurried, epochs=2), dict(width=[.1, .2, .5]), seeds=200, baselines=None, store='store.db')"""
PATIENCE = 300   # [s]: no machine is so slow; only a failure takes so long
FITS = [FIT, "learn.fit(100_000, 1e-3, cbs=live)", "print('kept', len(learn.recorder.rows) > 0, live.status)"]
NOTEBOOKS = {'notebook': FITS, 'fit': FITS, 'study': [STUDY, "live = LiveStudy(study).run(workers=1, engine='loop')\nlive"]}

@pytest.fixture(scope='module')
def jupyter(root, tmp_path_factory):
    "The address and token of a server whose folder holds the notebooks; its settings are the safe defaults"
    home = tmp_path_factory.mktemp('jupyter')
    for name, cells in NOTEBOOKS.items():
        nb = new_notebook(cells=[new_code_cell(source) for source in cells], metadata=dict(kernelspec=dict(name='python3', display_name='Python 3', language='python')))
        (home/f'{name}.ipynb').write_text(json.dumps(nb))
    env = {**os.environ, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1', **{f'JUPYTER_{kind}_DIR': str(home/f'.{kind.lower()}') for kind in ('CONFIG', 'DATA', 'RUNTIME')}, 'JUPYTERLAB_SETTINGS_DIR': str(home/'.settings'), 'IPYTHONDIR': str(home/'.ipython')}
    with open(home/'log', 'w') as log:
        server = subprocess.Popen([sys.executable, '-m', 'jupyter', 'lab', '--no-browser', '--allow-root', '--notebook-dir', home, '--LabApp.news_url=None', '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate'],
                                  env=env, cwd=home, stdout=log, stderr=log, start_new_session=True)
        try:
            until = time.time() + PATIENCE
            while not (found := list(home.glob('.runtime/jpserver-*.json'))) or not found[0].read_text().strip().endswith('}'):
                assert server.poll() is None and time.time() < until, (home/'log').read_text()[-2000:]
                time.sleep(.1)
            yield json.loads(found[0].read_text())
        finally:
            server.terminate()
            server.wait(PATIENCE)

SHOTS = os.environ.get('UPSLOPE_SHOTS')   # a folder for the screenshots; a temporary one, if it is not set

@pytest.fixture
def page(browser, tmp_path, request):
    page = browser.new_page(viewport=dict(width=1200, height=1000))
    page.set_default_timeout(1000*PATIENCE)
    page.shoot = lambda name: page.screenshot(path=Path(SHOTS or tmp_path)/f'{name}.png')
    yield page
    page.shoot(f'{request.node.name}_end')
    page.close()

def run_all(page):
    page.locator('.jp-Notebook .jp-CodeCell').first.wait_for()
    ready = page.get_by_text('Python 3 (ipykernel) | Idle').or_(page.locator('.jp-NotebookKernelStatus-info'))   # of Lab, of Notebook; before, it would ask which kernel to take
    ready.first.wait_for()
    which = page.get_by_role('button', name='Select', exact=True)   # on a slow machine it asks all the same
    until, ask = time.time() + PATIENCE, 0
    while page.locator('.jp-CodeCell .jp-InputPrompt').first.inner_text().strip() in ('', '[ ]:'):   # a queued cell says [*]
        assert time.time() < until, 'no cell begins to run'
        if which.count(): which.click()
        elif time.time() >= ask:   # what was asked for while the kernel was not there yet is lost
            page.get_by_role('menuitem', name='Run', exact=True).click()
            page.get_by_role('menuitem', name='Run All Cells', exact=True).click()
            ask = time.time() + 15
        time.sleep(.1)

def wait_until(said, wanted):
    "Waits until what `said()` gives matches `wanted`"
    until = time.time() + PATIENCE
    while not re.search(wanted, text := said()):
        assert time.time() < until, f'{wanted!r} did not come; last: {text[:400]!r}'
        time.sleep(.1)

def test_the_server_is_for_this_machine_and_those_who_have_the_token(jupyter):
    from urllib.error import HTTPError
    from urllib.request import urlopen
    assert jupyter['hostname'] in ('localhost', '127.0.0.1') and len(jupyter['token']) >= 40
    with pytest.raises(HTTPError, match='403'): urlopen(f"{jupyter['url']}api/contents")

@pytest.mark.parametrize('place', ['lab/workspaces/fit/tree/fit.ipynb', 'notebooks/notebook.ipynb'], ids=['JupyterLab', 'Notebook 7'])
def test_a_fit_moves_pauses_and_stops(place, jupyter, page):
    if place.startswith('notebooks'): assert version('notebook').startswith('7.')
    page.goto(f"{jupyter['url']}{place}?token={jupyter['token']}")
    run_all(page)
    view = page.locator('.upslope-live')
    view.first.wait_for()
    line = view.first.locator('div').first.inner_text
    wait_until(line, r'training · epoch \d+ of 100000.*samples/s')
    first = line()
    wait_until(lambda: 'same' if line() == first else 'moved', 'moved')
    page.get_by_role('button', name='Pause').click()
    wait_until(line, '^paused')
    still = line()
    time.sleep(.8)
    assert line() == still, 'it went on while paused'
    page.get_by_role('button', name='Go on').click()
    wait_until(line, '^training')
    page.shoot(f'live_{place[:3]}')
    page.get_by_role('button', name='Stop').click()
    wait_until(line, '^stopped after')
    page.get_by_text('kept True stopped').wait_for()
    assert view.count() == 1 and page.get_by_role('button', name='Stop').count() == 0
    page.get_by_role('menuitem', name='File', exact=True).click()
    page.get_by_role('menuitem', name=re.compile('^Save Notebook(?! As)')).click()
    wait_until((Path(jupyter['root_dir'])/place.rpartition('/')[2]).read_text, 'stopped after')
    page.reload()
    view.first.wait_for()
    assert line().startswith('stopped after') and view.locator('svg').count() == 3
    page.shoot(f'live_reloaded_{place[:3]}')

def test_a_study_moves_opens_a_run_and_survives_a_reload(jupyter, page):
    page.goto(f"{jupyter['url']}lab/workspaces/study/tree/study.ipynb?token={jupyter['token']}")
    run_all(page)
    view = page.locator('.upslope-study')
    view.first.wait_for()
    first_line = view.first.locator('div').first.inner_text
    def ended(): return int(re.search(r'(\d+) of \d+ runs ended', first_line())[1])
    wait_until(first_line, r'\b[1-9]\d* of \d+ runs ended')
    before = ended()
    wait_until(lambda: str(ended() > before), 'True')
    assert 'best so far' in view.first.inner_text() and 'next: ' in view.first.inner_text()
    page.get_by_title('Show the run').click()
    page.get_by_text(re.compile(r'^run \d+: .*, seed')).first.wait_for()
    page.shoot('study')
    page.keyboard.press('Control+s')
    page.wait_for_function("() => !document.querySelector('.jp-mod-dirty')")
    page.reload()
    view.first.wait_for()
    before = ended()
    wait_until(lambda: str(ended() > before), 'True')   # the view is alive again
    page.get_by_role('button', name='Stop study').click()
    wait_until(page.locator('.jp-Notebook').inner_text, 'Interrupted. What has finished is kept')
    page.shoot('study_reloaded')
