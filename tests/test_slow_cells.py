"What slow cells have saved has the form that today's code gives: the studies of the stories are run here without training, with made-up scores"
import ast, contextlib, html, io, json, linecache, random, re, subprocess
from types import SimpleNamespace
import pytest
from fastcore.xtras import dict2obj
from fastcore.nbio import read_nb
import slow_cells
from slow_cells import ROOT, SLOW, beginning, changes, form, forms, tables_of

STORIES = ('01_ten_minutes', '04_from_pytorch', '05_honest_study', '09_your_own')

# ---- the form of an output

def out(text=None, **data): return dict2obj(dict(output_type='stream', text=text) if text else dict(output_type='execute_result', data=data))

PAGE = '<table><thead><tr><th>config</th><th>mean</th></tr></thead><tbody><tr><th>a</th><td>{}</td></tr>\n<tr><th>b</th><td>2</td></tr></tbody></table><p>A note.</p>'

def test_a_form_is_what_stays_when_numbers_differ():
    assert form(out(**{'text/html': PAGE.format(1), 'text/plain': 'x'})) == form(out(**{'text/html': PAGE.format(17.5), 'text/plain': 'y'})) == ['table: config | mean; 2 rows']
    assert form(out('width=4 loses by 3.5 ± 1.\nNo difference.\n\n')) == ['sentence: width=# loses by', 'sentence: No difference.']
    assert form(out(**{'image/png': 'abc', 'text/plain': '<Figure>'})) == ['picture: image/png']
    assert form(out(**{'text/plain': 'Population(1000 members)'})) == ['value: Population(# members)']

@pytest.mark.parametrize('old,new,words', [
    (PAGE.format(1), PAGE.format(1).replace('<th>mean</th>', '<th>mean</th><th>Holm</th>'), ['- table: config | mean; 2 rows', '+ table: config | mean | Holm; 2 rows']),
    (PAGE.format(1), PAGE.format(1).replace('</tbody>', '<tr><th>c</th></tr></tbody>'), ['2 rows', '3 rows']),
], ids=['a column', 'a row'])
def test_a_changed_table_is_told(old, new, words):
    told = '\n'.join(changes(dict(a=form(out(**{'text/html': old}))), dict(a=form(out(**{'text/html': new})))))
    assert all(w in told for w in words), told

def test_a_changed_number_of_sentences_is_told():
    before, after = (dict(a=form(out(text))) for text in ('one is here\ntwo are here\n', 'one is here\ntwo are here\nthree are here\n'))
    assert changes(before, after) == ['  cell a: + sentence: three are here']
    assert changes(dict(a=['sentence: x']), dict(a=['sentence: x']*2)) == ['  cell a: 1 lines were saved, and there are 2']
    assert changes(after, after) == []

def test_the_command_tells_what_is_stale_and_saves_what_is_new(tmp_path, monkeypatch, capsys):
    "As `make slow` runs it, with a notebook whose saved table lacks a column"
    cells = [dict(cell_type='code', id='a', metadata={}, execution_count=None, source=f'{SLOW}\nprint("one line")\nprint("another one")',
                  outputs=[dict(output_type='stream', name='stdout', text='one line\n')])]
    path = tmp_path/'nbs'/'story.ipynb'
    path.parent.mkdir()
    path.write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)))
    def run(path):
        cells[0]['outputs'][0]['text'] = 'one line\nanother one\n'
        path.write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)))
        return 0
    monkeypatch.setattr(slow_cells, 'ROOT', tmp_path)
    monkeypatch.setattr(slow_cells, 'run', run)
    monkeypatch.setattr(subprocess, 'run', lambda *args, **kwargs: SimpleNamespace(returncode=0))
    assert slow_cells.main([]) == 1
    assert 'cell a: + sentence: another one' in capsys.readouterr().out
    assert slow_cells.main([]) == 0

# ---- the stories

class MadeUp:
    "Workers that do nothing: each run ends at once with scores near those that its story has saved"
    question,watch,patience,n = None,None,None,1
    def __init__(self, store, study, n=None, **options): self.store,self.study = store,study
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def start(self): return self
    def tend(self):
        labels = dict(self.store.rows('SELECT recipe, label FROM config WHERE study=?', self.study))
        while claim := self.store.claim(self.study):
            label = labels[self.store.query('SELECT recipe FROM run WHERE id=?', claim.run)[0]['recipe']]
            mean, sd = self.scores.get(label, (50., 1.))
            score = random.Random(f'{label} {claim.seed}').gauss(mean, sd)/100
            scores = {f'{part}_{name}': score for part in ('valid', 'test') for name in ('accuracy', 'mae', 'r2', 'loss')}
            self.store.finish(claim, scores, {}, 'loop')
        return self

