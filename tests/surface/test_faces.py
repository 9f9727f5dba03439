"Every public object that a notebook shows has a face: short, and to be read on a white page and on a black one"
import os, re
import pytest
from upslope.core import residual
from upslope.data import Pipeline, loaders, sources
from upslope.inspection import Watch, diagnose, predictions
from upslope.lab import Queue, Recipe, Study
from upslope.layers import Dense, Flatten, Input, Sequential
from upslope.stress import stress
from upslope.surface import Explorer, LiveLearner, LiveStudy
from upslope.surface.demo import dense
from upslope.train import Learner, Population

@pytest.fixture(scope='module')
def faces(tmp_path_factory):
    "name -> HTML, as a notebook would show it"
    digits = sources.digits()
    model = Sequential([Input((8, 8, 1)), Flatten(), Dense(16, 'relu'), Dense(10, 'softmax')])
    study = Study('faces', Recipe('digits', dense, epochs=1), dict(width=[.2]), seeds=3, baselines=None, store=tmp_path_factory.mktemp('faces')/'store.db').run(1, show=False)
    queue = Queue(study.store)
    queue.add(Study('later', study.recipe, seeds=2, baselines=None, store=study.store))
    learn = Learner(loaders(digits, pipeline=['standardize']), Sequential([Input((8, 8, 1)), Flatten(), Dense(10)]), 'cross_entropy', 'adam', metrics='accuracy', verbose=False)
    learn.fit(1, 1e-2)
    found = diagnose(model, digits, 'cross_entropy', rules=['softmax_before_loss', 'inputs_not_scaled'])
    watched, population = Watch(), Population(lambda: Sequential([Input((8, 8, 1)), Flatten(), Dense(10)]), learn.dls, 3, lr=1e-2)
    Learner(learn.dls, Sequential([Input((8, 8, 1)), Flatten(), Dense(16, 'relu'), Dense(10)]), 'cross_entropy', verbose=False).fit(1, 1e-2, cbs=watched)
    population.fit(1)
    shown = dict(dataset=digits, model=model, pipeline=Pipeline(['standardize']).fit(sources.diabetes().train.x), recipe=study.recipe, study=study,
                 table=study.table(), store=study.store, queue=queue, effects=study.effects(), diary=study.diary(), difference=study.recipe.but(lr=.1).diff(study.recipe), run=LiveStudy(study).open(1),
                 learner=learn, scorecard=stress(learn, digits, ['gaussian_noise'], rows=60, baseline=None, draws=1), diagnosis=found, finding=found[0], live_study=LiveStudy(study), explorer=Explorer(lambda x: f'{x}', x=(0, 1)),
                 watch=watched, population=population, predictions=predictions(learn), composition=residual(Dense(16, 'relu') >> Dense(16)) >> (Dense(3) & Dense(4)))
    def face(value):
        if hasattr(value, '_repr_mimebundle_'): return value._repr_mimebundle_()['text/html']
        return value._repr_html_()
    made = {name: face(value) for name, value in shown.items() if value is not None}
    made['live_learner'] = LiveLearner()._repr_mimebundle_()['text/html']
    return made

CONTRAST = """() => {
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(v => (v /= 255) <= .03928 ? v/12.92 : ((v + .055)/1.055)**2.4); return .2126*r + .7152*g + .0722*b };
  const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; const p = c.match(/[\\d.]+/g).map(Number); if (p.length == 3 || p[3] > .5) return c } return 'rgb(255, 255, 255)' };
  const worst = [];
  for (const e of document.querySelectorAll('main *')) {
    if (![...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim()) || ['STYLE', 'SCRIPT'].includes(e.tagName)) continue;
    const s = getComputedStyle(e), [a, b] = [light(e instanceof SVGElement ? s.fill : s.color), light(ground(e))];
    worst.push([(Math.max(a, b) + .05)/(Math.min(a, b) + .05), e.textContent.trim().slice(0, 40)]);
  }
  return worst.sort((a, b) => a[0] - b[0])[0];
}"""

def test_every_face_is_short(faces):
    assert len(faces) >= 11
    for name, html in faces.items(): assert 0 < len(re.sub(r'<svg.*?</svg>|<style.*?</style>', '', html, flags=re.S)) < 12_000, name

@pytest.mark.parametrize('ground, ink, scheme', [('#ffffff', '#111111', 'light'), ('#111111', '#e0e0e0', 'dark')])
def test_every_face_can_be_read_on_white_and_on_black(faces, browser, ground, ink, scheme):
    "W3C's contrast of each text with what lies behind it is at least 3, in Jupyter's colours of both themes"
    page = browser.new_page(color_scheme=scheme, viewport=dict(width=900, height=700))
    for name, html in faces.items():
        page.set_content(f'<body style="background:{ground};color:{ink}" data-jp-theme-light="{str(scheme == "light").lower()}"><main class="jp-RenderedHTMLCommon">{html}</main>')
        seen = page.evaluate(CONTRAST)
        assert seen is not None and seen[0] >= 3, (name, seen)
    if shots := os.environ.get('UPSLOPE_SHOTS'):   # a folder, to look at them
        page.set_content(f'<body style="background:{ground};color:{ink};font:14px sans-serif" data-jp-theme-light="{str(scheme == "light").lower()}"><main class="jp-RenderedHTMLCommon">' + ''.join(f'<hr><b>{name}</b><br>{html}' for name, html in faces.items()) + '</main>')
        page.screenshot(path=f'{shots}/faces_{scheme}.png', full_page=True)
    page.close()