def saved_tables(cells):
    "(columns, labels of the rows, {label: (mean, sd)}) of the tables of a study that a notebook has saved"
    found = []
    for cell in cells:
        for output in cell.outputs:
            page = ''.join(output.get('data', {}).get('text/html', ''))
            if 'class="comparison"' not in page: continue
            rows = {html.unescape(label): (float(mean), float(sd)) for label, mean, sd in re.findall(r'<th scope="row">(.*?)</th><td>.*?</td><td>(.*?)</td><td>(.*?)</td>', page)}
            found.append((tables_of(page)[0]['columns'], list(rows), rows))
    return found

DEFINES = ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef
MAKES = 'recipe', 'axes', 'study', 'DESIGNS'   # what the slow cells of a story take from those before it

def is_needed(node):
    "Whether a statement of another cell imports or defines something, or makes what a study is made of"
    if isinstance(node, DEFINES): return True
    names = {n.id for target in getattr(node, 'targets', ()) for n in ast.walk(target) if isinstance(n, ast.Name)}
    return bool(names & set(MAKES))

def replay(cells, space):
    "What the slow cells give, with the statements of the others that they need: outputs as (tables, printed lines)"
    tables, printed = [], []
    for cell in cells:
        if cell.cell_type != 'code' or cell.source.startswith('#| export'): continue
        slow, body = cell.source.startswith(SLOW), ast.parse(cell.source).body
        if not slow: body = [node for node in body if is_needed(node)]
        if 'explore_study' in cell.source and slow: continue
        file = f'<cell {cell.id}>'
        linecache.cache[file] = len(cell.source), None, cell.source.splitlines(True), file   # a recipe writes down the source of its functions
        last = body.pop() if slow and body and isinstance(body[-1], ast.Expr) else None
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(ast.Module(body, []), file, 'exec'), space)
            value = eval(compile(ast.Expression(last.value), file, 'eval'), space) if last else None
        page = value._repr_html_() if hasattr(value, '_repr_html_') else ''
        if page and 'class="comparison"' in page: tables.append((tables_of(page)[0]['columns'], [html.unescape(o) for o in re.findall(r'<th scope="row">(.*?)</th>', page)]))
        if slow and 'study.answers()' in cell.source: printed += [line for line in said.getvalue().splitlines() if line]
    return tables, printed

OUTCOME = re.compile('beat|loses|No difference|matters|Something is wrong|placebo')   # how it came out, which made-up scores decide anew
def beginnings(lines): return [beginning(line) for line in lines if not OUTCOME.search(line)]

@pytest.mark.parametrize('name', STORIES)
def test_a_story_has_saved_what_todays_code_gives(name, monkeypatch, tmp_path):
    from upslope.lab import runners, study, worker
    cells = [c for c in read_nb(ROOT/'nbs'/'90-stories'/f'{name}.ipynb').cells if c.cell_type == 'code']
    saved = saved_tables(cells)
    lines = [line for c in cells if c.source.startswith(SLOW) and 'study.answers()' in c.source for o in c.outputs for line in ''.join(o.text).splitlines() if line]
    assert saved or lines
    monkeypatch.setattr(MadeUp, 'scores', {label: score for *_, scores in saved for label, score in scores.items()}, raising=False)
    monkeypatch.setitem(runners.BACKENDS, 'local', MadeUp)
    monkeypatch.setattr(worker, 'probe', lambda *args: None)
    monkeypatch.setattr(study, 'BEAT', 1e9)
    monkeypatch.chdir(tmp_path)
    tables, printed = replay(cells, {'__name__': '__main__'})
    assert [(columns, labels) for columns, labels, _ in saved] == tables
    assert len(lines) == len(printed), printed
    assert beginnings(lines) == beginnings(printed)

def test_every_slow_cell_of_the_stories_has_an_output_or_is_a_check():
    "A cell that was never run has nothing to show"
    for path in sorted((ROOT/'nbs'/'90-stories').glob('*.ipynb')):
        for id, lines in forms(path).items():
            source = slow_cells.slow_cells(path)[id].source
            shows = 'print(' in source or 'plt.' in source or isinstance(ast.parse(source).body[-1], ast.Expr)
            assert lines or not shows, f'{path.name}, cell {id}'
